// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// kernel is an unpacked kernel package.
type kernel struct {
	release string // as uname -r says it
	image   string // path of the compressed kernel
	modules string // directory of the modules and of what depmod made
}

// openKernel returns the kernel in cache for a release such as "6.1" and
// downloads the newest there is when the cache has none. To get a newer one,
// remove its directory.
func openKernel(ctx context.Context, cache, release string) (kernel, error) {
	dir := filepath.Join(cache, release)
	k, err := findKernel(dir)
	if !errors.Is(err, os.ErrNotExist) {
		return k, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return kernel{}, err
	}
	work, err := os.MkdirTemp(cache, "."+release+"-")
	if err != nil {
		return kernel{}, err
	}
	defer os.RemoveAll(work)
	root, err := download(ctx, work, release)
	if err != nil {
		return kernel{}, err
	}
	// At once, so that an interrupted download leaves no half a kernel.
	if err := os.Rename(root, dir); err != nil {
		return kernel{}, err
	}
	return findKernel(dir)
}

// findKernel looks for the kernel in an unpacked package; the error is
// os.ErrNotExist when there is none.
func findKernel(dir string) (kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return kernel{}, err
	}
	if len(images) != 1 {
		return kernel{}, fmt.Errorf("%d kernels in %s: %w", len(images), dir, os.ErrNotExist)
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	return kernel{
		release: release,
		image:   images[0],
		modules: filepath.Join(dir, "lib", "modules", release),
	}, nil
}

// download gets the newest package of a release into work and returns the
// directory that it was unpacked to.
func download(ctx context.Context, work, release string) (string, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", fmt.Errorf("kernels are taken from Debian packages, for which this host has no apt-get: "+
			"unpack a linux-image package into a directory and name its parent with -cache: %w", err)
	}
	a := apt{dir: work}
	name, err := a.newest(ctx, release)
	if errors.Is(err, os.ErrNotExist) {
		if err := a.useArchive(ctx); err != nil {
			return "", err
		}
		name, err = a.newest(ctx, release)
	}
	if err != nil {
		return "", err
	}
	fmt.Println("vm: downloading", name)
	if _, err := a.output(ctx, "apt-get", "download", name); err != nil {
		return "", err
	}
	packages, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(packages) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d packages: %w", name, len(packages), err)
	}
	return unpack(ctx, packages[0], filepath.Join(work, "root"))
}

// unpack unpacks a kernel package and adds what depmod knows of its modules.
func unpack(ctx context.Context, deb, root string) (string, error) {
	if _, err := output(ctx, ".", "dpkg-deb", "-x", deb, root); err != nil {
		return "", err
	}
	// Newer packages have only /usr/lib.
	if _, err := os.Stat(filepath.Join(root, "lib")); errors.Is(err, os.ErrNotExist) {
		if err := os.Symlink("usr/lib", filepath.Join(root, "lib")); err != nil {
			return "", err
		}
	}
	k, err := findKernel(root)
	if err != nil {
		return "", err
	}
	_, err = output(ctx, ".", "depmod", "-b", root, k.release)
	return root, err
}

// apt runs apt's commands, with the package lists of the host or its own.
type apt struct {
	dir     string // to download to
	options []string
}

// useArchive makes the commands use package lists of their own: those of Debian
// 12, which has both a 6.1 and a 6.12, from the mirror that this host uses.
func (a *apt) useArchive(ctx context.Context) error {
	targets, err := a.output(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
	if err != nil {
		return err
	}
	archive := archiveSources(targets)
	if archive == "" {
		return errors.New("this host's packages have no such kernel, and its apt sources name no Debian mirror that may have it: " +
			"add one to them, or unpack a linux-image package into a directory and name its parent with -cache")
	}
	sources := filepath.Join(a.dir, "sources.list")
	if err := os.WriteFile(sources, []byte(archive), 0o644); err != nil {
		return err
	}
	lists := filepath.Join(a.dir, "lists")
	if err := os.MkdirAll(filepath.Join(lists, "partial"), 0o755); err != nil {
		return err
	}
	a.options = []string{
		"-o", "Dir::Etc::SourceList=" + sources,
		"-o", "Dir::Etc::SourceParts=-",
		"-o", "Dir::State::Lists=" + lists,
		"-o", "Dir::Cache=" + filepath.Join(a.dir, "cache"),
	}
	_, err = a.output(ctx, "apt-get", "update")
	return err
}

// archiveSources returns the sources.list of Debian 12 on the mirrors among the
// addresses of a host's package lists, one a line; empty if there is none.
func archiveSources(addresses string) string {
	var lines []string
	for address := range strings.Lines(addresses) {
		address = strings.TrimRight(strings.TrimSpace(address), "/")
		suite := map[string]string{"debian": "bookworm", "debian-security": "bookworm-security"}[path.Base(address)]
		line := "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " + address + " " + suite + " main\n"
		if suite != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// newest returns the name of the newest cloud kernel of a release; the error
// is os.ErrNotExist when apt knows none.
func (a *apt) newest(ctx context.Context, release string) (string, error) {
	pattern := "^linux-image-" + regexp.QuoteMeta(release) + `\.[0-9][^ ]*-cloud-amd64$`
	out, err := a.output(ctx, "apt-cache", "search", "--names-only", pattern)
	if err != nil {
		return "", err
	}
	var names []string
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	if len(names) == 0 {
		return "", fmt.Errorf("apt offers no package like %s: %w", pattern, os.ErrNotExist)
	}
	return slices.MaxFunc(names, compareNatural), nil
}

func (a *apt) output(ctx context.Context, name string, args ...string) (string, error) {
	// Run by root, apt downloads as another user, who cannot write here.
	common := append([]string{"-q", "-o", "APT::Sandbox::User=root"}, a.options...)
	return output(ctx, a.dir, name, append(common, args...)...)
}

// output runs a command in dir and returns what it prints; what it complains
// about is in the error.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err,
			strings.TrimSpace(complaint.String()))
	}
	return string(out), nil
}

var number = regexp.MustCompile(`[0-9]+|[^0-9]+`)

// compareNatural orders names by the numbers in them: 6.1.0-9 before 6.1.0-10.
func compareNatural(a, b string) int {
	return slices.CompareFunc(number.FindAllString(a, -1), number.FindAllString(b, -1),
		func(x, y string) int {
			i, errX := strconv.Atoi(x)
			j, errY := strconv.Atoi(y)
			if errX == nil && errY == nil {
				return i - j
			}
			return strings.Compare(x, y)
		})
}
