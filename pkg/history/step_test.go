// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"net/netip"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet/model"
)

// start is how a history begins.
func (w *world) start() {
	w.Helper()
	w.say("begin: 80/tcp with 3 backends, 443/tcp with 4, 53/udp with 3")
	w.apply(newState(
		newListener(web, serversTo(3)...), newListener(secure, serversTo(4)...), newListener(dns, serversTo(3)...),
	), fault{})
}

// step lets one thing happen.
func (w *world) step(s step) {
	w.Helper()
	switch s.kind {
	case "packets":
		w.burst(s.packets)
	case "change":
		w.between(s)
		w.change(s.edits, s.fault, s.restart)
		w.store.between = nil
	case "flap":
		have := w.wanted()
		w.change(s.edits, fault{}, false)
		w.burst(s.packets)
		w.changeTo(have, "and back", s.fault, s.restart)
		w.burst(s.packets)
	case "time":
		w.time(s)
	case "flood":
		w.flood(s.synFlood)
	case "restart":
		w.say("restart the agent")
		w.open()
	case "outage":
		w.say("no agent for %s", s.pause)
		w.now = w.now.Add(s.pause)
		w.burst(s.packets)
		w.say("restart the agent")
		w.open()
	}
}

// burst lets some clients send.
func (w *world) burst(b burst) {
	w.Helper()
	all := w.clients[b.first:]
	all = all[:min(b.n, len(all))]
	w.say("packets: %s, clients %d to %d", b.kind, b.first, b.first+len(all)-1)
	for _, c := range all {
		w.speak(c, b.kind)
	}
}

// speak lets a client send packets of a kind.
func (w *world) speak(c *client, kind string) {
	w.Helper()
	switch udp := isUDP(c.flow); {
	case kind == "talk" || udp:
		w.send(c, c.next())
	case kind == "connect":
		if !c.lives() {
			w.send(c, syn)
		}
		w.send(c, c.next())
	case kind == "syn":
		w.send(c, syn)
	case kind == "fin" && c.lives():
		w.send(c, fin)
	case kind == "rst" && c.lives():
		w.send(c, reset)
	case kind == "stray" && !c.lives():
		w.send(c, ack)
	}
}

// change lets the agent make some changes at once.
func (w *world) change(edits []edit, f fault, restart bool) {
	w.Helper()
	next, text := edits[0].apply(w.wanted())
	for _, e := range edits[1:] {
		var more string
		next, more = e.apply(next)
		text += "; " + more
	}
	w.changeTo(next, text, f, restart)
}

// changeTo lets the agent make a change, as it would: by Update where that can be.
func (w *world) changeTo(next *state, text string, f fault, restart bool) {
	w.Helper()
	how, change := "apply", w.apply
	if w.applied && samePorts(next, w.wanted()) {
		how, change = "update", w.update
	}
	w.say("%s: %s%s", how, text, f)
	if !change(next, f) {
		w.killed(restart)
	}
}

// wanted returns the state that the agent was last told of.
func (w *world) wanted() *state { return w.states[len(w.states)-1] }

func samePorts(a, b *state) bool {
	for _, p := range ports {
		if (a.listener(p) == nil) != (b.listener(p) == nil) {
			return false
		}
	}
	return true
}

func (f fault) String() string {
	switch {
	case f.at == 0:
		return ""
	case f.after:
		return fmt.Sprintf(" (fails after operation %d)", f.at)
	}
	return fmt.Sprintf(" (fails before operation %d)", f.at)
}

// killed is what follows when an operation failed.
func (w *world) killed(restart bool) {
	if restart {
		w.say("killed; restart the agent")
		w.open()
		return
	}
	w.say("it went wrong; the agent lives on")
}

// between lets packets come between two operations of the agent.
func (w *world) between(s step) {
	if s.between == 0 {
		return
	}
	w.store.between = func(op int) {
		if op < s.between {
			return
		}
		w.store.between = nil
		w.say("after operation %d:", op)
		w.look()
		w.burst(s.packets)
	}
}

// time lets time pass in which the agent collects, and some clients talk. What
// gets in between does so half-way.
func (w *world) time(s step) {
	w.Helper()
	for i := range s.rounds {
		w.now = w.now.Add(s.pause)
		w.say("%s later; %s", s.pause, s.who)
		w.talk(s, i, true)
		f := fault{}
		if i == s.rounds/2 {
			f = s.fault
			w.between(s)
			w.nest(s)
		}
		w.say("collect%s", f)
		if !w.collect(f) {
			w.killed(s.restart)
		}
		w.store.between, w.store.unlocked = nil, nil
		w.talk(s, i, false)
		w.tidy()
	}
}

// talk lets those talk with a connection that are to: all, or those who would be
// silent for too long after the next step of time. Of each client it is its turn
// in one round before the clock of the flows goes on, and in the next one after.
func (w *world) talk(s step, round int, before bool) {
	w.Helper()
	for i, c := range w.clients {
		flags := c.next()
		if c.slow && c.phase == opening {
			flags = syn
		}
		must := w.now.Sub(c.sent)+s.pause > idleTimeout
		switch {
		case !c.lives() || (i+round)%2 == 0 != before || s.who == "none talks":
		case s.who == "all talk", s.who == "all that must talk" && must, i/6%3 == 0 && must:
			w.send(c, flags)
		}
	}
}

// nest lets changes come while the agent looks at records, and packets after each.
func (w *world) nest(s step) {
	if len(s.nested) == 0 {
		return
	}
	w.store.unlocked = func() {
		between, f, ops := w.store.between, w.store.fault, w.store.ops
		w.store.between, w.store.unlocked = nil, nil
		w.say("while it looks at records:")
		have := w.wanted()
		for _, e := range s.nested {
			w.change([]edit{e}, fault{}, false)
			w.burst(s.packets)
		}
		if s.back {
			w.changeTo(have, "and back", fault{}, false)
			w.burst(s.packets)
		}
		w.store.between = between
		w.store.arm(f)
		w.store.ops = ops
	}
}

// flood sends SYNs of as many flows that nobody has heard of, and never will
// again.
func (w *world) flood(n int) {
	w.Helper()
	w.say("flood of %d SYNs", n)
	for range n {
		w.flooded++
		src := netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + w.flooded%100)})
		f := model.Flow{
			Src: netip.AddrPortFrom(src, uint16(1024+w.flooded)), Dst: netip.AddrPortFrom(vip4, []port{web, secure}[w.flooded%2].number),
			Protocol: lb.TCP,
		}
		before := w.remembered(f)
		o := w.deliver(f, syn, frameOf(f, syn))
		if o.reason != model.PassNoListener && o.reason != model.PassNotOurs {
			w.judge(f, syn, o)
			w.judgeFirst(&client{flow: f}, o, before)
		}
	}
}
