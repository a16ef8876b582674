// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"github.com/weirlb/weir/pkg/lb"
)

// Snapshot is what the tables hold, put together into the words of the
// configuration. Everything in it is sorted.
type Snapshot struct {
	Balancers []BalancerState
	Listeners []ListenerState
	Backends  []BackendState
}

// BalancerState is a balancer as the kernel has it.
type BalancerState struct {
	Label     string       `json:"label"`
	Addresses []netip.Addr `json:"addresses"`
	Listeners int          `json:"listeners"`
	Backends  int          `json:"backends"`
	Up        int          `json:"up"` // of the backends
	Forwarded Traffic      `json:"forwarded"`
	Dropped   Traffic      `json:"dropped"`
}

// ListenerState is a listener as the kernel has it.
type ListenerState struct {
	lb.ListenerKey
	Addresses []netip.Addr
	Entry     Listener
	Backends  int
	Up        int    // of the backends
	Unsteady  uint32 // slots whose flows are looked up: on the move, or tracked
	Forwarded Traffic
	Dropped   Traffic
	Tracking  TrackingTraffic
}

// BackendState is a backend of a listener as the kernel has it.
type BackendState struct {
	Listener lb.ListenerKey
	Label    string
	Index    uint32 // in the pool of the listener
	Backend
	Slots     uint32 // of the listener's table that lead to it
	TableSize uint32
	Traffic   Traffic
}

// Snapshot reads all tables. While an agent writes to them the parts may be a
// moment apart.
func (t *Tables) Snapshot() (*Snapshot, error) {
	b := snapshotBuilder{tables: t, balancers: make(map[uint32]*BalancerState), listeners: make(map[uint32]*ListenerState)}
	for _, step := range []func() error{b.readNames, b.readVIPs, b.readListeners, b.readListenerCounters, b.readPools} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b.sorted(), nil
}

type snapshotBuilder struct {
	tables    *Tables
	names     map[NameKey]string
	balancers map[uint32]*BalancerState
	listeners map[uint32]*ListenerState
	backends  []BackendState
}

func (b *snapshotBuilder) readNames() (err error) {
	b.names, err = b.tables.Names()
	return err
}

// name returns a label, or the number where the label is missing.
func (b *snapshotBuilder) name(kind NameKind, id uint32) string {
	if s, ok := b.names[NameKey{Kind: kind, ID: id}]; ok {
		return s
	}
	return "#" + strconv.FormatUint(uint64(id), 10)
}

func (b *snapshotBuilder) balancer(id uint32) *BalancerState {
	if b.balancers[id] == nil {
		b.balancers[id] = &BalancerState{Label: b.name(NameBalancer, id)}
	}
	return b.balancers[id]
}

func (b *snapshotBuilder) readVIPs() error {
	vips, err := b.tables.VIPs()
	if err != nil {
		return err
	}
	for addr, vip := range vips {
		state := b.balancer(vip.Balancer)
		state.Addresses = append(state.Addresses, addr)
	}
	return nil
}

func (b *snapshotBuilder) readListeners() error {
	entries, err := b.tables.Listeners()
	if err != nil {
		return err
	}
	for key, entry := range entries {
		state := b.listeners[entry.ID]
		if state == nil {
			balancer := b.balancer(entry.Balancer)
			balancer.Listeners++
			state = &ListenerState{Entry: entry, ListenerKey: lb.ListenerKey{
				Balancer: balancer.Label, Port: key.Port, Protocol: key.Protocol,
			}}
			b.listeners[entry.ID] = state
		}
		if entry.NewerThan(state.Entry) { // a change was cut short between two addresses
			state.Entry = entry
		}
		state.Addresses = append(state.Addresses, key.Address)
	}
	return nil
}

func (b *snapshotBuilder) readListenerCounters() error {
	var n uint32
	for id := range b.listeners {
		n = max(n, id+1)
	}
	counters, err := b.tables.ListenerCounters(n)
	if err != nil {
		return err
	}
	tracking, err := b.tables.TrackingCounters(n)
	if err != nil {
		return err
	}
	for id, state := range b.listeners {
		balancer := b.balancer(state.Entry.Balancer)
		state.Forwarded, state.Dropped = counters[id].Forwarded, counters[id].Dropped
		state.Tracking = tracking[id]
		balancer.Forwarded = balancer.Forwarded.Add(state.Forwarded)
		balancer.Dropped = balancer.Dropped.Add(state.Dropped)
	}
	return nil
}

func (b *snapshotBuilder) readPools() error {
	var n uint32
	for _, listener := range b.listeners {
		if err := b.readPool(listener); err != nil {
			return err
		}
	}
	for _, backend := range b.backends {
		n = max(n, backend.Counter+1)
	}
	counters, err := b.tables.BackendCounters(n)
	if err != nil {
		return err
	}
	for i := range b.backends {
		b.backends[i].Traffic = counters[b.backends[i].Counter]
	}
	return nil
}

func (b *snapshotBuilder) readPool(l *ListenerState) error {
	pool, err := b.tables.Backends(l.Entry.Pool, l.Entry.PoolSize)
	if err != nil {
		return err
	}
	slots := make([]Slot, l.Entry.TableSize)
	if err := b.tables.ReadSlots(l.Entry.Slots, slots); err != nil {
		return err
	}
	share := make([]uint32, len(pool))
	for _, s := range slots {
		if int(s.Current) < len(share) {
			share[s.Current]++
		}
		if !s.Steady() {
			l.Unsteady++
		}
	}
	balancer := b.balancer(l.Entry.Balancer)
	for i, backend := range pool {
		if backend == (Backend{}) {
			continue
		}
		l.Backends++
		balancer.Backends++
		if backend.Health == lb.HealthUp {
			l.Up++
			balancer.Up++
		}
		b.backends = append(b.backends, BackendState{
			Listener: l.ListenerKey, Label: b.name(NameBackend, backend.Counter), Index: uint32(i),
			Backend: backend, Slots: share[i], TableSize: l.Entry.TableSize,
		})
	}
	return nil
}

func (b *snapshotBuilder) sorted() *Snapshot {
	s := &Snapshot{Backends: b.backends}
	for _, balancer := range b.balancers {
		slices.SortFunc(balancer.Addresses, netip.Addr.Compare)
		s.Balancers = append(s.Balancers, *balancer)
	}
	for _, listener := range b.listeners {
		slices.SortFunc(listener.Addresses, netip.Addr.Compare)
		s.Listeners = append(s.Listeners, *listener)
	}
	slices.SortFunc(s.Balancers, func(a, b BalancerState) int { return cmp.Compare(a.Label, b.Label) })
	slices.SortFunc(s.Listeners, func(a, b ListenerState) int { return compareKeys(a.ListenerKey, b.ListenerKey) })
	slices.SortFunc(s.Backends, func(a, b BackendState) int {
		return cmp.Or(compareKeys(a.Listener, b.Listener), cmp.Compare(a.Label, b.Label), a.Address.Compare(b.Address))
	})
	return s
}

func compareKeys(a, b lb.ListenerKey) int {
	return cmp.Or(cmp.Compare(a.Balancer, b.Balancer), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
}
