// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"slices"

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
// sees to the names and counters of its backends.
func (w *worker) wantedPool(m *model, l *listenerPlan, before []dataplane.Backend) ([]dataplane.Backend, error) {
	want := slices.Clone(before)
	for i, b := range l.backends {
		id, counter := l.ids[i], &m.counters[l.counters[i]]
		entry := b.entry(l.want.Forward, l.counters[i])
		if old := before[id].NextHop; !b.Reachable && old != (lb.NextHop{}) {
			entry.NextHop = old
			l.lostHops = append(l.lostHops, i)
		}
		if empty(before[id]) {
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
		want[id] = entry
	}
	return want, nil
}

// clearLostHops takes the next hop off backends that lost theirs, now that no
// slot leads to them.
func (w *worker) clearLostHops(l *listenerPlan) error {
	for _, i := range l.lostHops {
		index := l.entry.Pool + uint32(l.ids[i])
		if err := w.putBackend(index, l.backends[i].entry(l.want.Forward, l.counters[i])); err != nil {
			return err
		}
	}
	return nil
}
