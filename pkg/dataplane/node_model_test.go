// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/weirlb/weir/pkg/packet"
)

// nodeModel says in plain Go what a node must do with a frame.
func nodeModel(frame []byte, vips ...netip.Addr) nodeVerdict {
	o, ok := readOuter(frame)
	switch {
	case !ok || o.protocol != packet.ProtoIPv4 && o.protocol != packet.ProtoIPv6:
		return nodePasses("pass_not_tunnelled")
	case o.fragment:
		return nodePasses("pass_fragment")
	}
	dst, ok := innerDestination(o)
	switch {
	case !ok:
		return nodePasses("pass_malformed")
	case !slices.Contains(vips, dst):
		return nodePasses("pass_not_ours")
	}
	inner := slices.Clone(o.inner)
	if !carryMark(inner, mark(frame[atIP:])) {
		return nodeDrops("drop_congestion")
	}
	etherType := uint16(packet.TypeIPv4)
	if dst.Is6() {
		etherType = packet.TypeIPv6
	}
	out := binary.BigEndian.AppendUint16(slices.Clone(frame[:12]), etherType)
	out = append(out, inner...)
	return nodeVerdict{reason: "decapsulated", action: nodePasses("").action, out: append(out, o.padding...)}
}

// outerPacket is the packet that a frame holds, as far as it is of interest.
type outerPacket struct {
	protocol uint8
	fragment bool
	inner    []byte
	padding  []byte // of the frame
}

func readOuter(frame []byte) (o outerPacket, ok bool) {
	if frame[0]&1 != 0 {
		return o, false
	}
	b := frame[atIP:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case packet.TypeIPv4:
		if len(b) < 20 || b[0]>>4 != 4 {
			return o, false
		}
		header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if header < 20 || total < header || total > len(b) {
			return o, false
		}
		fragment := binary.BigEndian.Uint16(b[6:])&0x3fff != 0
		return outerPacket{b[9], fragment, b[header:total], b[total:]}, true
	case packet.TypeIPv6:
		if len(b) < 40 || b[0]>>4 != 6 {
			return o, false
		}
		total := 40 + int(binary.BigEndian.Uint16(b[4:]))
		if total > len(b) {
			return o, false
		}
		return skipExtensions(outerPacket{b[6], false, b[40:total], b[total:]})
	}
	return o, false
}

// skipExtensions walks six extension headers at most, and none behind the
// header of a fragment.
func skipExtensions(o outerPacket) (outerPacket, bool) {
	for range 6 {
		size := extensionSize(o)
		if size == 0 {
			return o, true
		}
		if size > len(o.inner) {
			return o, false
		}
		o.fragment = o.protocol == packet.ProtoFragment && binary.BigEndian.Uint16(o.inner[2:])&^6 != 0
		o.protocol, o.inner = o.inner[0], o.inner[size:]
		if o.fragment {
			return o, true
		}
	}
	return o, extensionSize(o) == 0
}

// extensionSize returns the length of the extension header that comes next, 0
// if it is none.
func extensionSize(o outerPacket) int {
	units := 0
	if len(o.inner) > 1 {
		units = int(o.inner[1])
	}
	switch o.protocol {
	case packet.ProtoHopByHop, packet.ProtoRouting, packet.ProtoDestOpts:
		return 8 + 8*units
	case packet.ProtoAH:
		return 8 + 4*units
	case packet.ProtoFragment:
		return 8
	}
	return 0
}

// innerDestination reads the inner packet, which may end before its tunnel.
func innerDestination(o outerPacket) (dst netip.Addr, ok bool) {
	b := o.inner
	if o.protocol == packet.ProtoIPv4 {
		if len(b) < 20 || b[0]>>4 != 4 {
			return dst, false
		}
		header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		return netip.AddrFrom4([4]byte(b[16:])), header >= 20 && total >= header && total <= len(b)
	}
	if len(b) < 40 || b[0]>>4 != 6 {
		return dst, false
	}
	return netip.AddrFrom16([16]byte(b[24:])), 40+int(binary.BigEndian.Uint16(b[4:])) <= len(b)
}

// mark returns the ECN field of an IP packet.
func mark(b []byte) uint8 {
	if b[0]>>4 == 4 {
		return b[1] & 3
	}
	return b[1] >> 4 & 3
}

// carryMark has the inner packet bear what RFC 6040 says of both marks. It is
// false where that is to drop it.
func carryMark(inner []byte, outer uint8) bool {
	const notECT, ect1, ect0, ce = 0, 1, 2, 3
	before := mark(inner)
	after := before
	switch {
	case outer == ce && before == notECT:
		return false
	case outer == ce, outer == ect1 && before == ect0:
		after = outer
	}
	if inner[0]>>4 == 6 {
		inner[1] = inner[1]&^0x30 | after<<4
		return true
	}
	if after != before {
		word := binary.BigEndian.Uint16(inner)
		inner[1] = inner[1]&^3 | after
		// RFC 1624: what is wrong with a checksum stays wrong.
		sum := uint32(^binary.BigEndian.Uint16(inner[10:])) + uint32(^word) + uint32(binary.BigEndian.Uint16(inner))
		for sum>>16 != 0 {
			sum = sum>>16 + sum&0xffff
		}
		binary.BigEndian.PutUint16(inner[10:], ^uint16(sum))
	}
	return true
}
