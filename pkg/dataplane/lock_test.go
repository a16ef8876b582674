// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// TestLockIsOfWhatIsThere: several lock a directory and remove it, as unload
// does. Who has the lock is alone, and has that of the directory which is there.
func TestLockIsOfWhatIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pins")
	var holders, locked atomic.Int32
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 500 {
				f, err := makeAndLock(dir)
				if errors.Is(err, ErrLocked) || errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				locked.Add(1)
				if holders.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				if is, err := isAt(f, dir); err != nil || !is {
					t.Errorf("the lock is of another directory: %v", err)
				}
				holders.Add(-1)
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
				f.Close()
			}
		})
	}
	group.Wait()
	if locked.Load() == 0 {
		t.Error("nobody ever had the lock")
	}
}

func TestIsAt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pins")
	f, err := makeAndLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if is, err := isAt(f, dir); err != nil || !is {
		t.Errorf("in place: %t, %v", is, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := isAt(f, dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v, want fs.ErrNotExist", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if is, err := isAt(f, dir); err != nil || is {
		t.Errorf("made again: %t, %v", is, err)
	}
}
