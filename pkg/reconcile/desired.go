// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// Desired is all that the tables should say. A Reconciler does not change it
// and keeps no reference to it. The order of its parts has no influence.
type Desired struct {
	Seed      uint64 // of the tables; the same on all balancers of the same addresses
	Balancers []Balancer
}

// Balancer is a balancer as it should be. Its label is unique; each address
// belongs to one balancer, and it has at least one.
type Balancer struct {
	Label     string
	Addresses []netip.Addr
	Listeners []Listener
}

// Listener is a listener as it should be. Port and protocol are unique in a
// balancer.
type Listener struct {
	Port      uint16
	Protocol  lb.Protocol
	Forward   lb.Forward
	Algorithm lb.Algorithm
	TableSize uint32 // a prime
	OnDown    lb.OnDown
	OnAllDown lb.OnAllDown

	DrainTimeout time.Duration // how long a draining backend keeps its flows
	IdleTimeout  time.Duration // how long a flow may be silent and is still known

	Backends []Backend
}

// Backend is a backend as it should be. Address is unique in its pool.
type Backend struct {
	Label      string
	Address    netip.AddrPort
	Weight     uint8     // 1 to 255
	Mode       lb.Mode   // that is in force
	Configured lb.Mode   // of the configuration, where a command has set Mode
	Health     lb.Health // HealthUp where nothing is checked
	NextHop    lb.NextHop
	Reachable  bool // NextHop is known
}

// takesTraffic reports whether b can take new flows by what is known of it.
func (b *Backend) takesTraffic() bool { return b.Reachable && b.Health == lb.HealthUp }

// entry returns b as the table of backends holds it, but for what depends on
// time and on other backends.
func (b *Backend) entry(forward lb.Forward, counter uint32) dataplane.Backend {
	e := dataplane.Backend{
		Address:    plainAddrPort(b.Address),
		Forward:    forward,
		Weight:     b.Weight,
		Health:     b.Health,
		Counter:    counter,
		Mode:       b.Mode,
		Configured: b.Configured,
	}
	if b.Reachable {
		e.NextHop = b.NextHop
		e.NextHop.Gateway = netip.Addr{}
		e.NextHop.MTU = min(e.NextHop.MTU, math.MaxUint16)
	}
	return e
}

// plainAddr returns addr in the one form that the tables have for it.
func plainAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

func plainAddrPort(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(plainAddr(a.Addr()), a.Port())
}

// sorted returns the balancers by label.
func (d *Desired) sorted() []*Balancer { return sortedPointers(d.Balancers, compareBalancers) }

func compareBalancers(a, b *Balancer) int { return cmp.Compare(a.Label, b.Label) }

// sorted returns the listeners by port and protocol.
func (b *Balancer) sorted() []*Listener { return sortedPointers(b.Listeners, compareListeners) }

func compareListeners(a, b *Listener) int {
	return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
}

// sorted returns the backends by address.
func (l *Listener) sorted() []*Backend { return sortedPointers(l.Backends, compareBackends) }

func compareBackends(a, b *Backend) int {
	return plainAddrPort(a.Address).Compare(plainAddrPort(b.Address))
}

func sortedPointers[T any](items []T, compare func(a, b *T) int) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	slices.SortFunc(out, compare)
	return out
}

func (l *Listener) key(balancer string) lb.ListenerKey {
	return lb.ListenerKey{Balancer: balancer, Port: l.Port, Protocol: l.Protocol}
}

// check refuses what the tables cannot express. Configuration finds these
// mistakes first, with lines and columns; here they would cross two listeners.
func (d *Desired) check() error {
	owners := make(map[netip.Addr]string)
	balancers := d.sorted()
	for i, b := range balancers {
		if i > 0 && b.Label == balancers[i-1].Label {
			return fmt.Errorf("balancer %s is defined twice", b.Label)
		}
		if len(b.Addresses) == 0 {
			return fmt.Errorf("balancer %s has no address", b.Label)
		}
		for _, addr := range b.Addresses {
			if !addr.IsValid() {
				return fmt.Errorf("balancer %s: address %s is not an address", b.Label, addr)
			}
			if owner, taken := owners[plainAddr(addr)]; taken {
				return fmt.Errorf("balancer %s: address %s belongs to balancer %s", b.Label, addr, owner)
			}
			owners[plainAddr(addr)] = b.Label
		}
		listeners := b.sorted()
		for j, l := range listeners {
			if j > 0 && compareListeners(l, listeners[j-1]) == 0 {
				return fmt.Errorf("listener %s is defined twice", l.key(b.Label))
			}
			if err := l.check(); err != nil {
				return fmt.Errorf("listener %s: %w", l.key(b.Label), err)
			}
		}
	}
	return nil
}

func (l *Listener) check() error {
	switch {
	case l.TableSize == 0:
		return errors.New("the table size is not set")
	case l.Forward == 0:
		return errors.New("the way of forwarding is not set")
	}
	backends := l.sorted()
	for i, b := range backends {
		if !b.Address.IsValid() {
			return fmt.Errorf("backend %s has no address", b.Label)
		}
		if b.Weight == 0 {
			return fmt.Errorf("backend %s has no weight", b.Address)
		}
		if i > 0 && compareBackends(b, backends[i-1]) == 0 {
			return fmt.Errorf("backend %s is in the pool twice", b.Address)
		}
	}
	return nil
}
