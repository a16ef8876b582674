// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBitset compares a bitset with a map.
func TestBitset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint32Range(1, 200).Draw(t, "size")
		s, want := newBitset(n), make(map[uint32]bool)
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			i := rapid.Uint32Range(0, n-1).Draw(t, "member")
			if rapid.Bool().Draw(t, "add") {
				s.add(i)
				want[i] = true
			} else {
				s.remove(i)
				delete(want, i)
			}
		}
		all := slices.Collect(s.all())
		if int(s.len()) != len(want) || len(all) != len(want) || !slices.IsSorted(all) {
			t.Fatalf("%d members, listed %v, want %v", s.len(), all, want)
		}
		for i := range n + 100 {
			if s.has(i) != want[i] {
				t.Fatalf("member %d: %t", i, s.has(i))
			}
		}
	})
}

// TestMoves compares the batches of slots with the time of each slot's last
// change: none is settled too early, and none is forgotten or waits for much
// longer than idle_timeout, however often others change.
func TestMoves(t *testing.T) {
	const size, idle = 50, 80 * time.Second
	rapid.Check(t, func(t *rapid.T) {
		var m moves
		changed := make(map[uint32]tick)
		var now tick
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += ticks(rapid.SampledFrom([]time.Duration{0, time.Second, 7 * time.Second, 30 * time.Second}).Draw(t, "later"))
			slots := rapid.SliceOfNDistinct(rapid.Uint32Range(0, size-1), 0, 8, rapid.ID[uint32]).Draw(t, "slots")
			m.change(slots, size, now, idle)
			for _, s := range slots {
				changed[s] = now
			}
			if int(m.len()) != len(changed) {
				t.Fatalf("%d slots, want %d", m.len(), len(changed))
			}
			if waiting := ticks(idle); len(m.batches) > batchesPerTimeout+2+int(now/waiting)*(batchesPerTimeout+1) {
				t.Fatalf("%d batches", len(m.batches))
			}
			for _, b := range m.batches {
				for s := range b.slots.all() {
					if last := changed[s]; b.changed < last || b.changed > last+ticks(idle)/batchesPerTimeout {
						t.Fatalf("slot %d changed at %d, its batch says %d", s, last, b.changed)
					}
				}
			}
		}
		for s := range uint32(size) {
			if _, ok := changed[s]; (m.of(s) != nil) != ok {
				t.Fatalf("slot %d: %t", s, m.of(s) != nil)
			}
		}
	})
}

// TestAge has the clock of records wrap around.
func TestAge(t *testing.T) {
	for _, test := range []struct {
		now  tick
		seen uint32
		want tick
	}{
		{1000, 400, 600}, {1 << 32, 1<<32 - 100, 100}, {1<<32 + 50, 1<<32 - 50, 100}, {3<<32 + 7, 7, 0}, {5, 6, -1},
	} {
		if got := test.now.age(test.seen); got != test.want {
			t.Errorf("at %d, what was seen at %d is %d old, want %d", test.now, test.seen, got, test.want)
		}
	}
}
