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

// ListenerState is a listener as the tables have it.
type ListenerState struct {
	Key       lb.ListenerKey
	Addresses []netip.Addr       // in order
	Entry     dataplane.Listener // identifiers and ranges
	Backends  []BackendState     // by address
	Unused    uint32             // slots that lead to no backend
}

// BackendState is a backend as the tables have it.
type BackendState struct {
	Label   string
	Index   uint16            // in the pool, as slots name it
	Entry   dataplane.Backend // with its counter
	Slots   uint32            // that lead to it
	Leaving bool              // out of its pool, and its entry soon empty
}

// State returns all listeners, by key.
func (r *Reconciler) State() ([]ListenerState, error) {
	var out []ListenerState
	err := r.Walk(func(l ListenerState) error {
		out = append(out, l)
		return nil
	})
	return out, err
}

// Walk calls fn for each listener, by key, until it returns an error. Changes
// may come between one listener and the next.
func (r *Reconciler) Walk(fn func(ListenerState) error) error {
	keys, err := r.keys()
	if err != nil {
		return err
	}
	for _, k := range keys {
		state, ok, err := r.listenerState(k.id)
		if err != nil {
			return fmt.Errorf("listener %s: %w", k.key, err)
		}
		if !ok {
			continue
		}
		if err := fn(state); err != nil {
			return err
		}
	}
	return nil
}

type keyed struct {
	key lb.ListenerKey
	id  uint32
}

func (r *Reconciler) keys() ([]keyed, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.refresh(); err != nil {
		return nil, err
	}
	out := make([]keyed, 0, len(r.model.listeners))
	for id, l := range r.model.listeners {
		out = append(out, keyed{l.key, id})
	}
	slices.SortFunc(out, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.key.Balancer, b.key.Balancer), cmp.Compare(a.key.Port, b.key.Port),
			cmp.Compare(a.key.Protocol, b.key.Protocol), cmp.Compare(a.id, b.id))
	})
	return out, nil
}

func (r *Reconciler) listenerState(id uint32) (ListenerState, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.refresh(); err != nil {
		return ListenerState{}, false, err
	}
	l := r.model.listeners[id]
	if l == nil {
		return ListenerState{}, false, nil
	}
	pool, err := r.store.Backends(l.entry.Pool, l.entry.PoolSize)
	if err != nil {
		return ListenerState{}, false, fmt.Errorf("read the pool: %w", err)
	}
	state := ListenerState{
		Key:       l.key,
		Addresses: slices.SortedFunc(maps.Keys(l.entries), netip.Addr.Compare),
		Entry:     l.entry,
		Unused:    l.slots[0],
	}
	for i, e := range pool {
		if empty(e) {
			continue
		}
		b := BackendState{Label: r.model.counters[e.Counter].label, Index: uint16(i), Entry: e}
		if i < len(l.slots) {
			b.Slots = l.slots[i]
		}
		_, b.Leaving = l.retired[b.Index]
		state.Backends = append(state.Backends, b)
	}
	slices.SortFunc(state.Backends, func(a, b BackendState) int {
		return cmp.Or(a.Entry.Address.Compare(b.Entry.Address), cmp.Compare(a.Index, b.Index))
	})
	return state, true, nil
}
