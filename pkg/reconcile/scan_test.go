// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// trackRun is tables in which a test writes records as packets would.
type trackRun struct {
	*testing.T
	store Store
	clock *clock
	rec   *Reconciler
}

const testIdle = 10 * time.Second

// newTrackRun makes tables with one listener of an idle_timeout of ten seconds.
func newTrackRun(t *testing.T, store Store, backends ...Backend) *trackRun {
	t.Helper()
	wipe(t, store)
	run := &trackRun{T: t, store: store, clock: newClock()}
	run.rec = open(t, store, run.clock)
	run.apply(backends...)
	return run
}

func (run *trackRun) listener(backends ...Backend) Listener {
	l := tcp(80, backends...)
	l.IdleTimeout, l.DrainTimeout = testIdle, time.Minute
	return l
}

func (run *trackRun) apply(backends ...Backend) {
	run.Helper()
	mustApply(run.T, run.rec, state(balancerOf("web", addrs(vip1, vip6), run.listener(backends...))))
}

// pass lets seconds pass, each with a look at what is due, and returns what was
// done.
func (run *trackRun) pass(d time.Duration) (done Report) {
	run.Helper()
	for range d / time.Second {
		run.clock.advance(time.Second)
		report, err := run.rec.Collect(run.Context())
		if err != nil {
			run.Fatalf("Collect: %v", err)
		}
		done.add(report)
	}
	return done
}

// restart opens the tables anew, as after a kill.
func (run *trackRun) restart() { run.rec = open(run.T, run.store, run.clock) }

// entry returns the listener, its slots and its pool.
func (run *trackRun) entry() (dataplane.Listener, []dataplane.Slot, []dataplane.Backend) {
	run.Helper()
	all := readTables(run, run.store)
	l := all.Listeners[dataplane.ListenerKey{Address: vip1, Port: 80, Protocol: lb.TCP}]
	return l, all.Slots[l.Slots], all.Backends[l.Pool : l.Pool+l.PoolSize]
}

// moving returns a slot on the move from a backend, with a hash that falls into
// it.
func (run *trackRun) moving(from uint16) (slot, hash uint32) {
	run.Helper()
	l, slots, _ := run.entry()
	for i, s := range slots {
		if s.Previous == from && s.Current != from {
			return uint32(i), uint32((uint64(i)*2 + 1) << 31 / uint64(l.TableSize)) // the middle of the slot
		}
	}
	run.Fatalf("no slot is on the move from %d: %+v", from, slots)
	return 0, 0
}

// put writes a record as a packet that comes now does.
func (run *trackRun) put(client string, hash uint32, backend uint16) dataplane.FlowID {
	run.Helper()
	l, _, _ := run.entry()
	return run.putOf(l.ID, client, hash, backend)
}

func (run *trackRun) putOf(listener uint32, client string, hash uint32, backend uint16) dataplane.FlowID {
	run.Helper()
	now, err := run.store.FlowClock()
	if err != nil {
		run.Fatal(err)
	}
	id := dataplane.NewFlowID(netip.MustParseAddrPort(client), netip.AddrPortFrom(vip1, 80), lb.TCP)
	flows := run.store.(interface{ PutFlow(dataplane.Flow) error })
	if err := flows.PutFlow(dataplane.Flow{ID: id, Listener: listener, Hash: hash, Seen: now, Backend: backend}); err != nil {
		run.Fatal(err)
	}
	return id
}

// clients returns whose records there are.
func (run *trackRun) clients() map[string]uint16 {
	run.Helper()
	out := make(map[string]uint16)
	if err := run.store.ScanFlows(func(flows []dataplane.Flow) error {
		for i := range flows {
			out[flows[i].ID.Client().String()] = flows[i].Backend
		}
		return nil
	}); err != nil {
		run.Fatal(err)
	}
	return out
}

func (run *trackRun) wantClients(want map[string]uint16) {
	run.Helper()
	if diff := cmp.Diff(want, run.clients()); diff != "" {
		run.Errorf("records (-want +got):\n%s", diff)
	}
}

// down returns the backend that went down.
func down(b Backend) Backend {
	b.Health = lb.HealthDown
	return b
}

const alice, bob, carol = "192.0.2.1:1000", "192.0.2.2:1000", "192.0.2.3:1000"

// TestHoldBackend keeps the entry of a removed backend as long as a record names
// it, and its number from others.
func TestHoldBackend(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		run := newTrackRun(t, newStore(t, smallLimits), servers(1, 3)...)
		run.apply(servers(2, 3)...)
		_, hash := run.moving(1)
		run.put(alice, hash, 1)
		for range 5 {
			run.pass(testIdle)
			run.put(alice, hash, 1)
		}
		_, _, pool := run.entry()
		if pool[1].Unusable != dataplane.Removed || pool[1].Address != server(1).Address {
			t.Fatalf("the entry that a record names is %+v", pool[1])
		}
		run.apply(servers(2, 4)...)
		if at := indexOf(t, run.rec, server(4)); at != 4 {
			t.Errorf("a new backend has index %d, which a record may name", at)
		}
		run.restart()
		run.apply(servers(2, 4)...)
		for range 2 {
			run.pass(testIdle)
			run.put(alice, hash, 1)
		}
		if _, _, pool = run.entry(); empty(pool[1]) {
			t.Fatal("a restart forgets the record")
		}
		run.pass(3 * testIdle)
		if _, _, pool = run.entry(); !empty(pool[1]) {
			t.Errorf("the entry that nothing names is %+v", pool[1])
		}
	})
}

// TestHoldListener gives the number of a listener that is gone to no other as
// long as it has records, which go at the next look; a restart knows of them.
func TestHoldListener(t *testing.T) {
	for _, restart := range []bool{false, true} {
		eachStore(t, func(t *testing.T, newStore newStore) {
			run := newTrackRun(t, newStore(t, smallLimits), servers(1, 3)...)
			was, _, _ := run.entry()
			run.putOf(was.ID, alice, 0, 1)
			mustApply(t, run.rec, Desired{})
			if restart {
				run.restart()
			}
			run.apply(servers(4, 5)...)
			if is, _, _ := run.entry(); is.ID == was.ID {
				t.Errorf("restarted %t: the number of a listener that has records goes to another", restart)
			}
			run.pass(4 * time.Second)
			run.wantClients(map[string]uint16{})
			mustApply(t, run.rec, Desired{})
			run.apply(servers(4, 5)...)
			if is, _, _ := run.entry(); is.ID != was.ID {
				t.Errorf("restarted %t: the number %d is never free again, the listener has %d", restart, was.ID, is.ID)
			}
		})
	}
}

// TestHoldEmbryonicListener gives the number of a listener to no other while there
// may be embryonic records of it. They do not say whose they are, and a restart
// goes by who has seen new flows.
func TestHoldEmbryonicListener(t *testing.T) {
	run := newTrackRun(t, newFakeStore(t, smallLimits), servers(1, 3)...)
	was, _, _ := run.entry()
	fake := run.store.(*fakeStore)
	fake.embryonic, fake.newFlows[was.ID] = []uint32{fake.clock}, 1
	mustApply(t, run.rec, Desired{})
	run.restart()
	run.pass(60 * time.Second)
	run.apply(servers(1, 3)...)
	if is, _, _ := run.entry(); is.ID == was.ID {
		t.Error("the number of a listener that may have embryonic records goes to another")
	}
	mustApply(t, run.rec, Desired{})
	run.pass(30 * time.Second)
	run.apply(servers(1, 3)...)
	if is, _, _ := run.entry(); is.ID != was.ID {
		t.Errorf("the number %d is never free again, the listener has %d", was.ID, is.ID)
	}
}

// TestHoldEmbryonic keeps an entry while there may be embryonic records of it.
func TestHoldEmbryonic(t *testing.T) {
	run := newTrackRun(t, newFakeStore(t, smallLimits), servers(1, 3)...)
	run.apply(servers(2, 3)...)
	fake := run.store.(*fakeStore)
	fake.embryonic = []uint32{fake.clock}
	run.pass(60 * time.Second)
	if _, _, pool := run.entry(); empty(pool[1]) {
		t.Error("the entry is emptied while a SYN may have been sent there")
	}
	run.pass(30 * time.Second)
	if _, _, pool := run.entry(); !empty(pool[1]) {
		t.Errorf("the entry is never emptied: %+v", pool[1])
	}
}

// TestPressed gives up flows that have ended earlier if the flow table fills up,
// and only then.
func TestPressed(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		for _, room := range []uint32{8, 4} {
			limits := smallLimits
			limits.Flows = room
			run := newTrackRun(t, newStore(t, limits), servers(1, 3)...)
			idle := run.listener(servers(2, 3)...)
			idle.IdleTimeout = time.Hour
			mustApply(t, run.rec, state(balancerOf("web", addrs(vip1, vip6), idle)))
			_, hash := run.moving(1)
			for _, client := range []string{alice, bob, carol} {
				run.put(client, hash, 1)
			}
			flows := run.store.(interface{ PutFlow(dataplane.Flow) error })
			l, _, _ := run.entry()
			now, err := run.store.FlowClock()
			if err != nil {
				t.Fatal(err)
			}
			id := dataplane.NewFlowID(netip.MustParseAddrPort(carol), netip.AddrPortFrom(vip1, 80), lb.TCP)
			if err := flows.PutFlow(dataplane.Flow{ID: id, Listener: l.ID, Hash: hash, Seen: now, Backend: 1, Closing: true}); err != nil {
				t.Fatal(err)
			}
			run.pass(closingLife)
			run.wantClients(map[string]uint16{alice: 1, bob: 1, carol: 1})
			run.pass(5 * time.Second)
			want := map[string]uint16{alice: 1, bob: 1, carol: 1}
			if room == 4 {
				delete(want, carol)
			}
			run.wantClients(want)
		}
	})
}

// TestSteadyWaitsForEmbryonic keeps a slot tracked, although no record names
// another backend, while an embryonic record may: of a client whose SYNs are not
// answered for long.
func TestSteadyWaitsForEmbryonic(t *testing.T) {
	run := newTrackRun(t, newFakeStore(t, smallLimits), servers(1, 3)...)
	fake := run.store.(*fakeStore)
	fake.embryonic = []uint32{fake.clock}
	run.apply(servers(1, 2)...)
	run.pass(60 * time.Second)
	if run.rec.Tracking().Unsteady == 0 {
		t.Error("all slots are steady while a SYN may have been sent to where they led before")
	}
	run.pass(30 * time.Second)
	if n := run.rec.Tracking().Unsteady; n > 0 {
		t.Errorf("%d slots never become steady", n)
	}
}

// overtaken is tables whose records are read, and then something happens before
// they are looked at.
type overtaken struct {
	Store
	meanwhile func()
}

func (o *overtaken) ScanFlows(fn func([]dataplane.Flow) error) error {
	return o.Store.ScanFlows(func(flows []dataplane.Flow) error {
		if o.meanwhile != nil {
			o.meanwhile()
		}
		o.meanwhile = nil
		return fn(flows)
	})
}

// TestScanOvertaken keeps a record that says nothing by what was read of it, but
// has moved since because its backend was down for a moment.
func TestScanOvertaken(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		run := newTrackRun(t, newStore(t, smallLimits), servers(1, 3)...)
		tables := &overtaken{Store: run.store}
		run.rec = open(t, tables, run.clock)
		run.apply(down(server(1)), server(2), server(3))
		slot, hash := run.moving(1)
		run.apply(servers(1, 3)...)
		run.put(alice, hash, 1)
		var to uint16
		tables.meanwhile = func() {
			run.apply(down(server(1)), server(2), server(3))
			_, slots, _ := run.entry()
			to = slots[slot].Current
			run.put(alice, hash, to)
			run.apply(servers(1, 3)...)
		}
		run.pass(time.Second)
		run.wantClients(map[string]uint16{alice: to})
	})
}

// TestClockFails lets the flow clock stand still for the reconciler too if it
// cannot be written, or records would seem older than they are.
func TestClockFails(t *testing.T) {
	run := newTrackRun(t, newFakeStore(t, smallLimits), servers(1, 3)...)
	run.apply(servers(1, 2)...)
	slot, hash := run.moving(3)
	_, slots, _ := run.entry()
	run.put(alice, hash, 3)
	faulty := &probe{Store: run.store}
	run.rec = open(t, faulty, run.clock)
	run.apply(servers(1, 2)...)
	for range 3 {
		faulty.arm(fault{at: 1})
		run.clock.advance(clockStep)
		if _, err := run.rec.Collect(t.Context()); err == nil {
			t.Fatal("the clock was written")
		}
	}
	faulty.arm(fault{})
	run.pass(testIdle)
	if _, after, _ := run.entry(); after[slot] != slots[slot] {
		t.Errorf("by the clock that records go by the slot was to wait longer: %+v", after[slot])
	}
	run.wantClients(map[string]uint16{alice: 3})
}
