// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files of testdata/bad")

// TestBad asserts the whole message for every file of testdata/bad, which has
// one file for each mistake that a person can make.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Parse(filepath.Base(file), data)
			if err == nil {
				t.Fatalf("accepted: %+v", got)
			}
			if got != nil {
				t.Errorf("a value came with the mistakes: %+v", got)
			}
			checkErrors(t, data, err)
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err2 := os.ReadFile(golden)
			if err2 != nil {
				t.Fatal(err2)
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBadHasNoStrays finds golden files whose configuration is gone.
func TestBadHasNoStrays(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, err := os.Stat(strings.TrimSuffix(file, ".txt") + ".yaml"); err != nil {
			t.Error(err)
		}
	}
}

// checkErrors asserts what holds for the mistakes of any file: each has a
// position in the file and one line of text, and they are in order.
func checkErrors(t *testing.T, data []byte, err error) {
	t.Helper()
	var errs Errors
	if !errors.As(err, &errs) || len(errs) == 0 {
		t.Fatalf("%T is not Errors: %v", err, err)
	}
	var first *Error
	if !errors.As(err, &first) || first != errs[0] {
		t.Errorf("the first mistake cannot be unwrapped")
	}
	lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
	for i, e := range errs {
		if e.Line < 1 || e.Column < 1 || e.Line > lines+1 {
			t.Errorf("position out of the file: %v", e)
		}
		if e.Message == "" || strings.ContainsAny(e.Error(), "\n\r\x00") {
			t.Errorf("not one line of text: %q", e.Error())
		}
		if i > 0 && (e.Line < errs[i-1].Line || e.Line == errs[i-1].Line && e.Column < errs[i-1].Column) {
			t.Errorf("out of order: %v", e)
		}
	}
}
