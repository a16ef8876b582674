// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// tightLimits are too low for some states that a history draws.
var tightLimits = dataplane.Limits{Listeners: 12, Backends: 176, Slots: 192}

// TestHistory lives through random histories of states, restarts, faults and
// time, and checks after each step that the tables mean what they should.
func TestHistory(t *testing.T) {
	eachStore(t, func(t *testing.T, newStore newStore) {
		store := newStore(t, tightLimits)
		steps := 12
		if _, fake := store.(*fakeStore); !fake {
			steps = 4 // the same steps, but slow to look at
		}
		rapid.Check(t, func(rt *rapid.T) {
			wipe(t, store)
			h := newHistory(t, rt, store)
			for range rapid.IntRange(1, steps).Draw(rt, "steps") {
				h.step()
			}
			h.end()
		})
	})
}

// history is one random history.
type history struct {
	*rapid.T
	store Store
	clock *clock
	probe *probe
	rec   *Reconciler

	good  Desired   // the last state that was reached
	tried []Desired // states that were begun since
}

func newHistory(t *testing.T, rt *rapid.T, store Store) *history {
	h := &history{T: rt, store: store, clock: newClock()}
	h.probe = &probe{Store: store, watch: newWatcher(store, h.clock)}
	h.rec = open(t, h.probe, h.clock)
	return h
}

func (h *history) step() {
	switch rapid.SampledFrom([]string{"apply", "apply", "update", "update", "restart", "collect"}).Draw(h.T, "action") {
	case "apply":
		h.apply(drawNext(h.T, h.good))
	case "update":
		h.update()
	case "restart":
		h.probe.arm(fault{})
		h.probe.watch.forget()
		h.probe.watch.look()
		h.reopen()
	case "collect":
		h.clock.advance(time.Duration(rapid.IntRange(100, 1500).Draw(h.T, "ms")) * time.Millisecond)
		h.arm()
		if _, err := h.rec.Collect(context.Background()); err != nil && !errors.Is(err, errFault) {
			h.Fatalf("Collect: %v", err)
		}
	}
	if len(h.probe.watch.problems) > 0 {
		h.Fatalf("packets saw: %v", h.probe.watch.problems)
	}
}

func (h *history) reopen() {
	var err error
	if h.rec, err = Open(h.probe, Options{Clock: h.clock.read, Uptime: h.clock.uptime, Workers: 1}); err != nil {
		h.Fatalf("Open: %v", err)
	}
}

// arm lets some operation fail, mostly none.
func (h *history) arm() {
	f := fault{}
	if rapid.IntRange(0, 2).Draw(h.T, "fault") == 0 {
		f = fault{at: rapid.IntRange(1, 60).Draw(h.T, "at"), after: rapid.Bool().Draw(h.T, "after")}
	}
	h.probe.arm(f)
}

// apply applies d, which may not fit or meet a fault.
func (h *history) apply(d Desired) {
	h.probe.watch.allow(append(h.tried, h.good, d)...)
	h.probe.arm(fault{})
	if _, err := h.rec.Collect(context.Background()); err != nil {
		h.Fatalf("Collect: %v", err)
	}
	before := readTables(h, h.store)
	planned := h.rec.Plan(d)
	if !reflect.DeepEqual(before, readTables(h, h.store)) {
		h.Fatalf("Plan wrote")
	}
	h.arm()
	_, err := h.rec.Apply(context.Background(), d)
	switch {
	case errors.Is(err, errFault):
		h.tried = append(h.tried, d)
	case errors.Is(err, ErrFull):
		if planned == nil || planned.Error() != err.Error() {
			h.Fatalf("Plan said %v, Apply %v", planned, err)
		}
		if !reflect.DeepEqual(before, readTables(h, h.store)) {
			h.Fatalf("a state that does not fit changed something")
		}
	case err != nil:
		h.Fatalf("Apply: %v", err)
	default:
		if planned != nil {
			h.Fatalf("Plan said %v, Apply nothing", planned)
		}
		h.reached(d, before)
	}
}

// reached checks the tables of d.
func (h *history) reached(d Desired, before tables) {
	expect(h, h.store, d, false)
	if len(h.tried) == 0 {
		expectStable(h, h.good, before, readTables(h, h.store))
	}
	h.good, h.tried = d, nil
	h.probe.arm(fault{})
	if _, err := h.rec.Collect(context.Background()); err != nil {
		h.Fatalf("Collect: %v", err)
	}
	h.probe.arm(fault{})
	if _, err := h.rec.Apply(context.Background(), reversed(d)); err != nil || h.probe.writes > 0 {
		h.Fatalf("applied again: %v, %d writes", err, h.probe.writes)
	}
}

// update changes some listeners, if that is allowed.
func (h *history) update() {
	d := clone(h.good)
	var changes []Change
	for i, b := range d.Balancers {
		for j := range b.Listeners {
			if rapid.Bool().Draw(h.T, "update") {
				l := drawListener(h.T, b.Listeners[j].Port, b.Listeners[j].Protocol)
				d.Balancers[i].Listeners[j] = l
				changes = append(changes, Change{Balancer: b.Label, Listener: l})
			}
		}
	}
	h.probe.watch.allow(append(h.tried, h.good, d)...)
	before := readTables(h, h.store)
	h.arm()
	_, err := h.rec.Update(context.Background(), changes)
	switch {
	case errors.Is(err, errFault):
		h.tried = append(h.tried, d)
	case errors.Is(err, ErrFull):
	case errors.Is(err, ErrUnfinished):
		if !reflect.DeepEqual(before, readTables(h, h.store)) {
			h.Fatalf("an Update that was refused changed something")
		}
	case err != nil:
		h.Fatalf("Update: %v", err)
	default:
		h.reached(d, before)
	}
}

// end goes back to the last good state. It fits, if not at once then after
// the tables were emptied.
func (h *history) end() {
	h.probe.arm(fault{})
	h.probe.watch.allow(append(h.tried, h.good)...)
	_, err := h.rec.Apply(context.Background(), h.good)
	if errors.Is(err, ErrFull) {
		if _, err := h.rec.Apply(context.Background(), Desired{}); err != nil {
			h.Fatalf("Apply: %v", err)
		}
		for range collections {
			h.clock.advance(DefaultGrace)
			if _, err := h.rec.Collect(context.Background()); err != nil {
				h.Fatalf("Collect: %v", err)
			}
		}
		_, err = h.rec.Apply(context.Background(), h.good)
	}
	if err != nil {
		h.Fatalf("Apply: %v", err)
	}
	for range collections {
		h.clock.advance(DefaultGrace)
		if _, err := h.rec.Collect(context.Background()); err != nil {
			h.Fatalf("Collect: %v", err)
		}
	}
	expect(h, h.store, h.good, true)
	if len(h.probe.watch.problems) > 0 {
		h.Fatalf("packets saw: %v", h.probe.watch.problems)
	}
}

func clone(d Desired) Desired {
	d.Balancers = slices.Clone(d.Balancers)
	for i := range d.Balancers {
		b := &d.Balancers[i]
		b.Listeners = slices.Clone(b.Listeners)
	}
	return d
}

// drawNext draws a state that may have something in common with d.
func drawNext(t *rapid.T, d Desired) Desired {
	if len(d.Balancers) == 0 || rapid.IntRange(0, 2).Draw(t, "new") == 0 {
		return drawState(t)
	}
	d = clone(d)
	b := &d.Balancers[rapid.IntRange(0, len(d.Balancers)-1).Draw(t, "balancer")]
	b.Listeners = drawListeners(t, b.Listeners)
	if rapid.Bool().Draw(t, "rename") {
		b.Label += "'"
	}
	return d
}

func drawState(t *rapid.T) Desired {
	d := Desired{Seed: uint64(rapid.IntRange(1, 2).Draw(t, "seed"))}
	byLabel := make(map[string][]netip.Addr)
	for _, addr := range []netip.Addr{vip1, vip2, vip3, vip6} {
		label := rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "owner")
		byLabel[label] = append(byLabel[label], addr)
	}
	for _, label := range []string{"a", "b", "c"} {
		if addresses := byLabel[label]; addresses != nil {
			d.Balancers = append(d.Balancers, balancerOf(label, addresses, drawListeners(t, nil)...))
		}
	}
	return d
}

// drawListeners draws listeners, some of them as they are in have.
func drawListeners(t *rapid.T, have []Listener) []Listener {
	var out []Listener
	for _, port := range []uint16{80, 443} {
		for _, protocol := range []lb.Protocol{lb.TCP, lb.UDP} {
			if !rapid.Bool().Draw(t, "listener") {
				continue
			}
			i := slices.IndexFunc(have, func(l Listener) bool { return l.Port == port && l.Protocol == protocol })
			if i >= 0 && rapid.Bool().Draw(t, "keep") {
				out = append(out, have[i])
			} else {
				out = append(out, drawListener(t, port, protocol))
			}
		}
	}
	return out
}

func drawListener(t *rapid.T, port uint16, protocol lb.Protocol) Listener {
	l := Listener{
		Port: port, Protocol: protocol,
		Forward:   rapid.SampledFrom([]lb.Forward{lb.IPIP, lb.IPIP, lb.IPIP, lb.DSR}).Draw(t, "forward"),
		Algorithm: rapid.SampledFrom([]lb.Algorithm{lb.Maglev, lb.Source}).Draw(t, "algorithm"),
		TableSize: rapid.SampledFrom([]uint32{7, 7, 7, 13, 31}).Draw(t, "table_size"),
		OnAllDown: rapid.SampledFrom([]lb.OnAllDown{lb.AllDownOpen, lb.AllDownDrop, lb.AllDownReject}).Draw(t, "on_all_down"),
	}
	most := rapid.SampledFrom([]int{4, 8, 24}).Draw(t, "most")
	for n := range most {
		if !rapid.Bool().Draw(t, "backend") {
			continue
		}
		b := server(n)
		b.Weight = rapid.SampledFrom([]uint8{1, 1, 2, 100}).Draw(t, "weight")
		b.Health = rapid.SampledFrom([]lb.Health{lb.HealthUp, lb.HealthUp, lb.HealthDown, lb.HealthUnknown}).Draw(t, "health")
		b.Reachable = rapid.IntRange(0, 4).Draw(t, "unreachable") < 4
		l.Backends = append(l.Backends, b)
	}
	return l
}
