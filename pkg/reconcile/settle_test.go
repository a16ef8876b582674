// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// TestSettle follows a slot through all that becomes of it after a change, while
// a flow stays behind.
func TestSettle(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		run := newTrackRun(t, newStore(t, smallLimits), servers(1, 3)...)
		a, b, c := server(1), server(2), server(3)
		a.Mode = lb.ModeDrain
		run.apply(a, b, c)
		slot, hash := run.moving(1)
		at := func() dataplane.Slot {
			_, slots, _ := run.entry()
			return slots[slot]
		}
		to := at().Current
		run.put(alice, hash, 1) // stayed behind
		run.put(bob, hash, to)  // came after the change
		run.put(carol, hash, 1) // stayed behind, and is silent from now on
		run.pass(testIdle)      // since the change, but for the step of the clock
		run.put(alice, hash, 1)
		run.put(bob, hash, to)
		if s := at(); s != (dataplane.Slot{Current: to, Previous: 1, Tracked: true}) {
			t.Errorf("too early the slot is %+v", s)
		}
		run.wantClients(map[string]uint16{alice: 1, bob: to, carol: 1})
		run.pass(clockStep)
		if s := at(); s != (dataplane.Slot{Current: to, Previous: to, Tracked: true}) {
			t.Errorf("in time the slot is %+v, want it settled", s)
		}
		// A packet that has read the slot from before still needs bob's record.
		run.wantClients(map[string]uint16{alice: 1, bob: to, carol: 1})
		run.pass(2 * time.Second)
		run.wantClients(map[string]uint16{alice: 1}) // bob's says nothing any more, carol's is idle
		for range 5 {
			run.put(alice, hash, 1)
			run.pass(testIdle)
		}
		if s := at(); s.Steady() {
			t.Errorf("the slot is steady although a flow is elsewhere")
		}
		run.pass(testIdle + clockStep + 3*time.Second)
		run.wantClients(map[string]uint16{})
		if s := at(); s != (dataplane.Slot{Current: to, Previous: to}) {
			t.Errorf("in the end the slot is %+v, want it steady", s)
		}
		if tracking := run.rec.Tracking(); tracking.Unsteady != 0 || tracking.Records4 != 0 || tracking.Scanned.IsZero() {
			t.Errorf("tracking in the end: %+v", tracking)
		}
	})
}

// TestSettleAnew waits anew for a slot that changes again, and for it alone.
func TestSettleAnew(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		run := newTrackRun(t, newStore(t, smallLimits), servers(1, 4)...)
		run.apply(down(server(1)), server(2), server(3), server(4))
		run.pass(testIdle / 2)
		run.apply(down(server(1)), down(server(2)), server(3), server(4))
		_, before, _ := run.entry()
		run.pass(testIdle/2 + clockStep)
		_, after, _ := run.entry()
		var waits, done int
		for i := range after {
			switch {
			case after[i].Previous == 2 && after[i].Current != 2:
				waits++
			case before[i].Previous == 1 && after[i].Previous != 1:
				done++
			}
		}
		if waits == 0 || done == 0 {
			t.Errorf("%d slots wait and %d are settled, want some of each:\n%+v\n%+v", waits, done, before, after)
		}
		run.pass(testIdle)
		if _, slots, _ := run.entry(); run.rec.Tracking().Unsteady != 0 {
			t.Errorf("not all slots are steady: %+v", slots)
		}
	})
}

// TestOldTable changes size and algorithm twice: flows without a record go by the
// first table until all flows have one.
func TestOldTable(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		run := newTrackRun(t, newStore(t, smallLimits), servers(1, 3)...)
		first, _, _ := run.entry()
		change := func(size uint32, algorithm lb.Algorithm) {
			l := run.listener(servers(1, 3)...)
			l.TableSize, l.Algorithm = size, algorithm
			mustApply(t, run.rec, state(balancerOf("web", addrs(vip1, vip6), l)))
		}
		wantOld := func(when string) {
			t.Helper()
			l, slots, _ := run.entry()
			old, err := run.store.OldTable(l.ID)
			if err != nil {
				t.Fatal(err)
			}
			if want := (dataplane.OldTable{Slots: first.Slots, TableSize: 13}); !l.OldTable || old != want {
				t.Errorf("%s the old table is %+v, %t; want %+v", when, old, l.OldTable, want)
			}
			for i, s := range slots {
				if !s.Tracked {
					t.Errorf("%s slot %d is %+v, want it tracked", when, i, s)
				}
			}
		}
		change(31, lb.Maglev)
		wantOld("after one change")
		run.pass(testIdle / 2)
		change(31, lb.Source)
		wantOld("after two changes")
		run.restart()
		change(31, lb.Source)
		wantOld("after a restart")
		run.put(alice, 0, 1)
		run.pass(testIdle)
		wantOld("too early")
		run.put(alice, 0, 1)
		run.pass(clockStep)
		l, _, _ := run.entry()
		if l.OldTable {
			t.Error("the old table is there when all flows must have records")
		}
		run.pass(testIdle + 6*time.Second)
		expect(t, run.store, state(balancerOf("web", addrs(vip1, vip6), func() Listener {
			l := run.listener(servers(1, 3)...)
			l.TableSize, l.Algorithm = 31, lb.Source
			return l
		}())), true)
		if run.rec.model.alloc.slots.available() != smallLimits.Slots-32 {
			t.Errorf("%d slots are free, want all but 32", run.rec.model.alloc.slots.available())
		}
	})
}

// TestOldTableCutShort kills an agent when some addresses of a listener have lost
// their old table and others have not. Flows that begin under the former then
// have no records, so the old table must not come back.
func TestOldTableCutShort(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		cut := 0
		for n := range 12 {
			run := newTrackRun(t, store, servers(1, 3)...)
			l := run.listener(servers(1, 3)...)
			l.TableSize = 31
			want := state(balancerOf("web", addrs(vip1, vip6), l))
			faulty := &probe{Store: store}
			run.rec = open(t, faulty, run.clock)
			mustApply(t, run.rec, want)
			run.pass(testIdle + clockStep - time.Second)
			faulty.arm(fault{at: n + 1, after: true})
			run.clock.advance(time.Second)
			if _, err := run.rec.Collect(t.Context()); err == nil {
				break
			}
			before := oldTables(run)
			if len(before) != 1 {
				continue
			}
			cut++
			run.restart()
			mustApply(t, run.rec, want)
			if after := oldTables(run); len(after) > 0 {
				t.Errorf("%v had an old table when the agent was killed, and %v have it now", before, after)
			}
			run.pass(testIdle + 6*time.Second)
			expect(t, store, want, true)
			if free := run.rec.model.alloc.slots.available(); free != smallLimits.Slots-32 {
				t.Errorf("%d slots are free, want all but 32", free)
			}
		}
		if cut == 0 {
			t.Error("no operation was the last for one address and not for the other")
		}
	})
}

// oldTables returns the addresses under which there is an old table.
func oldTables(run *trackRun) (out []netip.Addr) {
	run.Helper()
	for key, l := range readTables(run, run.store).Listeners {
		if l.OldTable {
			out = append(out, key.Address)
		}
	}
	return out
}

// TestDrainEnds has the flows of a draining backend leave it in time, also when
// the agent was away, and not anew because of it.
func TestDrainEnds(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		for _, restart := range []bool{false, true} {
			run := newTrackRun(t, newStore(t, smallLimits), servers(1, 2)...)
			a := server(1)
			a.Mode = lb.ModeDrain
			run.apply(a, server(2))
			run.clock.advance(50 * time.Second)
			if restart {
				run.restart()
				run.apply(a, server(2))
			}
			run.pass(9 * time.Second)
			if _, _, pool := run.entry(); pool[1].Unusable != dataplane.Usable || pool[1].Mode != lb.ModeDrain {
				t.Errorf("restarted %t: before drain_timeout the entry is %+v", restart, pool[1])
			}
			report := run.pass(2 * time.Second)
			if _, _, pool := run.entry(); pool[1].Unusable != dataplane.Drained || report.Drained != 1 {
				t.Errorf("restarted %t: after drain_timeout the entry is %+v, %d drains have ended", restart, pool[1], report.Drained)
			}
			if report := mustApply(t, run.rec, state(balancerOf("web", addrs(vip1, vip6), run.listener(a, server(2))))); report.Writes() > 0 {
				t.Errorf("restarted %t: applied again: %+v", restart, report)
			}
			run.apply(servers(1, 2)...)
			if _, _, pool := run.entry(); pool[1].Unusable != dataplane.Usable || pool[1].Mode != lb.ModeAccept {
				t.Errorf("restarted %t: taken back, the entry is %+v", restart, pool[1])
			}
		}
	})
}

// TestClock has the flow clock stand still without an agent, and go by no more
// than a step when one was held up.
func TestClock(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		run := newTrackRun(t, newStore(t, smallLimits), servers(1, 2)...)
		now := func() time.Duration {
			ms, err := run.store.FlowClock()
			if err != nil {
				t.Fatal(err)
			}
			return time.Duration(ms) * time.Millisecond
		}
		begun := now()
		run.pass(3 * time.Second)
		run.clock.advance(time.Hour)
		run.restart()
		run.pass(time.Second)
		if got := now() - begun; got != 4*time.Second {
			t.Errorf("the clock has gone by %s, want 4s", got)
		}
		run.clock.advance(time.Hour)
		run.pass(time.Second)
		if got := now() - begun; got != 4*time.Second+clockStep {
			t.Errorf("the clock has gone by %s, want 4s and a step of %s", got, clockStep)
		}
	})
}
