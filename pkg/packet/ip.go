// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// IP protocol numbers.
const (
	ProtoHopByHop = 0
	ProtoICMPv4   = 1
	ProtoIPv4     = 4
	ProtoTCP      = 6
	ProtoUDP      = 17
	ProtoIPv6     = 41
	ProtoRouting  = 43
	ProtoFragment = 44
	ProtoAH       = 51
	ProtoICMPv6   = 58
	ProtoNoNext   = 59
	ProtoDestOpts = 60
	ProtoTest     = 253 // for experiments (RFC 3692)
)

// IPv4 is an IPv4 header.
type IPv4 struct {
	TOS      uint8
	TotalLen uint16
	ID       uint16
	DF, MF   bool
	Offset   uint16 // of the fragment, in bytes
	TTL      uint8
	Protocol uint8
	Checksum uint16
	Src, Dst netip.Addr
	Options  []byte // a multiple of 4 bytes
}

// IPv6 is the fixed IPv6 header. Extension headers are layers of their own.
type IPv6 struct {
	Class      uint8
	Label      uint32
	PayloadLen uint16
	NextHeader uint8
	HopLimit   uint8
	Src, Dst   netip.Addr
}

// IPOption changes a field of an IP header from its default.
type IPOption struct {
	name string
	v4   func(*IPv4)
	v6   func(*IPv6)
}

// TTL sets time to live or hop limit, which is 64 by default.
func TTL(n uint8) IPOption {
	return IPOption{"TTL", func(h *IPv4) { h.TTL = n }, func(h *IPv6) { h.HopLimit = n }}
}

// TOS sets type of service or traffic class: DSCP and ECN.
func TOS(n uint8) IPOption {
	return IPOption{"TOS", func(h *IPv4) { h.TOS = n }, func(h *IPv6) { h.Class = n }}
}

// Protocol sets the number of what follows. It is for what no layer of this
// package stands for: by default the next layer decides.
func Protocol(n uint8) IPOption {
	return IPOption{"Protocol", func(h *IPv4) { h.Protocol = n }, func(h *IPv6) { h.NextHeader = n }}
}

// DF forbids fragmentation of an IPv4 packet.
func DF() IPOption { return IPOption{"DF", func(h *IPv4) { h.DF = true }, nil} }

// ID sets the identification of an IPv4 packet.
func ID(n uint16) IPOption { return IPOption{"ID", func(h *IPv4) { h.ID = n }, nil} }

// Options sets the options of an IPv4 header, a multiple of 4 bytes.
func Options(b ...byte) IPOption { return IPOption{"Options", func(h *IPv4) { h.Options = b }, nil} }

// Part makes an IPv4 packet a fragment. offset is in bytes, a multiple of 8;
// more says that others follow.
func Part(offset uint16, more bool) IPOption {
	return IPOption{"Part", func(h *IPv4) { h.Offset, h.MF = offset, more }, nil}
}

// Label sets the flow label of an IPv6 packet.
func Label(n uint32) IPOption { return IPOption{"Label", nil, func(h *IPv6) { h.Label = n }} }

// IP adds an IPv4 or an IPv6 header, as the addresses are.
func (f Frame) IP(src, dst netip.Addr, options ...IPOption) Frame {
	if src.Is4() {
		return f.IPv4(src, dst, options...)
	}
	return f.IPv6(src, dst, options...)
}

// IPv4 adds an IPv4 header.
func (f Frame) IPv4(src, dst netip.Addr, options ...IPOption) Frame {
	h := IPv4{Src: src, Dst: dst, TTL: 64}
	for _, o := range options {
		if o.v4 == nil {
			panic("packet: an IPv4 header has no " + o.name)
		}
		o.v4(&h)
	}
	return f.add(h)
}

// IPv6 adds an IPv6 header.
func (f Frame) IPv6(src, dst netip.Addr, options ...IPOption) Frame {
	h := IPv6{Src: src, Dst: dst, HopLimit: 64}
	for _, o := range options {
		if o.v6 == nil {
			panic("packet: an IPv6 header has no " + o.name)
		}
		o.v6(&h)
	}
	return f.add(h)
}

func (h IPv4) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "ipv4 %s > %s protocol %d length %d ttl %d tos 0x%02x id 0x%04x",
		h.Src, h.Dst, h.Protocol, h.TotalLen, h.TTL, h.TOS, h.ID)
	if h.DF {
		s.WriteString(" DF")
	}
	if h.MF || h.Offset != 0 {
		fmt.Fprintf(&s, " fragment at %d more %v", h.Offset, h.MF)
	}
	if len(h.Options) > 0 {
		fmt.Fprintf(&s, " options %x", h.Options)
	}
	fmt.Fprintf(&s, " checksum 0x%04x", h.Checksum)
	return s.String()
}

func (h IPv6) String() string {
	return fmt.Sprintf("ipv6 %s > %s next %d length %d hoplimit %d class 0x%02x label 0x%05x",
		h.Src, h.Dst, h.NextHeader, h.PayloadLen, h.HopLimit, h.Class, h.Label)
}

func (IPv4) etherType() uint16 { return TypeIPv4 }
func (IPv6) etherType() uint16 { return TypeIPv6 }

func (IPv4) protocol() uint8 { return ProtoIPv4 }
func (IPv6) protocol() uint8 { return ProtoIPv6 }

func (h IPv4) encode(_, inner []Layer, body []byte) []byte {
	const df, mf = 0x4000, 0x2000
	fragment := h.Offset / 8
	if h.DF {
		fragment |= df
	}
	if h.MF {
		fragment |= mf
	}
	size := 20 + len(h.Options)
	b := []byte{4<<4 | uint8(size/4), h.TOS}
	b = binary.BigEndian.AppendUint16(b, uint16(size+len(body)))
	b = binary.BigEndian.AppendUint16(b, h.ID)
	b = binary.BigEndian.AppendUint16(b, fragment)
	b = append(b, h.TTL, nextProtocol(inner, h.Protocol), 0, 0)
	b = append(append(b, h.Src.AsSlice()...), h.Dst.AsSlice()...)
	b = append(b, h.Options...)
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, body...)
}

func (h IPv6) encode(_, inner []Layer, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, 6<<28|uint32(h.Class)<<20|h.Label&0xfffff)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = append(b, nextProtocol(inner, h.NextHeader), h.HopLimit)
	b = append(append(b, h.Src.AsSlice()...), h.Dst.AsSlice()...)
	return append(b, body...)
}

// nextProtocol returns protocol, or if that is 0 the one of the next layer.
func nextProtocol(inner []Layer, protocol uint8) uint8 {
	switch {
	case protocol != 0:
		return protocol
	case len(inner) > 0:
		return inner[0].protocol()
	default:
		return ProtoTest
	}
}

// pseudoHeader returns what the checksum of an upper layer covers besides it:
// addresses, length and protocol (RFC 9293, 3.1; RFC 8200, 8.1).
func pseudoHeader(src, dst netip.Addr, protocol uint8, length int) []byte {
	b := append(src.AsSlice(), dst.AsSlice()...)
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	return binary.BigEndian.AppendUint32(b, uint32(protocol))
}

// pseudoHeaderOf returns the pseudo header of a layer of length bytes whose
// outer layers are given.
func pseudoHeaderOf(outer []Layer, protocol uint8, length int) []byte {
	for i := len(outer) - 1; i >= 0; i-- {
		switch h := outer[i].(type) {
		case IPv4:
			return pseudoHeader(h.Src, h.Dst, protocol, length)
		case IPv6:
			return pseudoHeader(h.Src, h.Dst, protocol, length)
		}
	}
	return nil
}

// checksum returns the Internet checksum of the parts, each of an even length
// but the last (RFC 1071).
func checksum(parts ...[]byte) uint16 {
	sum := uint32(0)
	for _, p := range parts {
		for ; len(p) > 1; p = p[2:] {
			sum += uint32(binary.BigEndian.Uint16(p))
		}
		if len(p) == 1 {
			sum += uint32(p[0]) << 8
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
