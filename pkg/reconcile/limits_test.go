// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// fullLimits are the sizes of the tables of TestFull.
var fullLimits = dataplane.Limits{Listeners: 4, Backends: 96, Slots: 96}

// fullChange is a change to a state that does not fit fullLimits.
type fullChange struct {
	name          string
	before, after Desired
	want          string
}

func fullChanges() []fullChange {
	web := func(l ...Listener) Balancer { return balancerOf("web", addrs(vip1), l...) }
	small := state(web(tcp(80, servers(1, 3)...)))
	return []fullChange{
		{
			name:   "addresses",
			before: small,
			after:  state(balancerOf("web", addrs(vip1, vip2, vip3), tcp(80), tcp(443))),
			want:   "listeners4: 6 needed, 4 fit: raise agent.limits.listeners",
		},
		{
			name:   "IPv6 addresses, of old and new beside each other",
			before: state(balancerOf("web", addrs(vip6), tcp(1), tcp(2), tcp(3))),
			after:  state(balancerOf("web", addrs(vip6), tcp(3), tcp(4), tcp(5))),
			want:   "listeners6: 5 needed, 4 fit: raise agent.limits.listeners",
		},
		{
			name:   "addresses without listeners",
			before: small,
			after:  state(web(), balancerOf("other", append(more(3), vip2))),
			want:   "vips: 5 needed, 4 fit: raise agent.limits.listeners",
		},
		{
			name:   "addresses beside those they replace",
			before: state(balancerOf("web", more(3))),
			after:  state(balancerOf("web", addrs(vip1, vip2))),
			want:   "vips: 5 needed, 4 fit: raise agent.limits.listeners",
		},
		{
			name:   "counters of listeners",
			before: state(web(tcp(1), tcp(2), tcp(3))),
			after:  state(balancerOf("web", addrs(vip6), tcp(3), tcp(4), tcp(5))),
			want:   "listener_counters: 5 needed, 4 fit: raise agent.limits.listeners",
		},
		{
			name:   "slots",
			before: small,
			after:  state(web(with(tcp(80, servers(1, 3)...), func(l *Listener) { l.TableSize = 97 }))),
			want:   "slots: 128 needed, 96 fit: raise agent.limits.slots",
		},
		{
			name:   "slots beyond 32 bits",
			before: small,
			after:  state(web(with(tcp(80), func(l *Listener) { l.TableSize = 4294967291 }))),
			want:   "slots: 4294967312 needed, 96 fit: raise agent.limits.slots",
		},
		{
			name:   "backends",
			before: small,
			after:  state(web(tcp(80, servers(1, 90)...))),
			want:   "backends: 112 needed, 96 fit: raise agent.limits.backends",
		},
		{
			name:   "slots of a table beside the one it replaces",
			before: state(web(tcp(1), tcp(2), tcp(3), tcp(4))),
			after: state(web(tcp(1), tcp(2), tcp(3), with(tcp(4), func(l *Listener) {
				l.TableSize = 37
			}))),
			want: "slots: 112 needed, 96 fit: raise agent.limits.slots",
		},
	}
}

// TestFull applies states that do not fit. The error says which table is too
// small and what to raise, and nothing changes.
func TestFull(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, fullLimits)
		for _, tt := range fullChanges() {
			t.Run(tt.name, func(t *testing.T) {
				wipe(t, store)
				r := open(t, store, newClock())
				mustApply(t, r, tt.before)
				before := readTables(t, store)
				_, err := r.Apply(t.Context(), tt.after)
				if !errors.Is(err, ErrFull) || err.Error() != tt.want {
					t.Errorf("Apply: got %v, want %s", err, tt.want)
				}
				if planned := r.Plan(tt.after); planned == nil || planned.Error() != tt.want {
					t.Errorf("Plan: got %v, want %s", planned, tt.want)
				}
				if !reflect.DeepEqual(before, readTables(t, store)) {
					t.Error("something changed")
				}
				if report := mustApply(t, r, tt.before); report.Writes() > 0 {
					t.Errorf("the state before is not there any more: %+v", report)
				}
			})
		}
	})
}

// more returns n addresses.
func more(n int) (out []netip.Addr) {
	for i := range n {
		out = append(out, netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}))
	}
	return out
}

// TestHeld fills tables with what is out of use: the error says that waiting
// helps, and it does.
func TestHeld(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, fullLimits)
		wipe(t, store)
		c := newClock()
		r := open(t, store, c)
		big := func(port uint16) Desired {
			return state(balancerOf("web", addrs(vip1), with(tcp(port, servers(1, 60)...), func(l *Listener) { l.TableSize = 61 })))
		}
		mustApply(t, r, big(1))
		mustApply(t, r, Desired{})
		_, err := r.Apply(t.Context(), big(2))
		const want = "backends: 128 needed, 96 fit (64 of them are free in a moment): raise agent.limits.backends"
		if err == nil || err.Error() != want {
			t.Fatalf("got %v, want %s", err, want)
		}
		c.advance(DefaultGrace)
		mustApply(t, r, big(2))
		expect(t, store, big(2), false)
	})
}

// TestScattered has enough free slots, but not in one piece.
func TestScattered(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, dataplane.Limits{Listeners: 8, Backends: 256, Slots: 96})
		wipe(t, store)
		c := newClock()
		r := open(t, store, c)
		ports := func(ports ...uint16) Desired {
			b := balancerOf("web", addrs(vip1))
			for _, port := range ports {
				b.Listeners = append(b.Listeners, tcp(port))
			}
			return state(b)
		}
		mustApply(t, r, ports(1, 2, 3, 4, 5, 6))
		mustApply(t, r, ports(2, 4, 6))
		collect(t, r, c)
		d := ports(2, 4, 6, 7)
		d.Balancers[0].Listeners[3].TableSize = 31
		_, err := r.Apply(t.Context(), d)
		const want = "listener web/7/tcp: slots: 32 needed in one piece, the 48 of 96 that are free are scattered: raise agent.limits.slots"
		if !errors.Is(err, ErrFull) || err.Error() != want {
			t.Fatalf("got %v, want %s", err, want)
		}
		expect(t, store, ports(2, 4, 6), true)
	})
}

// TestPoolFull fills a pool to the last index that a slot can hold.
func TestPoolFull(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, dataplane.Limits{Listeners: 4, Backends: 1 << 17, Slots: 64})
		wipe(t, store)
		c := newClock()
		r := open(t, store, c)
		most := int(dataplane.MaxPool)
		d := state(balancerOf("web", addrs(vip1), tcp(80, servers(1, most)...)))
		mustApply(t, r, d)
		expect(t, store, d, true)

		// One more than fits, and one in place of another that is held back.
		for _, backends := range [][]Backend{servers(1, most+1), servers(2, most+1)} {
			_, err := r.Apply(t.Context(), state(balancerOf("web", addrs(vip1), tcp(80, backends...))))
			if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "listener web/80/tcp: pool: 32768 needed, 32767 fit") {
				t.Fatalf("got %v", err)
			}
		}
		mustApply(t, r, state(balancerOf("web", addrs(vip1), tcp(80, servers(2, most)...))))
		collect(t, r, c)
		d = state(balancerOf("web", addrs(vip1), tcp(80, servers(2, most+1)...)))
		mustApply(t, r, d)
		expect(t, store, d, true)
	})
}

// TestInvalid applies states that make no sense.
func TestInvalid(t *testing.T) {
	tests := []struct {
		name string
		d    Desired
		want string
	}{
		{"balancer twice", state(balancerOf("a", addrs(vip1)), balancerOf("a", addrs(vip2))), "balancer a is defined twice"},
		{"no address", state(balancerOf("a", nil)), "balancer a has no address"},
		{
			"address taken", state(balancerOf("a", addrs(vip1)), balancerOf("b", addrs(vip1))),
			"balancer b: address 203.0.113.1 belongs to balancer a",
		},
		{"no valid address", state(balancerOf("a", addrs(netip.Addr{}))), "balancer a: address invalid IP is not an address"},
		{"listener twice", state(balancerOf("a", addrs(vip1), tcp(80), tcp(80))), "listener a/80/tcp is defined twice"},
		{
			"no table size", state(balancerOf("a", addrs(vip1), Listener{Port: 80, Protocol: lb.TCP, Forward: lb.DSR})),
			"listener a/80/tcp: the table size is not set",
		},
		{
			"no forward", state(balancerOf("a", addrs(vip1), Listener{Port: 80, Protocol: lb.TCP, TableSize: 7})),
			"listener a/80/tcp: the way of forwarding is not set",
		},
		{
			"backend twice", state(balancerOf("a", addrs(vip1), tcp(80, server(1), server(1)))),
			"listener a/80/tcp: backend 10.0.0.1:80 is in the pool twice",
		},
		{
			"backend without weight",
			state(balancerOf("a", addrs(vip1), tcp(80, Backend{Address: server(1).Address}))),
			"listener a/80/tcp: backend 10.0.0.1:80 has no weight",
		},
		{
			"backend without address", state(balancerOf("a", addrs(vip1), tcp(80, Backend{Label: "x", Weight: 1}))),
			"listener a/80/tcp: backend x has no address",
		},
	}
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				wipe(t, store)
				p := &probe{Store: store}
				r := open(t, p, newClock())
				_, err := r.Apply(t.Context(), tt.d)
				if err == nil || err.Error() != tt.want {
					t.Errorf("got %v, want %s", err, tt.want)
				}
				if p.writes > 0 {
					t.Errorf("%d writes", p.writes)
				}
			})
		}
	})
}
