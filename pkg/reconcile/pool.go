// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// writePool brings the pool of l in line, so that slots can lead to all its
// backends. Backends that are not wanted any more stay: slots lead to them.
func (w *worker) writePool(m *model, l *listenerPlan) error {
	have, err := w.store.Backends(l.entry.Pool, l.entry.PoolSize)
	if err != nil {
		return fmt.Errorf("read the pool: %w", err)
	}
	before := have
	switch {
	case l.was == nil:
		before = make([]dataplane.Backend, len(have))
	case l.poolMoves():
		old, err := w.store.Backends(l.was.entry.Pool, l.was.entry.PoolSize)
		if err != nil {
			return fmt.Errorf("read the pool: %w", err)
		}
		before = make([]dataplane.Backend, len(have))
		copy(before, old)
	}
	want, err := w.wantedPool(m, l, before)
	if err != nil {
		return err
	}
	for id, b := range want {
		if b == have[id] {
			continue
		}
		if err := w.putBackend(l.entry.Pool+uint32(id), b); err != nil {
			return err
		}
		if empty(have[id]) {
			m.counters[b.Counter].refs++
		}
	}
	return nil
}

// wantedPool returns what the pool should say, before being what it says, and
// sees to the names and counters of its backends. What takes packets away from a
// backend comes late, once no slot leads to it.
func (w *worker) wantedPool(m *model, l *listenerPlan, before []dataplane.Backend) ([]dataplane.Backend, error) {
	want := slices.Clone(before)
	l.late, l.drains = nil, nil
	for i, b := range l.backends {
		id, counter := l.ids[i], &m.counters[l.counters[i]]
		isNew := empty(before[id])
		last := w.lastEntry(l, i, before[id])
		want[id] = last
		if !isNew && (worse(before[id].Unusable, last.Unusable) || !b.Reachable && before[id].NextHop != (lb.NextHop{})) {
			l.late = append(l.late, lateEntry{id, last})
			want[id] = before[id]
		}
		if isNew {
			if err := w.resetBackendCounter(l.counters[i]); err != nil {
				return nil, err
			}
		}
		if counter.label != b.Label {
			if err := w.putName(dataplane.NameBackend, l.counters[i], b.Label); err != nil {
				return nil, err
			}
			counter.label = b.Label
		}
	}
	for _, id := range l.leaving {
		if last := before[id]; last.Unusable != dataplane.Removed {
			last.Unusable = dataplane.Removed
			l.late = append(l.late, lateEntry{id, last})
		}
	}
	return want, nil
}

// lastEntry returns what the entry of backend i says in the end, before being
// what it says now.
func (w *worker) lastEntry(l *listenerPlan, i int, before dataplane.Backend) dataplane.Backend {
	b := l.backends[i]
	entry := b.entry(l.want.Forward, l.counters[i])
	isNew := empty(before) || before.Unusable == dataplane.Removed
	switch {
	case !isNew && before.Mode == b.Mode:
		entry.ModeSince = before.ModeSince
	case !isNew || b.Mode != lb.ModeAccept: // 0 for what accepts since it came
		entry.ModeSince = seconds(w.up)
	}
	since := time.Duration(entry.ModeSince) * time.Second
	entry.Unusable = l.unusable(i, since, w.up)
	if b.Mode == lb.ModeDrain && entry.Unusable != dataplane.Drained {
		l.drains = append(l.drains, drain{l.ids[i], l.want.drainEnd(since)})
	}
	return entry
}

// seconds returns a time since boot as entries have it.
func seconds(up time.Duration) uint32 { return uint32(up / time.Second) }

// writeLate writes what had to wait for the slots.
func (w *worker) writeLate(l *listenerPlan) error {
	for _, e := range l.late {
		if err := w.putBackend(l.entry.Pool+uint32(e.id), e.entry); err != nil {
			return err
		}
	}
	return nil
}
