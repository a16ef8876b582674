// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/weirlb/weir/scripts/vm/plan"
)

// guestTree is where the guest has the source tree: tests read their testdata.
const guestTree = "weir"

type testOptions struct {
	verbose, short bool
	run            string
}

// args returns the flags for a test binary.
func (o testOptions) args() []string {
	args := []string{"-test.paniconexit0", "-test.timeout=10m"}
	if o.verbose {
		args = append(args, "-test.v")
	}
	if o.short {
		args = append(args, "-test.short")
	}
	if o.run != "" {
		args = append(args, "-test.run="+o.run)
	}
	return args
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath   string
	Dir          string
	TestGoFiles  []string
	XTestGoFiles []string
	Module       struct{ Dir string }
}

// buildImage builds the tests of the packages and writes the initramfs that
// runs them.
func buildImage(ctx context.Context, file string, k kernel, o options) (plan.Plan, error) {
	packages, err := listTested(ctx, o.packages)
	if err != nil || len(packages) == 0 {
		return plan.Plan{}, err
	}
	out, err := os.MkdirTemp(filepath.Dir(file), "build-")
	if err != nil {
		return plan.Plan{}, err
	}
	defer os.RemoveAll(out)

	f, err := os.Create(file)
	if err != nil {
		return plan.Plan{}, err
	}
	defer f.Close()
	a := newArchiveWriter(f)
	top := packages[0].Module.Dir
	a.tree(guestTree, top, func(rel string) bool {
		return rel == "bin" || rel != "." && strings.HasPrefix(rel, ".")
	})

	p := plan.Plan{Env: []string{
		"PATH=/" + guestTree + "/bin:/sbin:/bin",
		"HOME=/root",
		"TMPDIR=/tmp",
		"GOTRACEBACK=all",
		"WEIR_REQUIRE_BPF=1",
		"WEIR_BINARY=/" + guestTree + "/bin/weir",
	}}
	build := func(name, verb string, args ...string) {
		host := filepath.Join(out, path.Base(name))
		args = append([]string{verb, "-o", host}, args...)
		a.err = errors.Join(a.err, goBuild(ctx, top, args))
		a.file(name, host)
	}
	build("init", "build", "./scripts/vm/guest")
	build(guestTree+"/bin/weir", "build", "./cmd/weir")
	for _, pkg := range packages {
		rel, err := filepath.Rel(top, pkg.Dir)
		if err != nil {
			return plan.Plan{}, err
		}
		dir := path.Join(guestTree, filepath.ToSlash(rel))
		binary := path.Join(dir, path.Base(dir)+".test")
		build(binary, "test", "-c", pkg.ImportPath)
		p.Tests = append(p.Tests, plan.Test{
			Package: pkg.ImportPath,
			Dir:     "/" + dir,
			Command: append([]string{"/" + binary}, o.test.args()...),
		})
	}
	if a.err != nil {
		return plan.Plan{}, a.err
	}
	if err := addTools(ctx, a); err != nil {
		return plan.Plan{}, err
	}
	return p, finish(a, k, p)
}

// finish adds to the archive what the guest needs besides, and closes it.
func finish(a *archiveWriter, k kernel, p plan.Plan) error {
	set, err := selectModules(k.modules, wanted)
	if err != nil {
		return err
	}
	for _, file := range set.files {
		a.file(path.Join("lib/modules", file), filepath.Join(k.modules, file))
	}
	a.text("lib/modules/modules.dep", set.depends)
	a.text("lib/modules/modules.alias", set.aliases)
	// The kernel runs this when it wants a module.
	a.link("sbin/modprobe", "/init")

	a.text("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
	a.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
	a.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "root", "var/run"} {
		a.dir(dir)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	a.text(strings.TrimPrefix(plan.Path, "/"), string(text))
	return a.close()
}

// listTested returns the packages of the patterns that have tests.
func listTested(ctx context.Context, patterns []string) ([]goPackage, error) {
	out, err := output(ctx, ".", "go", append([]string{"list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles,Module"}, patterns...)...)
	if err != nil {
		return nil, err
	}
	var tested []goPackage
	seen := make(map[string]bool)
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 && !seen[p.ImportPath] {
			seen[p.ImportPath] = true
			tested = append(tested, p)
		}
	}
	return tested, nil
}

// goBuild runs go in dir for a static binary.
func goBuild(ctx context.Context, dir string, args []string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
