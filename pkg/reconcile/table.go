// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/maglev"
)

// slotChunk is how many slots are read, compared and written at once.
const slotChunk = 16384

// fingerprint is all that the slots of a listener follow from, hashed. The
// zero value is of no table.
type fingerprint [sha256.Size]byte

// worker brings one listener after the other in line, and keeps its buffers.
type worker struct {
	writer
	up      time.Duration // since boot
	builder maglev.Builder
	table   []uint16
	members []maglev.Member
	inputs  []byte
	have    []dataplane.Slot
	changes []dataplane.SlotChange
}

// writeTable brings the slots of l in line with its backends. It builds the
// table only if something that it follows from changed.
func (w *worker) writeTable(seed uint64, l *listenerPlan) error {
	w.collectMembers(l)
	l.built = w.fingerprint(seed, l.entry)
	if l.was != nil && l.was.built == l.built {
		l.slots = l.was.slots
		return nil
	}
	w.table = slices.Grow(w.table[:0], int(l.entry.TableSize))[:l.entry.TableSize]
	if len(w.members) == 0 {
		clear(w.table)
	} else {
		w.builder.Build(w.table, seed, w.members)
	}
	l.slots = make([]uint32, l.entry.PoolSize)
	for _, id := range w.table {
		l.slots[id]++
	}
	return w.writeSlotsOf(l)
}

// collectMembers lists the backends that take slots.
func (w *worker) collectMembers(l *listenerPlan) {
	w.members = w.members[:0]
	for i, b := range l.backends {
		if l.members[i] {
			w.members = append(w.members, maglev.Member{
				Address: plainAddrPort(b.Address), Weight: b.Weight, ID: l.ids[i],
			})
		}
	}
}

func (w *worker) fingerprint(seed uint64, e dataplane.Listener) fingerprint {
	w.inputs = binary.LittleEndian.AppendUint64(w.inputs[:0], seed)
	w.inputs = binary.LittleEndian.AppendUint32(w.inputs, e.Slots)
	w.inputs = binary.LittleEndian.AppendUint32(w.inputs, e.TableSize)
	for _, m := range w.members {
		addr := m.Address.Addr().As16()
		w.inputs = append(w.inputs, addr[:]...)
		w.inputs = binary.LittleEndian.AppendUint16(w.inputs, m.Address.Port())
		w.inputs = append(w.inputs, m.Weight)
		w.inputs = binary.LittleEndian.AppendUint16(w.inputs, m.ID)
	}
	return sha256.Sum256(w.inputs)
}

// writeSlotsOf compares the slots of a listener with the table and writes those
// that differ.
func (w *worker) writeSlotsOf(l *listenerPlan) error {
	e := l.entry
	w.have = slices.Grow(w.have[:0], slotChunk)[:slotChunk]
	for at := uint32(0); at < e.TableSize; at += slotChunk {
		want := w.table[at:min(at+slotChunk, e.TableSize)]
		have := w.have[:len(want)]
		if err := w.store.ReadSlots(e.Slots+at, have); err != nil {
			return fmt.Errorf("read slots: %w", err)
		}
		w.changes = w.changes[:0]
		for i, id := range want {
			next := nextSlot(have[i], id)
			if l.slotsAside() {
				next = firstSlot(id, e.OldTable)
			}
			if next != have[i] {
				w.changes = append(w.changes, dataplane.SlotChange{Index: at + uint32(i), Slot: next})
				if !next.Steady() {
					l.moved = append(l.moved, at+uint32(i))
				}
			}
		}
		if err := w.writeSlots(e.Slots, e.TableSize, w.changes); err != nil {
			return err
		}
	}
	return nil
}

// nextSlot returns what slot s becomes when current takes it over. The flows
// without a record are on previous, and stay there; where that is nobody there
// are none.
func nextSlot(s dataplane.Slot, current uint16) dataplane.Slot {
	if s.Current == current {
		return s
	}
	if s.Current == 0 && s.Previous == 0 {
		return dataplane.Slot{Current: current, Previous: current, Tracked: s.Tracked}
	}
	return dataplane.Slot{Current: current, Previous: s.Previous, Tracked: true}
}

// firstSlot returns a slot of a table that no packet has seen yet. With an old
// table beside it no slot is steady, as its flows may be on any backend.
func firstSlot(current uint16, oldTable bool) dataplane.Slot {
	return dataplane.Slot{Current: current, Previous: current, Tracked: oldTable}
}
