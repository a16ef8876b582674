// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

const historyIdle = 1000 // milliseconds that a flow may be silent

// history is a listener that changes, with clients that take no notice.
type history struct {
	conf     *model.Config
	listener *model.Listener
	open     map[uint16]uint16 // client's port of each connection, to its backend
	changed  uint32            // when the table last changed
}

func newHistory() *history {
	conf := trackedConfig(steady)
	conf.FlowLimit = 1000
	service := model.Service{Address: netip.AddrPortFrom(vip4, trackedPort), Protocol: lb.TCP}
	return &history{conf: conf, listener: conf.Listeners[service], open: map[uint16]uint16{}}
}

// send sends a packet of the connection from a client's port and returns where
// it went.
func (h *history) send(t *rapid.T, port uint16, flags packet.TCPFlags) (to uint16, r model.Result) {
	r = h.conf.Run(eth.IP(client4, vip4).TCP(port, trackedPort, flags).Bytes())
	for n, candidate := range h.listener.Backends {
		if candidate == r.Backend {
			return n, r
		}
	}
	t.Fatalf("port %d: %s", port, r.Reason)
	return none, r
}

// connect opens a connection that is not open, by the newest table.
func (h *history) connect(t *rapid.T, port uint16) {
	to, r := h.send(t, port, packet.SYN)
	if want := h.slot(port).Current; to != want {
		t.Fatalf("port %d: a new connection went to %d, want %d: decided %s", port, to, want, r.Decided)
	}
	if again, _ := h.send(t, port, packet.SYN); again != to {
		t.Fatalf("port %d: a repeated SYN went to %d and not to %d", port, again, to)
	}
	h.open[port] = to
	h.talk(t, port)
}

func (h *history) slot(port uint16) model.Slot {
	hash := maglev.Hash(seed, client4, vip4, port, trackedPort, uint8(lb.TCP))
	if h.listener.Algorithm == lb.Source {
		hash = maglev.HashSource(seed, client4)
	}
	return h.listener.Slots[maglev.Slot(hash, uint32(len(h.listener.Slots)))]
}

// talk sends within an open connection. It moves only if it must.
func (h *history) talk(t *rapid.T, port uint16) {
	was := h.open[port]
	to, r := h.send(t, port, packet.ACK)
	reason := h.listener.Backends[was].Unusable
	if to != was && reason == "" || r.Broken != "" && r.Broken != reason || r.Overflow {
		t.Fatalf("port %d was on %d (%q) and went to %d: decided %s, broken %q, overflow %t",
			port, was, reason, to, r.Decided, r.Broken, r.Overflow)
	}
	h.open[port] = to
}

// talkAll lets every connection send.
func (h *history) talkAll(t *rapid.T) {
	for port := range uint16(64) {
		if _, open := h.open[port]; open {
			h.talk(t, port)
		}
	}
}

// move writes a new table, of the size that there is.
func (h *history) move(table []uint16) {
	for i := range h.listener.Slots {
		if s := &h.listener.Slots[i]; s.Current != table[i] {
			s.Current, s.Tracked = table[i], true
			h.changed = h.conf.Clock
		}
	}
}

// resize writes a table of another size, unless one is going on.
func (h *history) resize(table []uint16) {
	if h.listener.Old != nil || len(table) == len(h.listener.Slots) {
		return
	}
	h.listener.Old = &model.OldTable{Algorithm: h.listener.Algorithm, Slots: h.listener.Slots}
	h.listener.Algorithm = lb.Source - h.listener.Algorithm
	h.listener.Slots = model.SteadySlots(table)
	for i := range h.listener.Slots {
		h.listener.Slots[i].Tracked = true
	}
	h.changed = h.conf.Clock
}

// settle is what the agent does once every live flow must have a record.
func (h *history) settle() {
	h.conf.Expire(h.listener.ID, historyIdle)
	if h.conf.Clock-h.changed <= historyIdle {
		return
	}
	h.listener.Old = nil
	elsewhere := map[int]bool{}
	for _, r := range h.conf.Records() {
		if i := r.Record.Slot(len(h.listener.Slots)); r.Record.Backend != h.listener.Slots[i].Current {
			elsewhere[i] = true
		} else {
			delete(h.conf.Flows, r.Flow)
		}
	}
	for i := range h.listener.Slots {
		s := &h.listener.Slots[i]
		s.Previous, s.Tracked = s.Current, elsewhere[i]
	}
}

// step does one thing that a draw of t says.
func (h *history) step(t *rapid.T) {
	usable := func() uint16 { return rapid.SampledFrom([]uint16{a, b, c}).Draw(t, "backend") }
	port := rapid.Uint16Range(0, 63).Draw(t, "port")
	_, open := h.open[port]
	switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
	case what == 0:
		table := make([]uint16, len(h.listener.Slots))
		for i := range table {
			table[i] = usable()
		}
		h.move(table)
	case what == 1:
		backend := h.listener.Backends[usable()]
		backend.Unusable = rapid.SampledFrom([]string{"", "", model.Down, model.Drained}).Draw(t, "state")
	case what == 2:
		h.resize(slices.Repeat([]uint16{usable(), usable(), usable()}, rapid.IntRange(1, 3).Draw(t, "size")))
	case what <= 4: // time passes, in which every connection sends
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			h.conf.Clock += historyIdle / 2
			h.talkAll(t)
		}
		h.settle()
	case what == 5 && open:
		h.send(t, port, packet.FIN|packet.ACK)
		delete(h.open, port)
	case open:
		h.talk(t, port)
	default:
		h.connect(t, port)
	}
}

// TestHistories: whatever changes, no connection leaves a backend on which it
// may stay; without more changes every slot is steady again, and then nothing
// is remembered.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			h.step(t)
		}
		h.converge(t)
	})
}

// converge lets connections that are not on their slot's current end, and time
// pass.
func (h *history) converge(t *rapid.T) {
	for range 4 {
		h.conf.Clock += historyIdle / 2
		h.talkAll(t)
	}
	h.settle()
	for _, r := range h.conf.Records() {
		delete(h.open, r.Flow.Src.Port())
	}
	for range 3 {
		h.conf.Clock += historyIdle / 2
		h.talkAll(t)
		h.settle()
	}
	moving := slices.ContainsFunc(h.listener.Slots, func(s model.Slot) bool { return !s.Steady() })
	if moving || len(h.conf.Flows) > 0 {
		t.Fatalf("not steady: %v %v", h.listener.Slots, h.conf.Records())
	}
}
