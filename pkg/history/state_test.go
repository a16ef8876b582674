// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
	"github.com/weirlb/weir/pkg/packet/model"
	"github.com/weirlb/weir/pkg/reconcile"
)

// The addresses of the balancer.
var (
	vip4 = netip.MustParseAddr("203.0.113.10")
	vip6 = netip.MustParseAddr("2001:db8::10")
)

// idleTimeout is that of every listener.
const idleTimeout = 10 * time.Second

// servers is how many backends a pool can have.
const servers = 6

// server returns backend web-n: up, reachable, of mode accept. Every other one
// has an IPv6 address; one is behind the interface that packets come by.
func server(n int) reconcile.Backend {
	addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(n)})
	if n%2 == 0 {
		addr = netip.AddrFrom16([16]byte{0: 0x20, 0x01, 0x0d, 0xb8, 5: 0xb, 15: byte(n)})
	}
	hop := lb.NextHop{Interface: 2, Source: lb.MAC{2, 0, 0, 0, 0, 1}, Dest: lb.MAC{2, 0, 0, 0, 1, byte(n)}, MTU: 1500}
	if n == 3 {
		hop.Interface = 1
	}
	return reconcile.Backend{
		Label: fmt.Sprintf("web-%d", n), Address: netip.AddrPortFrom(addr, 80), Weight: 100,
		Health: lb.HealthUp, Reachable: true, NextHop: hop,
	}
}

// labelOf returns the label of the backend with an address, as server gave it.
func labelOf(addr netip.Addr) string {
	if !addr.IsValid() {
		return "nowhere"
	}
	b := addr.AsSlice()
	return fmt.Sprintf("web-%d", b[len(b)-1])
}

// serversTo returns web-1 to web-n.
func serversTo(n int) (pool []reconcile.Backend) {
	for i := range n {
		pool = append(pool, server(i+1))
	}
	return pool
}

// port names a listener of the balancer.
type port struct {
	number   uint16
	protocol lb.Protocol
}

func (p port) String() string { return fmt.Sprintf("%d/%s", p.number, p.protocol) }

// The listeners that there can be.
var (
	web    = port{80, lb.TCP}
	secure = port{443, lb.TCP}
	dns    = port{53, lb.UDP}
	ports  = []port{web, secure, dns}
)

// newListener returns a listener with some backends.
func newListener(p port, pool ...reconcile.Backend) reconcile.Listener {
	l := reconcile.Listener{
		Port: p.number, Protocol: p.protocol, Forward: lb.IPIP, TableSize: 31, OnAllDown: lb.AllDownOpen,
		DrainTimeout: 15 * time.Second, IdleTimeout: idleTimeout, Backends: pool,
	}
	if p == secure {
		l.Algorithm, l.TableSize = lb.Source, 13
	}
	return l
}

// state is a desired state and what follows from it by the rules of DESIGN, not
// by the code of the reconciler.
type state struct {
	reconcile.Desired
	tables map[port][]netip.Addr // where new flows go, by slot
}

// newState returns the state of the balancer with these listeners.
func newState(listeners ...reconcile.Listener) *state {
	s := &state{Desired: reconcile.Desired{Seed: seed, Balancers: []reconcile.Balancer{
		{Label: "web", Addresses: []netip.Addr{vip4, vip6}, Listeners: listeners},
	}}, tables: make(map[port][]netip.Addr)}
	for i := range listeners {
		s.tables[portOf(&listeners[i])] = newestTable(&listeners[i])
	}
	return s
}

// nothing is the state without a balancer.
func nothing() *state {
	return &state{Desired: reconcile.Desired{Seed: seed}, tables: make(map[port][]netip.Addr)}
}

func portOf(l *reconcile.Listener) port { return port{l.Port, l.Protocol} }

// listeners returns the listeners of the balancer, if there is one.
func (s *state) listeners() []reconcile.Listener {
	if len(s.Balancers) == 0 {
		return nil
	}
	return s.Balancers[0].Listeners
}

// listener returns the listener of a port, nil if there is none.
func (s *state) listener(p port) *reconcile.Listener {
	all := s.listeners()
	i := slices.IndexFunc(all, func(l reconcile.Listener) bool { return portOf(&l) == p })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// with returns the state after a change of one listener.
func (s *state) with(p port, change func(*reconcile.Listener)) *state {
	all := slices.Clone(s.listeners())
	i := slices.IndexFunc(all, func(l reconcile.Listener) bool { return portOf(&l) == p })
	all[i].Backends = slices.Clone(all[i].Backends)
	change(&all[i])
	return newState(all...)
}

// newestTable returns where new flows go, by slot; no address is nowhere.
func newestTable(l *reconcile.Listener) []netip.Addr {
	var chosen []maglev.Member
	for i, b := range l.Backends {
		if takesNewFlows(l, &b) {
			chosen = append(chosen, maglev.Member{Address: b.Address, Weight: b.Weight, ID: uint16(i + 1)})
		}
	}
	table := make([]uint16, l.TableSize)
	if len(chosen) > 0 {
		new(maglev.Builder).Build(table, seed, chosen)
	}
	out := make([]netip.Addr, len(table))
	for slot, id := range table {
		if id != 0 {
			out[slot] = l.Backends[id-1].Address.Addr()
		}
	}
	return out
}

// takesNewFlows reports whether the newest table leads to b: it accepts and is
// healthy, or is a backup and none of those is, or none is healthy at all and
// on_all_down is open. Without a way to it, none of this helps.
func takesNewFlows(l *reconcile.Listener, b *reconcile.Backend) bool {
	some := func(mode lb.Mode, checked bool) bool {
		return slices.ContainsFunc(l.Backends, func(b reconcile.Backend) bool {
			return b.Mode == mode && b.Reachable && (b.Health == lb.HealthUp || !checked)
		})
	}
	takes := func(checked bool) bool {
		first := lb.ModeAccept
		if !some(lb.ModeAccept, checked) {
			first = lb.ModeBackup
		}
		return b.Mode == first && b.Reachable && (b.Health == lb.HealthUp || !checked)
	}
	return takes(true) || allDown(l) && takes(false)
}

// allDown reports whether no backend is healthy and health does not count.
func allDown(l *reconcile.Listener) bool {
	return l.OnAllDown == lb.AllDownOpen && !slices.ContainsFunc(l.Backends, func(b reconcile.Backend) bool {
		return (b.Mode == lb.ModeAccept || b.Mode == lb.ModeBackup) && b.Reachable && b.Health == lb.HealthUp
	})
}

// newest returns where a new flow goes, no address if nowhere.
func (s *state) newest(f model.Flow) netip.Addr {
	p := port{f.Dst.Port(), f.Protocol}
	table := s.tables[p]
	if len(table) == 0 {
		return netip.Addr{}
	}
	return table[maglev.Slot(flowHash(f, s.listener(p).Algorithm), uint32(len(table)))]
}

// flowHash is the hash that chooses a flow's slot.
func flowHash(f model.Flow, a lb.Algorithm) uint64 {
	if a == lb.Source {
		return maglev.HashSource(seed, f.Src.Addr())
	}
	return maglev.Hash(seed, f.Src.Addr(), f.Dst.Addr(), f.Src.Port(), f.Dst.Port(), uint8(f.Protocol))
}

// drainTime is how long a backend has drained: at least and at most, as it is
// not known when a change that was cut short took effect.
type drainTime struct{ least, most time.Duration }

// unusable says why the flows of a backend have to leave it, "" if they stay.
// What depends on when exactly a drain ends is left open by its second result.
func (s *state) unusable(p port, addr netip.Addr, drained drainTime) (reason string, certain bool) {
	l := s.listener(p)
	if l == nil {
		return model.Removed, true
	}
	i := slices.IndexFunc(l.Backends, func(b reconcile.Backend) bool { return b.Address.Addr() == addr })
	if i < 0 {
		return model.Removed, true
	}
	b := &l.Backends[i]
	switch {
	case b.Mode == lb.ModeReject:
		return model.Rejected, true
	case b.Mode == lb.ModeDrain && drained.least >= l.DrainTimeout:
		return model.Drained, true
	case b.Mode == lb.ModeDrain && drained.most >= l.DrainTimeout:
		return model.Drained, false
	case l.OnDown == lb.DownPersist:
		return "", true
	case b.Health == lb.HealthDown && !allDown(l):
		return model.Down, true
	case !b.Reachable:
		return model.Unreachable, true
	}
	return "", true
}

// reachable reports whether packets can get to a backend.
func (s *state) reachable(p port, addr netip.Addr) bool {
	l := s.listener(p)
	return l != nil && slices.ContainsFunc(l.Backends, func(b reconcile.Backend) bool {
		return b.Address.Addr() == addr && b.Reachable
	})
}
