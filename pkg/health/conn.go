// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/weirlb/weir/pkg/lb"
)

// conn is the TCP connection of a check. All that blocks in it ends when the
// context that it was dialled with ends.
//
// It is a socket in the runtime's poller and nothing more. net.Dialer would
// do, but for each connection it starts a goroutine, sets a timer twice, and
// asks and tells the kernel five things that a check has no use for: a quarter
// of what a connection check costs.
type conn struct {
	*os.File
	target netip.AddrPort
	detach func() bool // from the context
}

// LocalAddr and RemoteAddr make conn a net.Conn, as crypto/tls wants it.

// LocalAddr returns no address: nobody needs to know the one the kernel chose.
func (c *conn) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr returns the address that was dialled.
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.target) }

// Close closes the connection, see openSocket for how.
func (c *conn) Close() error {
	c.detach()
	return c.File.Close()
}

// dial connects to the target. The caller closes the connection.
func dial(ctx context.Context, t lb.Target) (*conn, error) {
	if ctx.Err() != nil {
		return nil, fail(ctx, t, "no answer", "", ctx.Err())
	}
	c, err := connect(ctx, t.Address)
	switch {
	case err == nil:
		return c, nil
	case shortage(err):
		return nil, &failure{ErrInconclusive.Error() + ": " + reason(err), errors.Join(ErrInconclusive, err)}
	default:
		return nil, fail(ctx, t, "no answer", "", err)
	}
}

// connect opens a connection to addr.
func connect(ctx context.Context, addr netip.AddrPort) (*conn, error) {
	family, sa, err := socketAddress(addr)
	if err != nil {
		return nil, err
	}
	fd, err := openSocket(family)
	if err != nil {
		return nil, err
	}
	switch err := syscall.Connect(fd, sa); err {
	case nil, syscall.EINPROGRESS, syscall.EINTR:
	default:
		syscall.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	c := &conn{File: os.NewFile(uintptr(fd), "check"), target: addr}
	// A deadline in the past wakes whoever waits in Read or Write, or for the
	// handshake.
	c.detach = context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	if err := c.awaitHandshake(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// openSocket returns a TCP socket that does not block, prepared for how checks
// close. There are three ways, and the usual two annoy:
//
//   - A plain close leaves the side that closes first in TIME_WAIT for a
//     minute: 120,000 sockets with ten thousand targets and 5 s intervals,
//     about as many as kernels allow (tcp_max_tw_buckets).
//   - SO_LINGER with 0 resets. The backend's application gets "connection
//     reset by peer" and fills its log with it, at every check.
//   - TCP_LINGER2 below 0 closes with a FIN, which is sent again if it gets
//     lost, so that the application reads an orderly end. Once the FIN is
//     acknowledged, the kernel forgets the connection instead of waiting for
//     the peer's FIN, and answers that with a reset which concerns only the
//     peer's kernel: no TIME_WAIT on either side.
func openSocket(family int) (int, error) {
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, syscall.IPPROTO_TCP)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_LINGER2, -1); err != nil {
		syscall.Close(fd)
		return 0, os.NewSyscallError("setsockopt", err)
	}
	return fd, nil
}

// awaitHandshake waits until the connection is made or refused.
func (c *conn) awaitHandshake() error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var refused error
	err = raw.Write(func(fd uintptr) (done bool) {
		done, refused = handshakeResult(int(fd), c.target)
		return done
	})
	return errors.Join(err, refused)
}

// handshakeResult reports whether the handshake of a socket towards target has
// ended, and how.
func handshakeResult(fd int, target netip.AddrPort) (done bool, err error) {
	code, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	switch {
	case err != nil:
		return true, os.NewSyscallError("getsockopt", err)
	case code != 0:
		return true, syscall.Errno(code)
	}
	if _, err := syscall.Getpeername(fd); err != nil {
		return false, nil // not connected yet
	}
	// A socket towards a port of this host that nobody listens on connects to
	// itself if the kernel happens to choose that very port for its own end.
	local, err := syscall.Getsockname(fd)
	if err == nil && localAddrPort(local) == withoutZone(target) {
		return true, syscall.ECONNREFUSED
	}
	return true, nil
}

// socketAddress returns addr as the kernel wants it, and its family.
func socketAddress(addr netip.AddrPort) (family int, sa syscall.Sockaddr, err error) {
	ip := addr.Addr()
	if ip.Unmap().Is4() {
		return syscall.AF_INET, &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: ip.Unmap().As4()}, nil
	}
	scope := 0
	if zone := ip.Zone(); zone != "" {
		if scope, err = strconv.Atoi(zone); err != nil {
			link, err := net.InterfaceByName(zone)
			if err != nil {
				return 0, nil, err
			}
			scope = link.Index
		}
	}
	return syscall.AF_INET6, &syscall.SockaddrInet6{Port: int(addr.Port()), ZoneId: uint32(scope), Addr: ip.As16()}, nil
}

// localAddrPort returns the address that the kernel gave in sa.
func localAddrPort(sa syscall.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// withoutZone returns addr as localAddrPort would.
func withoutZone(addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
}

// shortage reports whether err, from making a connection, is due to what this
// host has run out of.
func shortage(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
