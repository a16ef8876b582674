// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// plan is a change worked out and known to fit. Nothing of it is written yet,
// nor in the model.
type plan struct {
	seed      uint64
	alloc     allocators // with all that the change takes
	listeners []*listenerPlan

	// The rest is of changes of the whole state only.
	whole            bool
	balancers        []*balancerPlan
	vips             map[netip.Addr]dataplane.VIP
	surplus          []dataplane.ListenerKey // entries that no listener has any more
	removed          []*listener
	removedBalancers []*balancer
}

// balancerPlan is what becomes of a balancer.
type balancerPlan struct {
	want      *Balancer
	was       *balancer // nil: it is new
	id        uint32
	addresses []netip.Addr // in order
}

// planner works out a plan.
type planner struct {
	plan
	store  Store
	limits dataplane.Limits
	model  *model
	places map[netip.AddrPort]uint16 // scratch of assign: indices in a pool
}

func newPlanner(store Store, m *model) *planner {
	return &planner{
		plan:   plan{alloc: m.alloc.clone()},
		store:  store,
		limits: store.Limits(),
		model:  m,
		places: make(map[netip.AddrPort]uint16),
	}
}

// planWhole works out how to get from what is in the tables to d.
func planWhole(store Store, m *model, d *Desired) (*plan, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	p := newPlanner(store, m)
	p.seed, p.whole = d.Seed, true
	p.matchBalancers(d)
	p.matchListeners()
	if err := p.checkAddresses(); err != nil {
		return nil, err
	}
	if err := p.layOut(); err != nil {
		return nil, err
	}
	return &p.plan, nil
}

// planSome works out how to change listeners that are there, whose balancers
// stay as they are.
func planSome(store Store, m *model, seed uint64, changes []Change) (*plan, error) {
	p := newPlanner(store, m)
	p.seed = seed
	byKey := make(map[lb.ListenerKey]*listener, len(m.listeners))
	for _, l := range m.listeners {
		byKey[l.key] = l
	}
	for i := range changes {
		want := &changes[i].Listener
		key := want.key(changes[i].Balancer)
		was := byKey[key]
		if was == nil {
			return nil, fmt.Errorf("listener %s is not in the applied state, or given twice", key)
		}
		if err := want.check(); err != nil {
			return nil, fmt.Errorf("listener %s: %w", key, err)
		}
		delete(byKey, key)
		addresses := slices.SortedFunc(maps.Keys(was.entries), netip.Addr.Compare)
		p.listeners = append(p.listeners, newListenerPlan(key, want, was, was.entry.Balancer, addresses))
	}
	if err := p.layOut(); err != nil {
		return nil, err
	}
	return &p.plan, nil
}

// matchBalancers decides which balancers stay, come and go.
func (p *planner) matchBalancers(d *Desired) {
	desired := d.sorted()
	kept := make(map[uint32]bool)
	for i, was := range matchBalancers(desired, p.model.balancers) {
		b := &balancerPlan{want: desired[i], was: was}
		if was != nil {
			b.id = was.id
			kept[b.id] = true
		} else {
			b.id = p.alloc.balancers.take()
		}
		for _, addr := range b.want.Addresses {
			b.addresses = append(b.addresses, plainAddr(addr))
		}
		slices.SortFunc(b.addresses, netip.Addr.Compare)
		p.balancers = append(p.balancers, b)
	}
	for _, id := range slices.Sorted(maps.Keys(p.model.balancers)) {
		if !kept[id] {
			p.removedBalancers = append(p.removedBalancers, p.model.balancers[id])
		}
	}
}

// matchListeners decides which listeners stay, come and go.
func (p *planner) matchListeners() {
	type place struct {
		balancer uint32
		port     uint16
		protocol lb.Protocol
	}
	have := make(map[place]*listener, len(p.model.listeners))
	for _, l := range p.model.listeners {
		have[place{l.entry.Balancer, l.key.Port, l.key.Protocol}] = l
	}
	for _, b := range p.balancers {
		for _, want := range b.want.sorted() {
			at := place{b.id, want.Port, want.Protocol}
			p.listeners = append(p.listeners,
				newListenerPlan(want.key(b.want.Label), want, have[at], b.id, b.addresses))
			delete(have, at)
		}
	}
	for _, l := range have {
		p.removed = append(p.removed, l)
	}
	slices.SortFunc(p.removed, func(a, b *listener) int { return cmp.Compare(a.entry.ID, b.entry.ID) })
}

// checkAddresses works out the entries under addresses and whether they fit,
// those that go beside those that come.
func (p *planner) checkAddresses() error {
	p.vips = make(map[netip.Addr]dataplane.VIP)
	for _, b := range p.balancers {
		vip := dataplane.VIP{Balancer: b.id}
		for _, l := range b.want.Listeners {
			vip.TCP = vip.TCP || l.Protocol == lb.TCP
			vip.UDP = vip.UDP || l.Protocol == lb.UDP
		}
		for _, addr := range b.addresses {
			p.vips[addr] = vip
		}
	}
	keys := make(map[dataplane.ListenerKey]bool)
	for _, l := range p.listeners {
		for _, addr := range l.addresses {
			keys[l.entryKey(addr)] = true
		}
	}
	for _, l := range p.model.listeners {
		for addr := range l.entries {
			if key := entryKey(l.key, addr); !keys[key] {
				p.surplus = append(p.surplus, key)
			}
		}
	}
	slices.SortFunc(p.surplus, compareEntryKeys)

	var need4, need6 uint64
	for _, all := range [][]dataplane.ListenerKey{slices.Collect(maps.Keys(keys)), p.surplus} {
		for _, key := range all {
			if key.Address.Is4() {
				need4++
			} else {
				need6++
			}
		}
	}
	vips := maps.Clone(p.vips)
	maps.Copy(vips, p.model.vips)
	limit := uint64(p.limits.Listeners)
	return firstFull(
		FullError{Table: "listeners4", Needed: need4, Limit: limit, Key: keyListeners},
		FullError{Table: "listeners6", Needed: need6, Limit: limit, Key: keyListeners},
		FullError{Table: "vips", Needed: uint64(len(vips)), Limit: limit, Key: keyListeners},
	)
}

// firstFull returns the first of tables that does not fit.
func firstFull(tables ...FullError) error {
	for _, t := range tables {
		if t.Needed > t.Limit {
			return &t
		}
	}
	return nil
}
