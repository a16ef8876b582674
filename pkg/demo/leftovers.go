// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/netdev"
)

// pinRoot is where the demo's agent and nodes pin.
const pinRoot = "/sys/fs/bpf"

// removeLeftovers removes what demos that were killed have left: namespaces,
// pins and directories.
func removeLeftovers() error {
	names, err := netdev.Namespaces(namePrefix)
	if err != nil {
		return err
	}
	errs := []error{}
	for _, name := range names {
		if leftover(name) {
			errs = append(errs, netdev.RemoveNamespace(name))
		}
	}
	for _, parent := range []string{pinRoot, os.TempDir()} {
		errs = append(errs, removeFiles(parent))
	}
	return errors.Join(errs...)
}

// removePins removes what the agent and the nodes pinned, and with it their
// programs.
func (l *lab) removePins() error {
	errs := []error{os.RemoveAll(l.pinPath())}
	for _, h := range l.backends {
		errs = append(errs, os.RemoveAll(l.nodePins(h)))
	}
	return errors.Join(errs...)
}

// removeFiles removes the leftovers in a directory.
func removeFiles(parent string) error {
	paths, err := filepath.Glob(filepath.Join(parent, namePrefix+"*"))
	errs := []error{err}
	for _, path := range paths {
		if leftover(filepath.Base(path)) {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// leftover reports whether name is of a demo whose process has ended.
func leftover(name string) bool {
	owner, ours := strings.CutPrefix(name, namePrefix)
	owner, _, _ = strings.Cut(owner, "-")
	pid, err := strconv.Atoi(owner)
	return ours && err == nil && pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}
