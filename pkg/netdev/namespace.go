// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaceDir is where "ip netns" looks for network namespaces.
const namespaceDir = "/run/netns"

// Namespace is a network namespace made by this process. "ip netns" shows it,
// and processes and sockets in it keep it alive after Close.
type Namespace struct {
	name    string
	handle  netns.NsHandle
	netlink *netlink.Handle // acts inside
}

// NewNamespace makes a network namespace of that name, with its loopback
// interface up. Interfaces in it use their IPv6 addresses at once, without
// waiting for duplicates to answer.
func NewNamespace(name string) (*Namespace, error) {
	handle, err := createNamespace(name)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf(`network namespace %q exists already; remove it with "ip netns del %s"`, name, name)
	}
	if err != nil {
		return nil, fmt.Errorf("making network namespace %q: %w", name, err)
	}
	ns := &Namespace{name: name, handle: handle}
	ns.netlink, err = netlink.NewHandleAt(handle, unix.NETLINK_ROUTE)
	if err == nil {
		err = errors.Join(ns.SetUp("lo"), ns.SetSysctl("net/ipv6/conf/default/accept_dad", "0"))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("setting up network namespace %q: %w", name, err), ns.Close())
	}
	return ns, nil
}

// createNamespace makes a named namespace on a thread that is thrown away
// afterwards: the thread has moved into the new namespace.
func createNamespace(name string) (netns.NsHandle, error) {
	type result struct {
		handle netns.NsHandle
		err    error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread()
		handle, err := netns.NewNamed(name)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			_ = os.Remove(filepath.Join(namespaceDir, name))
		}
		made <- result{handle, err}
	}()
	r := <-made
	return r.handle, r.err
}

// Namespaces returns the names of the network namespaces that begin with
// prefix, those of other processes included, in order.
func Namespaces(prefix string) ([]string, error) {
	entries, err := os.ReadDir(namespaceDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// RemoveNamespace removes the name of a network namespace, such as one that a
// killed process left behind.
func RemoveNamespace(name string) error {
	if err := netns.DeleteNamed(name); err != nil {
		return fmt.Errorf("removing network namespace %q: %w", name, err)
	}
	return nil
}

// Close removes the namespace. It ends, with all its interfaces, when the last
// process and socket in it do.
func (n *Namespace) Close() error {
	if n.netlink != nil {
		n.netlink.Close()
	}
	return errors.Join(RemoveNamespace(n.name), n.handle.Close())
}

// Name returns the name that the namespace was made with.
func (n *Namespace) Name() string { return n.name }

// Path returns the file by which other processes can enter the namespace.
func (n *Namespace) Path() string { return filepath.Join(namespaceDir, n.name) }

// Do calls fn on a thread inside the namespace and returns what it returns.
// Sockets that fn opens stay in the namespace wherever they are used later;
// goroutines that it starts do not run in it. A panic or runtime.Goexit of fn,
// and with it t.Fatal, passes on to the caller.
func (n *Namespace) Do(fn func() error) error {
	var (
		err      error
		panicked any
		returned bool
	)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		runtime.LockOSThread()
		var leave func() error
		if leave, err = n.enter(); err != nil {
			runtime.UnlockOSThread()
			returned = true
			return
		}
		// Where the thread cannot be brought back it stays locked, so that it
		// ends with this goroutine.
		defer func() {
			if leave() == nil {
				runtime.UnlockOSThread()
			}
		}()
		err = fn()
		returned = true
	}()
	<-done
	switch {
	case panicked != nil:
		panic(panicked)
	case !returned:
		runtime.Goexit()
	}
	return err
}

// enter moves the calling thread, which must be locked, into the namespace.
func (n *Namespace) enter() (leave func() error, err error) {
	origin, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("looking up the current network namespace: %w", err)
	}
	if err := netns.Set(n.handle); err != nil {
		_ = origin.Close()
		return nil, fmt.Errorf("entering network namespace %q: %w", n.name, err)
	}
	return func() error {
		defer origin.Close()
		return netns.Set(origin)
	}, nil
}

// Command is an [exec.Cmd] whose process runs in a namespace. /sys, and with
// it the BPF file system, is the one of this process.
type Command struct {
	*exec.Cmd
	namespace *Namespace
}

// Command returns the command to run the named program in the namespace.
func (n *Namespace) Command(ctx context.Context, name string, args ...string) *Command {
	return &Command{Cmd: exec.CommandContext(ctx, name, args...), namespace: n}
}

// Start is [exec.Cmd.Start]: a process begins in the namespace of the thread
// that starts it.
func (c *Command) Start() error { return c.namespace.Do(c.Cmd.Start) }

// Run is [exec.Cmd.Run].
func (c *Command) Run() error { return c.namespace.Do(c.Cmd.Run) }

// Output is [exec.Cmd.Output].
func (c *Command) Output() (out []byte, err error) {
	err = c.namespace.Do(func() error {
		out, err = c.Cmd.Output()
		return err
	})
	return out, err
}

// CombinedOutput is [exec.Cmd.CombinedOutput].
func (c *Command) CombinedOutput() (out []byte, err error) {
	err = c.namespace.Do(func() error {
		out, err = c.Cmd.CombinedOutput()
		return err
	})
	return out, err
}

// Listen is [net.Listen] in the namespace.
func (n *Namespace) Listen(network, address string) (l net.Listener, err error) {
	err = n.Do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// ListenPacket is [net.ListenPacket] in the namespace.
func (n *Namespace) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = n.Do(func() error {
		c, err = net.ListenPacket(network, address)
		return err
	})
	return c, err
}

// DialContext dials from the namespace. The address must hold an IP address:
// a name would be looked up on other threads.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = n.Do(func() error {
		var d net.Dialer
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}
