// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package maglev

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"testing"
)

const (
	spreadSlots    = 65537
	spreadBackends = 100
	// With this many flows, chance alone moves a backend by 0.35 % (one
	// standard deviation): 2 % is more than five of them, so what exceeds it
	// is the hash's doing.
	spreadFlows = 8_000_000
)

// pattern is a way in which real flows are alike. hash returns the hash of the
// i-th of spreadFlows flows.
type pattern struct {
	name string
	hash func(seed, i uint64) uint64
}

// Flows as numbers, so that millions of them cost little: hash4 is Hash for
// the VIP 203.0.113.10, port 443 of TCP; hash6 the same for 2001:db8::10.
// TestHash4And6 holds them to that.
func hash4(seed, src, sport uint64) uint64 {
	return flow4(seed, raw4(src), raw4(vip), wordL4(uint16(sport), 443, 6))
}

func hash6(seed, hi, lo, sport uint64) uint64 {
	return flow6(seed, bits.ReverseBytes64(hi), bits.ReverseBytes64(lo),
		bits.ReverseBytes64(doc6), bits.ReverseBytes64(0x10), wordL4(uint16(sport), 443, 6))
}

func raw4(addr uint64) uint64 { return uint64(bits.ReverseBytes32(uint32(addr))) }

func raw6(hi, lo uint64) (uint64, uint64) { return bits.ReverseBytes64(hi), bits.ReverseBytes64(lo) }

// random returns the i-th number of a sequence without order.
func random(i uint64) uint64 {
	var p rand.PCG
	p.Seed(i, 0)
	return p.Uint64()
}

const (
	vip    = 0xcb00_710a           // 203.0.113.10
	net10  = 0x0a00_0000           // 10.0.0.0
	cgnat  = 0x6440_0000           // 100.64.0.0
	doc6   = 0x2001_0db8_0000_0000 // 2001:db8::
	eui64  = 0x0250_56ff_fe00_0000 // interface identifier made of 00:50:56:00:00:00
	ephLow = 32768                 // Linux takes ephemeral ports from here …
	ephNum = 28232                 // … to 60999, for connect the even ones first
)

var patterns = []pattern{
	{"v4/sequential ports", func(seed, i uint64) uint64 { return hash4(seed, net10+i>>16, i) }},
	{"v4/sequential addresses, one port", func(seed, i uint64) uint64 { return hash4(seed, net10+i, 53) }},
	{"v4/sequential addresses and ports", func(seed, i uint64) uint64 { return hash4(seed, net10+i, 1024+i) }},
	{"v4/one host of each 24", func(seed, i uint64) uint64 { return hash4(seed, i<<8+1, 4500) }},
	{"v4/NAT gateways with random ports", func(seed, i uint64) uint64 {
		return hash4(seed, cgnat+i%256, 1024+i/256*2+random(i)%2)
	}},
	{"v4/a 16 with even ephemeral ports", func(seed, i uint64) uint64 {
		return hash4(seed, net10+i%65536, ephLow+random(i)%ephNum&^1)
	}},
	{"v4/one port, many VIPs", func(seed, i uint64) uint64 {
		return flow4(seed, raw4(net10+i>>8), raw4(vip&^0xff+i&0xff), wordL4(5060, 5060, 17))
	}},
	{"v4/source, sequential", func(seed, i uint64) uint64 { return source4(seed, raw4(net10+i)) }},
	{"v4/source, one of each 24", func(seed, i uint64) uint64 { return source4(seed, raw4(i<<8+1)) }},
	{"v6/sequential ports", func(seed, i uint64) uint64 { return hash6(seed, doc6, 0x100+i>>16, i) }},
	{"v6/EUI-64, sequential", func(seed, i uint64) uint64 { return hash6(seed, doc6, eui64+i, 49152) }},
	{"v6/privacy addresses, sequential prefixes", func(seed, i uint64) uint64 {
		r := random(i)
		return hash6(seed, doc6+i>>4, r, ephLow+r>>20%ephNum&^1)
	}},
	{"v6/first host of sequential prefixes", func(seed, i uint64) uint64 { return hash6(seed, doc6+i, 1, 443) }},
	{"v6/prefix, host and port alike", func(seed, i uint64) uint64 { return hash6(seed, doc6+i, i, i) }},
	{"v6/one client, many VIPs", func(seed, i uint64) uint64 {
		s0, s1 := raw6(doc6, 0x100)
		d0, d1 := raw6(doc6, i>>16)
		return flow6(seed, s0, s1, d0, d1, wordL4(uint16(i), 443, 6))
	}},
	{"v6/source, sequential prefixes", func(seed, i uint64) uint64 {
		s0, s1 := raw6(doc6+i, 1)
		return source6(seed, s0, s1)
	}},
	{"v6/source, sequential hosts", func(seed, i uint64) uint64 {
		s0, s1 := raw6(doc6, i)
		return source6(seed, s0, s1)
	}},
}

func TestHash4And6(t *testing.T) {
	client, client6 := netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("2001:db8:0:1::2")
	if got, want := hash4(9, net10+7, 1025), Hash(9, client, netip.MustParseAddr("203.0.113.10"), 1025, 443, 6); got != want {
		t.Errorf("hash4 = %x, Hash = %x", got, want)
	}
	if got, want := hash6(9, doc6+1, 2, 1025), Hash(9, client6, netip.MustParseAddr("2001:db8::10"), 1025, 443, 6); got != want {
		t.Errorf("hash6 = %x, Hash = %x", got, want)
	}
}

func TestSpread(t *testing.T) {
	for n, p := range patterns {
		t.Run(p.name, func(t *testing.T) {
			seed := uint64(n) // as good as any: the bound must hold for bad seeds too
			table := make([]uint16, spreadSlots)
			new(Builder).Build(table, seed, equalMembers(spreadBackends))
			var flows [spreadBackends + 1]int
			var low, high [256]int // of the lower half, within one backend
			for i := range uint64(spreadFlows) {
				h := p.hash(seed, i)
				id := table[Slot(h, spreadSlots)]
				flows[id]++
				if id == 1 {
					low[uint8(h)]++
					high[uint8(h>>24)]++
				}
			}
			for id, n := range flows[1:] {
				if off := float64(n)/(spreadFlows/spreadBackends) - 1; math.Abs(off) > 0.02 {
					t.Errorf("backend %d has %+.2f %% of its share", id+1, 100*off)
				}
			}
			checkEven(t, "bits 0 to 7 of the hash within a backend", low[:])
			checkEven(t, "bits 24 to 31 of the hash within a backend", high[:])
		})
	}
}

// TestSpreadOneClient has as many flows as one client can have to one
// listener. That is too few for 2 %, so it is held to what chance would do.
func TestSpreadOneClient(t *testing.T) {
	clients := map[string]func(seed, port uint64) uint64{
		"v4": func(seed, port uint64) uint64 { return hash4(seed, net10+1, port) },
		"v6": func(seed, port uint64) uint64 { return hash6(seed, doc6, 1, port) },
	}
	for name, hash := range clients {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(100) {
				slots := make([]int, 1024)
				for port := range uint64(65536) {
					slots[Slot(hash(seed, port), 1024)]++
				}
				checkEven(t, fmt.Sprintf("all ports with seed %d", seed), slots)
			}
		})
	}
}

// TestSpreadSecondTier sends the flows of one backend, itself a balancer with
// another seed, on to its own backends.
func TestSpreadSecondTier(t *testing.T) {
	for bit := range 64 {
		slots := make([]int, 256)
		for i := range uint64(1 << 18) {
			p := patterns[2]
			if Slot(p.hash(0, i), 16) == 3 {
				slots[Slot(p.hash(1<<bit, i), 256)]++
			}
		}
		checkEven(t, fmt.Sprintf("seed %#x behind seed 0", uint64(1)<<bit), slots)
	}
}

// checkEven fails when the counts vary more than random ones would: chi-square
// more than six standard deviations above its mean.
func checkEven(t *testing.T, what string, counts []int) {
	t.Helper()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	mean, chi := float64(sum)/float64(len(counts)), 0.0
	for _, n := range counts {
		chi += (float64(n) - mean) * (float64(n) - mean) / mean
	}
	degrees := float64(len(counts) - 1)
	if z := (chi - degrees) / math.Sqrt(2*degrees); z > 6 || math.IsNaN(z) {
		t.Errorf("%s: uneven, %.1f standard deviations", what, z)
	}
}
