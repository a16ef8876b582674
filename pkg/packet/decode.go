// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weirlb/weir/pkg/lb"
)

// Layers are the layers of a frame, outermost first.
type Layers []Layer

// String returns the layers, one a line.
func (ls Layers) String() string {
	var s strings.Builder
	for _, l := range ls {
		s.WriteString(l.String())
		s.WriteByte('\n')
	}
	return s.String()
}

// All returns the layers of one type, outermost first.
func All[T Layer](ls Layers) []T {
	var found []T
	for _, l := range ls {
		if t, ok := l.(T); ok {
			found = append(found, t)
		}
	}
	return found
}

// Decode reads a frame. It checks every length and checksum in it and follows
// tunnels inwards. The error joins all that is wrong; the layers are what could
// be read nevertheless, with the rest as payload. What is behind the IP header
// of a fragment is payload, as it is only a part.
func Decode(frame []byte) (Layers, error) {
	var d decoder
	d.ethernet(frame)
	return d.layers, errors.Join(d.wrong...)
}

// decoder holds what has been read so far. Each method reads the layer that it
// is named after from b and goes on with the next.
type decoder struct {
	layers Layers
	wrong  []error
}

func (d *decoder) add(l Layer) { d.layers = append(d.layers, l) }

func (d *decoder) complain(format string, args ...any) {
	d.wrong = append(d.wrong, fmt.Errorf(format, args...))
}

// tooShort reports, and complains, when b has not the bytes of a header. What
// there is of it becomes payload.
func (d *decoder) tooShort(what string, b []byte, size int) bool {
	if len(b) >= size {
		return false
	}
	d.complain("%s needs %d bytes, there are %d", what, size, len(b))
	d.payload(b)
	return true
}

func (d *decoder) payload(b []byte) {
	if len(b) > 0 {
		d.add(Payload(b))
	}
}

func (d *decoder) ethernet(b []byte) {
	if d.tooShort("ethernet header", b, 14) {
		return
	}
	e := Ethernet{Dst: lb.MAC(b[:6]), Src: lb.MAC(b[6:12]), Type: binary.BigEndian.Uint16(b[12:])}
	d.add(e)
	d.link(e.Type, b[14:])
}

func (d *decoder) link(etherType uint16, b []byte) {
	switch etherType {
	case TypeVLAN:
		d.vlan(b)
	case TypeARP:
		d.arp(b)
	case TypeIPv4:
		d.padding(d.ipv4(b))
	case TypeIPv6:
		d.padding(d.ipv6(b))
	default:
		d.payload(b)
	}
}

func (d *decoder) padding(b []byte) {
	if len(b) > 0 {
		d.add(Padding(b))
	}
}

func (d *decoder) vlan(b []byte) {
	if d.tooShort("vlan tag", b, 4) {
		return
	}
	tag := binary.BigEndian.Uint16(b)
	v := VLAN{ID: tag & 0xfff, Priority: uint8(tag >> 13), Type: binary.BigEndian.Uint16(b[2:])}
	d.add(v)
	d.link(v.Type, b[4:])
}

func (d *decoder) arp(b []byte) {
	if d.tooShort("arp packet", b, 28) {
		return
	}
	if [6]byte(b) != [6]byte{0, 1, 8, 0, 6, 4} {
		d.complain("arp packet is not for IPv4 on Ethernet: %x", b[:6])
	}
	d.add(ARP{
		Op:        binary.BigEndian.Uint16(b[6:]),
		SenderMAC: lb.MAC(b[8:14]), Sender: netip.AddrFrom4([4]byte(b[14:18])),
		TargetMAC: lb.MAC(b[18:24]), Target: netip.AddrFrom4([4]byte(b[24:28])),
	})
	d.padding(b[28:])
}

// upper goes on behind an IP header. sum starts a checksum that covers the
// pseudo header.
func (d *decoder) upper(protocol uint8, src, dst netip.Addr, b []byte) {
	pseudo := pseudoHeader(src, dst, protocol, len(b))
	switch {
	case protocol == ProtoTCP:
		d.tcp(pseudo, b)
	case protocol == ProtoUDP:
		d.udp(pseudo, b, src.Is6())
	case protocol == ProtoICMPv4 && src.Is4():
		d.icmp(ICMP{}, nil, b)
	case protocol == ProtoICMPv6 && src.Is6():
		d.icmp(ICMP{V6: true}, pseudo, b)
	case protocol == ProtoIPv4:
		d.inner(d.ipv4(b))
	case protocol == ProtoIPv6:
		d.inner(d.ipv6(b))
	default:
		d.payload(b)
	}
}

// inner complains about bytes that an inner packet leaves over.
func (d *decoder) inner(rest []byte) {
	if len(rest) > 0 {
		d.complain("%d bytes after the inner packet", len(rest))
		d.payload(rest)
	}
}

func (d *decoder) tcp(pseudo, b []byte) {
	if d.tooShort("tcp header", b, 20) {
		return
	}
	size := int(b[12]>>4) * 4
	if size < 20 || size > len(b) {
		d.complain("tcp header says it has %d bytes, there are %d", size, len(b))
		size = 20
	}
	if checksum(pseudo, b) != 0 {
		d.complain("tcp checksum is 0x%04x, want 0x%04x", b[16:18], checksum(pseudo, b[:16], b[18:]))
	}
	d.add(TCP{
		SrcPort:  binary.BigEndian.Uint16(b),
		DstPort:  binary.BigEndian.Uint16(b[2:]),
		Seq:      binary.BigEndian.Uint32(b[4:]),
		Ack:      binary.BigEndian.Uint32(b[8:]),
		Flags:    TCPFlags(b[13]),
		Window:   binary.BigEndian.Uint16(b[14:]),
		Checksum: binary.BigEndian.Uint16(b[16:]),
		Urgent:   binary.BigEndian.Uint16(b[18:]),
		Options:  b[20:size],
	})
	d.payload(b[size:])
}

func (d *decoder) udp(pseudo, b []byte, needsChecksum bool) {
	if d.tooShort("udp header", b, 8) {
		return
	}
	u := UDP{
		SrcPort:  binary.BigEndian.Uint16(b),
		DstPort:  binary.BigEndian.Uint16(b[2:]),
		Length:   binary.BigEndian.Uint16(b[4:]),
		Checksum: binary.BigEndian.Uint16(b[6:]),
	}
	if int(u.Length) != len(b) {
		d.complain("udp length is %d, want %d", u.Length, len(b))
	}
	if u.Checksum == 0 && needsChecksum {
		d.complain("udp has no checksum, which IPv6 demands")
	}
	if u.Checksum != 0 && checksum(pseudo, b) != 0 {
		d.complain("udp checksum is 0x%04x, want 0x%04x", u.Checksum, checksum(pseudo, b[:6], b[8:]))
	}
	d.add(u)
	d.payload(b[8:])
}

func (d *decoder) icmp(h ICMP, pseudo, b []byte) {
	if d.tooShort("icmp header", b, 8) {
		return
	}
	h.Type, h.Code = b[0], b[1]
	h.Checksum = binary.BigEndian.Uint16(b[2:])
	h.Rest = binary.BigEndian.Uint32(b[4:])
	if checksum(pseudo, b) != 0 {
		d.complain("icmp checksum is 0x%04x, want 0x%04x", h.Checksum, checksum(pseudo, b[:2], b[4:]))
	}
	d.add(h)
	d.payload(b[8:])
}
