// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/dataplane"
)

// TestMovingSlots: the slots of all batches are found, others are not, also where
// there were others before.
func TestMovingSlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m movingSlots
		for range 2 {
			size := rapid.Uint32Range(1, 200).Draw(t, "table size")
			all := make([]dataplane.Slot, size)
			for i := range all {
				all[i] = dataplane.Slot{Current: uint16(i + 1), Previous: uint16(i + 2), Tracked: true}
			}
			var moving moves
			want := make(map[uint32]bool)
			for range rapid.IntRange(0, 3).Draw(t, "batches") {
				b := &batch{slots: newBitset(size)}
				for _, slot := range rapid.SliceOf(rapid.Uint32Range(0, size-1)).Draw(t, "slots") {
					b.slots.add(slot)
					want[slot] = true
				}
				moving.batches = append(moving.batches, b)
			}
			m.set(&moving, all)
			for slot := range size {
				if got := m.at(slot); want[slot] && got != all[slot] || !want[slot] && got != (dataplane.Slot{}) {
					t.Fatalf("slot %d is %+v, on the move: %t", slot, got, want[slot])
				}
			}
			if len(m.slots) != len(want) {
				t.Fatalf("%d slots are on the move, want %d", len(m.slots), len(want))
			}
		}
	})
}
