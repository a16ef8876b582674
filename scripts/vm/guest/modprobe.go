// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const moduleDir = "/lib/modules"

// modprobe loads a module with those it needs. The kernel calls it as
// "modprobe -q -- NAME", where NAME may be an alias such as rtnl-link-veth.
func modprobe(args []string) error {
	name := args[len(args)-1]
	aliases, err := os.ReadFile(path.Join(moduleDir, "modules.alias"))
	if err != nil {
		return err
	}
	dep, err := os.ReadFile(path.Join(moduleDir, "modules.dep"))
	if err != nil {
		return err
	}
	files := filesFor(name, string(aliases), string(dep))
	if files == nil && !slices.Contains(args, "-q") {
		return fmt.Errorf("%s: no such module here", name)
	}
	for _, file := range files {
		if err := load(path.Join(moduleDir, file)); err != nil {
			return err
		}
	}
	return nil
}

// filesFor returns the files to load for a name, in order.
func filesFor(name, aliases, dep string) []string {
	module := strings.ReplaceAll(name, "-", "_")
	for line := range strings.Lines(aliases) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		if match, err := path.Match(f[1], name); err == nil && match {
			module = f[2]
			break
		}
	}
	for line := range strings.Lines(dep) {
		file, needs, _ := strings.Cut(line, ":")
		base, _, _ := strings.Cut(path.Base(file), ".ko")
		if strings.ReplaceAll(base, "-", "_") == module {
			// modules.dep names what is needed last first.
			files := append([]string{file}, strings.Fields(needs)...)
			slices.Reverse(files)
			return files
		}
	}
	return nil
}

func load(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(file, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	if err := unix.FinitModule(int(f.Fd()), "", flags); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", file, err)
	}
	return nil
}
