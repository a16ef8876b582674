// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
)

// Slot is an entry of a listener's table. Its backends are those of the
// listener's pool, 0 for none.
type Slot struct {
	Current  uint16 // where new flows go
	Previous uint16 // where the flows are that have no record
	Tracked  bool   // flows may have records
}

// Steady reports whether all flows of the slot are on its current backend and
// none has a record.
func (s Slot) Steady() bool { return s.Current == s.Previous && !s.Tracked }

// OldTable is the table of a listener before its size or algorithm changed. As
// long as the listener has it, it says where the flows are that have no record.
type OldTable struct {
	Algorithm lb.Algorithm
	Slots     []Slot
}

// SteadySlots returns a table of steady slots with these backends.
func SteadySlots(backends []uint16) []Slot {
	slots := make([]Slot, len(backends))
	for i, b := range backends {
		slots[i] = Slot{Current: b, Previous: b}
	}
	return slots
}

// slotOf returns the slot of a hash.
func slotOf(slots []Slot, hash uint64) Slot {
	return slots[maglev.Slot(hash, uint32(len(slots)))]
}
