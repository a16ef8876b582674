// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/bpf"
)

// compileFlags are what clang is called with on a host, the same as in
// generate.go.
func compileFlags() []string {
	return []string{
		"-O2", "-mcpu=v3", "-Wall", "-Wextra", "-Werror",
		"-I/usr/include/x86_64-linux-gnu", "-I/usr/include/aarch64-linux-gnu",
	}
}

// compilers are tried in this order; the pinned one of `make generate` first.
func compilers() []string { return []string{"clang-19", "clang"} }

// ErrNoCompiler is wrapped by the error of bpf_object: compile on a host that
// lacks clang or libbpf's headers.
var ErrNoCompiler = errors.New("nothing to compile with")

// compile builds a program from the embedded source.
func compile(ctx context.Context, source string) (*ebpf.CollectionSpec, error) {
	clang, err := findCompiler()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "weir-bpf-")
	if err != nil {
		return nil, fmt.Errorf("making a directory to compile in: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, bpf.Source); err != nil {
		return nil, fmt.Errorf("writing the source to compile: %w", err)
	}
	object := filepath.Join(dir, "out.o")
	args := append(compileFlags(), "-target", "bpfel", "-g", "-c", filepath.Join(dir, source), "-o", object)
	cmd := exec.CommandContext(ctx, clang, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return nil, compileError(clang, stderr.String(), err)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		return nil, fmt.Errorf("reading what %s compiled: %w", clang, err)
	}
	return spec, nil
}

func findCompiler() (string, error) {
	for _, name := range compilers() {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("agent.bpf_object: compile: %w: no %s in PATH; install the package clang "+
		"(Debian, Ubuntu: apt install clang libbpf-dev), or use bpf_object: embedded",
		ErrNoCompiler, strings.Join(compilers(), " or "))
}

// compileError names the package of a missing header, else what clang said
// first.
func compileError(clang, stderr string, err error) error {
	for header, pkg := range map[string]string{
		"bpf/bpf_helpers.h": "libbpf-dev",
		"bpf/bpf_endian.h":  "libbpf-dev",
		"linux/bpf.h":       "linux-libc-dev",
		"asm/types.h":       "linux-libc-dev",
	} {
		if strings.Contains(stderr, "'"+header+"' file not found") {
			return fmt.Errorf("agent.bpf_object: compile: %w: the header %s is missing; install the "+
				"package %s, or use bpf_object: embedded", ErrNoCompiler, header, pkg)
		}
	}
	first, _, _ := strings.Cut(stderr, "\n")
	return fmt.Errorf("agent.bpf_object: compile: %s: %w: %s", clang, err, first)
}
