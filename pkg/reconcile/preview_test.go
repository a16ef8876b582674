// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
)

// TestPreview says what a state would change, and changes nothing.
func TestPreview(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		run := newTrackRun(t, newStore(t, smallLimits), servers(1, 3)...)
		run.apply(down(server(1)), server(2), server(3))
		_, hash := run.moving(1)
		run.put(alice, hash, 2)
		run.put(bob, hash, 3)
		before := readTables(t, run.store)
		web := lb.ListenerKey{Balancer: "web", Port: 80, Protocol: lb.TCP}
		d := func(listeners ...Listener) Desired { return state(balancerOf("web", addrs(vip1, vip6), listeners...)) }
		weighted := server(3)
		weighted.Weight, weighted.Label = 7, "heavy"
		persist := run.listener(down(server(1)), server(2), server(3))
		persist.OnDown, persist.DrainTimeout = lb.DownPersist, 0
		for _, test := range []struct {
			name string
			d    Desired
			want []Preview
		}{
			{
				"the same", d(run.listener(down(server(1)), server(2), server(3))),
				[]Preview{{Key: web, TableSize: 13, Flows: 2}},
			},
			{
				"a policy", d(persist),
				[]Preview{{
					Key: web, Changed: true, TableSize: 13, Flows: 2,
					Reasons: []string{"on_down rebalance -> persist", "drain_timeout 60s -> 0s"},
				}},
			},
			{
				"removed, changed and added", d(run.listener(down(server(1)), weighted, server(4))),
				[]Preview{{
					Key: web, Changed: true, BackendsAdded: []string{"server-4"}, BackendsRemoved: []string{"server-2"},
					BackendsChanged: []string{"heavy"}, TableSize: 13, Flows: 2, Moved: 1, Lost: []string{"server-2"},
					Reasons: []string{"heavy: label server-3 -> heavy", "heavy: weight 1 -> 7"},
				}},
			},
			{
				"a listener goes and another comes", d(udp(53, server(5))),
				[]Preview{
					{
						Key:   lb.ListenerKey{Balancer: "web", Port: 53, Protocol: lb.UDP},
						Added: true, Changed: true, BackendsAdded: []string{"server-5"}, TableSize: 13, Slots: 13,
					},
					{
						Key: web, Removed: true, Changed: true, BackendsRemoved: []string{"server-1", "server-2", "server-3"},
						TableSize: 13, Flows: 2, Moved: 2, Lost: []string{"server-2", "server-3"},
					},
				},
			},
		} {
			got, err := run.rec.Preview(t.Context(), test.d)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if i < len(test.want) && got[i].Key == web && test.want[i].Moved == 1 {
					if got[i].Slots == 0 {
						t.Errorf("%s: no slot changes", test.name)
					}
					got[i].Slots = 0 // as many as the tables say
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.name, diff)
			}
		}
		if diff := cmp.Diff(before, readTables(t, run.store), append(compareAddrs, cmp.AllowUnexported(tables{}))...); diff != "" {
			t.Errorf("looking changed something:\n%s", diff)
		}
		if _, err := run.rec.Preview(t.Context(), d(run.listener(servers(1, 600)...))); err == nil {
			t.Error("what does not fit is no error")
		}
	})
}

// TestPreviewLost names the backends whose flows would have to leave, recorded
// or not: in a steady listener none is.
func TestPreviewLost(t *testing.T) {
	run := newTrackRun(t, newFakeStore(t, smallLimits), servers(1, 4)...)
	in := func(mode lb.Mode) Backend {
		b := server(2)
		b.Mode = mode
		return b
	}
	l := run.listener(server(1), in(lb.ModeReject), down(server(4)))
	for _, test := range []struct {
		name string
		l    Listener
		want []string
	}{
		{"rejected, down and removed", l, []string{"server-2", "server-4", "server-3"}},
		{"drained", run.listener(server(1), in(lb.ModeDrain), server(3), server(4)), nil},
		{"drained by 0s", func() Listener {
			l := run.listener(server(1), in(lb.ModeDrain), server(3), server(4))
			l.DrainTimeout = 0
			return l
		}(), []string{"server-2"}},
	} {
		got, err := run.rec.Preview(t.Context(), state(balancerOf("web", addrs(vip1, vip6), test.l)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got[0].Lost); diff != "" || got[0].Moved != 0 {
			t.Errorf("%s: %d recorded flows move, backends (-want +got):\n%s", test.name, got[0].Moved, diff)
		}
	}
}

// TestPreviewReasons names what differs, and counts all slots where they cannot be
// compared.
func TestPreviewReasons(t *testing.T) {
	run := newTrackRun(t, newFakeStore(t, smallLimits), servers(1, 2)...)
	drained := server(2)
	drained.Mode = lb.ModeDrain
	byHand := drained
	byHand.Mode, byHand.Configured = lb.ModeAccept, lb.ModeDrain
	listener := func(change func(*Listener)) Listener { return with(run.listener(servers(1, 2)...), change) }
	for _, test := range []struct {
		d        Desired
		want     []string
		allSlots bool
	}{
		{state(balancerOf("shop", addrs(vip1, vip2), listener(func(*Listener) {}))), []string{
			"balancer web -> shop", "address 203.0.113.2 added", "address " + vip6.String() + " removed",
		}, false},
		{state(balancerOf("web", addrs(vip1, vip6), listener(func(l *Listener) {
			l.Algorithm, l.OnAllDown, l.IdleTimeout = lb.Source, lb.AllDownReject, 90*time.Second
		}))), []string{"algorithm maglev -> source", "on_all_down open -> reject", "idle_timeout 10s -> 90s"}, true},
		{state(balancerOf("web", addrs(vip1, vip6), run.listener(server(1), drained))),
			[]string{"server-2: mode accept -> drain"}, false},
		{state(balancerOf("web", addrs(vip1, vip6), run.listener(server(1), byHand))),
			[]string{"server-2: configured mode accept -> drain"}, false},
		{Desired{Seed: 77, Balancers: state(balancerOf("web", addrs(vip1, vip6), run.listener(servers(1, 2)...))).Balancers},
			[]string{"hash_seed 42 -> 77"}, true},
	} {
		got, err := run.rec.Preview(t.Context(), test.d)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got[0].Reasons); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if all := got[0].Slots == int(got[0].TableSize); all != test.allSlots {
			t.Errorf("%v: %d of %d slots change", got[0].Reasons, got[0].Slots, got[0].TableSize)
		}
	}
}
