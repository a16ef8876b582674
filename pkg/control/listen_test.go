// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestListenMakesThePrivateSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "weir")
	socket := filepath.Join(dir, "weir.sock")
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), fs.ModeSocket|0o600; got != want {
		t.Errorf("mode of the socket is %v, want %v", got, want)
	}
	if info, err = os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode of the directory is %v (%v), want 0755", info.Mode(), err)
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays after Close: %v", err)
	}
}

func TestListenReplacesADeadSocket(t *testing.T) {
	socket := deadSocket(t)

	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	live := filepath.Join(dir, "live.sock")
	listener, err := Listen(live)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}

	for path, want := range map[string]string{
		live: fmt.Sprintf("agent.socket: %s is already in use by process %d (%s): stop that one, or name another path",
			live, os.Getpid(), strings.Join(os.Args, " ")),
		file:                     "agent.socket: " + file + " exists and is not a socket: remove it, or name another path",
		filepath.Join(file, "x"): "agent.socket: making the directory: mkdir " + file + ": not a directory",
	} {
		l, err := Listen(path)
		if err == nil {
			l.Close()
		}
		if got := fmt.Sprint(err); want != "" && got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got, want := errors.Is(err, ErrSocketInUse), path == live; got != want {
			t.Errorf("%s: is ErrSocketInUse: %t, want %t", path, got, want)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file in the way was touched: %q, %v", data, err)
	}
	if conn, err := net.Dial("unix", live); err != nil {
		t.Errorf("the live socket was touched: %v", err)
	} else {
		conn.Close()
	}
}

// Of agents that start at once on the socket of a dead one, one gets it.
func TestListenAtOnce(t *testing.T) {
	socket := deadSocket(t)

	const agents = 8
	listeners, errs := make([]net.Listener, agents), make([]error, agents)
	var group sync.WaitGroup
	for i := range agents {
		group.Go(func() { listeners[i], errs[i] = Listen(socket) })
	}
	group.Wait()
	won := 0
	for i := range agents {
		switch {
		case errs[i] == nil:
			won++
			defer listeners[i].Close()
		case !errors.Is(errs[i], ErrSocketInUse):
			t.Error(errs[i])
		}
	}
	if won != 1 {
		t.Errorf("%d agents listen, want 1", won)
	}
}

// deadSocket returns the socket of an agent that was killed.
func deadSocket(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "weir.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	return socket
}
