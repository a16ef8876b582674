// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"testing"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// Backends of the listeners of a trackLab, by their index in the pool.
const (
	webA = 1 + iota
	webB
	webC
	webDown    // its flows must leave it, as its checks fail
	webDrained // as it has drained long enough
)

// trackTest is one flow in a slot that is not steady: packet for packet, where
// each goes and why.
type trackTest struct {
	name     string
	slot     Slot
	old      uint16 // if not 0: the listener has an old table, which leads there
	protocol lb.Protocol
	sent     []trackStep
	record   uint16 // the backend of the flow's record in the end; 0: it has none
	embryo   uint16 // the same of an embryonic record
}

// trackStep is one packet of the flow, or a change of the slot before it.
type trackStep struct {
	flags   packet.TCPFlags
	to      uint16 // 0: dropped, there is no backend
	decided string
	broken  string

	slot *Slot // changes before the packet
	seen bool  // overflow
}

// moving is a slot on the move from a backend to another, settled one in which
// no flow is on previous any more.
func moving(current, previous uint16) Slot {
	return Slot{Current: current, Previous: previous, Tracked: true}
}

func settled(current uint16) Slot { return moving(current, current) }

func trackTests() []trackTest {
	const syn, ack, fin, rst = packet.SYN, packet.ACK, packet.FIN | packet.ACK, packet.RST
	const isNew, byRecord, byPrevious, byCurrent = model.DecidedNew, model.DecidedRecord, model.DecidedPrevious, model.DecidedCurrent
	slot := func(s Slot) *Slot { return &s }
	return []trackTest{
		{
			name: "a flow from before the change stays", slot: moving(webB, webA),
			sent: []trackStep{{flags: ack, to: webA, decided: byPrevious}, {flags: ack, to: webA, decided: byRecord}}, record: webA,
		},
		{
			name: "a new flow follows the newest table", slot: moving(webB, webA),
			sent: []trackStep{{flags: syn, to: webB, decided: isNew}}, embryo: webB,
		},
		{
			name: "and stays once it is established", slot: moving(webB, webA),
			sent: []trackStep{
				{flags: syn, to: webB, decided: isNew},
				{flags: ack, to: webB, decided: byRecord},
				{flags: ack, to: webB, decided: byRecord, slot: slot(moving(webC, webA))},
			}, record: webB,
		},
		{
			name: "a SYN that comes again goes where the first one went", slot: moving(webB, webA),
			sent: []trackStep{
				{flags: syn, to: webB, decided: isNew},
				{flags: syn, to: webB, decided: isNew, slot: slot(moving(webC, webA))},
				{flags: ack, to: webB, decided: byRecord},
			}, record: webB,
		},
		{
			name: "unless that backend is unusable", slot: moving(webDown, webA),
			sent: []trackStep{
				{flags: syn, to: webDown, decided: isNew},
				{flags: syn, to: webC, decided: isNew, slot: slot(moving(webC, webA))},
			}, embryo: webC,
		},
		{
			name: "an established flow leaves a backend that went down", slot: moving(webDown, webA),
			sent: []trackStep{
				{flags: syn, to: webDown, decided: isNew},
				{flags: ack, to: webC, decided: byCurrent, broken: model.Down, slot: slot(moving(webC, webA))},
				{flags: ack, to: webC, decided: byRecord},
			}, record: webC,
		},
		{
			name: "previous is unusable", slot: moving(webB, webDrained),
			sent: []trackStep{
				{flags: ack, to: webB, decided: byCurrent, broken: model.Drained}, {flags: ack, to: webB, decided: byRecord},
			}, record: webB,
		},
		{
			name: "nobody was there before", slot: moving(webB, 0),
			sent: []trackStep{{flags: ack, to: webB, decided: byCurrent}}, record: webB,
		},
		{
			name: "nobody is there now", slot: moving(0, webA),
			sent: []trackStep{{flags: syn, decided: isNew}, {flags: ack, to: webA, decided: byPrevious}}, record: webA,
		},
		{
			name: "nobody was and is there", slot: moving(0, webDown),
			sent: []trackStep{{flags: ack, decided: byCurrent}, {flags: syn, decided: isNew}},
		},
		{
			name: "settled: who is on current needs no record", slot: settled(webB),
			sent: []trackStep{{flags: ack, to: webB, decided: byPrevious}, {flags: syn, to: webB, decided: isNew}},
		},
		{
			name: "settled: who is elsewhere stays there", slot: moving(webB, webA),
			sent: []trackStep{
				{flags: ack, to: webA, decided: byPrevious},
				{flags: ack, to: webA, decided: byRecord, slot: slot(settled(webB))},
				{flags: ack, to: webB, slot: slot(Slot{Current: webB, Previous: webB})}, // steady: nobody asks
			}, record: webA,
		},
		{
			name: "a SYN does not move a flow that lives", slot: moving(webB, webA),
			sent: []trackStep{
				{flags: ack, to: webA, decided: byPrevious},
				{flags: syn, to: webA, decided: byRecord},
				{flags: ack, to: webA, decided: byRecord},
			}, record: webA,
		},
		{
			name: "but begins another after FIN", slot: moving(webB, webA),
			sent: []trackStep{
				{flags: ack, to: webA, decided: byPrevious},
				{flags: fin, to: webA, decided: byRecord},
				{flags: ack, to: webA, decided: byRecord},
				{flags: syn, to: webB, decided: isNew},
			}, embryo: webB,
		},
		{
			name: "or RST", slot: moving(webB, webA),
			sent: []trackStep{
				{flags: rst, to: webA, decided: byPrevious},
				{flags: syn, to: webB, decided: isNew},
				{flags: ack, to: webB, decided: byRecord},
			}, record: webB,
		},
		{
			name: "an embryo whose slot has settled on it is not needed", slot: moving(webDown, webA),
			sent: []trackStep{
				{flags: syn, to: webDown, decided: isNew},
				{flags: syn, to: webC, decided: isNew, slot: slot(settled(webC))},
			},
		},
		{
			name: "with an old table that decides on flows without a record", slot: settled(webB), old: webC,
			sent: []trackStep{{flags: ack, to: webC, decided: byPrevious}}, record: webC,
		},
		{
			name: "and all flows get records", slot: settled(webB), old: webB,
			sent: []trackStep{{flags: ack, to: webB, decided: byPrevious}}, record: webB,
		},
		{
			name: "new ones too", slot: settled(webB), old: webB,
			sent: []trackStep{{flags: syn, to: webB, decided: isNew}}, embryo: webB,
		},
		{
			name: "UDP has no first packet", slot: moving(webB, webA), protocol: lb.UDP,
			sent: []trackStep{{to: webA, decided: byPrevious}, {to: webA, decided: byRecord}}, record: webA,
		},
		{
			name: "UDP, settled", slot: settled(webB), protocol: lb.UDP,
			sent: []trackStep{{to: webB, decided: byPrevious}},
		},
		{
			name: "UDP, previous is unusable", slot: moving(webB, webDown), protocol: lb.UDP,
			sent: []trackStep{{to: webB, decided: byCurrent, broken: model.Down}, {to: webB, decided: byRecord}}, record: webB,
		},
	}
}

// TestTrack sends the packets of flows whose slots are not steady.
func TestTrack(t *testing.T) {
	l := newTrackLab(t, 16)
	for _, f := range families() {
		for _, tt := range trackTests() {
			t.Run(f.name+", "+tt.name, func(t *testing.T) { l.run(t, tt, f) })
		}
	}
}

// TestTrackOverflow has no room for a record: the flow goes where it belongs all
// the same, and that there was none is counted.
func TestTrackOverflow(t *testing.T) {
	l := newTrackLab(t, 1)
	f := families()[0]
	l.run(t, trackTest{
		slot: moving(webB, webA), record: webA,
		sent: []trackStep{{flags: packet.ACK, to: webA, decided: model.DecidedPrevious}},
	}, f)
	f.in = eth.IP(netip.MustParseAddr("192.0.2.2"), vip4)
	for range 2 {
		l.send(t, f, lb.TCP, trackStep{flags: packet.ACK, to: webA, decided: model.DecidedPrevious, seen: true})
	}
	l.send(t, f, lb.TCP, trackStep{flags: packet.SYN, to: webB, decided: model.DecidedNew})
	// An embryo that finds no room stays one.
	for range 2 {
		l.send(t, f, lb.TCP, trackStep{flags: packet.ACK, to: webB, decided: model.DecidedRecord, seen: true})
	}
	l.checkFlows(t)
}

// TestTrackOtherListener has the record of a listener that had the address and
// port before: it says nothing of this one's pool.
func TestTrackOtherListener(t *testing.T) {
	l := newTrackLab(t, 16)
	for _, f := range families() {
		l.forget(t)
		l.setSlot(t, moving(webB, webA), 0)
		id := NewFlowID(netip.AddrPortFrom(f.client, clientPort), netip.AddrPortFrom(f.vip, portMoving), lb.TCP)
		if err := l.tables.PutFlow(Flow{ID: id, Listener: 63, Backend: webC}); err != nil {
			t.Fatal(err)
		}
		l.config.Flows = map[model.Flow]model.Record{
			{Src: id.Client(), Dst: id.VIP(), Protocol: lb.TCP}: {Listener: 63, Backend: webC},
		}
		l.send(t, f, lb.TCP, trackStep{flags: packet.ACK, to: webA, decided: model.DecidedPrevious})
		l.checkFlows(t)
	}
}
