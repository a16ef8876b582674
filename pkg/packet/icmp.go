// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Types of ICMP messages.
const (
	EchoReplyV4    = 0
	UnreachableV4  = 3
	EchoRequestV4  = 8
	TimeExceededV4 = 11

	UnreachableV6  = 1
	PacketTooBigV6 = 2
	TimeExceededV6 = 3
	EchoRequestV6  = 128
	EchoReplyV6    = 129
)

// ICMP is an ICMPv4 or ICMPv6 header.
type ICMP struct {
	V6         bool
	Type, Code uint8
	Checksum   uint16
	Rest       uint32 // of the header: identifier and sequence number, an MTU …
}

// ICMPv4 adds an ICMPv4 header.
func (f Frame) ICMPv4(typ, code uint8, rest uint32) Frame {
	return f.add(ICMP{Type: typ, Code: code, Rest: rest})
}

// ICMPv6 adds an ICMPv6 header.
func (f Frame) ICMPv6(typ, code uint8, rest uint32) Frame {
	return f.add(ICMP{V6: true, Type: typ, Code: code, Rest: rest})
}

// EchoRequest adds a ping, of the family of the IP header before it.
func (f Frame) EchoRequest(id, sequence uint16) Frame {
	if f.isIPv6() {
		return f.ICMPv6(EchoRequestV6, 0, uint32(id)<<16|uint32(sequence))
	}
	return f.ICMPv4(EchoRequestV4, 0, uint32(id)<<16|uint32(sequence))
}

// EchoReply adds the answer to a ping, of the family of the IP header before
// it.
func (f Frame) EchoReply(id, sequence uint16) Frame {
	if f.isIPv6() {
		return f.ICMPv6(EchoReplyV6, 0, uint32(id)<<16|uint32(sequence))
	}
	return f.ICMPv4(EchoReplyV4, 0, uint32(id)<<16|uint32(sequence))
}

func (f Frame) isIPv6() bool {
	for _, l := range slices.Backward(f.layers) {
		if isIP(l) {
			_, v6 := l.(IPv6)
			return v6
		}
	}
	return false
}

func (h ICMP) String() string {
	name := "icmpv4"
	if h.V6 {
		name = "icmpv6"
	}
	return fmt.Sprintf("%s type %d code %d rest 0x%08x checksum 0x%04x", name, h.Type, h.Code, h.Rest, h.Checksum)
}

func (ICMP) etherType() uint16 { return 0 }

func (h ICMP) protocol() uint8 {
	if h.V6 {
		return ProtoICMPv6
	}
	return ProtoICMPv4
}

func (h ICMP) encode(outer, _ []Layer, body []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{h.Type, h.Code, 0, 0}, h.Rest)
	b = append(b, body...)
	var pseudo []byte
	if h.V6 { // only there the pseudo header counts (RFC 4443, 2.3)
		pseudo = pseudoHeaderOf(outer, ProtoICMPv6, len(b))
	}
	binary.BigEndian.PutUint16(b[2:], checksum(pseudo, b))
	return b
}
