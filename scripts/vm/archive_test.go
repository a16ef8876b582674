// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArchive(t *testing.T) {
	host := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(host, []byte("12345"), 0o755); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	a := newArchiveWriter(&b)
	a.text("etc/hosts", "127.0.0.1 localhost\n")
	a.file("etc/program", host)
	a.link("sbin/modprobe", "/init")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"40755 etc: ",
		"100644 etc/hosts: 127.0.0.1 localhost\n",
		"100755 etc/program: 12345",
		"40755 sbin: ",
		"120777 sbin/modprobe: /init",
		"0 TRAILER!!!: ",
	}
	if diff := cmp.Diff(want, readArchive(t, b.Bytes())); diff != "" {
		t.Error(diff)
	}
}

// readArchive returns "mode name: content" of the entries of an initramfs.
func readArchive(t *testing.T, b []byte) []string {
	t.Helper()
	field := func(i int) int {
		n, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	align := func(n int) int { return (n + 3) &^ 3 }
	var entries []string
	for len(b) > 0 {
		if string(b[:6]) != "070701" {
			t.Fatalf("entry %d begins with %q", len(entries), b[:6])
		}
		mode, size, nameSize := field(1), field(6), field(11)
		body := align(110 + nameSize)
		name := string(b[110 : 110+nameSize-1])
		entries = append(entries, fmt.Sprintf("%o %s: %s", mode, name, b[body:body+size]))
		b = b[align(body+size):]
	}
	return entries
}
