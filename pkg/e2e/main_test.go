// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/testutil"
)

// patience bounds the wait for anything. What works takes a moment; a machine
// that emulates another one takes long.
const patience = time.Minute

// The environment of this binary when it plays another part than that of the
// tests: see reexec.
const (
	envReexec     = "WEIR_E2E_REEXEC"
	reexecPrivate = "private-mounts"
)

// built is the binary under test, shared by all tests.
var built builder

func TestMain(m *testing.M) {
	if os.Getenv(envReexec) == reexecPrivate {
		fmt.Fprintln(os.Stderr, privateMounts(os.Args[1:]))
		os.Exit(3)
	}
	code := testutil.Run(m)
	if err := built.remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// builder builds weir for the tests, once.
type builder struct {
	once sync.Once
	dir  string // to be removed
	path string
	err  error
}

// weirBinary returns the path of the binary under test.
func weirBinary(t testing.TB) string {
	t.Helper()
	built.once.Do(built.find)
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

func (b *builder) find() {
	if b.path = os.Getenv("WEIR_BINARY"); b.path != "" {
		_, b.err = os.Stat(b.path)
		return
	}
	if b.dir, b.err = os.MkdirTemp("", "weir-e2e-"); b.err != nil {
		return
	}
	// One test runs it as nobody.
	if b.err = os.Chmod(b.dir, 0o755); b.err != nil {
		return
	}
	b.path = filepath.Join(b.dir, "weir")
	build := exec.Command("go", "build", "-o", b.path, "github.com/weirlb/weir/cmd/weir")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.err = fmt.Errorf("building weir: %w\n%s", err, out)
	}
}

func (b *builder) remove() error {
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(b.dir)
}

// privateMounts is the first process of a host that has no BPF file system where
// it usually is, and runs another program there in a mount namespace of its own.
// It returns only if it cannot.
func privateMounts(argv []string) error {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for {
		err := unix.Unmount("/sys/fs/bpf", unix.MNT_DETACH)
		if err == unix.EINVAL { // no longer a mount point
			break
		}
		if err != nil {
			return fmt.Errorf("unmounting the BPF file system: %w", err)
		}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	return fmt.Errorf("running %s: %w", argv[0], err)
}
