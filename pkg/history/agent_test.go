// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
	"github.com/weirlb/weir/pkg/packet/model"
	"github.com/weirlb/weir/pkg/reconcile"
)

// agent is what changes the tables of a world, and what is known of that.
type agent struct {
	store *store
	rec   *reconcile.Reconciler
	now   time.Time

	applied bool // the reconciler has applied a state, and none has failed since

	// states are those that the tables may be in: the one that was reached last,
	// and those that were begun since.
	states []*state
	drains map[backend]*draining
	drawn  time.Duration // since boot, when drains that were over were last ended
}

// backend names a backend across listeners.
type backend struct {
	port port
	addr netip.Addr
}

// draining is when a backend began to drain, since boot. A change that was cut
// short leaves open when.
type draining struct{ first, last time.Duration }

// epoch is when every history begins, and when the machine was started.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newAgent(w *world) agent {
	a := agent{
		store: &store{Store: w.tables, counters: w.counters}, now: epoch.Add(1000*time.Second + 700*time.Millisecond),
		states: []*state{nothing()}, drains: make(map[backend]*draining),
	}
	a.store.removing, a.store.swept = w.removing, w.swept
	return a
}

func (a *agent) uptime() time.Duration { return a.now.Sub(epoch) }

// open starts an agent. It finds what the one before it left.
func (w *world) open() {
	w.Helper()
	w.store.arm(fault{})
	w.store.between, w.store.unlocked = nil, nil
	rec, err := reconcile.Open(w.store, reconcile.Options{
		Clock: func() time.Time { return w.now }, Uptime: w.uptime, Workers: 1,
	})
	w.must(err)
	w.rec, w.applied = rec, false
}

// apply lets the agent apply a state. It reports whether it survived.
func (w *world) apply(s *state, f fault) bool {
	w.Helper()
	return w.attempt(s, f, func() error {
		_, err := w.rec.Apply(context.Background(), s.Desired)
		return err
	})
}

// update lets the agent change those listeners that differ, all of which are
// there already. It reports whether it survived.
func (w *world) update(s *state, f fault) bool {
	w.Helper()
	var changes []reconcile.Change
	have := w.states[len(w.states)-1]
	for _, l := range s.listeners() {
		if before := have.listener(portOf(&l)); !equal(before, &l) {
			changes = append(changes, reconcile.Change{Balancer: "web", Listener: l})
		}
	}
	return w.attempt(s, f, func() error {
		_, err := w.rec.Update(context.Background(), changes)
		if errors.Is(err, reconcile.ErrUnfinished) {
			_, err = w.rec.Apply(context.Background(), s.Desired)
		}
		return err
	})
}

// tidy has the agent finish what it could not before, as it does every second.
func (w *world) tidy() {
	w.Helper()
	if w.applied {
		_, err := w.rec.Update(context.Background(), nil)
		w.applied = !errors.Is(err, reconcile.ErrUnfinished)
		if err != nil && w.applied {
			w.fail("%v", err)
		}
	}
	if !w.applied {
		w.say("apply what was not finished")
		w.apply(w.wanted(), fault{})
	}
}

func equal(a, b *reconcile.Listener) bool {
	x, y := *a, *b
	x.Backends, y.Backends = nil, nil
	return slices.Equal(a.Backends, b.Backends) && x.Port == y.Port && x.Protocol == y.Protocol &&
		x.Algorithm == y.Algorithm && x.TableSize == y.TableSize && x.OnDown == y.OnDown && x.OnAllDown == y.OnAllDown
}

// attempt is a change to a state.
func (w *world) attempt(s *state, f fault, change func() error) bool {
	w.Helper()
	w.begin(s)
	w.store.arm(f)
	err := change()
	w.rest()
	switch {
	case errors.Is(err, errKilled):
		w.applied = false
	case err != nil:
		w.fail("%v", err)
	default:
		w.reached(s)
	}
	w.compare()
	return err == nil
}

// rest is what follows a call of the agent.
func (w *world) rest() {
	w.Helper()
	w.store.arm(fault{})
	if w.store.wrong != "" {
		w.Fatalf("%s", w.store.wrong)
	}
	w.look()
}

// begin notes that the tables may from now on be in a state.
func (w *world) begin(s *state) {
	w.states = append(w.states, s)
	for b := range s.draining() {
		if w.drains[b] == nil {
			w.drains[b] = &draining{w.uptime(), w.uptime()}
		}
	}
	w.loosen()
}

// reached notes that the tables are in a state.
func (w *world) reached(s *state) {
	before := w.states[:len(w.states)-1]
	w.states, w.applied = []*state{s}, true
	now := s.draining()
	for b, d := range w.drains {
		switch {
		case !now[b]:
			delete(w.drains, b)
		case slices.ContainsFunc(before, func(s *state) bool { return !s.draining()[b] }):
			d.last = w.uptime()
		}
	}
	w.loosen()
}

// draining returns the backends that drain.
func (s *state) draining() map[backend]bool {
	out := make(map[backend]bool)
	for _, l := range s.listeners() {
		for _, b := range l.Backends {
			if b.Mode == lb.ModeDrain {
				out[backend{portOf(&l), b.Address.Addr()}] = true
			}
		}
	}
	return out
}

// collect lets the agent do what is due. It reports whether it survived.
func (w *world) collect(f fault) bool {
	w.Helper()
	w.store.arm(f)
	_, err := w.rec.Collect(context.Background())
	w.rest()
	if err != nil && !errors.Is(err, errKilled) {
		w.fail("%v", err)
	}
	if err == nil && w.applied {
		w.drawn = w.uptime()
	}
	w.loosen()
	w.compare()
	return err == nil
}

// drained returns how long a backend has drained. Time counts as over when the
// agent has seen that it is, and has whole seconds.
func (w *world) drained(b backend) drainTime {
	d := w.drains[b]
	if d == nil {
		return drainTime{}
	}
	return drainTime{least: w.drawn - d.last - time.Second, most: w.uptime() - d.first}
}

// mayStay reports whether in some state that the tables may be in, the flows of
// a backend stay there; mustStay whether in all of them.
func (w *world) mayStay(p port, addr netip.Addr) bool {
	return slices.ContainsFunc(w.states, func(s *state) bool {
		reason, certain := s.unusable(p, addr, w.drained(backend{p, addr}))
		return reason == "" || !certain
	})
}

func (w *world) mustStay(p port, addr netip.Addr) bool {
	return !slices.ContainsFunc(w.states, func(s *state) bool {
		reason, _ := s.unusable(p, addr, w.drained(backend{p, addr}))
		return reason != ""
	})
}

// loosen sets the connections free whose backends have become unusable, and ends
// those to listeners that are gone.
func (w *world) loosen() {
	for _, c := range w.clients {
		if !c.lives() {
			continue
		}
		p := c.port()
		if slices.ContainsFunc(w.states, func(s *state) bool { return s.listener(p) == nil }) {
			c.end()
		} else if c.free == "" && !w.mustStay(p, c.at) {
			c.free = freeUnusable
		}
	}
}

// removing sees which records the agent removes. Each must be of a flow that was
// idle when it was read, or whose slot says the same without it.
func (w *world) removing(ids []dataplane.FlowID, read map[dataplane.FlowID]dataplane.Flow) {
	w.Helper()
	w.look()
	var wrong problems
	for i := range ids {
		f := flowOf(&ids[i])
		r, ok := w.model.Flows[f]
		if !ok {
			continue
		}
		seen := read[ids[i]].Seen
		switch why := w.saysSomething(f, r); {
		case why == "":
		case w.age(seen) <= idleTimeout:
			wrong.add(f, "the record of %s was removed, but %s", f, why)
		case r.Seen != seen: // it has come back since
			w.client(f).free = freeIdle
		}
		delete(w.model.Flows, f)
		delete(w.records, f)
	}
	w.report(wrong)
}

// client returns the client of a flow.
func (w *world) client(f model.Flow) *client {
	i := slices.IndexFunc(w.clients, func(c *client) bool { return c.flow == f })
	return w.clients[i]
}

// saysSomething says why a record is needed, "" if it is not.
func (w *world) saysSomething(f model.Flow, r model.Record) string {
	l := w.listenerOf(f)
	if l == nil || l.ID != r.Listener {
		return ""
	}
	switch slot := l.Slots[maglev.Slot(flowHash(f, l.Algorithm), uint32(len(l.Slots)))]; {
	case slot.Steady():
		return ""
	case l.Old != nil:
		return "its listener has an old table"
	case slot.Previous != slot.Current:
		return "its slot is not settled"
	case r.Backend != slot.Current:
		return "it is not on the backend of its slot"
	}
	return ""
}

// swept sees the embryonic records after the agent has removed old ones: those
// older than age. How old one is is known up to two units.
func (w *world) swept(now uint32, age time.Duration, left uint32) {
	w.Helper()
	var wrong problems
	for place, e := range w.embryos {
		old := time.Duration(now-e.since) * time.Millisecond
		switch gone := w.embryonic[place] == 0; {
		case gone && old <= age:
			wrong.add(e.flow, "the embryonic record of %s was removed after %s", e.flow, old)
		case !gone && old > age+2*dataplane.EmbryonicUnit:
			wrong.add(e.flow, "the embryonic record of %s is there after %s", e.flow, old)
		case gone:
			delete(w.model.Embryonic, place)
			delete(w.embryos, place)
		}
	}
	w.report(wrong)
	if int(left) != len(w.model.Embryonic) {
		w.fail("%d embryonic records are left, want %d", left, len(w.model.Embryonic))
	}
}
