// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package maglev

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// multiplier is 2^64 divided by the golden ratio, which is odd: multiplying
// by it loses nothing.
const multiplier = 0x9e3779b97f4a7c15

// Hash returns the hash of a flow under seed. The addresses must be of one
// family. C has it as hash_flow4 and hash_flow6 in bpf/lib/hash.h, which read
// the packet as it lies in memory, on a little-endian machine.
//
// All 64 bits are usable: Slot reads the upper 32, and the lower 32 are even
// within a slot. The hash is not cryptographic: a client who does not know the
// seed cannot compute the slot of a flow, but could find it by measuring.
func Hash(seed uint64, src, dst netip.Addr, sport, dport uint16, proto uint8) uint64 {
	l4 := wordL4(sport, dport, proto)
	if src.Is4() {
		return flow4(seed, word4(src), word4(dst), l4)
	}
	s0, s1 := words6(src)
	d0, d1 := words6(dst)
	return flow6(seed, s0, s1, d0, d1, l4)
}

// HashSource returns the hash of a client's address under seed. C has it as
// hash_source4 and hash_source6.
func HashSource(seed uint64, src netip.Addr) uint64 {
	if src.Is4() {
		return source4(seed, word4(src))
	}
	s0, s1 := words6(src)
	return source6(seed, s0, s1)
}

// Slot returns the slot of a hash in a table of size slots. C has it as
// hash_slot.
func Slot(hash uint64, size uint32) uint32 {
	return uint32(hash >> 32 * uint64(size) >> 32)
}

// fold takes word into the hash h. With either held, it is a bijection of the
// other. The multiplication carries every bit upwards, the shift brings the
// upper half back down; two of them spread each bit of a word over all 64.
func fold(h, word uint64) uint64 {
	h = (h ^ word) * multiplier
	return h ^ h>>32
}

func flow4(seed, src, dst, l4 uint64) uint64 {
	h := fold(seed, src<<32|dst)
	return fold(fold(h, l4), 0)
}

func flow6(seed, s0, s1, d0, d1, l4 uint64) uint64 {
	h := fold(fold(seed, s0), s1) ^ fold(d0*multiplier, d1)
	return fold(fold(h, l4), 0)
}

func source4(seed, src uint64) uint64 {
	return fold(fold(fold(seed, src), 0), 0)
}

func source6(seed, s0, s1 uint64) uint64 {
	return fold(fold(fold(fold(seed, s0), s1), 0), 0)
}

// wordL4 is the protocol and, below it, the ports as they lie in a packet.
func wordL4(sport, dport uint16, proto uint8) uint64 {
	ports := uint32(bits.ReverseBytes16(dport))<<16 | uint32(bits.ReverseBytes16(sport))
	return uint64(proto)<<32 | uint64(ports)
}

func word4(a netip.Addr) uint64 {
	b := a.As4()
	return uint64(binary.LittleEndian.Uint32(b[:]))
}

func words6(a netip.Addr) (first, second uint64) {
	b := a.As16()
	return binary.LittleEndian.Uint64(b[:8]), binary.LittleEndian.Uint64(b[8:])
}
