// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"
	"slices"

	frames "github.com/weirlb/weir/pkg/packet"
)

// icmp answers an echo request and lets all else pass.
func (c *Config) icmp(p *packet) Result {
	if !p.isEchoRequest() {
		return pass(PassICMP, p.frame)
	}
	frame := slices.Clone(p.frame)
	swap(frame[0:6], frame[6:12])
	l3 := frame[ethernetLen:]
	if p.src.Is4() {
		swap(l3[12:16], l3[16:20])
		replace(l3[10:], l3[8:], uint16(64)<<8|uint16(p.protocol)) // TTL
		sum := l3[ipv4Len+2:]
		replace(sum, l3[ipv4Len:], frames.EchoReplyV4<<8)
		if sum[0] == 0 && sum[1] == 0 { // wrong for a message of zeros, right as 0xffff for all
			sum[0], sum[1] = 0xff, 0xff
		}
	} else {
		swap(l3[8:24], l3[24:40])
		l3[7] = 64
		replace(l3[ipv6Len+2:], l3[ipv6Len:], frames.EchoReplyV6<<8)
	}
	return Result{Action: TX, Reason: EchoReply, Frame: frame, Egress: c.Ingress}
}

// isEchoRequest reports whether there is a reply to p that the data plane can
// make: to a source that is one host, with neither options nor extensions.
func (p *packet) isEchoRequest() bool {
	if p.fragment != whole || len(p.l4) < 8 || !isHost(p.src) || p.l4[1] != 0 {
		return false
	}
	if p.src.Is4() {
		return p.l4[0] == frames.EchoRequestV4 && len(p.l3)-len(p.l4) == ipv4Len
	}
	return p.l4[0] == frames.EchoRequestV6 && !p.extended
}

func isHost(a netip.Addr) bool {
	if !a.Is4() {
		return a.As16() != [16]byte{} && a.As16()[0] != 0xff
	}
	first := a.As4()[0]
	return first != 0 && first != 127 && first < 224
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// replace sets the 16-bit word at b and updates the checksum that covers it
// (RFC 1624, equation 3). A checksum that was wrong stays as wrong as it was.
func replace(sum, b []byte, word uint16) {
	before := binary.BigEndian.Uint16(b)
	n := uint32(^binary.BigEndian.Uint16(sum)) + uint32(^before) + uint32(word)
	for n>>16 != 0 {
		n = n>>16 + n&0xffff
	}
	binary.BigEndian.PutUint16(sum, ^uint16(n))
	binary.BigEndian.PutUint16(b, word)
}
