// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestApply makes every kind of change under the eyes of a watcher.
func TestApply(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		for _, s := range changes() {
			t.Run(s.name, func(t *testing.T) {
				wipe(t, store)
				c := newClock()
				p := &probe{Store: store, watch: newWatcher(store, c)}
				p.watch.strict = true
				p.watch.allow(s.before, s.after)
				r := open(t, p, c)
				mustApply(t, r, s.before)
				before := readTables(t, store)
				if err := r.Plan(s.after); err != nil {
					t.Fatalf("Plan: %v", err)
				}
				mustApply(t, r, s.after)
				expect(t, store, s.after, false)
				expectStable(t, s.before, before, readTables(t, store))
				collect(t, r, c)
				expect(t, store, s.after, true)
				if len(p.watch.problems) > 0 {
					t.Fatalf("packets saw: %v", p.watch.problems)
				}
			})
		}
	})
}

// TestApplyAgain applies a state that is there, in any order of its parts, by
// the same and by a new Reconciler: nothing is written.
func TestApplyAgain(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, smallLimits)
		for _, s := range changes() {
			t.Run(s.name, func(t *testing.T) {
				wipe(t, store)
				c := newClock()
				p := &probe{Store: store}
				r := open(t, p, c)
				mustApply(t, r, s.after)
				before := readTables(t, store)
				p.arm(fault{})
				if report := mustApply(t, r, s.after); report != (Report{}) {
					t.Errorf("applied again: %+v", report)
				}
				if report := mustApply(t, r, reversed(s.after)); report != (Report{}) {
					t.Errorf("applied in another order: %+v", report)
				}
				r = open(t, p, c)
				if report := mustApply(t, r, s.after); report != (Report{}) {
					t.Errorf("applied after a restart: %+v", report)
				}
				collect(t, r, c)
				if p.writes != 0 {
					t.Errorf("%d writes", p.writes)
				}

				wipe(t, store)
				mustApply(t, open(t, store, c), reversed(s.after))
				if diff := cmp.Diff(before, readTables(t, store), append(compareAddrs, cmp.AllowUnexported(tables{}))...); diff != "" {
					t.Errorf("another order gives other tables:\n%s", diff)
				}
			})
		}
	})
}

// reversed returns d with all its parts in the opposite order.
func reversed(d Desired) Desired {
	d.Balancers = slices.Clone(d.Balancers)
	slices.Reverse(d.Balancers)
	for i := range d.Balancers {
		b := &d.Balancers[i]
		b.Addresses = slices.Clone(b.Addresses)
		slices.Reverse(b.Addresses)
		b.Listeners = slices.Clone(b.Listeners)
		slices.Reverse(b.Listeners)
		for j := range b.Listeners {
			l := &b.Listeners[j]
			l.Backends = slices.Clone(l.Backends)
			slices.Reverse(l.Backends)
		}
	}
	return d
}
