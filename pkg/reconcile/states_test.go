// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// Addresses of balancers.
var (
	vip1 = netip.MustParseAddr("203.0.113.1")
	vip2 = netip.MustParseAddr("203.0.113.2")
	vip3 = netip.MustParseAddr("203.0.113.3")
	vip6 = netip.MustParseAddr("2001:db8::1")
)

var smallLimits = dataplane.Limits{Listeners: 16, Backends: 512, Slots: 1024}

// server returns the n-th backend: up, reachable, weight 1.
func server(n int) Backend {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 80)
	if n%3 == 0 {
		addr = netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", n)), 80)
	}
	return Backend{
		Label: fmt.Sprintf("server-%d", n), Address: addr, Weight: 1, Health: lb.HealthUp, Reachable: true,
		NextHop: lb.NextHop{Interface: 2, Source: lb.MAC{2, 0, 0, 0, 0, 1}, Dest: lb.MAC{2, 0, 0, 0, 1, byte(n)}, MTU: 1500},
	}
}

// servers returns backends first to last.
func servers(first, last int) []Backend {
	var out []Backend
	for n := first; n <= last; n++ {
		out = append(out, server(n))
	}
	return out
}

func tcp(port uint16, backends ...Backend) Listener {
	return Listener{
		Port: port, Protocol: lb.TCP, Forward: lb.IPIP, Algorithm: lb.Maglev, TableSize: 13,
		OnAllDown: lb.AllDownOpen, Backends: backends,
	}
}

func udp(port uint16, backends ...Backend) Listener {
	l := tcp(port, backends...)
	l.Protocol = lb.UDP
	return l
}

// with returns l after change.
func with(l Listener, change func(*Listener)) Listener {
	l.Backends = slices.Clone(l.Backends)
	change(&l)
	return l
}

func balancerOf(label string, addresses []netip.Addr, listeners ...Listener) Balancer {
	return Balancer{Label: label, Addresses: addresses, Listeners: listeners}
}

func addrs(a ...netip.Addr) []netip.Addr { return a }

func state(balancers ...Balancer) Desired { return Desired{Seed: 42, Balancers: balancers} }

// step is a change from one state to another.
type step struct {
	name          string
	before, after Desired
}

// changes are all kinds of changes.
func changes() []step {
	web := func(l ...Listener) Balancer { return balancerOf("web", addrs(vip1, vip6), l...) }
	base := state(web(tcp(80, servers(1, 3)...), udp(53, servers(4, 5)...)))
	change := func(name string, fn func(*Listener)) step {
		return step{name, base, state(web(with(tcp(80, servers(1, 3)...), fn), udp(53, servers(4, 5)...)))}
	}
	return []step{
		{"from nothing", Desired{}, base},
		{"to nothing", base, Desired{}},
		{"balancer without listeners", base, state(web())},
		{"listener added", base, state(web(tcp(80, servers(1, 3)...), udp(53, servers(4, 5)...), tcp(443, servers(1, 3)...)))},
		{"listener removed", base, state(web(tcp(80, servers(1, 3)...)))},
		{"listener replaced", base, state(web(tcp(80, servers(1, 3)...), udp(54, servers(6, 7)...)))},
		change("backend added", func(l *Listener) { l.Backends = servers(1, 4) }),
		change("backend removed", func(l *Listener) { l.Backends = servers(2, 3) }),
		change("backend replaced", func(l *Listener) { l.Backends = servers(2, 4) }),
		change("pool emptied", func(l *Listener) { l.Backends = nil }),
		change("pool grows", func(l *Listener) { l.Backends = servers(2, 18) }),
		change("pool and table grow", func(l *Listener) { l.Backends, l.TableSize = servers(2, 18), 31 }),
		change("table grows", func(l *Listener) { l.TableSize = 31 }),
		change("table shrinks", func(l *Listener) { l.Backends, l.TableSize = servers(3, 4), 7 }),
		change("forward", func(l *Listener) { l.Forward = lb.DSR }),
		change("algorithm", func(l *Listener) { l.Algorithm = lb.Source }),
		change("labels", func(l *Listener) { l.Backends[0].Label, l.Backends[1].Label = "server-2", "server-1" }),
		change("weight", func(l *Listener) { l.Backends[1].Weight = 7 }),
		change("down", func(l *Listener) { l.Backends[1].Health = lb.HealthDown }),
		change("all down, open", func(l *Listener) {
			for i := range l.Backends {
				l.Backends[i].Health = lb.HealthDown
			}
		}),
		change("all unknown, drop", func(l *Listener) {
			l.OnAllDown = lb.AllDownDrop
			for i := range l.Backends {
				l.Backends[i].Health = lb.HealthUnknown
			}
		}),
		change("all down, reject", func(l *Listener) {
			l.OnAllDown = lb.AllDownReject
			for i := range l.Backends {
				l.Backends[i].Health = lb.HealthDown
			}
		}),
		change("unreachable", func(l *Listener) {
			l.Backends[1].Reachable = false
			l.Backends[2].Health = lb.HealthDown
		}),
		change("none reachable", func(l *Listener) {
			for i := range l.Backends {
				l.Backends[i].Reachable = false
			}
		}),
		change("next hop", func(l *Listener) { l.Backends[1].NextHop.Dest[5]++ }),
		{"balancer renamed", base, state(balancerOf("www", addrs(vip1, vip6), base.Balancers[0].Listeners...))},
		{"balancer renumbered", base, state(balancerOf("web", addrs(vip2), base.Balancers[0].Listeners...))},
		{"address added", base, state(balancerOf("web", addrs(vip1, vip2, vip6), base.Balancers[0].Listeners...))},
		{
			"labels swapped",
			state(balancerOf("a", addrs(vip1), tcp(80, servers(1, 3)...)), balancerOf("b", addrs(vip2), tcp(80, servers(4, 5)...))),
			state(balancerOf("b", addrs(vip1), tcp(80, servers(1, 3)...)), balancerOf("a", addrs(vip2), tcp(80, servers(4, 5)...))),
		},
		{
			"address moved",
			state(balancerOf("a", addrs(vip1, vip3), tcp(80, servers(1, 3)...)), balancerOf("b", addrs(vip2), tcp(80, servers(4, 5)...))),
			state(balancerOf("a", addrs(vip1), tcp(80, servers(2, 4)...)), balancerOf("b", addrs(vip2, vip3), tcp(80, servers(4, 5)...))),
		},
		{
			"balancers merged",
			state(balancerOf("a", addrs(vip1), tcp(80, servers(1, 3)...)), balancerOf("b", addrs(vip2), tcp(80, servers(4, 5)...))),
			state(balancerOf("c", addrs(vip1, vip2), tcp(80, servers(1, 5)...))),
		},
		{
			"balancer split",
			state(balancerOf("c", addrs(vip1, vip2), tcp(80, servers(1, 5)...))),
			state(balancerOf("a", addrs(vip1), tcp(80, servers(1, 3)...)), balancerOf("b", addrs(vip2), tcp(80, servers(4, 5)...))),
		},
		{"seed", base, Desired{Seed: 43, Balancers: base.Balancers}},
	}
}
