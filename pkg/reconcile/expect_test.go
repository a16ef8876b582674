// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
)

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// view is what the tables mean, without identifiers and places, so that it can
// be compared with a plain rendering of a desired state.
type view struct {
	Listeners map[dataplane.ListenerKey]listenerView
	VIPs      map[netip.Addr]vipView
}

type listenerView struct {
	Balancer  string
	Algorithm lb.Algorithm
	OnAllDown lb.OnAllDown
	Pool      map[netip.AddrPort]backendView
	Slots     []netip.AddrPort // by slot, to whom it leads
}

type backendView struct {
	Label   string
	Forward lb.Forward
	Weight  uint8
	Health  lb.Health
	NextHop lb.NextHop
}

type vipView struct {
	Balancer string
	TCP, UDP bool
}

// compareAddrs makes go-cmp compare addresses, which have private fields.
var compareAddrs = []cmp.Option{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

// render says plainly what the tables should mean.
func render(d Desired) view {
	v := view{Listeners: make(map[dataplane.ListenerKey]listenerView), VIPs: make(map[netip.Addr]vipView)}
	for _, b := range d.Balancers {
		for _, addr := range b.Addresses {
			vip := vipView{Balancer: b.Label}
			for _, l := range b.Listeners {
				vip.TCP = vip.TCP || l.Protocol == lb.TCP
				vip.UDP = vip.UDP || l.Protocol == lb.UDP
				v.Listeners[dataplane.ListenerKey{Address: addr, Port: l.Port, Protocol: l.Protocol}] =
					renderListener(d.Seed, b.Label, l)
			}
			v.VIPs[addr] = vip
		}
	}
	return v
}

func renderListener(seed uint64, balancer string, l Listener) listenerView {
	out := listenerView{
		Balancer: balancer, Algorithm: l.Algorithm, OnAllDown: l.OnAllDown,
		Pool:  make(map[netip.AddrPort]backendView),
		Slots: make([]netip.AddrPort, l.TableSize),
	}
	var up, reachable []maglev.Member
	for i, b := range l.Backends {
		hop := lb.NextHop{}
		if b.Reachable {
			hop = b.NextHop
			hop.Gateway = netip.Addr{}
		}
		out.Pool[b.Address] =
			backendView{Label: b.Label, Forward: l.Forward, Weight: b.Weight, Health: b.Health, NextHop: hop}
		m := maglev.Member{Address: b.Address, Weight: b.Weight, ID: uint16(i + 1)}
		if b.Reachable {
			reachable = append(reachable, m)
			if b.Health == lb.HealthUp {
				up = append(up, m)
			}
		}
	}
	members := up
	if len(up) == 0 && l.OnAllDown == lb.AllDownOpen {
		members = reachable
	}
	table := make([]uint16, l.TableSize)
	if len(members) > 0 {
		new(maglev.Builder).Build(table, seed, members)
	}
	for i, id := range table {
		if id != 0 {
			out.Slots[i] = l.Backends[id-1].Address
		}
	}
	return out
}

// tables is all that a store says, read at once.
type tables struct {
	limits    dataplane.Limits
	Listeners map[dataplane.ListenerKey]dataplane.Listener
	VIPs      map[netip.Addr]dataplane.VIP
	Names     map[dataplane.NameKey]string
	Backends  []dataplane.Backend
	Slots     map[uint32][]dataplane.Slot // by the first, of those that a listener has
}

func readTables(t failer, store Store) tables {
	t.Helper()
	var out tables
	var err error
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatalf("reading the tables: %v", err)
		}
	}
	out.limits = store.Limits()
	out.Listeners, err = store.Listeners()
	check()
	out.VIPs, err = store.VIPs()
	check()
	out.Names, err = store.Names()
	check()
	out.Backends, err = store.Backends(0, out.limits.Backends)
	check()
	out.Slots = make(map[uint32][]dataplane.Slot)
	for _, l := range out.Listeners {
		slots := make([]dataplane.Slot, l.TableSize)
		err = store.ReadSlots(l.Slots, slots)
		check()
		out.Slots[l.Slots] = slots
	}
	return out
}

func (s tables) name(kind dataplane.NameKind, id uint32) string {
	return s.Names[dataplane.NameKey{Kind: kind, ID: id}]
}

// view returns what the tables mean. Backends that are in a pool without being
// in want count only if there is something to say against them.
func (s tables) view(t failer, want view, clean bool) view {
	t.Helper()
	v := view{Listeners: make(map[dataplane.ListenerKey]listenerView), VIPs: make(map[netip.Addr]vipView)}
	for addr, vip := range s.VIPs {
		v.VIPs[addr] = vipView{Balancer: s.name(dataplane.NameBalancer, vip.Balancer), TCP: vip.TCP, UDP: vip.UDP}
	}
	for key, l := range s.Listeners {
		lv := listenerView{
			Balancer:  s.name(dataplane.NameBalancer, l.Balancer),
			Algorithm: l.Algorithm, OnAllDown: l.OnAllDown,
			Pool:  make(map[netip.AddrPort]backendView),
			Slots: make([]netip.AddrPort, l.TableSize),
		}
		pool := s.Backends[l.Pool : l.Pool+l.PoolSize]
		for _, b := range pool {
			at := b.Address
			if _, ok := want.Listeners[key].Pool[at]; empty(b) || !ok && !clean {
				continue
			}
			if _, ok := lv.Pool[at]; ok {
				t.Fatalf("backend %s is in the pool of %v twice", b.Address, key)
			}
			lv.Pool[at] = backendView{
				Label: s.name(dataplane.NameBackend, b.Counter), Forward: b.Forward, Weight: b.Weight, Health: b.Health, NextHop: b.NextHop,
			}
		}
		for i, slot := range s.Slots[l.Slots] {
			lv.Slots[i] = pool[slot.Current].Address
		}
		v.Listeners[key] = lv
	}
	return v
}

// expect compares the tables with what a desired state means. Clean tables
// hold nothing else.
func expect(t failer, store Store, d Desired, clean bool) {
	t.Helper()
	s := readTables(t, store)
	want := render(d)
	if got := s.view(t, want, clean); !reflect.DeepEqual(want, got) {
		t.Fatalf("the tables do not mean what they should (-want +got):\n%s", cmp.Diff(want, got, compareAddrs...))
	}
	s.expectPlaces(t)
	if clean {
		s.expectClean(t)
		s.expectSteady(t)
	}
}

// expectSteady checks that nothing moves.
func (s tables) expectSteady(t failer) {
	t.Helper()
	for key, l := range s.Listeners {
		if l.OldTable {
			t.Fatalf("listener %v still has its old table", key)
		}
		for i, slot := range s.Slots[l.Slots] {
			if !slot.Steady() {
				t.Fatalf("slot %d of listener %v is not steady: %+v", i, key, slot)
			}
		}
	}
}

// expectPlaces checks that no two listeners share what each must have alone.
func (s tables) expectPlaces(t failer) {
	t.Helper()
	byID := make(map[uint32]dataplane.Listener)
	counters := make(map[uint32]string)
	pools, slots := newSpans(s.limits.Backends), newSpans(s.limits.Slots)
	for key, l := range s.Listeners {
		if other, ok := byID[l.ID]; ok {
			if other != l {
				t.Fatalf("entries of one listener differ: %+v and %+v", other, l)
			}
			continue
		}
		byID[l.ID] = l
		if !pools.use(poolSpan(l)) || !slots.use(slotSpan(l)) {
			t.Fatalf("listener %v shares its pool or its slots: %+v", key, l)
		}
		for _, b := range s.Backends[l.Pool : l.Pool+l.PoolSize] {
			if empty(b) {
				continue
			}
			owner := fmt.Sprintf("%d of listener %d", b.Counter, l.ID)
			if counters[b.Counter] != "" {
				t.Fatalf("counter %s is also that of %s", owner, counters[b.Counter])
			}
			counters[b.Counter] = owner
		}
	}
}

// expectClean checks that nothing is left of what is out of use.
func (s tables) expectClean(t failer) {
	t.Helper()
	names := make(map[dataplane.NameKey]bool)
	inPool := make([]bool, len(s.Backends))
	for _, v := range s.VIPs {
		names[dataplane.NameKey{Kind: dataplane.NameBalancer, ID: v.Balancer}] = true
	}
	for _, l := range s.Listeners {
		for i := l.Pool; i < l.Pool+l.PoolSize; i++ {
			inPool[i] = true
			if b := s.Backends[i]; !empty(b) {
				names[dataplane.NameKey{Kind: dataplane.NameBackend, ID: b.Counter}] = true
			}
		}
	}
	for i, b := range s.Backends {
		if !inPool[i] && !empty(b) {
			t.Fatalf("entry %d is left over: %s", i, b.Address)
		}
	}
	for key, name := range s.Names {
		if !names[key] {
			t.Fatalf("name %s is left over: %+v", name, key)
		}
	}
}

// expectStable checks that what is in both states kept its identifiers and
// places. The tables before are those of d.
func expectStable(t failer, d Desired, before, after tables) {
	t.Helper()
	want := render(d)
	for key, was := range before.Listeners {
		is, ok := after.Listeners[key]
		if !ok || before.name(dataplane.NameBalancer, was.Balancer) != after.name(dataplane.NameBalancer, is.Balancer) {
			continue
		}
		same := was.TableSize == is.TableSize && was.Algorithm == is.Algorithm
		if was.ID != is.ID || was.Balancer != is.Balancer || same && was.Slots != is.Slots {
			t.Fatalf("listener %v moved: %+v is now %+v", key, was, is)
		}
		places := make(map[netip.AddrPort]string)
		for i, b := range after.Backends[is.Pool : is.Pool+is.PoolSize] {
			places[b.Address] = fmt.Sprintf("index %d, counter %d", i, b.Counter)
		}
		for i, b := range before.Backends[was.Pool : was.Pool+was.PoolSize] {
			at := b.Address
			if _, ok := want.Listeners[key].Pool[at]; !ok || places[at] == "" {
				continue
			}
			if place := fmt.Sprintf("index %d, counter %d", i, b.Counter); place != places[at] {
				t.Fatalf("backend %s of %v moved from %s to %s", b.Address, key, place, places[at])
			}
		}
	}
}

// open opens tables and fails the test if that is not possible.
func open(t testing.TB, store Store, c *clock) *Reconciler {
	t.Helper()
	r, err := Open(store, Options{Clock: c.read, Uptime: c.uptime, Workers: 1})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return r
}

// mustApply applies a state.
func mustApply(t testing.TB, r *Reconciler, d Desired) Report {
	t.Helper()
	report, err := r.Apply(t.Context(), d)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return report
}

// collect lets time pass until all slots are steady and nothing is held back.
func collect(t testing.TB, r *Reconciler, c *clock) Report {
	t.Helper()
	var report Report
	for range collections {
		c.advance(DefaultGrace)
		done, err := r.Collect(t.Context())
		if err != nil {
			t.Fatalf("Collect: %v", err)
		}
		report.add(done)
	}
	return report
}

// collections is how often an agent collects, once a second, until nothing is
// left of a change: flows are given up after an idle_timeout of 0 and the step
// of the clock, scans come a second after that, and so does what they free.
const collections = 10

// wipe empties tables.
func wipe(t testing.TB, store Store) {
	t.Helper()
	c := newClock()
	r := open(t, store, c)
	mustApply(t, r, Desired{})
	collect(t, r, c)
	expect(t, store, Desired{}, true)
}
