// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package testutil

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/netdev"
)

// Main runs the tests of a package and fails if they left something behind:
// open files, goroutines, network namespaces, pins. It is for the TestMain of
// packages whose tests make such things:
//
//	func TestMain(m *testing.M) { testutil.Main(m) }
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for packages that have something to do before they exit. It
// returns the exit code.
func Run(m *testing.M) int {
	// What ended a moment ago may take some time to be gone.
	const patience = 5 * time.Second

	before := takeStock()
	code := m.Run()
	if err := poll(patience, before.leaks); err != nil && code == 0 {
		fmt.Fprintf(os.Stderr, "the tests of this package left something behind:\n%v\n", err)
		code = 1
	}
	return code
}

// stock is what a process holds.
type stock struct {
	files      map[string]string // number to what it is
	goroutines map[string]string // number to stack
}

func takeStock() stock {
	// The first file that is waited for opens those of Go's poller; they stay.
	if r, w, err := os.Pipe(); err == nil {
		_ = r.SetReadDeadline(time.Now())
		_, _ = r.Read(make([]byte, 1))
		_ = errors.Join(r.Close(), w.Close())
	}
	return stock{files: openFiles(), goroutines: goroutines()}
}

// leaks says what there is now and was not in s.
func (s stock) leaks() error {
	var found []string
	for number, target := range openFiles() {
		if s.files[number] != target {
			found = append(found, fmt.Sprintf("open file %s: %s", number, target))
		}
	}
	for number, stack := range goroutines() {
		if _, ok := s.goroutines[number]; !ok {
			found = append(found, stack)
		}
	}
	names, err := netdev.Namespaces(namePrefix())
	if err != nil {
		return err
	}
	for _, name := range names {
		found = append(found, "network namespace "+name)
	}
	pins, err := ownPins()
	if err != nil && !errors.Is(err, os.ErrPermission) {
		return err
	}
	for _, path := range pins {
		found = append(found, "pin "+path)
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return errors.New(strings.Join(found, "\n"))
}

func openFiles() map[string]string {
	const dir = "/proc/self/fd"
	files := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return files
	}
	for _, e := range entries {
		// The directory itself is among them, and closed by now.
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			files[e.Name()] = target
		}
	}
	return files
}

// goroutines returns the stacks of all goroutines but the calling one and
// those that run as long as the process once they have been started.
func goroutines() map[string]string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	stacks := make(map[string]string)
	for i, stack := range strings.Split(string(buf), "\n\n") {
		if i == 0 || strings.Contains(stack, "os/signal.loop") || strings.Contains(stack, "os/signal.signal_recv") {
			continue
		}
		number, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		stacks[number] = stack
	}
	return stacks
}
