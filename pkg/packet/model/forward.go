// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/weirlb/weir/pkg/lb"
	frames "github.com/weirlb/weir/pkg/packet"
)

// overhead returns by how many bytes the way to b makes an IP packet longer.
func overhead(b *Backend) int {
	switch {
	case b.Forward == lb.DSR:
		return 0
	case b.Address.Is4():
		return ipv4Len
	default:
		return ipv6Len
	}
}

// forward returns the frame that leaves for b. hash is the lower half of the
// flow's.
func (c *Config) forward(p *packet, b *Backend, hash uint32) []byte {
	if b.Forward == lb.DSR {
		frame := slices.Clone(p.frame)
		copy(frame, b.NextHop.Dest[:])
		copy(frame[6:], b.NextHop.Source[:])
		return frame
	}
	inner := uint8(frames.ProtoIPv4)
	if !p.src.Is4() {
		inner = frames.ProtoIPv6
	}
	options := []frames.IPOption{frames.Protocol(inner), frames.TTL(64), frames.TOS(p.tos())}
	source := c.TunnelSource6
	if b.Address.Is4() {
		source = c.TunnelSource4
		options = append(options, p.outerFragmentation()...)
	} else {
		options = append(options, frames.Label(hash&0xfffff))
	}
	out := frames.Eth(b.NextHop.Source, b.NextHop.Dest).IP(hostOf(source, hash), b.Address, options...)
	padding := p.frame[ethernetLen+len(p.l3):]
	return append(out.Payload(p.l3).Bytes(), padding...)
}

// tos returns DSCP and ECN.
func (p *packet) tos() uint8 {
	if p.src.Is4() {
		return p.l3[1]
	}
	return uint8(binary.BigEndian.Uint16(p.l3) >> 4)
}

// outerFragmentation returns what an outer IPv4 header says of fragmentation:
// what the inner does; IPv6 packets are not fragmented on the way.
func (p *packet) outerFragmentation() []frames.IPOption {
	if !p.src.Is4() {
		return []frames.IPOption{frames.DF()}
	}
	options := []frames.IPOption{frames.ID(binary.BigEndian.Uint16(p.l3[4:]))}
	if p.l3[6]&0x40 != 0 {
		options = append(options, frames.DF())
	}
	return options
}

// hostOf returns the address of prefix whose host part is hash, or of that its
// last 32 bits.
func hostOf(prefix netip.Prefix, hash uint32) netip.Addr {
	addr := prefix.Masked().Addr().AsSlice()
	hostBits := min(32, len(addr)*8-prefix.Bits())
	mask := uint32(uint64(1)<<hostBits - 1)
	last := addr[len(addr)-4:]
	binary.BigEndian.PutUint32(last, binary.BigEndian.Uint32(last)|hash&mask)
	out, _ := netip.AddrFromSlice(addr)
	return out
}
