// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrSocketInUse is wrapped by the error of a socket that another process
// listens on.
var ErrSocketInUse = errors.New("already in use")

// Listen makes the unix socket of an agent, which root alone may use. A socket
// that a dead agent left behind is replaced.
func Listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("agent.socket: making the directory: %w", err)
	}
	// Two agents that start at once must not take each other's new socket for
	// a stale one.
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The mode of a unix socket's file is that of the socket when it is bound:
	// the file never has another one.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); e != nil {
			return e
		}
		return err
	}}
	listener, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("agent.socket: %w", err)
	}
	return listener, nil
}

// lock takes the lock of a directory, for moments only.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("agent.socket: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("agent.socket: locking %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// removeStale removes a socket that nobody listens on, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("agent.socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("agent.socket: %s exists and is not a socket: remove it, or name another path", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		defer conn.Close()
		return inUse(path, holder(conn))
	case errors.Is(err, syscall.ECONNREFUSED):
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("agent.socket: removing the stale socket: %w", err)
		}
		return nil
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, os.ErrDeadlineExceeded):
		return inUse(path, "a process that does not answer")
	}
	return fmt.Errorf("agent.socket: %w", err)
}

func inUse(path, holder string) error {
	return fmt.Errorf("agent.socket: %s is %w by %s: stop that one, or name another path", path, ErrSocketInUse, holder)
}

// holder names the process that listens at the other end of a connection.
func holder(conn net.Conn) string {
	const unknown = "another process"
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return unknown
	}
	var peer *syscall.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || peerErr != nil || peer.Pid == 0 {
		return unknown // 0: a process outside of our PID namespace
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", peer.Pid))
	if err != nil || len(line) == 0 {
		return fmt.Sprintf("process %d", peer.Pid)
	}
	command := strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
	return fmt.Sprintf("process %d (%s)", peer.Pid, command)
}
