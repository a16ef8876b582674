// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// TestState compares what a Reconciler that made a state tells of it with what
// one tells that found it. Opening writes nothing.
func TestState(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		for _, s := range changes() {
			wipe(t, store)
			c := newClock()
			r := open(t, store, c)
			mustApply(t, r, s.before)
			mustApply(t, r, s.after)
			collect(t, r, c)
			before := readTables(t, store)
			p := &probe{Store: store}
			found := open(t, p, c)
			if p.writes > 0 {
				t.Errorf("%s: Open wrote", s.name)
			}
			want, err := r.State()
			if err != nil {
				t.Fatal(err)
			}
			got, err := found.State()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(want, got) {
				t.Errorf("%s: (-made +found):\n%s", s.name, cmp.Diff(want, got, compareAddrs...))
			}
			if !reflect.DeepEqual(before, readTables(t, store)) {
				t.Errorf("%s: looking changed something", s.name)
			}
		}
	})
}

func TestStateOfListener(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		wipe(t, store)
		c := newClock()
		r := open(t, store, c)
		l := tcp(80, servers(1, 3)...)
		mustApply(t, r, state(balancerOf("web", addrs(vip6, vip1), l)))
		l.Backends[1].Health = lb.HealthDown
		l.Backends = l.Backends[:2]
		mustApply(t, r, state(balancerOf("web", addrs(vip6, vip1), l)))

		got, err := r.State()
		if err != nil {
			t.Fatal(err)
		}
		backend := func(i int, counter uint32) dataplane.Backend {
			return servers(1, 3)[i].entry(lb.IPIP, counter)
		}
		down := backend(1, 1)
		down.Health, down.Unusable = lb.HealthDown, dataplane.Down
		left := backend(2, 2)
		left.Unusable = dataplane.Removed
		want := []ListenerState{{
			Key:       lb.ListenerKey{Balancer: "web", Port: 80, Protocol: lb.TCP},
			Addresses: addrs(vip1, vip6),
			Entry:     dataplane.Listener{Balancer: 1, TableSize: 13, PoolSize: 16},
			Backends: []BackendState{
				{Label: "server-1", Index: 1, Entry: backend(0, 0), Slots: 13},
				{Label: "server-2", Index: 2, Entry: down},
				{Label: "server-3", Index: 3, Entry: left, Leaving: true},
			},
		}}
		if diff := cmp.Diff(want, got, compareAddrs...); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}

		l.OnAllDown = lb.AllDownDrop
		l.Backends = l.Backends[1:]
		mustApply(t, r, state(balancerOf("web", addrs(vip6, vip1), l)))
		if got, err = r.State(); err != nil {
			t.Fatal(err)
		}
		if got[0].Unused != 13 {
			t.Errorf("%d slots lead nowhere, want 13", got[0].Unused)
		}
	})
}

// TestRevive takes a backend out and in again within the grace period: it is
// the same as before. After the grace period its place is free.
func TestRevive(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		wipe(t, store)
		c := newClock()
		r := open(t, store, c)
		with := func(backends ...Backend) Desired { return state(balancerOf("web", addrs(vip1), tcp(80, backends...))) }
		mustApply(t, r, with(servers(1, 3)...))
		before := readTables(t, store)
		mustApply(t, r, with(servers(2, 3)...))
		mustApply(t, r, with(servers(2, 4)...))
		if at := indexOf(t, r, server(4)); at != 4 {
			t.Errorf("a new backend has index %d, the lowest free one is 4", at)
		}
		mustApply(t, r, with(servers(1, 3)...))
		collect(t, r, c)
		if diff := cmp.Diff(before, readTables(t, store), append(compareAddrs, cmp.AllowUnexported(tables{}))...); diff != "" {
			t.Errorf("the backend is not the same as before (-want +got):\n%s", diff)
		}
		mustApply(t, r, with(servers(2, 3)...))
		collect(t, r, c)
		mustApply(t, r, with(servers(2, 4)...))
		if at := indexOf(t, r, server(4)); at != 1 {
			t.Errorf("a new backend has index %d, the lowest free one is 1", at)
		}
	})
}

func indexOf(t *testing.T, r *Reconciler, b Backend) uint16 {
	t.Helper()
	all, err := r.State()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		for _, s := range l.Backends {
			if s.Entry.Address == b.Address {
				return s.Index
			}
		}
	}
	return 0
}

// TestBigMTU has a next hop by the loopback interface, whose MTU is more than an
// entry can say.
func TestBigMTU(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		b := server(1)
		b.NextHop.MTU = 65536
		r := open(t, store, newClock())
		d := state(balancerOf("web", addrs(vip1), tcp(80, b)))
		mustApply(t, r, d)
		all, err := r.State()
		if err != nil {
			t.Fatal(err)
		}
		if mtu := all[0].Backends[0].Entry.NextHop.MTU; mtu != 65535 {
			t.Errorf("MTU %d, want 65535", mtu)
		}
		if report := mustApply(t, r, d); report.Writes() > 0 {
			t.Errorf("applied again: %+v", report)
		}
	})
}

// damage is something that no agent can have left in the tables.
type damage struct {
	name string
	do   func(*testing.T, Store)
	want string
}

func damages() []damage {
	key := dataplane.ListenerKey{Address: vip1, Port: 80, Protocol: lb.TCP}
	other := dataplane.ListenerKey{Address: vip1, Port: 81, Protocol: lb.TCP}
	good := dataplane.Listener{ID: 1, Balancer: 1, Slots: 16, TableSize: 13, Pool: 16, PoolSize: 16}
	return []damage{
		{
			"one identifier, two ports",
			func(t *testing.T, s Store) { putListeners(t, s, key, good, other, good) },
			"listener 1 has two ports or balancers",
		},
		{
			"shared pool",
			func(t *testing.T, s Store) {
				e := good
				e.ID, e.Slots = 2, 32
				putListeners(t, s, key, good, other, e)
			},
			"the pool of listener 2, 16 entries from 16 on, is not its own",
		},
		{
			"slots that overlap",
			func(t *testing.T, s Store) {
				e := good
				e.ID, e.Pool, e.Slots, e.TableSize = 2, 32, 0, 31
				putListeners(t, s, key, good, other, e)
			},
			"the table of listener 2, 32 slots from 0 on, is not its own",
		},
		{
			"slots beyond the end",
			func(t *testing.T, s Store) {
				e := good
				e.TableSize = 1031
				putListeners(t, s, key, e, key, e)
			},
			"the table of listener 1, 1040 slots from 16 on, is not its own",
		},
		{
			"counter beyond the end",
			func(t *testing.T, s Store) {
				b := server(1)
				if err := s.PutBackend(17, b.entry(lb.IPIP, 5000)); err != nil {
					t.Fatal(err)
				}
			},
			"entry 17 of backends has the counter 5000",
		},
	}
}

func TestDamaged(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		for _, tt := range damages() {
			t.Run(tt.name, func(t *testing.T) {
				store := newStore(t, smallLimits)
				tt.do(t, store)
				_, err := Open(store, Options{})
				want := "restore from the tables: the tables are damaged: " + tt.want + ": take them away with weir unload"
				if err == nil || err.Error() != want {
					t.Errorf("got %v, want %s", err, want)
				}
			})
		}
	})
}

func putListeners(t *testing.T, s Store, k1 dataplane.ListenerKey, e1 dataplane.Listener, k2 dataplane.ListenerKey, e2 dataplane.Listener) {
	t.Helper()
	if err := s.PutListener(k1, e1); err != nil {
		t.Fatal(err)
	}
	if err := s.PutListener(k2, e2); err != nil {
		t.Fatal(err)
	}
}
