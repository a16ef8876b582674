// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
)

// collectOne frees the oldest thing that is held back, if that is since until
// or before. It reports whether there was one. What is still referred to is
// looked at again after a grace period. After an error the model may be behind
// the tables.
func (m *model) collectOne(w *writer, now time.Time, grace time.Duration) (bool, error) {
	if n := len(m.stray); n > 0 {
		if err := m.freeCounter(w, m.stray[n-1]); err != nil {
			return false, err
		}
		m.stray = m.stray[:n-1]
		return true, nil
	}
	if len(m.held) == 0 || m.held[0].since.After(now.Add(-grace)) {
		return false, nil
	}
	h := m.held[0]
	if m.referred(h, grace) {
		h.since = now
		m.held = append(m.held[1:], h)
		return true, nil
	}
	if err := m.free(w, h); err != nil {
		return false, err
	}
	if m.held = m.held[1:]; len(m.held) == 0 {
		m.held = nil
	}
	return true, nil
}

// referred reports whether records, or slots on the move, refer to what is held
// back, or may do so as far as is known.
func (m *model) referred(h held, grace time.Duration) bool {
	switch h.kind {
	case heldListener:
		return !m.scan.coversAllOf(h.out, grace) || m.scan.orphans[h.first] > 0
	case heldEntry:
		l := m.listeners[h.first]
		if l == nil || l.retired[uint16(h.n)] != h.out {
			return false // it has come back, or is held back otherwise
		}
		return !m.scan.coversAllOf(h.out, grace) || m.scan.refers(h.first, uint16(h.n))
	case heldBalancer, heldPool, heldSlots:
	}
	return false
}

// free gives back what was held.
func (m *model) free(w *writer, h held) error {
	switch h.kind {
	case heldListener:
		m.alloc.listeners.release(h.first)
	case heldBalancer:
		m.alloc.balancers.release(h.first)
	case heldSlots:
		m.alloc.slots.release(span{h.first, h.n})
	case heldPool:
		if err := m.emptyEntries(w, h.first, h.n); err != nil {
			return err
		}
		m.alloc.pools.release(span{h.first, h.n})
	case heldEntry:
		return m.freeEntry(w, h)
	}
	return nil
}

// freeEntry empties the entry of a backend that left its pool, unless it has
// come back.
func (m *model) freeEntry(w *writer, h held) error {
	l, id := m.listeners[h.first], uint16(h.n)
	if l == nil || l.retired[id] != h.out {
		return nil
	}
	if err := m.emptyEntries(w, l.entry.Pool+h.n, 1); err != nil {
		return err
	}
	delete(l.retired, id)
	return nil
}

// emptyEntries empties n entries from first on.
func (m *model) emptyEntries(w *writer, first, n uint32) error {
	entries, err := w.store.Backends(first, n)
	if err != nil {
		return fmt.Errorf("read the backends: %w", err)
	}
	for i, e := range entries {
		if empty(e) {
			continue
		}
		if err := w.emptyBackend(first + uint32(i)); err != nil {
			return err
		}
		c := m.counter(e.Counter)
		if c.refs--; c.refs == 0 {
			m.stray = append(m.stray, e.Counter)
		}
	}
	return nil
}

// freeCounter removes the name of a counter that no entry has any more, and
// gives it back.
func (m *model) freeCounter(w *writer, id uint32) error {
	if m.counters[id].label != "" {
		if err := w.deleteName(dataplane.NameBackend, id); err != nil {
			return err
		}
	}
	m.counters[id] = counter{}
	m.alloc.counters.release(id)
	return nil
}
