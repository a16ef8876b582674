// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// nodeRecord is what was changed on a backend host: the contents of the state
// file.
type nodeRecord struct {
	Boot       string       `json:"boot"`      // of which boot this is true
	Namespace  uint64       `json:"namespace"` // and in which network namespace (inode)
	Settings   []setting    `json:"settings,omitempty"`
	Addresses  []netip.Addr `json:"addresses,omitempty"`   // VIPs added to lo
	LoopbackUp bool         `json:"loopback_up,omitempty"` // lo was off
}

func (r nodeRecord) empty() bool {
	return len(r.Settings) == 0 && len(r.Addresses) == 0 && !r.LoopbackUp
}

// without returns the changes of r that are not in o.
func (r nodeRecord) without(o nodeRecord) nodeRecord {
	rest := nodeRecord{Boot: r.Boot, Namespace: r.Namespace, LoopbackUp: r.LoopbackUp && !o.LoopbackUp}
	for _, c := range r.Settings {
		if !slices.Contains(o.Settings, c) {
			rest.Settings = append(rest.Settings, c)
		}
	}
	for _, a := range r.Addresses {
		if !slices.Contains(o.Addresses, a) {
			rest.Addresses = append(rest.Addresses, a)
		}
	}
	return rest
}

// openNodeState locks the state file and returns the record in it, an empty
// one if it is of another boot or network namespace.
func openNodeState(path string, log *slog.Logger) (*stateFile, nodeRecord, error) {
	now, err := presentRecord()
	if err != nil {
		return nil, nodeRecord{}, err
	}
	file, contents, err := openStateFile(path)
	if err != nil {
		return nil, nodeRecord{}, err
	}
	if len(contents) == 0 {
		return file, now, nil
	}
	var r nodeRecord
	if err := json.Unmarshal(contents, &r); err != nil {
		file.close()
		return nil, nodeRecord{}, fmt.Errorf("state file %s cannot be understood: %w; "+
			"remove it if nothing of an earlier run is left to be undone", path, err)
	}
	if r.Boot != now.Boot || r.Namespace != now.Namespace {
		log.Warn("the state file is of another boot or network namespace and is started anew", "path", path)
		return file, now, nil
	}
	if !r.empty() {
		log.Info("taking over the settings of an earlier process", "path", path)
	}
	return file, r, nil
}

// presentRecord returns an empty record of this boot and network namespace.
func presentRecord() (nodeRecord, error) {
	boot, err := readSysctl("kernel/random/boot_id")
	if err != nil {
		return nodeRecord{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return nodeRecord{}, fmt.Errorf("looking up the current network namespace: %w", err)
	}
	return nodeRecord{Boot: boot, Namespace: st.Ino}, nil
}

// stateFile is a file that this process has locked. The lock ends with the
// process.
type stateFile struct {
	path string
	file *os.File
}

// openStateFile opens and locks a file, making it and its directory if need
// be, and returns its contents.
func openStateFile(path string) (*stateFile, []byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, fmt.Errorf("making the directory of the state file: %w", err)
	}
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("opening the state file: %w", err)
		}
		if err := lock(file); err != nil {
			_ = file.Close()
			return nil, nil, err
		}
		// Whoever held the lock may have replaced or removed the file before
		// it let go; then this is a lock on nothing.
		opened, err := file.Stat()
		current, currentErr := os.Stat(path)
		if err == nil && currentErr == nil && os.SameFile(opened, current) {
			contents, err := io.ReadAll(file)
			if err != nil {
				_ = file.Close()
				return nil, nil, fmt.Errorf("reading the state file: %w", err)
			}
			return &stateFile{path: path, file: file}, contents, nil
		}
		_ = file.Close()
		if err := errors.Join(err, currentErr); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("opening the state file: %w", err)
		}
	}
}

func lock(file *os.File) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("state file %s is in use by another process; "+
			"stop that one, or give this one a state file of its own", file.Name())
	}
	if err != nil {
		return fmt.Errorf("locking state file %s: %w", file.Name(), err)
	}
	return nil
}

// write replaces the contents in one step and keeps the lock.
func (s *stateFile) write(record nodeRecord) error {
	contents, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the state file: %w", err)
	}
	next, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*")
	if err != nil {
		return fmt.Errorf("writing the state file: %w", err)
	}
	err = lock(next)
	if err == nil {
		_, err = next.Write(append(contents, '\n'))
	}
	if err == nil {
		err = os.Rename(next.Name(), s.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the state file: %w", err), next.Close(), os.Remove(next.Name()))
	}
	s.close()
	s.file = next
	return nil
}

// close unlocks the file and leaves it where it is.
func (s *stateFile) close() { _ = s.file.Close() }

// remove deletes the file and unlocks it.
func (s *stateFile) remove() error {
	defer s.close()
	if err := os.Remove(s.path); err != nil {
		return fmt.Errorf("removing the state file: %w", err)
	}
	return nil
}
