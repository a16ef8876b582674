// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"iter"
	"math/bits"
	"time"
)

// tick is a point in time of the flow clock, in milliseconds. The flow clock is
// what packets stamp records with, and runs only while there is an agent. In the
// tables it has 32 bits and wraps around, here it does not.
type tick int64

func ticks(d time.Duration) tick { return tick(d.Milliseconds()) }

// age returns how long ago a record was stamped.
func (now tick) age(seen uint32) tick { return tick(int32(uint32(now) - seen)) }

// clockStep is by how much the flow clock goes up at most at once, and so how
// much older than true a stamp can be.
const clockStep = 2 * time.Second

// bitset is a set of slots of one listener.
type bitset []uint64

func newBitset(n uint32) bitset { return make(bitset, (n+63)/64) }

func (s bitset) add(i uint32) { s[i/64] |= 1 << (i % 64) }

func (s bitset) remove(i uint32) { s[i/64] &^= 1 << (i % 64) }

func (s bitset) has(i uint32) bool { return int(i/64) < len(s) && s[i/64]&(1<<(i%64)) != 0 }

func (s bitset) len() (n uint32) {
	for _, word := range s {
		n += uint32(bits.OnesCount64(word))
	}
	return n
}

// all returns the members in order. The one that is out may be removed.
func (s bitset) all() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for i, word := range s {
			for ; word != 0; word &= word - 1 {
				if !yield(uint32(i*64 + bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

// moves are the slots of a listener that are not steady, each in the batch of
// its last change.
type moves struct{ batches []*batch }

// batch is slots that changed at about the same time, or were settled.
type batch struct {
	slots   bitset
	opened  tick // when the first of them changed
	changed tick // when the last of them did
	settled bool // the flows of previous all have records, and it is current now
	at      tick // when they were settled
}

// batchesPerTimeout is how many batches a listener has about that wait to be
// settled, however often it changes. More make waiting more exact.
const batchesPerTimeout = 8

// change notes that slots have changed.
func (m *moves) change(slots []uint32, size uint32, now tick, idle time.Duration) {
	if len(slots) == 0 {
		return
	}
	for _, b := range m.batches {
		for _, s := range slots {
			b.slots.remove(s)
		}
	}
	b := m.last()
	if b == nil || b.settled || now-b.opened > ticks(idle)/batchesPerTimeout {
		b = &batch{slots: newBitset(size), opened: now}
		m.batches = append(m.batches, b)
	}
	b.changed = now
	for _, s := range slots {
		b.slots.add(s)
	}
	m.prune()
}

// changeAll notes that all slots of a table have changed.
func (m *moves) changeAll(size uint32, now tick) {
	b := &batch{slots: newBitset(size), opened: now, changed: now}
	for i := range size {
		b.slots.add(i)
	}
	m.batches = []*batch{b}
}

func (m *moves) last() *batch {
	if len(m.batches) == 0 {
		return nil
	}
	return m.batches[len(m.batches)-1]
}

// prune drops batches without slots.
func (m *moves) prune() {
	kept := m.batches[:0]
	for _, b := range m.batches {
		if b.slots.len() > 0 {
			kept = append(kept, b)
		}
	}
	clear(m.batches[len(kept):])
	m.batches = kept
}

// len returns how many slots are not steady.
func (m *moves) len() (n uint32) {
	for _, b := range m.batches {
		n += b.slots.len()
	}
	return n
}

// of returns the batch of a slot that is not steady, nil if it is.
func (m *moves) of(slot uint32) *batch {
	for _, b := range m.batches {
		if b.slots.has(slot) {
			return b
		}
	}
	return nil
}
