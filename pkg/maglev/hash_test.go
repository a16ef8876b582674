// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package maglev

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
)

// vector is a value that bpf/lib/hash.h gave when compiled for the host.
type vector struct {
	Seed       hex        `json:"seed"`
	Src        netip.Addr `json:"src"`
	Dst        netip.Addr `json:"dst"`
	Sport      uint16     `json:"sport"`
	Dport      uint16     `json:"dport"`
	Protocol   uint8      `json:"protocol"`
	Hash       hex        `json:"hash"`
	Slot       uint32     `json:"slot_65537"`
	SourceHash hex        `json:"source_hash"`
	SourceSlot uint32     `json:"source_slot_16381"`
}

// hex is a 64-bit number, in JSON as 16 digits.
type hex uint64

func (h *hex) UnmarshalText(text []byte) error {
	_, err := fmt.Sscanf(string(text), "%x", (*uint64)(h))
	return err
}

func (h hex) String() string { return fmt.Sprintf("%016x", uint64(h)) }

func TestHashVectors(t *testing.T) {
	data, err := os.ReadFile("testdata/hash_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range vectors {
		got := v
		got.Hash = hex(Hash(uint64(v.Seed), v.Src, v.Dst, v.Sport, v.Dport, v.Protocol))
		got.Slot = Slot(uint64(got.Hash), 65537)
		got.SourceHash = hex(HashSource(uint64(v.Seed), v.Src))
		got.SourceSlot = Slot(uint64(got.SourceHash), 16381)
		if got != v {
			t.Errorf("got %+v, want %+v", got, v)
		}
	}
}

func TestSlot(t *testing.T) {
	for _, size := range []uint32{2, 251, 65537, 262139} {
		if got := Slot(0, size); got != 0 {
			t.Errorf("Slot(0, %d) = %d", size, got)
		}
		if got := Slot(math.MaxUint64, size); got != size-1 {
			t.Errorf("Slot(max, %d) = %d, want %d", size, got, size-1)
		}
		if got := Slot(math.MaxUint32, size); got != 0 {
			t.Errorf("the lower half moved the slot to %d of %d", got, size)
		}
	}
}

// TestAvalanche flips every bit of the input and of the seed: every bit of the
// hash must flip in half of the cases.
func TestAvalanche(t *testing.T) {
	const low = math.MaxUint32
	hashes := []struct {
		name string
		bits []int // of each word of the input, after the seed's 64
		hash func(w []uint64) uint64
	}{
		{"v4", []int{32, 32, 40}, func(w []uint64) uint64 { return flow4(w[0], w[1]&low, w[2]&low, w[3]) }},
		{"v6", []int{64, 64, 64, 64, 40}, func(w []uint64) uint64 { return flow6(w[0], w[1], w[2], w[3], w[4], w[5]) }},
		{"v4 source", []int{32}, func(w []uint64) uint64 { return source4(w[0], w[1]&low) }},
		{"v6 source", []int{64, 64}, func(w []uint64) uint64 { return source6(w[0], w[1], w[2]) }},
	}
	for _, h := range hashes {
		for word, n := range append([]int{64}, h.bits...) {
			t.Run(fmt.Sprintf("%s/word %d", h.name, word), func(t *testing.T) {
				for bit := range n {
					checkFlips(t, h.hash, 1+len(h.bits), word, bit)
				}
			})
		}
	}
}

func checkFlips(t *testing.T, hash func([]uint64) uint64, words, word, bit int) {
	const rounds = 20_000 // 0.02 are more than five standard deviations
	rng := rand.New(rand.NewPCG(uint64(word), uint64(bit)))
	in := make([]uint64, words)
	var flipped [64]int
	for range rounds {
		for i := range in {
			in[i] = rng.Uint64()
		}
		before := hash(in)
		in[word] ^= 1 << bit
		for x := before ^ hash(in); x != 0; x &= x - 1 {
			flipped[bits.TrailingZeros64(x)]++
		}
	}
	for i, n := range flipped {
		if p := float64(n) / rounds; math.Abs(p-0.5) > 0.02 {
			t.Errorf("bit %d flips bit %d of the hash with probability %.3f", bit, i, p)
		}
	}
}

// TestHashDistinguishes proves that what must not be confused is not.
func TestHashDistinguishes(t *testing.T) {
	src, dst := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("203.0.113.10")
	src6, dst6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::10")
	seen := map[uint64]string{}
	for what, h := range map[string]uint64{
		"flow":                    Hash(1, src, dst, 1000, 443, 6),
		"protocol":                Hash(1, src, dst, 1000, 443, 17),
		"ports swapped":           Hash(1, src, dst, 443, 1000, 6),
		"addresses swapped":       Hash(1, dst, src, 1000, 443, 6),
		"seed":                    Hash(2, src, dst, 1000, 443, 6),
		"source":                  HashSource(1, src),
		"IPv6 flow":               Hash(1, src6, dst6, 1000, 443, 6),
		"IPv6 addresses swapped":  Hash(1, dst6, src6, 1000, 443, 6),
		"IPv6 protocol":           Hash(1, src6, dst6, 1000, 443, 17),
		"IPv6 source":             HashSource(1, src6),
		"IPv6 source, other seed": HashSource(2, src6),
	} {
		if other, ok := seen[h]; ok {
			t.Errorf("%s and %s have the same hash", what, other)
		}
		seen[h] = what
	}
}

func BenchmarkHash(b *testing.B) {
	for _, addrs := range [][2]string{{"192.0.2.1", "203.0.113.10"}, {"2001:db8::1", "2001:db8::10"}} {
		src, dst := netip.MustParseAddr(addrs[0]), netip.MustParseAddr(addrs[1])
		b.Run(addrs[0], func(b *testing.B) {
			port, sum := uint16(0), uint64(0)
			for b.Loop() {
				sum += Hash(1, src, dst, port, 443, 6)
				port++
			}
			_ = sum
		})
	}
}
