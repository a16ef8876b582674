// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"net/netip"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// listenerPlan is what becomes of a listener.
type listenerPlan struct {
	key       lb.ListenerKey
	want      *Listener
	was       *listener // nil: it is new
	addresses []netip.Addr
	entry     dataplane.Listener // under all addresses

	backends []*Backend // in order of their addresses
	ids      []uint16   // of each: its index in the pool
	counters []uint32   // of each
	members  []bool     // of each: it takes slots
	leaving  []uint16   // indices of backends that are not wanted any more

	needPool  uint64 // entries of a new pool; 0: the pool stays where it is
	needSlots uint64 // slots of a new range; 0: the slots stay where they are

	// What came of it.
	built   fingerprint
	slots   []uint32
	moved   []uint32    // slots that lead to another backend than before
	late    []lateEntry // what is written once no slot leads there any more
	drains  []drain     // what happens to its draining backends
	changed bool        // something was written
}

// lateEntry is what an entry of the pool is to say once slots have changed.
type lateEntry struct {
	id    uint16
	entry dataplane.Backend
}

func newListenerPlan(key lb.ListenerKey, want *Listener, was *listener, balancer uint32, addresses []netip.Addr) *listenerPlan {
	l := &listenerPlan{key: key, want: want, was: was, addresses: addresses}
	if was != nil {
		l.entry = was.entry
	}
	l.entry.Balancer = balancer
	l.entry.Algorithm = want.Algorithm
	l.entry.OnAllDown = want.OnAllDown
	return l
}

func (l *listenerPlan) entryKey(addr netip.Addr) dataplane.ListenerKey { return entryKey(l.key, addr) }

func entryKey(key lb.ListenerKey, addr netip.Addr) dataplane.ListenerKey {
	return dataplane.ListenerKey{Address: addr, Port: key.Port, Protocol: key.Protocol}
}

// poolMoves reports whether the pool of a listener that is there moves.
func (l *listenerPlan) poolMoves() bool { return l.was != nil && l.needPool > 0 }

// slotsAside reports whether the slots are written in a range that no packet
// sees yet.
func (l *listenerPlan) slotsAside() bool { return l.needSlots > 0 }

// needsNewSlots reports whether flows fall into other slots than before, so that
// the old table is needed beside the new one.
func (l *listenerPlan) needsNewSlots() bool {
	return l.was == nil || l.was.entry.TableSize != l.want.TableSize || l.was.entry.Algorithm != l.want.Algorithm
}

// layOut gives the listeners what they need and do not have: identifiers,
// pools, slots.
func (p *planner) layOut() error {
	var pools, slots, listeners uint64
	for _, l := range p.listeners {
		if err := p.assign(l); err != nil {
			return fmt.Errorf("listener %s: %w", l.key, err)
		}
		if l.was == nil {
			l.entry.ID = p.alloc.listeners.take()
			listeners = max(listeners, uint64(l.entry.ID)+1)
		}
		if l.needsNewSlots() {
			l.needSlots = roundUp(uint64(l.want.TableSize))
			l.entry.OldTable = l.was != nil
		}
		pools += l.needPool
		slots += l.needSlots
	}
	err := firstFull(
		FullError{Table: "listener_counters", Needed: listeners, Limit: uint64(p.limits.Listeners),
			Held: p.model.heldBack(heldListener), Key: keyListeners},
		fullSpans("backends", &p.alloc.pools, pools, p.model.heldBack(heldPool), keyBackends),
		fullSpans("slots", &p.alloc.slots, slots, p.model.heldBack(heldSlots), keySlots),
	)
	if err != nil {
		return err
	}
	for _, l := range p.listeners {
		if err := p.place(l); err != nil {
			return fmt.Errorf("listener %s: %w", l.key, err)
		}
	}
	return nil
}

func fullSpans(table string, s *spans, need, held uint64, key string) FullError {
	return FullError{
		Table: table, Needed: uint64(s.size-s.available()) + need, Limit: uint64(s.size), Held: held, Key: key,
	}
}

// assign gives each backend its index in the pool and its counter: those it
// has, or the lowest that are free.
func (p *planner) assign(l *listenerPlan) error {
	var pool []dataplane.Backend
	if l.was != nil {
		var err error
		if pool, err = p.store.Backends(l.entry.Pool, l.entry.PoolSize); err != nil {
			return fmt.Errorf("read the pool: %w", err)
		}
	}
	clear(p.places)
	for id := len(pool) - 1; id > 0; id-- {
		if e := pool[id]; !empty(e) {
			p.places[e.Address] = uint16(id)
		}
	}
	l.backends = l.want.sorted()
	l.members = members(l.backends, l.want.OnAllDown)
	l.ids = make([]uint16, len(l.backends))
	l.counters = make([]uint32, len(l.backends))
	wanted := make([]bool, len(pool))
	for i, b := range l.backends {
		if id, ok := p.places[plainAddrPort(b.Address)]; ok {
			l.ids[i], l.counters[i] = id, pool[id].Counter
			wanted[id] = true
		}
	}
	size := p.assignNew(l, pool)
	if size > int(dataplane.MaxPool)+1 {
		return &FullError{Table: "pool", Needed: uint64(size - 1), Limit: uint64(dataplane.MaxPool)}
	}
	if size > len(pool) {
		l.needPool = roundUp(uint64(size))
	}
	for id := 1; id < len(pool); id++ {
		if empty(pool[id]) || wanted[id] {
			continue
		}
		if _, ok := l.was.retired[uint16(id)]; !ok {
			l.leaving = append(l.leaving, uint16(id))
		}
	}
	return nil
}

// assignNew gives the backends that are not in the pool the lowest indices that
// are free, and counters. It returns how many entries the pool then needs.
func (p *planner) assignNew(l *listenerPlan, pool []dataplane.Backend) int {
	free := 1
	for i := range l.backends {
		if l.ids[i] != 0 {
			continue
		}
		for free < len(pool) && !empty(pool[free]) {
			free++
		}
		l.ids[i], l.counters[i] = uint16(free), p.alloc.counters.take()
		free++
	}
	return max(free, len(pool), 1)
}

// place finds ranges for the pool and the slots of l.
func (p *planner) place(l *listenerPlan) error {
	if l.needPool > 0 {
		s, ok := p.alloc.pools.take(uint32(l.needPool))
		if !ok {
			full := fullSpans("backends", &p.alloc.pools, l.needPool, p.model.heldBack(heldPool), keyBackends)
			full.Run = l.needPool
			return &full
		}
		l.entry.Pool, l.entry.PoolSize = s.first, s.n
	}
	if l.needSlots > 0 {
		s, ok := p.alloc.slots.take(uint32(l.needSlots))
		if !ok {
			full := fullSpans("slots", &p.alloc.slots, l.needSlots, p.model.heldBack(heldSlots), keySlots)
			full.Run = l.needSlots
			return &full
		}
		l.entry.Slots, l.entry.TableSize = s.first, l.want.TableSize
	}
	for _, c := range l.counters {
		if c >= p.limits.Backends {
			return &FullError{Table: "backend_counters", Needed: uint64(c) + 1, Limit: uint64(p.limits.Backends), Key: keyBackends}
		}
	}
	return nil
}
