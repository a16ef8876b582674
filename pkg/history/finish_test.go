// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet/model"
	"github.com/weirlb/weir/pkg/reconcile"
)

// patience is how long it takes at most until nothing is left of any change,
// once flows have ended: they are idle, slots settle, embryonic records get old,
// and what they held back is let go.
const patience = 130 * time.Second

// finish brings a history to its end: without more changes everything becomes
// steady, and then nothing is remembered of any flow.
func (w *world) finish(twin *plane) {
	w.Helper()
	w.say("at the end")
	w.converge()
	w.checkSteady(twin)
	w.say("remove everything")
	w.apply(nothing(), fault{})
	w.converge()
	w.checkAllFree()
}

// converge lets time pass until nothing is left.
func (w *world) converge() {
	w.Helper()
	const step = 2 * time.Second
	for range patience / step {
		w.now = w.now.Add(step)
		w.collect(fault{})
		w.tidy()
		if w.leftovers() == "" {
			return
		}
	}
	if rs := w.model.Records(); len(rs) > 0 {
		w.failFlow(rs[0].Flow, "%s after the last change and packet there is still %s", patience, w.leftovers())
	}
	w.fail("%s after the last change and packet there is still %s", patience, w.leftovers())
}

// leftovers says what is left of changes, "" if nothing is.
func (w *world) leftovers() string {
	if n := len(w.model.Flows); n > 0 {
		return fmt.Sprintf("%d records, such as %+v", n, w.model.Records()[0])
	}
	if n := len(w.model.Embryonic); n > 0 {
		return fmt.Sprintf("%d embryonic records", n)
	}
	want := w.wanted()
	for _, s := range slices.SortedFunc(maps.Keys(w.model.Listeners), compareServices) {
		l := w.model.Listeners[s]
		if i := slices.IndexFunc(l.Slots, func(s model.Slot) bool { return !s.Steady() }); i >= 0 {
			return fmt.Sprintf("slot %d of %s, %+v", i, s.Address, l.Slots[i])
		}
		if l.Old != nil {
			return fmt.Sprintf("an old table of %s", s.Address)
		}
		pool := want.listener(port{s.Address.Port(), s.Protocol}).Backends
		if len(l.Backends) != len(pool) {
			return fmt.Sprintf("a pool of %s with %d backends instead of %d", s.Address, len(l.Backends), len(pool))
		}
	}
	return w.leftEntries()
}

func compareServices(a, b model.Service) int {
	return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Protocol, b.Protocol))
}

// leftEntries says which entries are left in tables that listeners do not refer
// to, "" if none is.
func (w *world) leftEntries() string {
	entries, err := w.tables.Backends(0, limits.Backends)
	w.must(err)
	names, err := w.tables.Names()
	w.must(err)
	used := make(map[uint32]bool)
	for _, counter := range w.counterOf {
		used[counter] = true
	}
	for i, e := range entries {
		if e != (dataplane.Backend{}) && !used[e.Counter] {
			return fmt.Sprintf("entry %d of backends, %s", i, labelOf(e.Address.Addr()))
		}
	}
	if want := len(used) + len(w.wanted().Balancers); len(names) != want {
		return fmt.Sprintf("%d names instead of %d: %v", len(names), want, names)
	}
	return ""
}

// checkSteady checks that flows leave nothing behind in steady slots, and that
// another balancer with the same state chooses the same backends.
func (w *world) checkSteady(twin *plane) {
	w.Helper()
	state := w.wanted()
	w.say("steady: all clients connect")
	twin.clear(w, 0)
	rec, err := reconcile.Open(twin.tables, reconcile.Options{Workers: 1})
	w.must(err)
	_, err = rec.Apply(context.Background(), state.Desired)
	w.must(err)
	for _, c := range w.clients {
		if state.listener(c.port()) == nil {
			continue
		}
		c.end()
		for range 3 {
			flags := c.next()
			w.send(c, flags)
			action, out, err := twin.run(c.frame(flags))
			w.must(err)
			to := netip.Addr{}
			if action == uint32(model.TX) || action == uint32(model.Redirect) {
				to = destination(out)
			}
			if at := w.lines[len(w.lines)-1].to; to != at {
				w.failFlow(c.flow, "%s went to %s, but to %s by another balancer", packetText(c.flow, flags), labelOf(at), labelOf(to))
			}
		}
	}
	if len(w.model.Flows) > 0 || len(w.model.Embryonic) > 0 {
		w.fail("records in steady slots: %v %v", w.model.Flows, w.model.Embryonic)
	}
	w.compare()
	for _, c := range w.clients {
		c.end()
	}
}

// checkAllFree checks that the agent can give out all that the tables have room
// for: nothing is held back, and nothing was forgotten.
func (w *world) checkAllFree() {
	w.Helper()
	balancer := reconcile.Balancer{Label: "all", Addresses: []netip.Addr{vip4}}
	const line = dataplane.SlotsPerLine
	for i := range limits.Listeners {
		l := newListener(port{uint16(i) + 1, lb.TCP}, serversTo(1)...)
		l.TableSize = 13
		if i == 0 { // all that the others leave; the largest prime in that
			l.TableSize = largestPrime(limits.Slots - (limits.Listeners-1)*line)
		}
		balancer.Listeners = append(balancer.Listeners, l)
	}
	if err := w.rec.Plan(reconcile.Desired{Seed: seed, Balancers: []reconcile.Balancer{balancer}}); err != nil {
		w.fail("what has been in use is not free: %v", err)
	}
}

// largestPrime returns the largest prime up to n.
func largestPrime(n uint32) uint32 {
	for ; ; n-- {
		prime := true
		for d := uint32(2); d*d <= n; d++ {
			prime = prime && n%d != 0
		}
		if prime {
			return n
		}
	}
}
