// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// Of what is tracked.
const (
	trackedPort = 443
	tcpID       = 7
	udpID       = 8
	now         = 50_000 // milliseconds
	before      = 20_000

	// Where syn4 is embryonic, computed without the model.
	embryoIndex = 0x27532
	embryoTag   = 0x6ee86658df
)

// Backends of both listeners.
const (
	none = iota
	a
	b
	c
	down
	drained // and without a next hop
	missing
)

var (
	flow4 = flowOf(client4, vip4, lb.TCP)
	hash4 = uint32(maglev.Hash(seed, client4, vip4, 40000, trackedPort, 6) >> 32)
)

func flowOf(src, dst netip.Addr, p lb.Protocol) model.Flow {
	return model.Flow{Src: netip.AddrPortFrom(src, 40000), Dst: netip.AddrPortFrom(dst, trackedPort), Protocol: p}
}

// trackedConfig has a TCP and a UDP listener, all slots of which are slot.
func trackedConfig(slot model.Slot) *model.Config {
	conf := config()
	conf.Listeners = map[model.Service]*model.Listener{}
	conf.FlowLimit, conf.Clock = 4, now
	conf.Flows, conf.Embryonic = map[model.Flow]model.Record{}, map[uint32]model.Embryo{}
	hop := lb.NextHop{Interface: 7, Source: out, Dest: hop, MTU: 1500}
	pool := map[uint16]*model.Backend{}
	for n := uint16(a); n < missing; n++ {
		pool[n] = &model.Backend{Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), Forward: lb.IPIP, NextHop: hop}
	}
	pool[down].Unusable = model.Down
	pool[drained].Unusable, pool[drained].NextHop = model.Drained, lb.NextHop{}
	for p, id := range map[lb.Protocol]uint32{lb.TCP: tcpID, lb.UDP: udpID} {
		l := &model.Listener{ID: id, Slots: slices.Repeat([]model.Slot{slot}, 5), Backends: pool}
		for _, vip := range []netip.Addr{vip4, vip6} {
			conf.Listeners[model.Service{Address: netip.AddrPortFrom(vip, trackedPort), Protocol: p}] = l
		}
	}
	return conf
}

// memory is what is known of syn4's flow.
type memory struct {
	record model.Record
	embryo uint16
}

// old is a record from before, seen one of now.
func old(backend uint16) model.Record {
	return model.Record{Listener: tcpID, Backend: backend, Seen: before, Hash: 1}
}

func seen(backend uint16) model.Record {
	return model.Record{Listener: tcpID, Backend: backend, Seen: now, Hash: hash4}
}

func closing(r model.Record) model.Record {
	r.Closing = true
	return r
}

// outcome is where a packet goes and what is known of its flow after it.
type outcome struct {
	to       uint16
	decided  string
	broken   string
	overflow bool
	after    memory
}

// trackCase is a packet of syn4's flow.
type trackCase struct {
	name  string
	slot  model.Slot
	known memory
	flags packet.TCPFlags
	want  outcome
}

func (test trackCase) check(t *testing.T, adjust ...func(*model.Config)) {
	t.Helper()
	conf := trackedConfig(test.slot)
	if test.known.record != (model.Record{}) {
		conf.Flows[flow4] = test.known.record
	}
	if test.known.embryo != none {
		conf.Embryonic[embryoIndex] = model.Embryo{Tag: embryoTag, Backend: test.known.embryo}
	}
	for _, f := range adjust {
		f(conf)
	}
	r := conf.Run(eth.IP(client4, vip4).TCP(40000, trackedPort, test.flags).Bytes())
	got := outcome{decided: r.Decided, broken: r.Broken, overflow: r.Overflow, after: memory{record: conf.Flows[flow4]}}
	for n, candidate := range r.Listener.Backends {
		if candidate == r.Backend {
			got.to = n
		}
	}
	if e, found := conf.Embryonic[embryoIndex]; found {
		got.after.embryo = e.Backend
		if e.Tag != embryoTag || e.Backend == none {
			t.Errorf("embryonic: %+v", e)
		}
	}
	if want := map[bool]string{true: model.DropNoBackend, false: model.Forwarded}[got.to == none]; r.Reason != want {
		t.Errorf("reason %s, want %s", r.Reason, want)
	}
	if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(outcome{}, memory{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func checkTracked(t *testing.T, tests []trackCase, adjust ...func(*model.Config)) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.check(t, adjust...) })
	}
}

// Slots.
var (
	steady  = model.Slot{Current: a, Previous: a}
	moved   = model.Slot{Current: b, Previous: a, Tracked: true}
	settled = model.Slot{Current: b, Previous: b, Tracked: true}
	emptied = model.Slot{Current: none, Previous: a, Tracked: true}
)

// TestSteadySlot: nothing is looked up, refreshed or written.
func TestSteadySlot(t *testing.T) {
	known := memory{old(b), c}
	for _, flags := range []packet.TCPFlags{packet.SYN, packet.ACK, packet.RST} {
		trackCase{"", steady, known, flags, outcome{to: a, after: known}}.check(t)
	}
	alone := model.Slot{Current: b, Previous: a} // as no agent leaves it
	trackCase{"", alone, memory{}, packet.ACK, outcome{a, model.DecidedPrevious, "", false, memory{record: seen(a)}}}.check(t)
}

func TestFirstPacket(t *testing.T) {
	const syn = packet.SYN
	decided := func(to uint16, how string, after memory) outcome { return outcome{to, how, "", false, after} }
	fresh := func(to uint16, after memory) outcome { return decided(to, model.DecidedNew, after) }
	embryo := func(n uint16) memory { return memory{embryo: n} }
	elsewhere := old(c)
	elsewhere.Listener++

	checkTracked(t, []trackCase{
		{"new", moved, memory{}, syn, fresh(b, embryo(b))},
		{"new, settled", settled, memory{}, syn, fresh(b, memory{})},
		{"new, no current", emptied, memory{}, syn, fresh(none, memory{})},
		{"new, current unusable", model.Slot{Current: down, Previous: a, Tracked: true}, memory{}, syn, fresh(down, embryo(down))},
		{"new, current missing", model.Slot{Current: missing, Previous: a, Tracked: true}, memory{}, syn, fresh(none, embryo(missing))},

		{"repeated", moved, embryo(c), syn, fresh(c, embryo(c))},
		{"repeated, settled", settled, embryo(c), syn, fresh(c, embryo(c))},
		{"repeated, unusable", moved, embryo(down), syn, fresh(b, embryo(b))},
		{"repeated, missing", moved, embryo(missing), syn, fresh(b, embryo(b))},
		{"repeated, unusable, settled", settled, embryo(down), syn, fresh(b, memory{})},
		{"repeated, unusable, no current", emptied, embryo(down), syn, fresh(none, memory{})},

		{"living", moved, memory{record: old(c)}, syn, decided(c, model.DecidedRecord, memory{record: seen(c)})},
		{"living, embryonic too", moved, memory{old(c), a}, syn, decided(c, model.DecidedRecord, memory{seen(c), a})},
		{"living, settled", settled, memory{record: old(c)}, syn, decided(c, model.DecidedRecord, memory{record: seen(c)})},
		{"closing", moved, memory{record: closing(old(c))}, syn, fresh(b, embryo(b))},
		{"closing, repeated", moved, memory{closing(old(a)), c}, syn, fresh(c, embryo(c))},
		{"closing, settled", settled, memory{record: closing(old(c))}, syn, fresh(b, memory{})},
		{"recorded, unusable", moved, memory{record: old(down)}, syn, fresh(b, embryo(b))},
		{"recorded, missing", moved, memory{record: old(missing)}, syn, fresh(b, embryo(b))},
		{"another listener's record", moved, memory{record: elsewhere}, syn, fresh(b, embryo(b))},

		{"with FIN", moved, memory{record: old(c)}, syn | packet.FIN, decided(c, model.DecidedRecord, memory{record: seen(c)})},
		{"with RST", moved, memory{}, syn | packet.RST, fresh(b, embryo(b))},
		{"with data and ECN", moved, memory{}, syn | packet.PSH | packet.ECE | packet.CWR, fresh(b, embryo(b))},
	})
}

func TestRecordedFlow(t *testing.T) {
	const ack = packet.ACK
	record := func(to uint16) outcome {
		return outcome{to, model.DecidedRecord, "", false, memory{record: seen(to)}}
	}
	current := func(to uint16, broken string, after model.Record) outcome {
		return outcome{to, model.DecidedCurrent, broken, false, memory{record: after}}
	}
	ended := outcome{c, model.DecidedRecord, "", false, memory{record: closing(seen(c))}}
	onDown := model.Slot{Current: down, Previous: a, Tracked: true}
	known := memory{record: old(c)}

	checkTracked(t, []trackCase{
		{"usable", moved, known, ack, record(c)},
		{"usable, settled", settled, known, ack, record(c)},
		{"usable, no current", emptied, known, ack, record(c)},
		{"usable, embryonic too", moved, memory{old(c), a}, ack, outcome{c, model.DecidedRecord, "", false, memory{seen(c), a}}},
		{"SYN and ACK", moved, known, packet.SYN | ack, record(c)},
		{"no flags", moved, known, 0, record(c)},
		{"FIN", moved, known, packet.FIN | ack, ended},
		{"RST", moved, known, packet.RST, ended},
		{"after FIN", moved, memory{record: closing(old(c))}, ack, ended},

		{"after FIN, and a new SYN", moved, memory{closing(old(a)), c}, ack, record(c)},
		{"down", moved, memory{record: old(down)}, ack, current(b, model.Down, seen(b))},
		{"down, RST", moved, memory{record: old(down)}, packet.RST, current(b, model.Down, closing(seen(b)))},
		{"down, closing", settled, memory{record: closing(old(down))}, ack, current(b, model.Down, closing(seen(b)))},
		{"drained", settled, memory{record: old(drained)}, ack, current(b, model.Drained, seen(b))},
		{"missing", moved, memory{record: old(missing)}, ack, current(b, model.Removed, seen(b))},
		{"down, no current", emptied, memory{record: old(down)}, ack, current(none, "", seen(down))},
		{"down, current too", onDown, memory{record: old(down)}, ack, current(down, "", seen(down))},
		{"drained, current down", onDown, memory{record: old(drained)}, ack, current(down, model.Drained, seen(down))},
	})
}

func TestEmbryonicFlow(t *testing.T) {
	const ack = packet.ACK
	record := func(to uint16) outcome {
		return outcome{to, model.DecidedRecord, "", false, memory{record: seen(to)}}
	}
	current := func(to uint16, broken string) outcome {
		return outcome{to, model.DecidedCurrent, broken, false, memory{record: seen(to)}}
	}
	embryo := func(n uint16) memory { return memory{embryo: n} }
	elsewhere := old(a)
	elsewhere.Listener++
	onDown := model.Slot{Current: down, Previous: a, Tracked: true}

	checkTracked(t, []trackCase{
		{"usable", moved, embryo(c), ack, record(c)},
		{"usable, settled", settled, embryo(c), ack, record(c)},
		{"usable, no current", emptied, embryo(c), ack, record(c)},
		{"another listener's record", moved, memory{elsewhere, c}, ack, record(c)},
		{"FIN", moved, embryo(c), packet.FIN | ack, outcome{c, model.DecidedRecord, "", false, memory{record: closing(seen(c))}}},
		{"RST", moved, embryo(c), packet.RST, outcome{c, model.DecidedRecord, "", false, memory{record: closing(seen(c))}}},
		{"down", moved, embryo(down), ack, current(b, model.Down)},
		{"missing, settled", settled, embryo(missing), ack, current(b, model.Removed)},
		{"down, current too", onDown, embryo(down), ack, current(down, "")},
		{"down, no current", emptied, embryo(down), ack, outcome{none, model.DecidedCurrent, "", false, embryo(down)}},
	})
	overflow := func(to uint16, how, broken string, stays uint16) outcome {
		return outcome{to, how, broken, true, embryo(stays)}
	}
	checkTracked(t, []trackCase{
		{"no room", moved, embryo(c), ack, overflow(c, model.DecidedRecord, "", c)},
		{"no room, down", moved, embryo(down), ack, overflow(b, model.DecidedCurrent, "", down)},
		{"no room, down, no current", emptied, embryo(down), ack, outcome{none, model.DecidedCurrent, "", false, embryo(down)}},
	}, func(c *model.Config) { c.FlowLimit = 0 })
}

func TestUnrecordedFlow(t *testing.T) {
	const ack = packet.ACK
	slot := func(current, previous uint16) model.Slot {
		return model.Slot{Current: current, Previous: previous, Tracked: true}
	}
	previous := func(to uint16, after model.Record) outcome {
		return outcome{to, model.DecidedPrevious, "", false, memory{record: after}}
	}
	current := func(to uint16, broken string, after model.Record) outcome {
		return outcome{to, model.DecidedCurrent, broken, false, memory{record: after}}
	}
	nothing := model.Record{}
	elsewhere := old(c)
	elsewhere.Listener++

	checkTracked(t, []trackCase{
		{"moved", moved, memory{}, ack, previous(a, seen(a))},
		{"moved, FIN", moved, memory{}, packet.FIN, previous(a, closing(seen(a)))},
		{"moved, RST", moved, memory{}, packet.RST | ack, previous(a, closing(seen(a)))},
		{"moved, SYN and ACK", moved, memory{}, packet.SYN | ack, previous(a, seen(a))},
		{"moved, another listener's record", moved, memory{record: elsewhere}, ack, previous(a, seen(a))},
		{"settled", settled, memory{}, ack, previous(b, nothing)},
		{"settled, another listener's record", settled, memory{record: elsewhere}, ack, previous(b, elsewhere)},
		{"no current", emptied, memory{}, ack, previous(a, seen(a))},

		{"previous down", slot(b, down), memory{}, ack, current(b, model.Down, seen(b))},
		{"previous missing", slot(b, missing), memory{}, ack, current(b, model.Removed, seen(b))},
		{"previous drained, current down", slot(down, drained), memory{}, ack, current(down, model.Drained, seen(down))},
		{"none before", slot(b, none), memory{}, ack, current(b, "", seen(b))},
		{"settled, down", slot(down, down), memory{}, ack, current(down, "", nothing)},
		{"settled, none", slot(none, none), memory{}, ack, current(none, "", nothing)},
		{"previous down, no current", slot(none, down), memory{}, ack, current(none, "", nothing)},
	})
	trackCase{"", slot(none, none), memory{}, ack, current(none, "", nothing)}.check(t, func(c *model.Config) {
		for _, l := range c.Listeners {
			l.Backends[none] = l.Backends[a] // is no backend all the same
		}
	})
	full := func(c *model.Config) { c.FlowLimit = 0 }
	checkTracked(t, []trackCase{
		{"no room", moved, memory{}, ack, outcome{a, model.DecidedPrevious, "", true, memory{}}},
		{"no room, previous down", slot(b, down), memory{}, ack, outcome{b, model.DecidedCurrent, "", true, memory{}}},
		{"no room, none needed", settled, memory{}, ack, previous(b, nothing)},
		{"no room, previous down, no current", slot(none, down), memory{}, ack, current(none, "", nothing)},
	}, full)
}

// TestUDPFlow: no packet of a datagram's flow is the first, an end or embryonic,
// whatever its bytes are.
func TestUDPFlow(t *testing.T) {
	flow := flowOf(client4, vip4, lb.UDP)
	hash := maglev.Hash(seed, client4, vip4, 40000, trackedPort, 17)
	frame := eth.IP(client4, vip4).UDP(40000, trackedPort).Payload(slices.Repeat([]byte{byte(packet.SYN | packet.FIN)}, 8)).Bytes()

	conf := trackedConfig(moved)
	r := conf.Run(frame)
	want := model.Record{Listener: udpID, Backend: a, Seen: now, Hash: uint32(hash >> 32)}
	if r.Decided != model.DecidedPrevious || conf.Flows[flow] != want {
		t.Errorf("%s, record %+v, want %+v", r.Decided, conf.Flows[flow], want)
	}
	conf.Clock++
	want.Seen++
	if r := conf.Run(frame); r.Decided != model.DecidedRecord || conf.Flows[flow] != want {
		t.Errorf("again: %s, record %+v, want %+v", r.Decided, conf.Flows[flow], want)
	}
	if len(conf.Embryonic) != 0 {
		t.Errorf("embryonic: %+v", conf.Embryonic)
	}
}
