// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os/exec"
	"path"
	"strings"
)

// tools are the programs that tests call. Those that the host has go along;
// a test of one that is missing has to say so itself.
var tools = []string{"bash", "sh", "cat", "curl", "ip", "sleep", "sysctl", "true"}

// addTools adds the host's tools, with the libraries that they load.
func addTools(ctx context.Context, a *archiveWriter) error {
	added := make(map[string]bool)
	for _, tool := range tools {
		program, err := exec.LookPath(tool)
		if err != nil {
			continue
		}
		libraries, err := listLibraries(ctx, program)
		if err != nil {
			return err
		}
		a.file(path.Join("bin", tool), program)
		for _, file := range libraries {
			if !added[file] {
				added[file] = true
				a.file(strings.TrimPrefix(file, "/"), file)
			}
		}
	}
	return a.err
}

// listLibraries returns the paths of the libraries of a program, the dynamic
// loader among them.
func listLibraries(ctx context.Context, program string) ([]string, error) {
	out, err := output(ctx, ".", "ldd", program)
	if err != nil {
		return nil, fmt.Errorf("libraries of %s: %w", program, err)
	}
	var files []string
	for _, word := range strings.Fields(out) {
		if strings.HasPrefix(word, "/") {
			files = append(files, strings.TrimSuffix(word, ":"))
		}
	}
	return files, nil
}
