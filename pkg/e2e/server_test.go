// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"net"
	"net/netip"
	"sync"

	"github.com/weirlb/weir/pkg/testutil"
)

// server accepts connections and keeps them until their clients end them, or
// the server is closed.
type server struct {
	listener net.Listener
	handle   func(net.Conn) // returns when the client has ended the connection
	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]struct{}
	running  sync.WaitGroup
}

// serveTCP serves on an address of a host until the test ends.
func serveTCP(l *lab, host *testutil.Host, address string, handle func(net.Conn)) *server {
	l.t.Helper()
	listener, err := host.Listen("tcp", address)
	l.must(err)
	s := &server{listener: listener, handle: handle, conns: make(map[net.Conn]struct{})}
	s.running.Go(s.accept)
	l.t.Cleanup(s.close)
	return s
}

// serveEcho sends back what it gets, until the test ends.
func serveEcho(l *lab, host *testutil.Host, address string) *server {
	l.t.Helper()
	return serveTCP(l, host, address, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
}

func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		if !s.keep(conn) {
			_ = conn.Close()
			return
		}
		s.running.Go(func() {
			defer s.forget(conn)
			s.handle(conn)
		})
	}
}

func (s *server) keep(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *server) forget(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	_ = conn.Close()
}

func (s *server) close() {
	s.mu.Lock()
	s.closed = true
	_ = s.listener.Close()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// count returns how many connections to an address are open.
func (s *server) count(addresses ...netip.Addr) (n int) {
	s.each(addresses, func(net.Conn) { n++ })
	return n
}

// abort resets the connections to some addresses. Those that have lost their
// way to this server would otherwise go on sending to clients that know nothing
// of them any more.
func (s *server) abort(addresses ...netip.Addr) {
	s.each(addresses, func(conn net.Conn) {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	})
}

// each calls fn with the connections to some addresses.
func (s *server) each(addresses []netip.Addr, fn func(net.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		local := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		for _, a := range addresses {
			if a == local {
				fn(conn)
			}
		}
	}
}
