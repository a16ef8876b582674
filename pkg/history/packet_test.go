// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"net/netip"

	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// deliver sends a packet through the program and the model, which must agree on
// all that becomes of it.
func (w *world) deliver(f model.Flow, flags packet.TCPFlags, frame []byte) outcome {
	w.Helper()
	before := w.remembered(f)
	r := w.model.Run(frame)
	action, out, err := w.run(frame)
	w.must(err)
	o := outcome{reason: r.Reason, decided: r.Decided, broken: r.Broken, overflow: r.Overflow}
	if action == uint32(model.TX) || action == uint32(model.Redirect) {
		o.to = destination(out)
	}
	w.packet(f, flags, o)

	var listener, backend uint32
	if l := w.listenerOf(f); l != nil {
		listener = l.ID
	}
	if r.Backend != nil {
		backend = w.counterOf[r.Backend]
	}
	w.counters.count(&r, len(frame), listener, backend)
	if diff := w.counters.difference(); diff != "" {
		w.failFlow(f, "%s: counters differ from the model's: %s", packetText(f, flags), diff)
	}
	if action != uint32(r.Action) {
		w.failFlow(f, "%s: action %s, the model says %s", packetText(f, flags), model.Action(action), r.Action)
	}
	if diff := packet.Diff(r.Frame, out); diff != "" {
		w.failFlow(f, "%s: the frame that leaves (-model +program):\n%s", packetText(f, flags), diff)
	}
	w.note(f, o, before)
	return o
}

// memory is what is remembered of a flow.
type memory struct {
	record   model.Record
	recorded bool    // for the listener that there is
	living   bool    // and the record is neither closing nor of an unusable backend
	embryo   *embryo // nil: none
	usable   bool    // the backend of the embryonic record
}

func (w *world) remembered(f model.Flow) (m memory) {
	l := w.listenerOf(f)
	if l == nil {
		return m
	}
	usable := func(id uint16) bool { return l.Backends[id] != nil && l.Backends[id].Unusable == "" }
	m.record, m.recorded = w.model.Flows[f]
	m.recorded = m.recorded && m.record.Listener == l.ID
	m.living = m.recorded && !m.record.Closing && usable(m.record.Backend)
	if m.embryo = w.embryoOf(f, l.ID); m.embryo != nil {
		place, _ := embryoPlace(f, l.ID)
		m.usable = usable(w.model.Embryonic[place].Backend)
	}
	return m
}

// note takes note of what the records mean that a packet has left.
func (w *world) note(f model.Flow, o outcome, before memory) {
	l := w.listenerOf(f)
	if l == nil {
		return
	}
	r, ok := w.model.Flows[f]
	switch {
	case !ok:
		delete(w.records, f)
	case r.Listener == l.ID && (!before.recorded || r.Backend != before.record.Backend):
		w.records[f] = meaning{backend: addressOf(l.Backends[r.Backend])}
	}
	place, tag := embryoPlace(f, l.ID)
	have, ok := w.model.Embryonic[place]
	switch {
	case !ok:
		delete(w.embryos, place)
	case have.Tag != tag: // another flow's
	case o.decided == model.DecidedNew && (before.embryo == nil || !before.usable):
		w.embryos[place] = &embryo{
			meaning: meaning{backend: addressOf(l.Backends[have.Backend])}, flow: f, listener: l.ID, since: w.model.Clock,
		}
	}
}

func addressOf(b *model.Backend) netip.Addr {
	if b == nil {
		return netip.Addr{}
	}
	return b.Address
}

// send lets a client send a packet, and judges where it went by what the client
// knows.
func (w *world) send(c *client, flags packet.TCPFlags) {
	w.Helper()
	before := w.remembered(c.flow)
	w.release(c, before)
	o := w.deliver(c.flow, flags, c.frame(flags))
	if o.reason == model.PassNoListener || o.reason == model.PassNotOurs {
		c.end()
		return
	}
	w.judge(c.flow, flags, o)
	switch first := flags == syn && !isUDP(c.flow); {
	case first && c.phase != open:
		w.judgeFirst(c, o, before)
	case first:
		w.judgeForged(c, o)
		return // it is not the client's
	case c.lives():
		w.judgeLater(c, flags, o)
	case isUDP(c.flow) && o.to.IsValid():
		c.phase, c.at, c.exempt = open, o.to, o.overflow
	}
	c.seen, c.sent = w.model.Clock, w.now
}

// release sets a connection free that does not depend on the agent's doing.
func (w *world) release(c *client, before memory) {
	switch {
	case !c.lives():
	case w.age(c.seen) > idleTimeout && w.now.Sub(c.sent) > idleTimeout:
		c.free = freeIdle
	case c.embryo && before.embryo == nil && !before.recorded:
		c.free = freeLost
	case c.free == "" && !w.mustStay(c.port(), c.at):
		c.free = freeUnusable // a drain is over, and the agent is about to see it
	}
}

// judge judges where a packet went that is of any flow.
func (w *world) judge(f model.Flow, flags packet.TCPFlags, o outcome) {
	w.Helper()
	p := port{f.Dst.Port(), f.Protocol}
	if o.to.IsValid() && !w.mayStay(p, o.to) {
		w.failFlow(f, "%s went to %s, which no flow may be on", packetText(f, flags), labelOf(o.to))
	}
	if o.decided == "" && !w.isNewest(f, o.to) {
		w.failFlow(f, "%s went to %s, but its slot is steady, and the newest table leads to %s",
			packetText(f, flags), labelOf(o.to), labelOf(w.newest(f)))
	}
}

// isNewest reports whether new flows go to a backend, or to none.
func (w *world) isNewest(f model.Flow, to netip.Addr) bool {
	for _, s := range w.states {
		if s.newest(f) == to {
			return true
		}
	}
	return false
}

// newest returns where a new flow goes if the last change has come to its end.
func (w *world) newest(f model.Flow) netip.Addr { return w.states[len(w.states)-1].newest(f) }

// reachable reports whether packets to a backend must get there.
func (w *world) reachable(p port, addr netip.Addr) bool {
	for _, s := range w.states {
		if !s.reachable(p, addr) {
			return false
		}
	}
	return true
}

// judgeFirst judges where a SYN went that begins a connection, or does so once
// more: by the newest table, unless something is known of the flow.
func (w *world) judgeFirst(c *client, o outcome, before memory) {
	w.Helper()
	want, known := netip.Addr{}, true
	switch {
	case o.decided == "":
		known = false
	case before.living:
		want = w.records[c.flow].backend
	case before.embryo != nil && before.usable:
		want = before.embryo.backend
	default:
		known = false
	}
	switch {
	case !known && !w.isNewest(c.flow, o.to):
		w.failFlow(c.flow, "%s went to %s, but the newest table leads to %s",
			packetText(c.flow, syn), labelOf(o.to), labelOf(w.newest(c.flow)))
	case known && o.to != want && (o.to.IsValid() || w.reachable(c.port(), want)):
		w.failFlow(c.flow, "%s went to %s, want %s, which is on record", packetText(c.flow, syn), labelOf(o.to), labelOf(want))
	}
	if !o.to.IsValid() {
		if c.phase != opening {
			c.end()
		}
		return
	}
	c.end()
	c.phase, c.at = opening, o.to
	if l := w.listenerOf(c.flow); o.decided != "" {
		c.embryo = w.embryoOf(c.flow, l.ID) != nil
	}
}

// judgeForged judges where a SYN went that comes within a connection.
func (w *world) judgeForged(c *client, o outcome) {
	w.Helper()
	switch {
	case o.decided == model.DecidedNew:
		c.free = freeSYN
	case c.free == "" && !c.exempt && o.to != c.at && (o.to.IsValid() || w.reachable(c.port(), c.at)):
		w.failFlow(c.flow, "%s, within a connection, went to %s, want %s", packetText(c.flow, syn), labelOf(o.to), labelOf(c.at))
	}
}

// judgeLater judges where a packet of a connection went. It may be elsewhere
// than the one before for one of the reasons above only. A connection that was
// moved because its backend is not usable is counted as broken, once for each
// packet that found it so; and only such a one is.
func (w *world) judgeLater(c *client, flags packet.TCPFlags, o outcome) {
	w.Helper()
	moved := o.to.IsValid() && o.to != c.at
	switch {
	case c.exempt:
	case c.free == "":
		if moved || !o.to.IsValid() && w.reachable(c.port(), c.at) {
			w.failFlow(c.flow, "%s: went to %s, want %s", packetText(c.flow, flags), labelOf(o.to), labelOf(c.at))
		}
		if o.broken != "" {
			w.failFlow(c.flow, "%s: counted as broken, but it may stay on %s", packetText(c.flow, flags), labelOf(c.at))
		}
	case c.free == freeUnusable:
		if moved != (o.broken != "") && o.to.IsValid() && !o.overflow {
			w.failFlow(c.flow, "%s: was on %s, went to %s: broken %q", packetText(c.flow, flags), labelOf(c.at), labelOf(o.to), o.broken)
		}
	}
	if c.free == freeUnusable && !o.to.IsValid() {
		c.free = freeDropped
	}
	c.exempt = c.exempt || o.overflow
	c.arrived(flags, o)
}
