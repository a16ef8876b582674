// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// restoring builds a model from what the tables say.
type restoring struct {
	*model
	store  Store
	limits dataplane.Limits
	now    time.Time
	before *model // nil: an agent has just started
}

// restore reads the tables, as an agent left them that may have been killed in
// the middle of a change. Where before is given, what it knew and the tables
// do not show any more is held back: packets under way may still refer to it.
func restore(store Store, now time.Time, before *model) (*model, error) {
	limits := store.Limits()
	r := &restoring{model: newModel(limits), store: store, limits: limits, now: now, before: before}
	for _, step := range []func() error{
		r.readClock, r.readListeners, r.readVIPs, r.readNames, r.readBackends, r.countSlots, r.readFlows,
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("restore from the tables: %w", err)
		}
	}
	for _, l := range r.listeners {
		l.key.Balancer = r.balancers[l.entry.Balancer].label
	}
	if before != nil {
		r.holdMissing(before)
	}
	return r.model, nil
}

// readClock goes on where the flow clock stands.
func (r *restoring) readClock() error {
	if r.before != nil {
		r.tick, r.scan = r.before.tick, r.before.scan
		return nil
	}
	now, err := r.store.FlowClock()
	if err != nil {
		return fmt.Errorf("read the clock of the flows: %w", err)
	}
	r.tick = tick(now)
	return nil
}

// readFlows holds back the listeners that have records and nothing else. Those
// that went while this agent was there are held back already. An embryonic record
// does not say whose it is, but whoever has one has counted a new flow.
func (r *restoring) readFlows() error {
	if r.before != nil {
		return nil
	}
	counters, err := r.store.TrackingCounters(r.limits.Listeners)
	if err != nil {
		return fmt.Errorf("read the counters of tracking: %w", err)
	}
	for id := range counters {
		if counters[id].New > 0 {
			r.holdID(heldListener, &r.alloc.listeners, uint32(id))
		}
	}
	return r.store.ScanFlows(func(flows []dataplane.Flow) error {
		for i := range flows {
			if id := flows[i].Listener; id < r.limits.Listeners {
				r.holdID(heldListener, &r.alloc.listeners, id)
			}
		}
		return nil
	})
}

// readListeners groups the entries into listeners and takes their identifiers
// and ranges.
func (r *restoring) readListeners() error {
	entries, err := r.store.Listeners()
	if err != nil {
		return fmt.Errorf("read the listeners: %w", err)
	}
	for _, key := range slices.SortedFunc(maps.Keys(entries), compareEntryKeys) {
		e := entries[key]
		l := r.listeners[e.ID]
		if l == nil {
			l = &listener{
				key:     lb.ListenerKey{Port: key.Port, Protocol: key.Protocol},
				entry:   e,
				entries: make(map[netip.Addr]dataplane.Listener),
				retired: make(map[uint16]instant),
			}
			r.listeners[e.ID] = l
			r.alloc.listeners.use(e.ID)
		}
		if l.key.Port != key.Port || l.key.Protocol != key.Protocol || l.entry.Balancer != e.Balancer {
			return damaged("listener %d has two ports or balancers", e.ID)
		}
		if e.NewerThan(l.entry) {
			l.entry = e
		}
		l.entries[key.Address] = e
		r.addAddress(e.Balancer, key.Address)
	}
	return r.takeRanges()
}

func (r *restoring) takeRanges() error {
	for _, id := range slices.Sorted(maps.Keys(r.listeners)) {
		l := r.listeners[id]
		for _, s := range l.spans(poolSpan) {
			if !aligned(s) || !r.alloc.pools.use(s) {
				return damaged("the pool of listener %d, %d entries from %d on, is not its own", id, s.n, s.first)
			}
		}
		for _, s := range l.spans(slotSpan) {
			if !aligned(s) || !r.alloc.slots.use(s) {
				return damaged("the table of listener %d, %d slots from %d on, is not its own", id, s.n, s.first)
			}
		}
		if err := r.takeOldTable(id, l); err != nil {
			return err
		}
	}
	return nil
}

// takeOldTable takes the range of a listener's old table, which is also that of
// its entries if a change was cut short.
func (r *restoring) takeOldTable(id uint32, l *listener) error {
	if !l.hasOldTable() {
		return nil
	}
	old, err := r.store.OldTable(id)
	if err != nil {
		return fmt.Errorf("read the old tables: %w", err)
	}
	l.old = oldTable{old, r.tick}
	s := tableSpan(old)
	if slices.Contains(l.spans(slotSpan), s) {
		return nil
	}
	if !aligned(s) || !r.alloc.slots.use(s) {
		return damaged("the old table of listener %d, %d slots from %d on, is not its own", id, s.n, s.first)
	}
	return nil
}

func aligned(s span) bool {
	return s.n > 0 && s.n%dataplane.SlotsPerLine == 0 && s.first%dataplane.SlotsPerLine == 0
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("the tables are damaged: "+format+": take them away with weir unload", args...)
}

func compareEntryKeys(a, b dataplane.ListenerKey) int {
	return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
}

func (r *restoring) balancer(id uint32) *balancer {
	b := r.balancers[id]
	if b == nil {
		b = &balancer{id: id}
		r.balancers[id] = b
		r.alloc.balancers.use(id)
	}
	return b
}

func (r *restoring) addAddress(id uint32, addr netip.Addr) {
	b := r.balancer(id)
	if !slices.Contains(b.addresses, addr) {
		b.addresses = append(b.addresses, addr)
	}
}

func (r *restoring) readVIPs() error {
	vips, err := r.store.VIPs()
	if err != nil {
		return fmt.Errorf("read the addresses of the balancers: %w", err)
	}
	r.vips = vips
	for addr, vip := range vips {
		r.addAddress(vip.Balancer, addr)
	}
	return nil
}

func (r *restoring) readNames() error {
	names, err := r.store.Names()
	if err != nil {
		return fmt.Errorf("read the names: %w", err)
	}
	for key, label := range names {
		switch key.Kind {
		case dataplane.NameBalancer:
			r.balancer(key.ID).label = label
		case dataplane.NameBackend:
			if key.ID >= r.limits.Backends {
				return damaged("backend %d has a name, but counters end at %d", key.ID, r.limits.Backends)
			}
			r.counter(key.ID).label = label
		}
	}
	return nil
}

// sweepStep is how many entries of the table of backends are read at once.
const sweepStep = 4096

// readBackends finds out which counters are in use, and holds back the entries
// that no listener has: of a listener that was being added or removed.
func (r *restoring) readBackends() error {
	unowned := r.alloc.pools.clone() // what no listener has
	for first := uint32(0); first < r.alloc.pools.size; first += sweepStep {
		entries, err := r.store.Backends(first, min(sweepStep, r.alloc.pools.size-first))
		if err != nil {
			return fmt.Errorf("read the backends: %w", err)
		}
		for i, e := range entries {
			if empty(e) {
				continue
			}
			if e.Counter >= r.limits.Backends {
				return damaged("entry %d of backends has the counter %d", first+uint32(i), e.Counter)
			}
			r.counter(e.Counter).refs++
			index := first + uint32(i)
			line := span{index - index%dataplane.SlotsPerLine, dataplane.SlotsPerLine}
			if unowned.use(line) {
				r.alloc.pools.use(line)
				r.holdSpan(heldPool, line, r.now)
			}
		}
	}
	for id, c := range r.counters {
		if c.refs > 0 || c.label != "" {
			r.alloc.counters.use(uint32(id))
		}
		if c.refs == 0 && c.label != "" {
			r.stray = append(r.stray, uint32(id))
		}
	}
	return nil
}

// countSlots counts the slots of each backend, and finds those that are not
// steady. How long they have been so nobody knows: it begins anew.
func (r *restoring) countSlots() error {
	chunk := make([]dataplane.Slot, slotChunk)
	for _, l := range r.listeners {
		l.slots = make([]uint32, l.entry.PoolSize)
		var unsteady []uint32
		for at := uint32(0); at < l.entry.TableSize; at += slotChunk {
			part := chunk[:min(slotChunk, l.entry.TableSize-at)]
			if err := r.store.ReadSlots(l.entry.Slots+at, part); err != nil {
				return fmt.Errorf("read the slots: %w", err)
			}
			for i, s := range part {
				if int(s.Current) < len(l.slots) {
					l.slots[s.Current]++
				}
				if !s.Steady() {
					unsteady = append(unsteady, at+uint32(i))
				}
			}
		}
		l.moves.change(unsteady, l.entry.TableSize, r.tick, 0)
	}
	return nil
}

// holdMissing holds back what before had in use or held back and the tables
// say nothing of. (Pools are no matter: readBackends found what they hold.)
func (r *restoring) holdMissing(before *model) {
	for id, l := range before.listeners {
		r.holdID(heldListener, &r.alloc.listeners, id)
		for _, s := range l.spans(slotSpan) {
			r.holdSlots(s)
		}
		if l.hasOldTable() {
			r.holdSlots(tableSpan(l.old.OldTable))
		}
	}
	for id := range before.balancers {
		r.holdID(heldBalancer, &r.alloc.balancers, id)
	}
	for _, h := range before.held {
		switch h.kind {
		case heldListener:
			r.holdID(h.kind, &r.alloc.listeners, h.first)
		case heldBalancer:
			r.holdID(h.kind, &r.alloc.balancers, h.first)
		case heldSlots:
			r.holdSlots(span{h.first, h.n})
		case heldPool, heldEntry:
		}
	}
}

func (r *restoring) holdID(kind heldKind, in *ids, id uint32) {
	if in.used(id) {
		return
	}
	in.use(id)
	r.hold(kind, id, 1, r.now)
}

func (r *restoring) holdSlots(s span) {
	if r.alloc.slots.use(s) {
		r.holdSpan(heldSlots, s, r.now)
	}
}
