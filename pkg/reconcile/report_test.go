// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
)

// smallChange is a change of one listener of three backends.
type smallChange struct {
	name   string
	change func(*Listener)
	want   Report // by Apply and by Update
	later  Report // by Collect
}

func smallChanges(base Listener) []smallChange {
	return []smallChange{
		{name: "nothing", change: func(*Listener) {}},
		{
			name:   "label",
			change: func(l *Listener) { l.Backends[1].Label = "other" },
			want:   Report{ListenersChanged: 1, Names: 1},
		},
		{
			name:   "next hop",
			change: func(l *Listener) { l.Backends[1].NextHop.Dest[5]++ },
			want:   Report{ListenersChanged: 1, Backends: 1},
		},
		{
			name:   "algorithm",
			change: func(l *Listener) { l.Algorithm = lb.Source },
			want:   Report{ListenersChanged: 1, Listeners: 2, Slots: 13, OldTables: 1},
			later:  Report{Listeners: 2, Slots: 13},
		},
		{
			name:   "backend down",
			change: func(l *Listener) { l.Backends[1].Health = lb.HealthDown },
			want:   Report{ListenersChanged: 1, Backends: 1, Slots: moved(base, 1)},
			later:  Report{Slots: 2 * moved(base, 1)}, // settled, then steady
		},
		{
			name:   "backend unreachable",
			change: func(l *Listener) { l.Backends[1].Reachable = false },
			want:   Report{ListenersChanged: 1, Backends: 1, Slots: moved(base, 1)},
			later:  Report{Slots: 2 * moved(base, 1)}, // settled, then steady
		},
		{
			name:   "backend removed",
			change: func(l *Listener) { l.Backends = append(servers(1, 1), servers(3, 3)...) },
			want:   Report{ListenersChanged: 1, Backends: 1, Slots: moved(base, 1)},
			later:  Report{Slots: 2 * moved(base, 1), Backends: 1, Names: 1},
		},
		{
			name: "backend added that is down",
			change: func(l *Listener) {
				l.Backends = servers(1, 4)
				l.Backends[3].Health = lb.HealthDown
			},
			want: Report{ListenersChanged: 1, Backends: 1, Counters: 1, Names: 1},
		},
		{
			name:   "gateway, which is not stored",
			change: func(l *Listener) { l.Backends[1].NextHop.Gateway = vip3 },
		},
	}
}

// TestMinimalWrites checks for small changes that nothing else is written. The
// listener has two addresses and three backends.
func TestMinimalWrites(t *testing.T) {
	base := tcp(80, servers(1, 3)...)
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		for _, s := range smallChanges(base) {
			t.Run(s.name, func(t *testing.T) {
				s.check(t, store, base, func(r *Reconciler, l Listener) (Report, error) {
					return r.Apply(t.Context(), aroundListener(l))
				})
				s.check(t, store, base, func(r *Reconciler, l Listener) (Report, error) {
					return r.Update(t.Context(), []Change{{Balancer: "web", Listener: l}})
				})
			})
		}
	})
}

func aroundListener(l Listener) Desired {
	return state(balancerOf("web", addrs(vip1, vip6), l, udp(53)))
}

func (s smallChange) check(t *testing.T, store Store, base Listener, make func(*Reconciler, Listener) (Report, error)) {
	t.Helper()
	wipe(t, store)
	c := newClock()
	r := open(t, store, c)
	mustApply(t, r, aroundListener(base))
	changed := with(base, s.change)
	got, err := make(r, changed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.want, got); diff != "" {
		t.Errorf("change (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(s.later, collect(t, r, c)); diff != "" {
		t.Errorf("Collect (-want +got):\n%s", diff)
	}
	expect(t, store, aroundListener(changed), true)
}

// moved returns how many slots differ when backend i takes none.
func moved(l Listener, i int) (n int) {
	before := renderListener(42, "", l).Slots
	after := renderListener(42, "", with(l, func(l *Listener) { l.Backends[i].Health = lb.HealthDown })).Slots
	for i := range before {
		if before[i] != after[i] {
			n++
		}
	}
	return n
}

// TestReportCounts checks the counts of a change of many kinds of entries.
func TestReportCounts(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		wipe(t, store)
		c := newClock()
		r := open(t, store, c)
		slots := func(l Listener) (n int) {
			for _, s := range renderListener(42, "", l).Slots {
				if s.IsValid() {
					n++
				}
			}
			return n
		}
		a, b := tcp(80, servers(1, 3)...), udp(53, servers(4, 5)...)
		want := Report{
			ListenersAdded: 2,
			Names:          1 + 5, Counters: 2 + 5, Backends: 5, Slots: slots(a) + slots(b), Listeners: 4, VIPs: 2,
		}
		got := mustApply(t, r, state(balancerOf("web", addrs(vip1, vip6), a, b)))
		// What an earlier test left in slots may be right already.
		got.Slots = max(got.Slots, want.Slots)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Apply (-want +got):\n%s", diff)
		}
		want = Report{ListenersRemoved: 2, Names: 1, Listeners: 4, VIPs: 2}
		if diff := cmp.Diff(want, mustApply(t, r, Desired{})); diff != "" {
			t.Errorf("Apply nothing (-want +got):\n%s", diff)
		}
		want = Report{Names: 5, Backends: 5}
		if diff := cmp.Diff(want, collect(t, r, c)); diff != "" {
			t.Errorf("Collect (-want +got):\n%s", diff)
		}
	})
}
