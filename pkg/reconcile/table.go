// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
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
	return w.writeSlotsOf(l.entry)
}

// collectMembers finds the backends that take slots: those that are up and
// reachable; if there is none, all that are reachable or none, as the listener
// says.
func (w *worker) collectMembers(l *listenerPlan) {
	w.members = w.members[:0]
	w.addMembers(l, (*Backend).takesTraffic)
	if len(w.members) == 0 && l.want.OnAllDown == lb.AllDownOpen {
		w.addMembers(l, func(b *Backend) bool { return b.Reachable })
	}
}

func (w *worker) addMembers(l *listenerPlan, ok func(*Backend) bool) {
	for i, b := range l.backends {
		if ok(b) {
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

// writeSlotsOf compares the slots of an entry with the table and writes those
// that differ.
func (w *worker) writeSlotsOf(e dataplane.Listener) error {
	w.have = slices.Grow(w.have[:0], slotChunk)[:slotChunk]
	for at := uint32(0); at < e.TableSize; at += slotChunk {
		want := w.table[at:min(at+slotChunk, e.TableSize)]
		have := w.have[:len(want)]
		if err := w.store.ReadSlots(e.Slots+at, have); err != nil {
			return fmt.Errorf("read slots: %w", err)
		}
		w.changes = w.changes[:0]
		for i, id := range want {
			if next := nextSlot(have[i], id); next != have[i] {
				w.changes = append(w.changes, dataplane.SlotChange{Index: at + uint32(i), Slot: next})
			}
		}
		if err := w.writeSlots(e.Slots, e.TableSize, w.changes); err != nil {
			return err
		}
	}
	return nil
}

// nextSlot returns what slot s becomes when current takes it over. Flows are
// not tracked: they move at once, and a slot is always steady.
func nextSlot(_ dataplane.Slot, current uint16) dataplane.Slot {
	return dataplane.Slot{Current: current, Previous: current}
}
