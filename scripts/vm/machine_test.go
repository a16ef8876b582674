// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/scripts/vm/plan"
)

func TestVerdict(t *testing.T) {
	p := plan.Plan{Tests: []plan.Test{{Package: "a"}, {Package: "b"}, {Package: "c"}}}
	for name, tt := range map[string]struct {
		reports []plan.Report
		want    string
	}{
		"all passed": {
			reports: []plan.Report{{Package: "a", Passed: true}, {Package: "b", Passed: true}, {Package: "c", Passed: true}},
		},
		"one failed, then a crash": {
			reports: []plan.Report{{Package: "a", Passed: true}, {Package: "b", Message: "exit status 1"}},
			want:    "b: exit status 1\nc: no result, the machine went down before",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, r := range tt.reports {
				if err := json.NewEncoder(&b).Encode(r); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(t.TempDir(), "reports")
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			var got string
			if err := verdict(file, p); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
