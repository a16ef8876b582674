// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"testing"

	"github.com/weirlb/weir/pkg/lb"
)

// TestCachesAreDroppedLater: a listener was written and the caches could not be
// dropped. Whatever comes next does that first, or does nothing.
func TestCachesAreDroppedLater(t *testing.T) {
	d := openTest(t, testOptions(t))
	defer closeTest(t, d)
	tables := d.Tables()
	addr := netip.MustParseAddr("203.0.113.10")
	key := ListenerKey{Address: addr, Port: 443, Protocol: lb.TCP}
	for name, next := range map[string]func() error{
		"listener":  func() error { return tables.PutListener(key, Listener{ID: 3}) },
		"vip":       func() error { return tables.PutVIP(addr, VIP{TCP: true}) },
		"deletion":  func() error { return tables.DeleteVIP(addr) },
		"backend":   func() error { return tables.PutBackend(0, Backend{}) },
		"slots":     func() error { return tables.WriteSlots(0, 1, []SlotChange{{}}) },
		"listeners": func() error { _, err := tables.Listeners(); return err },
	} {
		t.Run(name, func(t *testing.T) {
			before, err := tables.ListenerGeneration()
			if err != nil {
				t.Fatal(err)
			}
			works := tables.maps.ListenerGeneration
			broken, err := works.Clone()
			if err != nil {
				t.Fatal(err)
			}
			if err := broken.Close(); err != nil {
				t.Fatal(err)
			}
			tables.maps.ListenerGeneration = broken
			if err := tables.PutListener(key, Listener{ID: 2}); err == nil {
				t.Error("the caches are said to be dropped")
			}
			if err := next(); err == nil {
				t.Error("the next call went on with the caches as they were")
			}
			tables.maps.ListenerGeneration = works
			if err := next(); err != nil {
				t.Error(err)
			}
			after, err := tables.ListenerGeneration()
			if err != nil || after == before {
				t.Errorf("generation %d after %d, %v; want another", after, before, err)
			}
		})
	}
}

// TestSnapshotOfTwoVersions: of two entries of a listener, which a change leaves
// that was cut short, the newer one counts, whatever order the map has.
func TestSnapshotOfTwoVersions(t *testing.T) {
	d := openTest(t, testOptions(t))
	defer closeTest(t, d)
	old := Listener{ID: 3, Balancer: 1, Slots: 16, TableSize: 13, Pool: 16, PoolSize: 16}
	for name, newer := range map[string]Listener{
		"a larger pool":          {ID: 3, Balancer: 1, Slots: 16, TableSize: 13, Pool: 32, PoolSize: 32},
		"another table":          {ID: 3, Balancer: 1, Slots: 32, TableSize: 31, Pool: 16, PoolSize: 16, OldTable: true},
		"another table and pool": {ID: 3, Balancer: 1, Slots: 32, TableSize: 31, Pool: 32, PoolSize: 32, OldTable: true},
	} {
		if !newer.NewerThan(old) || old.NewerThan(newer) || old.NewerThan(old) {
			t.Errorf("%s: which is newer cannot be told", name)
		}
		for i, first := range []Listener{old, newer} {
			second := []Listener{newer, old}[i]
			for vip, l := range map[netip.Addr]Listener{vip4: first, vip6: second} {
				if err := d.Tables().PutListener(ListenerKey{Address: vip, Port: 80, Protocol: lb.TCP}, l); err != nil {
					t.Fatal(err)
				}
			}
			s, err := d.Tables().Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			if s.Listeners[0].Entry != newer {
				t.Errorf("%s: the entry is %+v, want %+v", name, s.Listeners[0].Entry, newer)
			}
		}
	}
	settled := Listener{ID: 3, Slots: 32, TableSize: 31, PoolSize: 16}
	moving := settled
	moving.OldTable = true
	if !settled.NewerThan(moving) || moving.NewerThan(settled) {
		t.Error("a listener that has lost its old table is the newer one")
	}
}
