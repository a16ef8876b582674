// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"

	"github.com/weirlb/weir/pkg/lb"
	frames "github.com/weirlb/weir/pkg/packet"
)

// Reasons of packets that are answered instead of dropped.
const (
	Reset           = "RESET"
	PortUnreachable = "UNREACHABLE"
	DropRejectLimit = "DROP_REJECT_LIMIT"
)

// The most bytes of an ICMP error with its IP header.
const (
	maxError4 = 576  // RFC 1812, 4.3.2.3
	maxError6 = 1280 // RFC 4443, 2.4 (c)
)

// noBackend drops a packet of a listener without a usable backend, or answers
// it if the listener rejects. It counts as dropped either way.
func (c *Config) noBackend(p *packet, l *Listener) Result {
	r := Result{Action: Drop, Reason: DropNoBackend, Frame: p.frame, Listener: l}
	if !l.Rejects || !p.isAnswerable() {
		return r
	}
	if c.AnswersSpent {
		r.Reason = DropRejectLimit
		return r
	}
	r.Action, r.Egress = TX, c.Ingress
	if lb.Protocol(p.protocol) == lb.TCP {
		r.Reason, r.Frame = Reset, p.reset()
	} else {
		r.Reason, r.Frame = PortUnreachable, p.unreachable()
	}
	return r
}

// isAnswerable reports whether there is an answer to p and a host to send it
// to. Nothing answers a reset.
func (p *packet) isAnswerable() bool {
	if p.fragment != whole || !isHost(p.src) {
		return false
	}
	switch lb.Protocol(p.protocol) {
	case lb.TCP:
		return p.tcpFlags()&frames.RST == 0
	case lb.UDP:
		return true
	default:
		return false
	}
}

// answer starts the frame that goes back to where p came from.
func (p *packet) answer() frames.Frame {
	back := frames.Eth(lb.MAC(p.frame[0:6]), lb.MAC(p.frame[6:12]))
	if p.src.Is4() {
		return back.IP(p.dst, p.src, frames.DF())
	}
	return back.IP(p.dst, p.src)
}

// reset returns what answers a segment to a port that is closed (RFC 9293,
// 3.10.7.1).
func (p *packet) reset() []byte {
	flags, seq, ack := frames.RST, binary.BigEndian.Uint32(p.l4[8:]), uint32(0)
	if p.tcpFlags()&frames.ACK == 0 {
		flags, seq, ack = frames.RST|frames.ACK, 0, binary.BigEndian.Uint32(p.l4[4:])+p.segmentLen()
	}
	return p.answer().TCP(p.dport, p.sport, flags, func(h *frames.TCP) {
		h.Seq, h.Ack, h.Window = seq, ack, 0
	}).Bytes()
}

// segmentLen returns the length of a TCP segment in sequence numbers.
func (p *packet) segmentLen() uint32 {
	n := uint32(len(p.l4) - int(p.l4[12]>>4)*4)
	for _, control := range []frames.TCPFlags{frames.SYN, frames.FIN} {
		if p.tcpFlags()&control != 0 {
			n++
		}
	}
	return n
}

// unreachable returns the ICMP error that says that a port is closed, and
// quotes the packet as far as it may.
func (p *packet) unreachable() []byte {
	const header = 8
	if p.src.Is4() {
		quote := p.l3[:min(len(p.l3), maxError4-ipv4Len-header)]
		return p.answer().ICMPv4(frames.UnreachableV4, 3, 0).Payload(quote).Bytes()
	}
	quote := p.l3[:min(len(p.l3), maxError6-ipv6Len-header)]
	return p.answer().ICMPv6(frames.UnreachableV6, 4, 0).Payload(quote).Bytes()
}
