// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// TestFault lets each operation of each kind of change fail, as if it had not
// been, and as if it had been but the answer was lost. Packets never meet half
// a change, and the next Apply ends up in exactly the state it should: by the
// same Reconciler, by one after a restart, or by one that goes back.
func TestFault(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		stride := 1
		if _, fake := store.(*fakeStore); !fake {
			stride = 7 // the operations are the same, but slow to look at
		}
		for _, s := range changes() {
			t.Run(s.name, func(t *testing.T) {
				ops := newFaultRun(t, store, s).count()
				for n := 0; n < ops; n += stride {
					for i, after := range []bool{false, true} {
						run := newFaultRun(t, store, s)
						run.fail(fault{at: n + 1, after: after}, recoveries[(n+i)%len(recoveries)])
					}
				}
			})
		}
	})
}

// recovery is what happens after an operation failed.
type recovery struct {
	name    string
	restart bool
	back    bool // to the state before
}

var recoveries = []recovery{
	{name: "same"},
	{name: "restart", restart: true},
	{name: "back", back: true},
	{name: "restart and back", restart: true, back: true},
}

// faultRun is one change in which one operation fails.
type faultRun struct {
	*testing.T
	step
	store Store
	clock *clock
	probe *probe
	rec   *Reconciler
}

// newFaultRun makes tables in the state before the change.
func newFaultRun(t *testing.T, store Store, s step) *faultRun {
	t.Helper()
	wipe(t, store)
	run := &faultRun{T: t, step: s, store: store, clock: newClock()}
	run.probe = &probe{Store: store, watch: newWatcher(store, run.clock)}
	run.probe.watch.strict = true
	run.probe.watch.allow(s.before, s.after)
	run.rec = open(t, run.probe, run.clock)
	mustApply(t, run.rec, s.before)
	collect(t, run.rec, run.clock)
	run.probe.watch.look()
	return run
}

// change makes the change to its very end.
func (run *faultRun) change() error {
	if _, err := run.rec.Apply(context.Background(), run.after); err != nil {
		return err
	}
	for range collections {
		run.clock.advance(DefaultGrace)
		if _, err := run.rec.Collect(context.Background()); err != nil {
			return err
		}
	}
	return nil
}

// count returns how many operations the change has.
func (run *faultRun) count() int {
	run.probe.arm(fault{})
	if err := run.change(); err != nil {
		run.Fatal(err)
	}
	return run.probe.ops
}

// fail makes the change with a fault and recovers.
func (run *faultRun) fail(f fault, rec recovery) {
	run.Helper()
	name := fmt.Sprintf("operation %d (after: %t), %s", f.at, f.after, rec.name)
	run.probe.arm(f)
	// What is left in slots that nobody uses may spare a write or cost one.
	if err := run.change(); !errors.Is(err, errFault) && (err != nil || run.probe.ops >= f.at) {
		run.Fatalf("%s: got %v, want the fault", name, err)
	}
	run.probe.arm(fault{})
	if rec.restart {
		run.probe.watch.forget()
		run.probe.watch.look()
		run.rec = open(run, run.probe, run.clock)
	}
	want := run.after
	if rec.back {
		want = run.before
	}
	mustApply(run.T, run.rec, want)
	expect(run, run.store, want, false)
	collect(run.T, run.rec, run.clock)
	expect(run, run.store, want, true)
	run.probe.arm(fault{})
	mustApply(run.T, run.rec, want)
	if run.probe.writes > 0 {
		run.Fatalf("%s: applied again, %d writes", name, run.probe.writes)
	}
	if len(run.probe.watch.problems) > 0 {
		run.Fatalf("%s: packets saw: %v", name, run.probe.watch.problems)
	}
}
