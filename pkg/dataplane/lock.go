// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLocked is wrapped by the error of a pin path that another process holds.
var ErrLocked = errors.New("already in use")

// lockTries is how often a directory may be replaced while it is being locked.
const lockTries = 10

// lockDir takes the exclusive lock of a pin path: one agent, or one unload, at
// a time. The lock is on the directory itself and goes with the process. An
// error of a directory that is gone wraps fs.ErrNotExist.
func lockDir(dir string) (*os.File, error) {
	for range lockTries {
		f, err := flockDir(dir)
		if err != nil {
			return nil, err
		}
		// An unload may have removed the directory after it was opened here:
		// its lock would keep nobody away from a new one.
		is, err := isAt(f, dir)
		if is {
			return f, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s is removed and made again all the time: see which other process does that", dir)
}

// isAt reports whether f is what is at a path now.
func isAt(f *os.File, path string) (bool, error) {
	locked, err := f.Stat()
	if err != nil {
		return false, pinError(path, err)
	}
	now, err := os.Stat(path)
	if err != nil {
		return false, pinError(path, err)
	}
	return os.SameFile(locked, now), nil
}

func flockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, pinError(dir, err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	defer f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s is %w by %s", dir, ErrLocked, lockHolder(f))
	}
	return nil, fmt.Errorf("locking %s: %w", dir, err)
}

// lockHolder names the process that holds the lock of f, from /proc/locks,
// whose lines end in PID MAJOR:MINOR:INODE START END.
func lockHolder(f *os.File) string {
	const unknown = "another process"
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return unknown
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return unknown
	}
	defer locks.Close()
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for scanner := bufio.NewScanner(locks); scanner.Scan(); {
		fields := strings.Fields(scanner.Text())
		if len(fields) >= 6 && fields[1] == "FLOCK" && fields[5] == file {
			return process(fields[4])
		}
	}
	return unknown
}

// process describes a process for a message: its number and command line.
func process(pid string) string {
	line, err := os.ReadFile("/proc/" + pid + "/cmdline")
	if err != nil || len(line) == 0 {
		return "process " + pid
	}
	args := strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
	return fmt.Sprintf("process %s (%s)", pid, args)
}
