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

func ack(src, dst netip.Addr, port uint16) []byte {
	return eth.IP(src, dst).TCP(port, trackedPort, packet.ACK).Bytes()
}

// TestFlowLimit: each family has room of its own, and what has a record keeps
// it.
func TestFlowLimit(t *testing.T) {
	conf := trackedConfig(moved)
	for _, c := range []struct{ src, dst netip.Addr }{{client4, vip4}, {client6, vip6}} {
		for port := range uint16(6) {
			r := conf.Run(ack(c.src, c.dst, port))
			if want := int(port) >= conf.FlowLimit; r.Overflow != want || r.Reason != model.Forwarded {
				t.Errorf("flow %d of %s: %s, overflow %t, want %t", port, c.src, r.Reason, r.Overflow, want)
			}
		}
		if r := conf.Run(ack(c.src, c.dst, 0)); r.Decided != model.DecidedRecord || r.Overflow {
			t.Errorf("a flow with a record: %s, overflow %t", r.Decided, r.Overflow)
		}
	}
	if len(conf.Flows) != 8 {
		t.Errorf("%d records, want 4 of each family", len(conf.Flows))
	}

	first := flowOf(client4, vip4, lb.TCP)
	first.Src = netip.AddrPortFrom(client4, 0)
	conf.Flows[first] = model.Record{Listener: 99, Backend: c}
	if r := conf.Run(ack(client4, vip4, 0)); r.Overflow || conf.Flows[first].Backend != a {
		t.Errorf("instead of another listener's record: overflow %t, record %+v", r.Overflow, conf.Flows[first])
	}
}

// TestLazyState: a Config need not be given maps.
func TestLazyState(t *testing.T) {
	conf := trackedConfig(moved)
	conf.Flows, conf.Embryonic = nil, nil
	conf.Run(ack(client4, vip4, 1))
	conf.Run(syn4.Bytes())
	if len(conf.Flows) != 1 || len(conf.Embryonic) != 1 {
		t.Errorf("records %v, embryonic %v", conf.Flows, conf.Embryonic)
	}
}

// TestOldTable: where flows without a record are, the old table says, by its
// own size and algorithm.
func TestOldTable(t *testing.T) {
	conf := trackedConfig(settled)
	l := conf.Listeners[model.Service{Address: netip.AddrPortFrom(vip4, trackedPort), Protocol: lb.TCP}]
	l.Algorithm = lb.Source
	for i := range l.Slots {
		l.Slots[i].Current = uint16(i%2) + a
	}
	oldSlots := slices.Repeat([]model.Slot{{Current: drained, Previous: a}, {Current: drained, Previous: b}, {Current: c, Previous: none}}, 4)
	l.Old = &model.OldTable{Algorithm: lb.Maglev, Slots: oldSlots}
	conf.FlowLimit = 100
	source := maglev.HashSource(seed, client4)
	current := l.Slots[maglev.Slot(source, uint32(len(l.Slots)))].Current

	to := map[uint16]int{}
	for port := range uint16(60) {
		flow := flowOf(client4, vip4, lb.TCP)
		flow.Src = netip.AddrPortFrom(client4, port)
		hash := maglev.Hash(seed, client4, vip4, port, trackedPort, 6)
		want, how := oldSlots[maglev.Slot(hash, uint32(len(oldSlots)))].Previous, model.DecidedPrevious
		if want == none {
			want, how = current, model.DecidedCurrent
		}
		r := conf.Run(ack(client4, vip4, port))
		if r.Backend != l.Backends[want] || r.Decided != how || r.Broken != "" {
			t.Errorf("port %d: %s %q, want %s and backend %d", port, r.Decided, r.Broken, how, want)
		}
		record := model.Record{Listener: tcpID, Backend: want, Seen: now, Hash: uint32(source >> 32)}
		if diff := cmp.Diff(record, conf.Flows[flow]); diff != "" {
			t.Errorf("port %d: (-want +got)\n%s", port, diff)
		}
		to[want]++
	}
	if to[a] == 0 || to[b] == 0 {
		t.Errorf("not every case was seen: %v", to)
	}
}

// TestOldTableRecordsAll: as long as there is an old table, a flow has a record
// even where nothing moves.
func TestOldTableRecordsAll(t *testing.T) {
	conf := trackedConfig(settled)
	for _, l := range conf.Listeners {
		l.Old = &model.OldTable{Slots: model.SteadySlots([]uint16{b})}
	}
	conf.Run(ack(client4, vip4, 1))
	conf.Run(syn4.Bytes())
	if len(conf.Flows) != 1 || len(conf.Embryonic) != 1 {
		t.Errorf("records %v, embryonic %v", conf.Flows, conf.Embryonic)
	}
	for _, l := range conf.Listeners {
		l.Slots = model.SteadySlots([]uint16{b})
	}
	if r := conf.Run(ack(client4, vip4, 2)); r.Decided != "" || len(conf.Flows) != 1 {
		t.Errorf("a steady slot was not: %q, records %v", r.Decided, conf.Flows)
	}
}

// TestDroppedAfterDecision: a packet that goes nowhere was decided on.
func TestDroppedAfterDecision(t *testing.T) {
	conf := trackedConfig(model.Slot{Current: drained, Previous: down, Tracked: true})
	pool := conf.Listeners[model.Service{Address: netip.AddrPortFrom(vip4, trackedPort), Protocol: lb.TCP}].Backends
	frame := eth.IP(client4, vip4).TCP(40000, trackedPort, packet.ACK).Payload(make([]byte, 1441)).Bytes()
	near := model.Backend{Address: backend4, Forward: lb.DSR, NextHop: lb.NextHop{Interface: ingress, Dest: balancer, MTU: 9000}}
	far := model.Backend{Address: backend4, Forward: lb.IPIP, NextHop: lb.NextHop{Interface: 7, MTU: 1500}}
	for reason, backend := range map[string]*model.Backend{
		model.DropNoBackend: nil, model.DropNoNextHop: {Address: backend4}, model.DropTooBig: &far, model.PassOnItsWay: &near,
	} {
		conf.Flows = nil
		pool[drained] = backend
		r := conf.Run(frame)
		if r.Reason != reason || r.Decided != model.DecidedCurrent || r.Broken != model.Down || r.Overflow {
			t.Errorf("%s, decided %s, broken %q, overflow %t; want %s", r.Reason, r.Decided, r.Broken, r.Overflow, reason)
		}
		if conf.Flows[flow4] != seen(drained) {
			t.Errorf("%s: record %+v", reason, conf.Flows[flow4])
		}
	}
	conf.FlowLimit, conf.Flows = 0, nil
	if r := conf.Run(frame); !r.Overflow {
		t.Errorf("%s without room: no overflow", r.Reason)
	}
}

// TestNotTracked: what never comes to a slot leaves nothing behind.
func TestNotTracked(t *testing.T) {
	conf := trackedConfig(moved)
	for _, f := range []packet.Frame{
		eth.IP(client4, vip4, packet.Part(0, true)).TCP(1, trackedPort, packet.ACK).Text("12345678"),
		eth.IP(client4, vip4).TCP(1, trackedPort+1, packet.ACK),
		eth.IP(client4, other4).TCP(1, trackedPort, packet.SYN),
		eth.IP(client4, vip4).EchoRequest(1, 1),
	} {
		if r := conf.Run(f.Bytes()); r.Decided != "" || r.Broken != "" || r.Overflow {
			t.Errorf("%s: decided %q, broken %q, overflow %t", r.Reason, r.Decided, r.Broken, r.Overflow)
		}
	}
	if len(conf.Flows)+len(conf.Embryonic) != 0 {
		t.Errorf("records %v, embryonic %v", conf.Flows, conf.Embryonic)
	}
}

func TestRecords(t *testing.T) {
	conf := &model.Config{}
	if got := conf.Records(); len(got) != 0 {
		t.Errorf("without records: %v", got)
	}
	want := []model.FlowRecord{
		{Flow: flowOf(client4, vip4, lb.TCP), Record: old(a)},
		{Flow: flowOf(client4, vip4, lb.UDP), Record: old(b)},
		{Flow: flowOf(client4, other4, lb.TCP), Record: old(a)},
		{Flow: flowOf(netip.MustParseAddr("192.0.2.2"), vip4, lb.TCP), Record: old(c)},
		{Flow: flowOf(client6, vip6, lb.UDP), Record: old(b)},
	}
	conf.Flows = map[model.Flow]model.Record{}
	for _, r := range want {
		conf.Flows[r.Flow] = r.Record
	}
	for range 20 { // the order of a map varies
		if got := conf.Records(); !slices.Equal(want, got) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	}
	if got, want := want[0].Flow.String(), "tcp 192.0.2.1:40000 > 203.0.113.10:443"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestExpire(t *testing.T) {
	const age = 1000
	for _, clock := range []uint32{5000, age, 10, 0} { // the last wrapped since
		conf := &model.Config{Clock: clock, Flows: map[model.Flow]model.Record{}}
		put := func(port uint16, listener, ago uint32) model.Flow {
			f := model.Flow{Src: netip.AddrPortFrom(client4, port)}
			conf.Flows[f] = model.Record{Listener: listener, Seen: clock - ago}
			return f
		}
		kept := []model.Flow{put(1, tcpID, 0), put(2, tcpID, age), put(3, udpID, age+1)}
		put(4, tcpID, age+1)
		put(5, tcpID, 1<<31)
		if n := conf.Expire(tcpID, age); n != 2 {
			t.Errorf("at %d: %d records removed, want 2", clock, n)
		}
		for _, f := range kept {
			if _, found := conf.Flows[f]; !found {
				t.Errorf("at %d: the record of %s is gone", clock, f)
			}
		}
	}
}

func TestRecordSlot(t *testing.T) {
	conf := trackedConfig(moved)
	for port := range uint16(4) {
		conf.Run(ack(client4, vip4, port))
	}
	for _, r := range conf.Records() {
		hash := maglev.Hash(seed, client4, vip4, r.Flow.Src.Port(), trackedPort, 6)
		if got, want := r.Record.Slot(251), int(maglev.Slot(hash, 251)); got != want {
			t.Errorf("%s: slot %d, want %d", r.Flow, got, want)
		}
	}
}
