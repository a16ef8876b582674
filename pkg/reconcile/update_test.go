// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// updateState is the state that the tests of Update begin with.
func updateState() Desired {
	return state(
		balancerOf("web", addrs(vip1, vip6), tcp(80, servers(1, 3)...), udp(53, servers(4, 5)...)),
		balancerOf("other", addrs(vip2)),
	)
}

// TestUpdate changes all that a listener consists of.
func TestUpdate(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		wipe(t, store)
		c := newClock()
		r := open(t, store, c)
		d := updateState()
		mustApply(t, r, d)
		for _, l := range []Listener{
			with(d.Balancers[0].Listeners[0], func(l *Listener) { l.Backends[0].Health = lb.HealthDown }),
			with(tcp(80, servers(5, 30)...), func(l *Listener) { l.TableSize, l.Forward = 31, lb.DSR }),
			tcp(80),
		} {
			if _, err := r.Update(t.Context(), []Change{{Balancer: "web", Listener: l}}); err != nil {
				t.Fatal(err)
			}
			collect(t, r, c)
			d.Balancers[0].Listeners[0] = l
			expect(t, store, d, true)
		}
	})
}

func TestUpdateRefuses(t *testing.T) {
	good := Change{Balancer: "web", Listener: tcp(80, servers(2, 4)...)}
	tests := []struct {
		name    string
		changes []Change
		want    string
	}{
		{
			"unknown listener", []Change{good, {Balancer: "other", Listener: tcp(80)}},
			"listener other/80/tcp is not in the applied state, or given twice",
		},
		{"the same twice", []Change{good, good}, "listener web/80/tcp is not in the applied state, or given twice"},
		{
			"nonsense", []Change{good, {Balancer: "web", Listener: udp(53, server(1), server(1))}},
			"listener web/53/udp: backend 10.0.0.1:80 is in the pool twice",
		},
		{
			"too much", []Change{good, {Balancer: "web", Listener: udp(53, servers(1, 600)...)}},
			"backends: 640 needed, 512 fit: raise agent.limits.backends",
		},
	}
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		wipe(t, store)
		p := &probe{Store: store}
		r := open(t, p, newClock())
		mustApply(t, r, updateState())
		p.arm(fault{})
		for _, tt := range tests {
			if _, err := r.Update(t.Context(), tt.changes); err == nil || err.Error() != tt.want {
				t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
			}
		}
		if p.writes > 0 {
			t.Errorf("%d writes", p.writes)
		}
	})
}

// TestUpdateUnfinished has to wait for Apply before the first one, and after a
// fault.
func TestUpdateUnfinished(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		wipe(t, store)
		p := &probe{Store: store}
		c := newClock()
		r := open(t, p, c)
		changes := []Change{{Balancer: "web", Listener: tcp(80, servers(2, 4)...)}}
		update := func() error {
			_, err := r.Update(t.Context(), changes)
			return err
		}
		if err := update(); !errors.Is(err, ErrUnfinished) {
			t.Errorf("before the first Apply: got %v, want ErrUnfinished", err)
		}
		mustApply(t, r, updateState())
		p.arm(fault{at: 3})
		if err := update(); !errors.Is(err, errFault) {
			t.Errorf("got %v, want the fault", err)
		}
		if err := update(); !errors.Is(err, ErrUnfinished) {
			t.Errorf("after a fault: got %v, want ErrUnfinished", err)
		}
		d := updateState()
		mustApply(t, r, d)
		if err := update(); err != nil {
			t.Errorf("got %v", err)
		}
		collect(t, r, c)
		d.Balancers[0].Listeners[0] = changes[0].Listener
		expect(t, store, d, true)
	})
}

// TestErrors checks that an error says what could not be written, and where.
func TestErrors(t *testing.T) {
	before := state(balancerOf("web", addrs(vip1), tcp(80, servers(1, 2)...)))
	after := state(balancerOf("www", addrs(vip1, vip2), tcp(80, servers(2, 4)...)))
	want := []string{
		"change the tables: balancer www: write name www: fault",
		"change the tables: listener www/80/tcp: write name server-3: fault",
		"change the tables: listener www/80/tcp: write backend 10.0.0.4:80 to entry 3: fault",
		"change the tables: listener www/80/tcp: write entry of 203.0.113.2: fault",
		"change the tables: listener www/80/tcp: write slots: fault",
		"change the tables: write address 203.0.113.2: fault",
	}
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		got := make(map[string]bool)
		for n := 1; ; n++ {
			wipe(t, store)
			p := &probe{Store: store}
			r := open(t, p, newClock())
			mustApply(t, r, before)
			p.arm(fault{at: n})
			_, err := r.Apply(t.Context(), after)
			if err == nil {
				break
			}
			got[err.Error()] = true
		}
		for _, w := range want {
			if !got[w] {
				t.Errorf("no operation gave %q; there were %v", w, got)
			}
		}
	})
}

// TestCancel stops in the middle of a change, and carries on.
func TestCancel(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		wipe(t, store)
		c := newClock()
		r := open(t, store, c)
		d := state(balancerOf("web", addrs(vip1), tcp(80, servers(1, 3)...)))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Apply(ctx, d); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want Canceled", err)
		}
		mustApply(t, r, d)
		collect(t, r, c)
		expect(t, store, d, true)
	})
}

// TestConcurrent changes many listeners on several workers, from several
// sides, while others look.
func TestConcurrent(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, wideLimits)
		wipe(t, store)
		c := newClock()
		r, err := Open(store, Options{Clock: c.read, Workers: 4})
		if err != nil {
			t.Fatal(err)
		}
		d := wide(40, 8, 61)
		mustApply(t, r, d)
		var group sync.WaitGroup
		for side := range 4 {
			group.Go(func() {
				for round := range 10 {
					var changes []Change
					for i := side; i < 40; i += 4 {
						l := with(d.Balancers[i].Listeners[0], func(l *Listener) {
							l.Backends[round%8].Health = lb.HealthDown
						})
						changes = append(changes, Change{Balancer: d.Balancers[i].Label, Listener: l})
					}
					if _, err := r.Update(t.Context(), changes); err != nil {
						t.Errorf("Update: %v", err)
					}
				}
			})
			group.Go(func() {
				if _, err := r.State(); err != nil {
					t.Errorf("State: %v", err)
				}
				if _, err := r.Collect(t.Context()); err != nil {
					t.Errorf("Collect: %v", err)
				}
			})
		}
		group.Wait()
		mustApply(t, r, d)
		collect(t, r, c)
		expect(t, store, d, true)

		// A fault on one worker stops the others and loses nothing.
		p := &probe{Store: store}
		if r, err = Open(p, Options{Clock: c.read, Workers: 4}); err != nil {
			t.Fatal(err)
		}
		next := wide(39, 9, 61)
		p.arm(fault{at: 200})
		if _, err := r.Apply(t.Context(), next); !errors.Is(err, errFault) {
			t.Fatalf("got %v, want the fault", err)
		}
		mustApply(t, r, next)
		collect(t, r, c)
		expect(t, store, next, true)
	})
}

// wideLimits hold the states of wide in tests.
var wideLimits = dataplane.Limits{Listeners: 64, Backends: 2048, Slots: 8192}

// wide returns n balancers with one listener each.
func wide(n, backends int, size uint32) Desired {
	d := Desired{Seed: 1}
	for i, addr := range more(n) {
		l := tcp(80, servers(1+i, i+backends)...)
		l.TableSize = size
		d.Balancers = append(d.Balancers, balancerOf(fmt.Sprintf("balancer-%d", i), addrs(addr), l))
	}
	return d
}
