// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/testutil"
)

// ping is a series of echo requests.
type ping struct {
	from    *testutil.Host
	to      netip.Addr
	size    int    // bytes after the ICMP header; above 1472 it travels in fragments
	options []byte // of the IPv4 header
}

// ICMP types of echo requests and replies.
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
)

// send sends requests, a second apart, until one is answered, and returns how
// many it sent.
func (p ping) send() (requests int, err error) {
	conn, err := p.open()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		requests++
		message := p.request(uint16(requests))
		if _, err := conn.WriteTo(message, &net.IPAddr{IP: p.to.AsSlice()}); err != nil {
			return requests, fmt.Errorf("sending an echo request to %s: %w", p.to, err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return requests, err
		}
		if p.receive(conn, message) {
			return requests, nil
		}
	}
	return requests, fmt.Errorf("%s answered none of %d echo requests of %d bytes", p.to, requests, p.size)
}

// open opens a raw socket on the host.
func (p ping) open() (net.PacketConn, error) {
	network := "ip4:icmp"
	if p.to.Is6() {
		network = "ip6:ipv6-icmp"
	}
	conn, err := p.from.ListenPacket(network, "")
	if err != nil || len(p.options) == 0 {
		return conn, err
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err == nil {
		var inner error
		err = raw.Control(func(fd uintptr) {
			inner = unix.SetsockoptString(int(fd), unix.IPPROTO_IP, unix.IP_OPTIONS, string(p.options))
		})
		if err == nil {
			err = inner
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("setting IP options: %w", err)
	}
	return conn, nil
}

// identifier is that of all echo requests: each test has its own network.
const identifier = 0x7765

// request returns an ICMP message. The kernel computes the checksum of ICMPv6.
func (p ping) request(sequence uint16) []byte {
	message := make([]byte, 8+p.size)
	message[0] = echoRequest6
	binary.BigEndian.PutUint16(message[4:], identifier)
	binary.BigEndian.PutUint16(message[6:], sequence)
	for i := range message[8:] {
		message[8+i] = byte(i)
	}
	if p.to.Is4() {
		message[0] = echoRequest4
		binary.BigEndian.PutUint16(message[2:], internetChecksum(message))
	}
	return message
}

// receive waits for the reply to a request and reports whether it came. The
// kernel has checked its checksum.
func (p ping) receive(conn net.PacketConn, request []byte) bool {
	reply := byte(echoReply6)
	if p.to.Is4() {
		reply = echoReply4
	}
	buf := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return false
		}
		// The own requests to an address of this host come here too.
		if addr, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP); addr.Unmap() != p.to {
			continue
		}
		if n == len(request) && buf[0] == reply && bytes.Equal(buf[4:n], request[4:]) {
			return true
		}
	}
}

// internetChecksum is the checksum of RFC 1071.
func internetChecksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
