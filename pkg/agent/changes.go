// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/netip"
	"sync"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
)

// changes collects what happened to targets and addresses until the agent has
// time for it. What happens while the agent works on the one before is then
// done in one go, so that a rack that goes down costs one table, not forty.
type changes struct {
	wake chan struct{} // holds a value while there is something to take

	mu        sync.Mutex
	targets   map[lb.Target]struct{}
	addresses map[netip.Addr]struct{}
}

func (c *changes) init() {
	c.wake = make(chan struct{}, 1)
	c.targets = make(map[lb.Target]struct{})
	c.addresses = make(map[netip.Addr]struct{})
}

func (c *changes) addTarget(t lb.Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.targets[t] = struct{}{}
	c.signal()
}

func (c *changes) addAddresses(addrs []netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, addr := range addrs {
		c.addresses[addr] = struct{}{}
	}
	c.signal()
}

func (c *changes) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take empties the collection into the listeners that are affected.
func (c *changes) take(ix *index) map[lb.ListenerKey]struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := make(map[lb.ListenerKey]struct{})
	for t := range c.targets {
		for _, key := range ix.byTarget[t] {
			keys[key] = struct{}{}
		}
	}
	for addr := range c.addresses {
		for _, key := range ix.byAddress[addr] {
			keys[key] = struct{}{}
		}
	}
	clear(c.targets)
	clear(c.addresses)
	return keys
}

// index finds the listeners that a change affects, and what a configuration
// wants checked and resolved.
type index struct {
	listeners map[lb.ListenerKey]*lb.Listener
	byTarget  map[lb.Target][]lb.ListenerKey
	byAddress map[netip.Addr][]lb.ListenerKey
}

// newIndex returns the index of a configuration. Backends whose mode is reject
// are not checked.
func newIndex(balancers []lb.Balancer, m modes) index {
	ix := index{
		listeners: make(map[lb.ListenerKey]*lb.Listener),
		byTarget:  make(map[lb.Target][]lb.ListenerKey),
		byAddress: make(map[netip.Addr][]lb.ListenerKey),
	}
	for i := range balancers {
		b := &balancers[i]
		for j := range b.Listeners {
			l := &b.Listeners[j]
			key := b.Key(l)
			ix.listeners[key] = l
			for _, backend := range l.Backends {
				addr := backend.Address.Addr()
				ix.byAddress[addr] = append(ix.byAddress[addr], key)
				if l.Check.Type != lb.CheckNone && m.of(key, backend) != lb.ModeReject {
					target := l.Check.Target(backend)
					ix.byTarget[target] = append(ix.byTarget[target], key)
				}
			}
		}
	}
	return ix
}

// initial returns the health that new targets of the index begin with: what is
// known of a backend that has them.
func (ix *index) initial(known map[control.BackendKey]lb.Health) func(lb.Target) lb.Health {
	return func(t lb.Target) lb.Health {
		for _, key := range ix.byTarget[t] {
			l := ix.listeners[key]
			for _, b := range l.Backends {
				if health, ok := known[backendKey(key, b)]; ok && l.Check.Target(b) == t {
					return health
				}
			}
		}
		return lb.HealthUnknown
	}
}

func backendKey(listener lb.ListenerKey, b lb.Backend) control.BackendKey {
	return control.BackendKey{Listener: listener, Address: b.Address.String()}
}

// watch makes the checker and the resolver follow what the given indexes need,
// and nothing else.
func (a *Agent) watch(initial func(lb.Target) lb.Health, indexes ...*index) {
	var targets []lb.Target
	var addrs []netip.Addr
	for _, ix := range indexes {
		for t := range ix.byTarget {
			targets = append(targets, t)
		}
		for addr := range ix.byAddress {
			addrs = append(addrs, addr)
		}
	}
	a.resolver.Set(addrs)
	a.checker.Set(targets, initial)
}
