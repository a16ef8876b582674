// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package testutil

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// requireEnv makes tests fail that would otherwise be skipped, so that where
// everything is there a skip cannot hide.
const requireEnv = "WEIR_REQUIRE_BPF"

// skipEnv makes tests that need root skip where root runs them: make test-unit
// sets it, so that as root too it runs the tests in Go alone.
const skipEnv = "WEIR_SKIP_ROOT"

// bpffs is where the BPF file system is mounted.
const bpffs = "/sys/fs/bpf"

// RequireRoot skips the test unless it runs as root; with WEIR_REQUIRE_BPF=1
// it fails it instead.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Getenv(skipEnv) == "1" {
		t.Skip(skipEnv + "=1")
	}
	if os.Geteuid() != 0 {
		skip(t, "this test makes network namespaces, which needs root")
	}
}

// RequireBPF skips the test unless it may load BPF programs and pin them; with
// WEIR_REQUIRE_BPF=1 it fails it instead.
func RequireBPF(t testing.TB) {
	t.Helper()
	RequireRoot(t)
	if err := mountBPFFS(); err != nil {
		skip(t, err.Error())
	}
}

func skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv(requireEnv) == "1" {
		t.Fatalf("%s=1, but %s", requireEnv, reason)
	}
	t.Skip(reason)
}

// mountBPFFS mounts the BPF file system unless it is mounted. It stays so, as
// it would be on any host with systemd.
func mountBPFFS() error {
	var st unix.Statfs_t
	if err := unix.Statfs(bpffs, &st); err == nil && st.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("no BPF file system can be mounted on %s: %w", bpffs, err)
	}
	return nil
}

// PinPath returns a path in the BPF file system for this test alone. Nothing
// is there yet; what the test pins there is removed when it ends.
func PinPath(t testing.TB) string {
	t.Helper()
	RequireBPF(t)
	path := filepath.Join(bpffs, uniqueName(t))
	t.Cleanup(func() {
		if err := os.RemoveAll(path); err != nil {
			t.Errorf("removing the pins of the test: %v", err)
		}
	})
	return path
}

// ownPins returns the paths that PinPath gave out in this process and that
// still exist.
func ownPins() ([]string, error) {
	entries, err := os.ReadDir(bpffs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pins []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), namePrefix()) {
			pins = append(pins, filepath.Join(bpffs, e.Name()))
		}
	}
	return pins, nil
}

// soakEnv makes long tests longer: how long each of them takes, such as 10m. make
// soak sets it.
const soakEnv = "WEIR_SOAK"

// Soak returns how long a long test is to take, 0 for its form that suits CI.
func Soak(t testing.TB) time.Duration {
	t.Helper()
	text := os.Getenv(soakEnv)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s=%s: %v", soakEnv, text, err)
	}
	return d
}
