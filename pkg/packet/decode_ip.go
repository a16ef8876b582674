// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"net/netip"
)

// ipv4 returns what follows the packet.
func (d *decoder) ipv4(b []byte) (rest []byte) {
	if d.tooShort("ipv4 header", b, 20) {
		return nil
	}
	size := int(b[0]&0xf) * 4
	if b[0]>>4 != 4 || size < 20 || size > len(b) {
		d.complain("ipv4 header starts with 0x%02x, and there are %d bytes", b[0], len(b))
		d.payload(b)
		return nil
	}
	fragment := binary.BigEndian.Uint16(b[6:])
	h := IPv4{
		TOS:      b[1],
		TotalLen: binary.BigEndian.Uint16(b[2:]),
		ID:       binary.BigEndian.Uint16(b[4:]),
		DF:       fragment&0x4000 != 0,
		MF:       fragment&0x2000 != 0,
		Offset:   fragment & 0x1fff * 8,
		TTL:      b[8],
		Protocol: b[9],
		Checksum: binary.BigEndian.Uint16(b[10:]),
		Src:      netip.AddrFrom4([4]byte(b[12:])),
		Dst:      netip.AddrFrom4([4]byte(b[16:])),
		Options:  b[20:size],
	}
	if fragment&0x8000 != 0 {
		d.complain("ipv4 header has the reserved flag")
	}
	if checksum(b[:size]) != 0 {
		d.complain("ipv4 checksum is 0x%04x, want 0x%04x", h.Checksum, checksum(b[:10], b[12:size]))
	}
	d.add(h)
	end := int(h.TotalLen)
	if end < size || end > len(b) {
		d.complain("ipv4 total length is %d, the header has %d bytes and there are %d", end, size, len(b))
		end = len(b)
	}
	if h.MF || h.Offset != 0 {
		d.payload(b[size:end])
	} else {
		d.upper(h.Protocol, h.Src, h.Dst, b[size:end])
	}
	return b[end:]
}

// ipv6 returns what follows the packet.
func (d *decoder) ipv6(b []byte) (rest []byte) {
	if d.tooShort("ipv6 header", b, 40) {
		return nil
	}
	first := binary.BigEndian.Uint32(b)
	if first>>28 != 6 {
		d.complain("ipv6 header starts with 0x%02x", b[0])
		d.payload(b)
		return nil
	}
	h := IPv6{
		Class:      uint8(first >> 20),
		Label:      first & 0xfffff,
		PayloadLen: binary.BigEndian.Uint16(b[4:]),
		NextHeader: b[6],
		HopLimit:   b[7],
		Src:        netip.AddrFrom16([16]byte(b[8:])),
		Dst:        netip.AddrFrom16([16]byte(b[24:])),
	}
	d.add(h)
	end := 40 + int(h.PayloadLen)
	if end > len(b) {
		d.complain("ipv6 payload length is %d, there are %d bytes", h.PayloadLen, len(b)-40)
		end = len(b)
	}
	d.extensions(h, b[40:end])
	return b[end:]
}

// extensions reads the extension headers behind h and what they lead to.
func (d *decoder) extensions(h IPv6, b []byte) {
	next := h.NextHeader
	for {
		size := 8
		switch next {
		case ProtoHopByHop, ProtoRouting, ProtoDestOpts:
			if len(b) >= 2 {
				size = int(b[1])*8 + 8
			}
		case ProtoAH:
			if len(b) >= 2 {
				size = int(b[1])*4 + 8
			}
		case ProtoFragment:
		default:
			d.upper(next, h.Src, h.Dst, b)
			return
		}
		if d.tooShort("extension header", b, size) {
			return
		}
		if next == ProtoFragment {
			offset := binary.BigEndian.Uint16(b[2:])
			f := Fragment{Next: b[0], Offset: offset &^ 7, More: offset&1 != 0, ID: binary.BigEndian.Uint32(b[4:])}
			d.add(f)
			if f.More || f.Offset != 0 {
				d.payload(b[size:])
				return
			}
		} else {
			d.add(Extension{Kind: next, Next: b[0], Body: b[2:size]})
		}
		next, b = b[0], b[size:]
	}
}
