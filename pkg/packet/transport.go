// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// TCPFlags are the control bits of a TCP header.
type TCPFlags uint8

// Control bits.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// String returns the names of the flags, such as "SYN,ACK".
func (f TCPFlags) String() string {
	var names []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// TCP is a TCP header.
type TCP struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            TCPFlags
	Window           uint16
	Checksum         uint16
	Urgent           uint16
	Options          []byte // a multiple of 4 bytes
}

// UDP is a UDP header.
type UDP struct {
	SrcPort, DstPort uint16
	Length           uint16
	Checksum         uint16
}

// TCP adds a TCP header. set may change its other fields.
func (f Frame) TCP(src, dst uint16, flags TCPFlags, set ...func(*TCP)) Frame {
	h := TCP{SrcPort: src, DstPort: dst, Flags: flags, Seq: 1000, Window: 65535}
	for _, s := range set {
		s(&h)
	}
	return f.add(h)
}

// UDP adds a UDP header.
func (f Frame) UDP(src, dst uint16) Frame { return f.add(UDP{SrcPort: src, DstPort: dst}) }

func (h TCP) String() string {
	s := fmt.Sprintf("tcp %d > %d %s seq %d ack %d window %d checksum 0x%04x",
		h.SrcPort, h.DstPort, h.Flags, h.Seq, h.Ack, h.Window, h.Checksum)
	if h.Urgent != 0 {
		s += fmt.Sprintf(" urgent %d", h.Urgent)
	}
	if len(h.Options) > 0 {
		s += fmt.Sprintf(" options %x", h.Options)
	}
	return s
}

func (h UDP) String() string {
	return fmt.Sprintf("udp %d > %d length %d checksum 0x%04x", h.SrcPort, h.DstPort, h.Length, h.Checksum)
}

func (TCP) etherType() uint16 { return 0 }
func (UDP) etherType() uint16 { return 0 }

func (TCP) protocol() uint8 { return ProtoTCP }
func (UDP) protocol() uint8 { return ProtoUDP }

func (h TCP) encode(outer, _ []Layer, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, h.SrcPort)
	b = binary.BigEndian.AppendUint16(b, h.DstPort)
	b = binary.BigEndian.AppendUint32(b, h.Seq)
	b = binary.BigEndian.AppendUint32(b, h.Ack)
	b = append(b, uint8(20+len(h.Options))/4<<4, uint8(h.Flags))
	b = binary.BigEndian.AppendUint16(b, h.Window)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, h.Urgent)
	b = append(append(b, h.Options...), body...)
	binary.BigEndian.PutUint16(b[16:], checksum(pseudoHeaderOf(outer, ProtoTCP, len(b)), b))
	return b
}

func (h UDP) encode(outer, _ []Layer, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, h.SrcPort)
	b = binary.BigEndian.AppendUint16(b, h.DstPort)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(body)))
	b = append(append(b, 0, 0), body...)
	sum := checksum(pseudoHeaderOf(outer, ProtoUDP, len(b)), b)
	if sum == 0 { // 0 would mean none (RFC 768)
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return b
}
