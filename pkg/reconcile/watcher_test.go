// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// watcher looks at the tables after every write as packets do, and remembers
// what packets under way may still refer to. It is for one worker.
type watcher struct {
	store Store
	clock *clock
	grace time.Duration

	// allowed are the backends that packets may be sent to, and by what they
	// may come. Unless strict, an address may lead to those of any other.
	allowed map[route]bool
	strict  bool

	// When something was last seen in use.
	entries   map[uint32]time.Time // backends, by index
	counters  map[uint32]time.Time
	lines     map[uint32]time.Time // of slots
	listeners map[uint32]time.Time // identifiers
	owners    map[uint32]string    // of the identifiers of listeners

	names    map[dataplane.NameKey]string
	problems []string
}

// route is how packets get to a backend.
type route struct {
	key dataplane.ListenerKey // zero: any
	to  netip.AddrPort
}

func newWatcher(store Store, c *clock) *watcher {
	w := &watcher{store: store, clock: c, grace: DefaultGrace}
	w.forget()
	return w
}

// forget is what a restart does: it takes longer than any packet.
func (w *watcher) forget() {
	w.entries = make(map[uint32]time.Time)
	w.counters = make(map[uint32]time.Time)
	w.lines = make(map[uint32]time.Time)
	w.listeners = make(map[uint32]time.Time)
	w.owners = make(map[uint32]string)
}

// allow lets packets be sent to the backends of these states.
func (w *watcher) allow(states ...Desired) {
	w.allowed = make(map[route]bool)
	for _, d := range states {
		for key, l := range render(d).Listeners {
			for to := range l.Pool {
				w.allowed[route{to: to}] = true
				w.allowed[route{key, to}] = true
			}
		}
	}
}

func (w *watcher) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// recent reports whether something seen last at t may still be referred to.
func (w *watcher) recent(seen map[uint32]time.Time, id uint32) bool {
	t, ok := seen[id]
	return ok && w.clock.read().Sub(t) < w.grace
}

func (w *watcher) putBackend(index uint32, b dataplane.Backend) {
	have, err := w.store.Backends(index, 1)
	if err != nil {
		w.problem("%v", err)
		return
	}
	if !empty(have[0]) && !empty(b) && have[0].Address != b.Address {
		w.problem("entry %d turns from %s into %s", index, have[0].Address, b.Address)
	}
	if empty(b) && w.recent(w.entries, index) {
		w.problem("entry %d is emptied while packets use it", index)
	}
}

func (w *watcher) writeSlots(first uint32, changes []dataplane.SlotChange) {
	for _, c := range changes {
		line := (first + c.Index) / dataplane.SlotsPerLine
		if w.recent(w.lines, line) && !w.visible(line) {
			w.problem("slots of line %d are written while packets of another listener read them", line)
		}
	}
}

func (w *watcher) visible(line uint32) bool {
	all, err := w.store.Listeners()
	if err != nil {
		w.problem("%v", err)
	}
	for _, l := range all {
		if s := slotSpan(l); line*dataplane.SlotsPerLine >= s.first && line*dataplane.SlotsPerLine < s.end() {
			return true
		}
	}
	return false
}

func (w *watcher) putListener(k dataplane.ListenerKey, l dataplane.Listener) {
	if w.recent(w.listeners, l.ID) && w.owners[l.ID] != owner(k, l) {
		w.problem("identifier %d goes from %s to %s while packets use it", l.ID, w.owners[l.ID], owner(k, l))
	}
}

func owner(k dataplane.ListenerKey, l dataplane.Listener) string {
	return fmt.Sprintf("%d/%s of balancer %d", k.Port, k.Protocol, l.Balancer)
}

// putVIP watches that an address keeps a protocol as long as a listener has it.
func (w *watcher) putVIP(addr netip.Addr, v dataplane.VIP) {
	listeners, err := w.store.Listeners()
	if err != nil {
		w.problem("%v", err)
	}
	vips, err := w.store.VIPs()
	if err != nil {
		w.problem("%v", err)
	}
	for k := range listeners {
		if k.Address == addr && (k.Protocol == lb.TCP && vips[addr].TCP && !v.TCP || k.Protocol == lb.UDP && vips[addr].UDP && !v.UDP) {
			w.problem("address %s loses %s while it has a listener", addr, k.Protocol)
		}
	}
}

func (w *watcher) resetListener(id uint32) {
	if w.recent(w.listeners, id) {
		w.problem("counter of listener %d is reset while packets use it", id)
	}
}

func (w *watcher) resetBackend(id uint32) {
	if w.recent(w.counters, id) {
		w.problem("counter %d of backends is reset while packets use it", id)
	}
}

// look checks all that packets can see.
func (w *watcher) look() {
	listeners, err := w.store.Listeners()
	if err != nil {
		w.problem("%v", err)
		return
	}
	if w.names, err = w.store.Names(); err != nil {
		w.problem("%v", err)
		return
	}
	for k, l := range listeners {
		w.owners[l.ID] = owner(k, l)
		w.lookAt(k, l)
	}
	vips, err := w.store.VIPs()
	if err != nil {
		w.problem("%v", err)
	}
	for addr, v := range vips {
		w.lookAtVIP(addr, v)
	}
}

func (w *watcher) lookAtVIP(addr netip.Addr, v dataplane.VIP) {
	if w.names[dataplane.NameKey{Kind: dataplane.NameBalancer, ID: v.Balancer}] == "" {
		w.problem("address %s is of balancer %d, which has no name", addr, v.Balancer)
	}
}

func (w *watcher) lookAt(k dataplane.ListenerKey, l dataplane.Listener) {
	now := w.clock.read()
	w.listeners[l.ID] = now
	if w.names[dataplane.NameKey{Kind: dataplane.NameBalancer, ID: l.Balancer}] == "" {
		w.problem("listener %d is of balancer %d, which has no name", l.ID, l.Balancer)
	}
	pool, err := w.store.Backends(l.Pool, l.PoolSize)
	if err != nil {
		w.problem("%v", err)
		return
	}
	if !empty(pool[0]) {
		w.problem("entry 0 of the pool of listener %d is not empty", l.ID)
	}
	slots := make([]dataplane.Slot, l.TableSize)
	if err := w.store.ReadSlots(l.Slots, slots); err != nil {
		w.problem("%v", err)
		return
	}
	for i := l.Slots / dataplane.SlotsPerLine; i < slotSpan(l).end()/dataplane.SlotsPerLine; i++ {
		w.lines[i] = now
	}
	for i, s := range slots {
		if s.Current != s.Previous && !s.Tracked {
			w.problem("slot %d of listener %d has a previous backend and is not tracked", i, l.ID)
		}
		w.lookAtPrevious(l, pool, s.Previous)
	}
	slices.SortFunc(slots, func(a, b dataplane.Slot) int { return int(a.Current) - int(b.Current) })
	for _, s := range slices.Compact(slots) {
		w.lookAtSlot(k, l, pool, s)
	}
}

// lookAtPrevious checks that flows without a record have somewhere to go.
func (w *watcher) lookAtPrevious(l dataplane.Listener, pool []dataplane.Backend, id uint16) {
	if id == 0 {
		return
	}
	if int(id) >= len(pool) || empty(pool[id]) {
		w.problem("a slot of listener %d led to %d, which is not a backend", l.ID, id)
		return
	}
	w.entries[l.Pool+uint32(id)] = w.clock.read()
	w.counters[pool[id].Counter] = w.clock.read()
}

func (w *watcher) lookAtSlot(k dataplane.ListenerKey, l dataplane.Listener, pool []dataplane.Backend, s dataplane.Slot) {
	if s.Current == 0 {
		return
	}
	if int(s.Current) >= len(pool) || empty(pool[s.Current]) {
		w.problem("a slot of listener %d leads to %d, which is not a backend", l.ID, s.Current)
		return
	}
	b := pool[s.Current]
	w.entries[l.Pool+uint32(s.Current)] = w.clock.read()
	w.counters[b.Counter] = w.clock.read()
	by := route{to: b.Address}
	if w.strict {
		by.key = k
	}
	if !w.allowed[by] {
		w.problem("a slot of listener %d under %s leads to %s, which is not wanted", l.ID, k.Address, b.Address)
	}
	if b.NextHop.Interface == 0 {
		w.problem("a slot of listener %d leads to %s, which has no next hop", l.ID, b.Address)
	}
	if w.names[dataplane.NameKey{Kind: dataplane.NameBackend, ID: b.Counter}] == "" {
		w.problem("a slot of listener %d leads to %s, which has no name", l.ID, b.Address)
	}
}
