// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// wanted are the modules that tests may ask the kernel for, by what they do.
var wanted = []string{
	"veth", "bridge", "dummy", "macvlan", "8021q", "tun", "vrf",
	"ipip", "sit", "ip6_tunnel", "fou", "fou6", "ip_gre", "ip6_gre",
	"sch_ingress", "cls_bpf",
}

// moduleSet is modules with everything they depend on, and the lines about them
// from the files that depmod made.
type moduleSet struct {
	files   []string // paths below the directory of the modules
	depends string   // as in modules.dep
	aliases string   // as in modules.alias
}

// selectModules finds the modules named in dir. A module that is not there is
// left out: the kernel may have it built in.
func selectModules(dir string, names []string) (moduleSet, error) {
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return moduleSet{}, fmt.Errorf("list of modules: %w", err)
	}
	alias, err := os.ReadFile(filepath.Join(dir, "modules.alias"))
	if err != nil {
		return moduleSet{}, fmt.Errorf("list of modules: %w", err)
	}

	lines := make(map[string]string) // by file
	byName := make(map[string]string)
	for line := range strings.Lines(string(dep)) {
		file, _, _ := strings.Cut(line, ":")
		lines[file] = line
		byName[moduleName(file)] = file
	}

	var set moduleSet
	taken := make(map[string]bool) // by name
	var take func(file string)
	take = func(file string) {
		if taken[moduleName(file)] {
			return
		}
		taken[moduleName(file)] = true
		set.files = append(set.files, file)
		set.depends += lines[file]
		_, needs, _ := strings.Cut(lines[file], ":")
		for _, f := range strings.Fields(needs) {
			take(f)
		}
	}
	for _, name := range names {
		if file, ok := byName[name]; ok {
			take(file)
		}
	}

	for line := range strings.Lines(string(alias)) {
		if f := strings.Fields(line); len(f) == 3 && taken[f[2]] {
			set.aliases += line
		}
	}
	return set, nil
}

// moduleName returns the name of the module in a file such as net/ipip.ko.xz.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
