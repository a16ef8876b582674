// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/lb"
)

// loopbacks are the addresses that tests listen on, by family.
var loopbacks = []string{"127.0.0.1", "::1"}

// listen returns a listener on an address of this host, closed at the end of
// the test.
func listen(t *testing.T, ip string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		if strings.Contains(ip, ":") {
			t.Skipf("no IPv6 on loopback: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// serve passes each connection to l to handle, and closes it afterwards. At
// the end of the test it waits for those that are still handled.
func serve(t *testing.T, l net.Listener, handle func(*net.TCPConn)) netip.AddrPort {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			handle(conn.(*net.TCPConn))
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return addrPort(l.Addr())
}

// untilClosed is a handler that says nothing until the other side closes.
func untilClosed(conn *net.TCPConn) { io.Copy(io.Discard, conn) }

// runProbe runs one check as the checker does.
func runProbe(t *testing.T, addr netip.AddrPort, c lb.Check) error {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), c.Timeout)
	defer cancel()
	return NewProbe(c)(ctx, lb.Target{Address: addr, Check: c})
}

// wantError fails the test unless err reads like want; empty means no error.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestConnection(t *testing.T) {
	check := lb.Check{Type: lb.CheckConnection}
	for _, ip := range loopbacks {
		t.Run(ip, func(t *testing.T) {
			l := listen(t, ip)
			wantError(t, runProbe(t, addrPort(l.Addr()), check), "") // accepted by the kernel
			l.Close()
			wantError(t, runProbe(t, addrPort(l.Addr()), check), "connection refused")
		})
	}
	t.Run("IPv4 in IPv6", func(t *testing.T) {
		addr := addrPort(listen(t, "127.0.0.1").Addr())
		mapped := netip.AddrPortFrom(netip.AddrFrom16(addr.Addr().As16()), addr.Port())
		wantError(t, runProbe(t, mapped, check), "")
	})
	t.Run("zone", func(t *testing.T) {
		addr := netip.MustParseAddrPort("[fe80::1%no-such-link]:80")
		if err := runProbe(t, addr, check); err == nil || !strings.Contains(err.Error(), "no such network interface") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no route", func(t *testing.T) {
		// TCP has no broadcast: the kernel refuses, no packet leaves.
		err := runProbe(t, netip.MustParseAddrPort("255.255.255.255:80"), check)
		wantError(t, err, "network is unreachable")
	})
}

// silentAddr returns an address that SYNs get no answer from: that of a
// listener whose queue is full.
func silentAddr(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := localAddrPort(sa)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return addr
}

func TestNoAnswerInTime(t *testing.T) {
	addr := silentAddr(t)
	for _, typ := range []lb.CheckType{lb.CheckConnection, lb.CheckHTTP, lb.CheckHTTPSBody} {
		err := runProbe(t, addr, lb.Check{Type: typ, Timeout: 50 * time.Millisecond})
		wantError(t, err, "no answer within 50ms")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: the cause is %v", typ, errors.Unwrap(err))
		}
	}
}

func TestProbeStopsWhenCalledOff(t *testing.T) {
	silent := silentAddr(t)
	for _, typ := range []lb.CheckType{lb.CheckConnection, lb.CheckHTTP, lb.CheckHTTPS} {
		t.Run(typ.String(), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			tg := lb.Target{Address: silent, Check: lb.Check{Type: typ, Timeout: time.Hour}}
			go func() { ended <- NewProbe(tg.Check)(ctx, tg) }()
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the context's error", err)
			}
		})
	}
	t.Run("while it waits for a response", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		addr := serve(t, listen(t, "127.0.0.1"), func(conn *net.TCPConn) {
			readRequest(conn)
			cancel()
			untilClosed(conn)
		})
		tg := lb.Target{Address: addr, Check: lb.Check{Type: lb.CheckHTTP, Timeout: time.Hour}}
		if err := NewProbe(tg.Check)(ctx, tg); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
	})
	t.Run("before it begins", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		tg := lb.Target{Address: silent, Check: lb.Check{Type: lb.CheckConnection}}
		if err := NewProbe(tg.Check)(ctx, tg); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
	})
}

// TestConnectionClosesInOrder asserts what conn.go promises: the application
// reads an end, not a reset, and neither side is left in TIME_WAIT.
func TestConnectionClosesInOrder(t *testing.T) {
	for _, ip := range loopbacks {
		t.Run(ip, func(t *testing.T) {
			wantOrderlyEnds(t, ip, lb.Check{Type: lb.CheckConnection}, func(*net.TCPConn) {})
		})
	}
}

// wantOrderlyEnds runs check a hundred times against a server that greets each
// connection and then waits for its end.
func wantOrderlyEnds(t *testing.T, ip string, check lb.Check, greet func(*net.TCPConn)) {
	t.Helper()
	type end struct {
		client netip.AddrPort
		err    error
	}
	ends := make(chan end, 100)
	addr := serve(t, listen(t, ip), func(conn *net.TCPConn) {
		greet(conn)
		_, err := conn.Read(make([]byte, 1))
		ends <- end{addrPort(conn.RemoteAddr()), err}
	})
	for range cap(ends) {
		wantError(t, runProbe(t, addr, check), "")
	}
	clients := map[netip.AddrPort]bool{}
	for range cap(ends) {
		e := <-ends
		clients[e.client] = true
		if e.err != io.EOF {
			t.Errorf("the server read %v, want EOF", e.err)
		}
	}
	for _, c := range timeWaits(t) {
		if c[0] == addr && clients[c[1]] || c[1] == addr && clients[c[0]] {
			t.Errorf("in TIME_WAIT: %s to %s", c[0], c[1])
		}
	}
}

// timeWaits returns the local and the remote addresses of all sockets in
// TIME_WAIT, those of other processes among them.
func timeWaits(t *testing.T) (ends [][2]netip.AddrPort) {
	t.Helper()
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			const timeWait = "06"
			if f := strings.Fields(line); f[3] == timeWait { // number, local, remote, state, ...
				ends = append(ends, [2]netip.AddrPort{procAddrPort(t, f[1]), procAddrPort(t, f[2])})
			}
		}
	}
	return ends
}

// procAddrPort reads an address as /proc/net/tcp writes it: in hexadecimal, the
// address by words of four bytes in the order of the processor.
func procAddrPort(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	words, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(words)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		t.Fatalf("no address: %q", text)
	}
	return netip.AddrPortFrom(ip, uint16(n))
}

func TestShortageIsInconclusive(t *testing.T) {
	addr := addrPort(listen(t, "127.0.0.1").Addr())
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	})
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	err := runProbe(t, addr, lb.Check{Type: lb.CheckConnection})
	wantError(t, err, "no verdict, this host is short of resources: too many open files")
	if !errors.Is(err, ErrInconclusive) || !errors.Is(err, syscall.EMFILE) {
		t.Errorf("%v has not both causes in its chain", err)
	}
}

// TestConnectionToItselfIsRefused makes a socket do what it otherwise does
// once in 28,000 times: connect to its own port.
func TestConnectionToItselfIsRefused(t *testing.T) {
	for _, ip := range loopbacks {
		t.Run(ip, func(t *testing.T) {
			free := listen(t, ip)
			addr := addrPort(free.Addr())
			free.Close()
			family, sa, err := socketAddress(addr)
			if err != nil {
				t.Fatal(err)
			}
			fd, err := openSocket(family)
			if err != nil {
				t.Fatal(err)
			}
			defer syscall.Close(fd)
			if err := syscall.Bind(fd, sa); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Connect(fd, sa); err != nil && err != syscall.EINPROGRESS {
				t.Fatal(err)
			}
			if done, err := handshakeResult(fd, addr); !done || !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("done %t, error %v; want a refusal", done, err)
			}
		})
	}
}
