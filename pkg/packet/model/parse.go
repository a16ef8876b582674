// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"

	"github.com/weirlb/weir/pkg/lb"
	frames "github.com/weirlb/weir/pkg/packet"
)

const (
	ethernetLen   = 14
	ipv4Len       = 20
	ipv6Len       = 40
	maxExtensions = 6 // IPv6 extension headers that are walked
)

// part says which part of an IP packet a frame holds.
type part int

const (
	whole part = iota
	first      // with the transport header
	later      // without
)

// packet is what a frame says.
type packet struct {
	frame        []byte
	l3           []byte // the IP packet, without what follows it in the frame
	l4           []byte // behind the IP header and its options or extensions
	src, dst     netip.Addr
	protocol     uint8 // of l4
	extended     bool  // by IPv6 extension headers
	fragment     part
	sport, dport uint16 // of TCP and UDP, but not of a later fragment
}

// parse returns the packet in a frame, or the reason to let it pass.
func parse(frame []byte) (*packet, string) {
	if len(frame) < ethernetLen || frame[0]&1 != 0 {
		return nil, PassNotIP
	}
	p := &packet{frame: frame}
	b := frame[ethernetLen:]
	ok := false
	switch binary.BigEndian.Uint16(frame[12:]) {
	case frames.TypeIPv4:
		ok = p.ipv4(b)
	case frames.TypeIPv6:
		ok = p.ipv6(b)
	default:
		return nil, PassNotIP
	}
	if !ok || !p.transport() {
		return nil, PassMalformed
	}
	return p, ""
}

func (p *packet) ipv4(b []byte) bool {
	if len(b) < ipv4Len || b[0]>>4 != 4 {
		return false
	}
	size, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if size < ipv4Len || size > total || total > len(b) {
		return false
	}
	p.l3, p.l4 = b[:total], b[size:total]
	p.protocol = b[9]
	p.src, p.dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	const moreFragments, offset = 0x2000, 0x1fff
	switch f := binary.BigEndian.Uint16(b[6:]); {
	case f&offset != 0:
		p.fragment = later
	case f&moreFragments != 0:
		p.fragment = first
	}
	return true
}

func (p *packet) ipv6(b []byte) bool {
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		return false
	}
	total := ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return false
	}
	p.l3, p.l4 = b[:total], b[ipv6Len:total]
	p.protocol = b[6]
	p.src, p.dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	for range maxExtensions {
		size := extensionLen(p.protocol, p.l4)
		if size == 0 {
			return true
		}
		if size > len(p.l4) {
			return false
		}
		p.extended = true
		if p.protocol == frames.ProtoFragment {
			p.fragment = fragmentOf(p.l4)
		}
		p.protocol, p.l4 = p.l4[0], p.l4[size:]
		if p.fragment != whole {
			return true // what follows belongs to the packet put together
		}
	}
	return extensionLen(p.protocol, p.l4) == 0
}

// extensionLen returns the length of the extension header at the start of b, 0
// if the protocol is none. The shortest has 8 bytes.
func extensionLen(protocol uint8, b []byte) int {
	units := 0
	if len(b) >= 2 {
		units = int(b[1])
	}
	switch protocol {
	case frames.ProtoHopByHop, frames.ProtoRouting, frames.ProtoDestOpts:
		return 8 + 8*units
	case frames.ProtoAH:
		return 8 + 4*units
	case frames.ProtoFragment:
		return 8
	default:
		return 0
	}
}

// fragmentOf reads a fragment header. One that is first and last at once, an
// atomic fragment, is a whole packet (RFC 6946).
func fragmentOf(b []byte) part {
	switch f := binary.BigEndian.Uint16(b[2:]); {
	case f>>3 != 0:
		return later
	case f&1 != 0:
		return first
	default:
		return whole
	}
}

// transport reads the ports, if there are any.
func (p *packet) transport() bool {
	if p.fragment == later {
		return true
	}
	b := p.l4
	switch lb.Protocol(p.protocol) {
	case lb.TCP:
		if len(b) < 20 {
			return false
		}
		if size := int(b[12]>>4) * 4; size < 20 || size > len(b) {
			return false
		}
	case lb.UDP:
		if len(b) < 8 {
			return false
		}
		size := int(binary.BigEndian.Uint16(b[4:]))
		if size < 8 || size > len(b) && p.fragment == whole {
			return false
		}
	default:
		return true
	}
	p.sport, p.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	return true
}

// service returns what a packet is for; of a packet without ports, nothing
// that a listener can be on.
func (p *packet) service() Service {
	if p.fragment == later {
		return Service{}
	}
	return Service{Address: netip.AddrPortFrom(p.dst, p.dport), Protocol: lb.Protocol(p.protocol)}
}

func (p *packet) isICMP() bool {
	if p.src.Is4() {
		return p.protocol == frames.ProtoICMPv4
	}
	return p.protocol == frames.ProtoICMPv6
}
