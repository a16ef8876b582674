// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
)

// due returns when the slots of a batch can be settled: every flow that lives
// has sent a packet since they changed, and has a record.
func (b *batch) due(idle time.Duration) tick { return b.changed + ticks(idle+clockStep) }

// advance lets the flow clock go on by the time since it last did, but by no
// more than a step: time without an agent, or with one that was held up, does
// not make records old.
func (r *Reconciler) advance() error {
	return r.locked(func() error {
		now := r.clock()
		next := r.model.tick + ticks(min(max(now.Sub(r.ticked), 0), clockStep))
		if err := r.store.SetFlowClock(uint32(next)); err != nil {
			return fmt.Errorf("set the clock of the flows: %w", err)
		}
		r.ticked, r.model.tick = now, next
		return nil
	})
}

// settle does for each listener what time has made due.
func (r *Reconciler) settle(ctx context.Context) (Report, error) {
	w := writer{store: r.store}
	var ids []uint32
	err := r.locked(func() error {
		for id, l := range r.model.listeners {
			if l.applied && (len(l.drains) > 0 || l.moves.len() > 0 || l.hasOldTable()) {
				ids = append(ids, id)
			}
		}
		return nil
	})
	slices.Sort(ids)
	for _, id := range ids {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = r.locked(func() error { return r.settleListener(&w, r.model.listeners[id]) })
		}
	}
	return w.report, err
}

func (r *Reconciler) settleListener(w *writer, l *listener) error {
	if l == nil || !l.applied {
		return nil
	}
	err := l.endDrains(w, r.uptime())
	switch {
	case err != nil:
	case l.hasOldTable():
		if r.model.tick >= l.old.since+ticks(l.idle+clockStep) {
			err = r.model.dropOldTable(w, l, r.clock())
		}
	default:
		err = l.settle(w, r.model.tick)
	}
	if err != nil {
		r.stale = true
		return fmt.Errorf("listener %s: %w", l.key, err)
	}
	return nil
}

// endDrains lets flows leave the backends that have drained long enough.
func (l *listener) endDrains(w *writer, up time.Duration) error {
	for len(l.drains) > 0 {
		i := slices.IndexFunc(l.drains, func(d drain) bool { return up >= d.due })
		if i < 0 {
			return nil
		}
		index := l.entry.Pool + uint32(l.drains[i].id)
		entries, err := w.store.Backends(index, 1)
		if err != nil {
			return fmt.Errorf("read the pool: %w", err)
		}
		entry := entries[0]
		entry.Unusable = dataplane.Drained
		if err := w.putBackend(index, entry); err != nil {
			return err
		}
		w.report.Drained++
		l.drains = slices.Delete(l.drains, i, i+1)
	}
	return nil
}

// settle makes current the previous backend of slots that changed so long ago
// that the flows of previous all have records.
func (l *listener) settle(w *writer, now tick) error {
	for _, b := range l.moves.batches {
		if b.settled || now < b.due(l.idle) {
			continue
		}
		if err := l.forgetPrevious(w, b.slots); err != nil {
			return err
		}
		b.settled, b.at = true, now
	}
	return nil
}

// forgetPrevious makes current the previous backend of some slots.
func (l *listener) forgetPrevious(w *writer, slots bitset) error {
	have := make([]dataplane.Slot, l.entry.TableSize)
	if err := w.store.ReadSlots(l.entry.Slots, have); err != nil {
		return fmt.Errorf("read slots: %w", err)
	}
	var changes []dataplane.SlotChange
	for slot := range slots.all() {
		if s := have[slot]; s.Previous != s.Current {
			s.Previous = s.Current
			changes = append(changes, dataplane.SlotChange{Index: slot, Slot: s})
		}
	}
	l.version++
	return w.writeSlots(l.entry.Slots, l.entry.TableSize, changes)
}

// dropOldTable takes the old table from a listener: all its flows have records.
// So its slots are settled first, and then packets stop asking the old table.
func (m *model) dropOldTable(w *writer, l *listener, now time.Time) error {
	for _, b := range l.moves.batches {
		if err := l.forgetPrevious(w, b.slots); err != nil {
			return err
		}
	}
	l.entry.OldTable = false
	for _, addr := range slices.SortedFunc(maps.Keys(l.entries), netip.Addr.Compare) {
		if err := w.putListener(entryKey(l.key, addr), l.entry); err != nil {
			return err
		}
		l.entries[addr] = l.entry
	}
	for _, b := range l.moves.batches {
		b.settled, b.at = true, m.tick
	}
	m.holdSpan(heldSlots, tableSpan(l.old.OldTable), now)
	l.old = oldTable{}
	return nil
}
