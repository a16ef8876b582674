// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"

	"github.com/weirlb/weir/pkg/lb"
	frames "github.com/weirlb/weir/pkg/packet"
)

// How the backend of a packet was decided, if its slot was not steady.
const (
	DecidedNew      = "new"      // a first packet: the slot's current, or where the one before it went
	DecidedRecord   = "record"   // the record's
	DecidedPrevious = "previous" // the slot's previous, for want of a record
	DecidedCurrent  = "current"  // the slot's current, because where the flow was is not usable
)

// decision is where a packet goes, and why.
type decision struct {
	backend  uint16
	decided  string // "" in a steady slot
	broken   string // why the flow's backend is not usable, if the flow moves
	overflow bool
}

// moving is a packet whose slot is not steady, with what it depends on.
type moving struct {
	config   *Config
	packet   *packet
	listener *Listener
	flow     Flow
	current  uint16
	previous uint16
	hash     uint32 // upper half of the hash that chose the slot
}

// decide returns where a packet of a listener goes, and remembers what there is
// to remember.
func (c *Config) decide(p *packet, l *Listener) decision {
	hash := c.hash(p, l.Algorithm)
	slot := slotOf(l.Slots, hash)
	if slot.Steady() {
		return decision{backend: slot.Current}
	}
	m := &moving{
		config: c, packet: p, listener: l, flow: p.flow(),
		current: slot.Current, previous: slot.Previous, hash: uint32(hash >> 32),
	}
	if l.Old != nil {
		m.previous = slotOf(l.Old.Slots, c.hash(p, l.Old.Algorithm)).Previous
	}
	if p.isFirst() {
		return m.first()
	}
	return m.other()
}

// first decides on a packet that begins a connection, or says to.
func (m *moving) first() decision {
	if r, found := m.record(); found && !r.Closing && m.unusable(r.Backend) == "" {
		// The connection lives: this is a duplicate or forged, and must not
		// move it.
		m.refresh(r)
		return decision{backend: r.Backend, decided: DecidedRecord}
	}
	delete(m.config.Flows, m.flow)
	if b, found := m.embryo(); found && m.unusable(b) == "" {
		return decision{backend: b, decided: DecidedNew}
	}
	if m.mustRecord() && m.current != 0 {
		m.putEmbryo(m.current)
	} else {
		m.deleteEmbryo()
	}
	return decision{backend: m.current, decided: DecidedNew}
}

// other decides on a packet of a flow that may exist.
func (m *moving) other() decision {
	_, begun := m.embryo() // anew, if there is a record: that of a flow which has ended
	if r, found := m.record(); found && !(r.Closing && begun) {
		d := m.stay(r.Backend, DecidedRecord)
		if d.backend != 0 {
			r.Backend = d.backend
		}
		r.Closing = r.Closing || m.packet.ends()
		m.refresh(r)
		return d
	}
	if b, found := m.embryo(); found && m.flow.Protocol == lb.TCP {
		d := m.stay(b, DecidedRecord)
		if d.backend != 0 {
			if m.note(&d); !d.overflow {
				m.deleteEmbryo()
			}
		}
		return d
	}
	d := m.stay(m.previous, DecidedPrevious)
	if m.mustRecord() && d.backend != 0 {
		m.note(&d)
	} else {
		d.broken = ""
	}
	return d
}

// note records where a flow goes of which nothing was recorded. Without room it
// is not known where it is, and so not that it has moved.
func (m *moving) note(d *decision) {
	if d.overflow = !m.putRecord(d.backend); d.overflow {
		d.broken = ""
	}
}

// stay sends a flow to the backend where it is, which was found as decided
// says, or to the slot's current if that backend is not usable.
func (m *moving) stay(backend uint16, decided string) decision {
	reason := m.unusable(backend)
	if reason == "" {
		return decision{backend: backend, decided: decided}
	}
	d := decision{backend: m.current, decided: DecidedCurrent}
	if backend != 0 && m.current != 0 && backend != m.current { // it was somewhere, and moves
		d.broken = reason
	}
	return d
}

// mustRecord reports whether the slot alone does not say where a flow is.
func (m *moving) mustRecord() bool { return m.listener.Old != nil || m.previous != m.current }

// unusable returns why flows may not stay on a backend, "" if they may.
func (m *moving) unusable(backend uint16) string {
	b := m.listener.backend(backend)
	if b == nil {
		return Removed
	}
	return b.Unusable
}

func (p *packet) flow() Flow {
	return Flow{
		Src: netip.AddrPortFrom(p.src, p.sport), Dst: netip.AddrPortFrom(p.dst, p.dport), Protocol: lb.Protocol(p.protocol),
	}
}

// isFirst reports whether p is the first packet of a connection. A UDP flow has
// none that could be told from the others.
func (p *packet) isFirst() bool {
	flags := p.tcpFlags()
	return flags&frames.SYN != 0 && flags&frames.ACK == 0
}

// ends reports whether p announces the end of a connection.
func (p *packet) ends() bool { return p.tcpFlags()&(frames.FIN|frames.RST) != 0 }

// tcpFlags returns the flags of a TCP packet, of another none.
func (p *packet) tcpFlags() frames.TCPFlags {
	if lb.Protocol(p.protocol) != lb.TCP {
		return 0
	}
	return frames.TCPFlags(p.l4[13])
}
