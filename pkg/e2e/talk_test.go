// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/testutil"
)

// talkPort is the port of a service whose connections stay open. It answers
// each message with the same and the number of its backend.
const talkPort = 7000

// talkSize is the length of a message and of its answer: two 64-bit words.
const talkSize = 16

// startTalking starts that service, for all addresses of the backend.
func (b *backend) startTalking(number uint64) {
	b.lab.t.Helper()
	b.talks = serveTCP(b.lab, b.Host, fmt.Sprintf("[::]:%d", talkPort), func(conn net.Conn) {
		message := make([]byte, talkSize)
		for {
			if _, err := io.ReadFull(conn, message); err != nil {
				return
			}
			binary.BigEndian.PutUint64(message[8:], number)
			if _, err := conn.Write(message); err != nil {
				return
			}
		}
	})
}

// talk is a connection that stays open.
type talk struct {
	conn    *net.TCPConn
	began   time.Time // just before its first SYN
	backend uint64    // the number of who answers; 0 before the first answer
	rounds  uint64    // messages that were answered
	longest time.Duration
	spoke   time.Time     // when it last sent something
	silent  time.Duration // the longest that it sent nothing
	lost    bool          // it was reset
	message [talkSize]byte
}

// dialTalk opens a connection from an address of a host.
func dialTalk(host *testutil.Host, from netip.Addr, to netip.AddrPort) (*talk, error) {
	dialer := net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
		Timeout:   requestTimeout,
		KeepAlive: -1,
	}
	c := &talk{began: time.Now()}
	err := host.Do(func() error {
		conn, err := dialer.DialContext(context.Background(), "tcp", to.String())
		if err == nil {
			c.conn = conn.(*net.TCPConn)
		}
		return err
	})
	return c, err
}

// round sends a message and waits for its answer.
func (c *talk) round() error {
	began := time.Now()
	binary.BigEndian.PutUint64(c.message[:], c.rounds)
	if err := c.conn.SetDeadline(began.Add(requestTimeout)); err != nil {
		return err
	}
	if c.rounds > 0 {
		c.silent = max(c.silent, began.Sub(c.spoke))
	}
	c.spoke = began
	if _, err := c.conn.Write(c.message[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.conn, c.message[:]); err != nil {
		return err
	}
	if n := binary.BigEndian.Uint64(c.message[:]); n != c.rounds {
		return fmt.Errorf("message %d was answered with %d", c.rounds, n)
	}
	switch who := binary.BigEndian.Uint64(c.message[8:]); c.backend {
	case 0:
		c.backend = who
	case who:
	default:
		return fmt.Errorf("backend %d answers on a connection to backend %d", who, c.backend)
	}
	c.rounds++
	c.longest = max(c.longest, time.Since(began))
	return nil
}

// finish ends the connection in good order: when it returns, the backend knows
// that nothing more comes, and the client that the backend does.
func (c *talk) finish() error {
	defer c.conn.Close()
	if err := c.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	if err := c.conn.CloseWrite(); err != nil {
		return err
	}
	_, err := io.ReadFull(c.conn, c.message[:1])
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("finishing a connection: %w", err)
}

// flow is what names a connection.
type flow struct{ client, vip netip.AddrPort }

func (f flow) String() string { return fmt.Sprintf("%s to %s", f.client, f.vip) }

// flow returns what names the connection.
func (c *talk) flow() flow {
	address := func(a net.Addr) netip.AddrPort {
		ap := a.(*net.TCPAddr).AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return flow{address(c.conn.LocalAddr()), address(c.conn.RemoteAddr())}
}

// repeated returns how many segments the client has sent more than once.
func (c *talk) repeated() (n uint32) {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Total_retrans
		}
	})
	return n
}
