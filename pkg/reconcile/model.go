// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// model is what a Reconciler remembers of the tables: who has which
// identifiers and ranges, and how far the moves of slots are. What backends and
// slots say is read from the tables when it is needed.
type model struct {
	alloc     allocators
	balancers map[uint32]*balancer
	listeners map[uint32]*listener
	vips      map[netip.Addr]dataplane.VIP
	counters  []counter // by identifier

	held  []held   // out of use, oldest first
	stray []uint32 // counters that no entry has any more, whose names are to go

	tick tick // of the model's making
	scan scan // the last one that was completed

	changes uint64 // of listeners so far
}

// balancer is a balancer that has a name, an address or a listener in the
// tables.
type balancer struct {
	id        uint32
	label     string
	addresses []netip.Addr // in no order
}

// listener is a listener that packets see under at least one address.
type listener struct {
	key     lb.ListenerKey
	entry   dataplane.Listener
	entries map[netip.Addr]dataplane.Listener // by address; all like entry, unless a change was cut short

	built   fingerprint        // of the table in its slots
	slots   []uint32           // by index in the pool: slots that lead to it
	retired map[uint16]instant // by index in the pool: backends that left it, and since when
	drains  []drain            // backends that drain

	applied bool          // an Apply or Update has said what follows
	idle    time.Duration // idle_timeout
	policy  policy
	moves   moves    // slots that are not steady
	old     oldTable // valid if the entry has one
	version uint64   // goes up when slots change
}

// policy is what of a listener the tables do not tell.
type policy struct {
	onDown lb.OnDown
	drain  time.Duration // drain_timeout
}

// oldTable is the table that a listener had before, and since when it has the
// one that it has.
type oldTable struct {
	dataplane.OldTable
	since tick
}

// instant is a point in time by both clocks: that of the grace period, and that
// of records.
type instant struct {
	time time.Time
	tick tick
}

// counter is the state of a backend's counter and name.
type counter struct {
	label string
	refs  uint32 // entries that have it: two while a pool moves
}

// heldKind says what is held back.
type heldKind uint8

const (
	heldListener heldKind = iota // the identifier first
	heldBalancer                 // the identifier first
	heldPool                     // n entries from first on
	heldSlots                    // n slots from first on
	heldEntry                    // the entry n of the pool of listener first
)

// held is something that packets under way may still refer to, and of listeners
// and entries also records.
type held struct {
	kind     heldKind
	first, n uint32
	since    time.Time // when it is looked at again, less the grace period
	out      instant   // when it went out of use
}

func newModel(limits dataplane.Limits) *model {
	return &model{
		alloc:     newAllocators(limits),
		balancers: make(map[uint32]*balancer),
		listeners: make(map[uint32]*listener),
		vips:      make(map[netip.Addr]dataplane.VIP),
	}
}

func (m *model) hold(kind heldKind, first, n uint32, now time.Time) {
	m.held = append(m.held, held{kind: kind, first: first, n: n, since: now, out: instant{now, m.tick}})
}

// holdSpan holds a range back.
func (m *model) holdSpan(kind heldKind, s span, now time.Time) { m.hold(kind, s.first, s.n, now) }

// heldBack returns how many elements of ranges of a kind are held back.
func (m *model) heldBack(kind heldKind) (n uint64) {
	for _, h := range m.held {
		if h.kind == kind {
			n += uint64(h.n)
		}
	}
	return n
}

// counter returns the state of a counter, which may be new.
func (m *model) counter(id uint32) *counter {
	if int(id) >= len(m.counters) {
		m.counters = append(m.counters, make([]counter, int(id)+1-len(m.counters))...)
	}
	return &m.counters[id]
}

func poolSpan(e dataplane.Listener) span { return span{e.Pool, e.PoolSize} }

func slotSpan(e dataplane.Listener) span {
	return span{e.Slots, uint32(roundUp(uint64(e.TableSize)))}
}

func tableSpan(t dataplane.OldTable) span {
	return span{t.Slots, uint32(roundUp(uint64(t.TableSize)))}
}

// hasOldTable reports whether packets under some address may go by the old
// table.
func (l *listener) hasOldTable() bool {
	for _, e := range l.entries {
		if e.OldTable {
			return true
		}
	}
	return false
}

// takeTable notes that a listener gets other slots than it had. If it had an old
// table beside them, it keeps that: all flows since then have records.
func (l *listener) takeTable(p *listenerPlan, now tick) {
	l.moves = moves{}
	if !p.entry.OldTable { // it is new
		return
	}
	if !l.entry.OldTable {
		l.old.OldTable = dataplane.OldTable{
			Slots: l.entry.Slots, TableSize: l.entry.TableSize, Algorithm: l.entry.Algorithm,
		}
	}
	l.old.since = now
	l.moves.changeAll(p.entry.TableSize, now)
}

// spans returns the distinct ranges that some entry of the listener refers to.
func (l *listener) spans(of func(dataplane.Listener) span) []span {
	var out []span
	for _, e := range l.entries {
		if s := of(e); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// adopt takes over what became of a listener.
func (m *model) adopt(p *listenerPlan, now time.Time) {
	l := p.was
	if l == nil {
		l = &listener{retired: make(map[uint16]instant)}
		m.listeners[p.entry.ID] = l
	}
	for _, s := range l.spans(poolSpan) {
		if s != poolSpan(p.entry) {
			m.holdSpan(heldPool, s, now)
		}
	}
	if l.hasOldTable() && !l.entry.OldTable { // that it lost its old table was cut short
		m.holdSpan(heldSlots, tableSpan(l.old.OldTable), now)
		l.old = oldTable{}
	}
	if p.slotsAside() {
		l.takeTable(p, m.tick)
	} else {
		l.moves.change(p.moved, p.entry.TableSize, m.tick, p.want.IdleTimeout)
	}
	for _, s := range l.spans(slotSpan) {
		if s != slotSpan(p.entry) && (!p.entry.OldTable || s != tableSpan(l.old.OldTable)) {
			m.holdSpan(heldSlots, s, now)
		}
	}
	l.applied, l.idle, l.drains = true, p.want.IdleTimeout, p.drains
	l.policy = policy{p.want.OnDown, p.want.DrainTimeout}
	if len(p.moved) > 0 || p.slotsAside() {
		l.version++
	}
	m.changes++
	l.key, l.entry, l.built, l.slots = p.key, p.entry, p.built, p.slots
	l.entries = make(map[netip.Addr]dataplane.Listener, len(p.addresses))
	for _, addr := range p.addresses {
		l.entries[addr] = p.entry
	}
	for _, id := range p.ids {
		delete(l.retired, id)
	}
	for _, id := range p.leaving {
		l.retired[id] = instant{now, m.tick}
		m.hold(heldEntry, p.entry.ID, uint32(id), now)
	}
}

// remove takes a listener out of use.
func (m *model) remove(l *listener, now time.Time) {
	delete(m.listeners, l.entry.ID)
	m.hold(heldListener, l.entry.ID, 1, now)
	for _, s := range l.spans(poolSpan) {
		m.holdSpan(heldPool, s, now)
	}
	for _, s := range l.spans(slotSpan) {
		m.holdSpan(heldSlots, s, now)
	}
	if l.hasOldTable() && !slices.Contains(l.spans(slotSpan), tableSpan(l.old.OldTable)) {
		m.holdSpan(heldSlots, tableSpan(l.old.OldTable), now)
	}
}

// empty reports whether no packet can be sent to b.
func empty(b dataplane.Backend) bool { return b.Forward == 0 }
