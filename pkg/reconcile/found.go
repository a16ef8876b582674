// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/weirlb/weir/pkg/dataplane"
)

// listenerScan is what was found of one listener.
type listenerScan struct {
	refs    []uint32 // by index in the pool: records and slots that refer to it
	recent  bool     // slots referred to others less than a grace period before
	foreign bitset   // slots with a record of another backend than current

	// While the scan lasts: the slots that are not steady.
	moving  movingSlots
	version uint64 // of the listener, when they were read
}

// movingSlots are the slots of a listener that are not steady, and what they say.
// Changes wait while they are collected, and every record asks for one: so they
// lie side by side, each behind as many as have a lower index.
type movingSlots struct {
	members bitset
	before  []uint32 // by word of members: how many are in the words before it
	slots   []dataplane.Slot
}

// set makes them those that are on the move, given all slots.
func (m *movingSlots) set(moves *moves, all []dataplane.Slot) {
	m.members = slices.Grow(m.members[:0], (len(all)+63)/64)[:(len(all)+63)/64]
	clear(m.members)
	for _, b := range moves.batches {
		for i, word := range b.slots {
			m.members[i] |= word
		}
	}
	m.before, m.slots = m.before[:0], m.slots[:0]
	n := uint32(0)
	for _, word := range m.members {
		m.before = append(m.before, n)
		n += uint32(bits.OnesCount64(word))
	}
	m.slots = slices.Grow(m.slots, int(n))
	for slot := range m.members.all() {
		m.slots = append(m.slots, all[slot])
	}
}

// at returns what a slot says, the zero Slot if it is steady.
func (m *movingSlots) at(slot uint32) dataplane.Slot {
	if !m.members.has(slot) {
		return dataplane.Slot{}
	}
	lower := m.members[slot/64] & (1<<(slot%64) - 1)
	return m.slots[m.before[slot/64]+uint32(bits.OnesCount64(lower))]
}

// found returns what was found of a listener, with its slots on the move as they
// are.
func (s *scanner) found(id uint32, l *listener) (*listenerScan, error) {
	found := s.listeners[id]
	if found == nil {
		found = &listenerScan{foreign: newBitset(l.entry.TableSize), version: l.version - 1}
		s.listeners[id] = found
	}
	if found.version == l.version {
		return found, nil
	}
	s.tables++
	slots := slices.Grow(s.slots[:0], int(l.entry.TableSize))[:l.entry.TableSize]
	s.slots = slots
	if err := s.store.ReadSlots(l.entry.Slots, slots); err != nil {
		return nil, fmt.Errorf("read slots: %w", err)
	}
	if len(found.foreign) != len(newBitset(l.entry.TableSize)) {
		found.foreign = newBitset(l.entry.TableSize)
	}
	found.moving.set(&l.moves, slots)
	found.version = l.version
	return found, nil
}

func (l *listenerScan) refer(backend uint16) {
	if int(backend) >= len(l.refs) {
		l.refs = append(l.refs, make([]uint32, int(backend)+1-len(l.refs))...)
	}
	l.refs[backend]++
}

// referOld counts what the slots of an old table refer to.
func (s *scanner) referOld(found *listenerScan, old dataplane.OldTable) error {
	slots := make([]dataplane.Slot, old.TableSize)
	if err := s.store.ReadSlots(old.Slots, slots); err != nil {
		return fmt.Errorf("read slots of an old table: %w", err)
	}
	for _, slot := range slots {
		found.refer(slot.Previous)
	}
	return nil
}
