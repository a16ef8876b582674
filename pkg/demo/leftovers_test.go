// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Only what is of a process that has ended is removed.
func TestRemoveFiles(t *testing.T) {
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keep := []string{
		fmt.Sprintf("weir-demo-%d", os.Getpid()), fmt.Sprintf("weir-demo-%d-web-1", os.Getpid()),
		"weir-demo-x", "weir-demo-0", "weir-demo--1", "weir", fmt.Sprintf("other-%d", ended.Process.Pid),
	}
	dead := fmt.Sprintf("weir-demo-%d", ended.Process.Pid)
	for _, name := range append(slices.Clone(keep), dead, dead+"-web-1") {
		if err := os.MkdirAll(filepath.Join(dir, name, "links"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeFiles(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(keep)
	if diff := cmp.Diff(keep, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
