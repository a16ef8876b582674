// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package maglev

import (
	"crypto/sha256"
	"encoding/binary"

	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// member returns the n-th member, whose address no other n has. Every third
// is IPv6.
func member(n int, weight uint8) Member {
	addr := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
	if n%3 == 2 {
		addr = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 14: byte(n >> 8), 15: byte(n)})
	}
	return Member{Address: netip.AddrPortFrom(addr, 8080), Weight: weight, ID: uint16(n + 1)}
}

func equalMembers(n int) []Member {
	members := make([]Member, n)
	for i := range members {
		members[i] = member(i, 100)
	}
	return members
}

func build(size int, seed uint64, members []Member) []uint16 {
	table := make([]uint16, size)
	new(Builder).Build(table, seed, members)
	return table
}

// slotsOf counts the slots of each ID.
func slotsOf(table []uint16) map[uint16]int {
	count := map[uint16]int{}
	for _, id := range table {
		count[id]++
	}
	return count
}

var sizes = []int{2, 3, 251, 1021, 4093}

func drawMembers(t *rapid.T) []Member {
	weights := rapid.SliceOfN(rapid.Uint8Min(1), 1, 60).Draw(t, "weights")
	if rapid.Bool().Draw(t, "equal") {
		for i := range weights {
			weights[i] = weights[0]
		}
	}
	members := make([]Member, len(weights))
	for i, w := range weights {
		members[i] = member(i, w)
	}
	return members
}

// TestShares: every slot has a member, and every member its proportional share
// rounded up or down.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom(sizes).Draw(t, "size")
		members := drawMembers(t)
		checkShares(t, build(size, rapid.Uint64().Draw(t, "seed"), members), members)
	})
}

func checkShares(t rapid.TB, table []uint16, members []Member) {
	t.Helper()
	total, slots := 0, slotsOf(table)
	for _, m := range members {
		total += int(m.Weight)
	}
	for _, m := range members {
		floor := len(table) * int(m.Weight) / total
		if n := slots[m.ID]; n < floor || n > floor+1 || n*total > len(table)*int(m.Weight)+total-1 {
			t.Errorf("weight %d of %d has %d of %d slots", m.Weight, total, n, len(table))
		}
		delete(slots, m.ID)
	}
	if len(slots) > 0 {
		t.Errorf("slots of unknown members: %v", slots)
	}
}

// TestOrderAndIDs: neither the order of the members nor their IDs, nor what
// the builder built before, have a say.
func TestOrderAndIDs(t *testing.T) {
	var used Builder
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom(sizes).Draw(t, "size")
		seed := rapid.Uint64().Draw(t, "seed")
		members := drawMembers(t)
		want := build(size, seed, members)

		other := rapid.Permutation(members).Draw(t, "order")
		ids := rapid.Permutation(firstIDs(len(members))).Draw(t, "IDs")
		old := map[uint16]uint16{}
		for i := range other {
			old[ids[i]] = other[i].ID
			other[i].ID = ids[i]
		}
		got := make([]uint16, size)
		used.Build(got, seed, other)
		for i := range got {
			got[i] = old[got[i]]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("table changed (-want +got):\n%s", diff)
		}
	})
}

func firstIDs(n int) []uint16 {
	ids := make([]uint16, n)
	for i := range ids {
		ids[i] = uint16(32767 - i)
	}
	return ids
}

// TestIdentity: port, family and seed tell members apart.
func TestIdentity(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	seen := map[uint64]string{}
	for what, id := range map[string]uint64{
		"address":      identity(1, netip.AddrPortFrom(addr, 80)),
		"next address": identity(1, netip.AddrPortFrom(addr.Next(), 80)),
		"port":         identity(1, netip.AddrPortFrom(addr, 81)),
		"IPv4-mapped":  identity(1, netip.AddrPortFrom(netip.AddrFrom16(addr.As16()), 80)),
		"seed":         identity(2, netip.AddrPortFrom(addr, 80)),
	} {
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s are the same", what, other)
		}
		seen[id] = what
	}
}

func TestNoMembers(t *testing.T) {
	table := []uint16{7, 7, 7, 7, 7}
	for _, members := range [][]Member{nil, {{Address: member(0, 1).Address, ID: 1}}} {
		new(Builder).Build(table, 1, members)
		if diff := cmp.Diff(make([]uint16, 5), table); diff != "" {
			t.Errorf("members %v (-want +got):\n%s", members, diff)
		}
	}
}

func TestExtremes(t *testing.T) {
	skewed := equalMembers(100)
	for i := range skewed {
		skewed[i].Weight = 1
	}
	skewed[42].Weight = 255
	mixed := equalMembers(32767)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range mixed {
		mixed[i].Weight = uint8(1 + rng.IntN(255))
	}
	tests := []struct {
		name    string
		size    int
		members []Member
	}{
		{"one member", 262139, equalMembers(1)},
		{"weights 1 and 255", 65537, skewed},
		{"as many as there may be", 262139, mixed},
		{"more members than slots", 251, equalMembers(300)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			checkShares(t, build(test.size, 3, test.members), test.members)
		})
	}
}

func TestBuildPanics(t *testing.T) {
	tests := map[string]func(){
		"no slots":   func() { build(0, 1, nil) },
		"one slot":   func() { build(1, 1, nil) },
		"no prime":   func() { build(65536, 1, equalMembers(2)) },
		"odd square": func() { build(251*251, 1, equalMembers(2)) },
		"ID 0":       func() { build(5, 1, []Member{{Address: member(0, 1).Address, Weight: 1}}) },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// TestGolden: balancers of different versions must agree, so a table never
// changes. If this fails, the change needs another way.
func TestGolden(t *testing.T) {
	weighted := equalMembers(100)
	for i := range weighted {
		weighted[i].Weight = uint8(1 + i*7919%255)
	}
	tests := []struct {
		size    int
		seed    uint64
		members []Member
		want    string
	}{
		{65537, 0, equalMembers(100), "2a582b524c7460a7"},
		{65537, 0x8f2a61d7c3b4095e, weighted, "9af6caf3d0a90be4"},
		{16381, 1, weighted, "d9e9f527b77df761"},
		{262139, 2, equalMembers(1000), "8616b342dc16b572"},
	}
	for _, test := range tests {
		sum := sha256.New()
		if err := binary.Write(sum, binary.LittleEndian, build(test.size, test.seed, test.members)); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sum.Sum(nil)[:8]); got != test.want {
			t.Errorf("%d slots, seed %x: %s, want %s", test.size, test.seed, got, test.want)
		}
	}
}

func TestBuildDoesNotAllocate(t *testing.T) {
	var b Builder
	table, members := make([]uint16, 1021), equalMembers(50)
	b.Build(table, 1, members)
	if n := testing.AllocsPerRun(10, func() { b.Build(table, 1, members) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkBuild(b *testing.B) {
	skewed := equalMembers(100)
	skewed[0].Weight = 1
	for i := range skewed[1:] {
		skewed[1+i].Weight = uint8(1 + i*7919%255)
	}
	for _, bench := range []struct {
		name    string
		size    int
		members []Member
	}{
		{"16381x100", 16381, equalMembers(100)},
		{"65537x100", 65537, equalMembers(100)},
		{"65537x100 weighted", 65537, skewed},
		{"262139x32767", 262139, equalMembers(32767)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var builder Builder
			table := make([]uint16, bench.size)
			for b.Loop() {
				builder.Build(table, 1, bench.members)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(bench.size), "ns/slot")
		})
	}
}
