// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// TestFlowTable reads and removes records of both families.
func TestFlowTable(t *testing.T) {
	l := newTrackLab(t, 20_000)
	const n = 10_000 // more than are read at once
	want := make(map[FlowID]Flow)
	for i := range uint32(n) {
		var last [4]byte
		binary.BigEndian.PutUint32(last[:], i)
		for _, f := range families() {
			client := f.client.AsSlice()
			copy(client[len(client)-2:], last[2:])
			addr, _ := netip.AddrFromSlice(client)
			flow := Flow{
				ID:       NewFlowID(netip.AddrPortFrom(addr, uint16(i)), netip.AddrPortFrom(f.vip, 443), lb.UDP),
				Listener: i, Hash: ^i, Seen: i << 8, Backend: uint16(i), Closing: i%2 == 0,
			}
			if flow.ID.Client() != netip.AddrPortFrom(addr, uint16(i)) || flow.ID.VIP() != netip.AddrPortFrom(f.vip, 443) ||
				flow.ID.Protocol() != lb.UDP || flow.ID.IPv6() != f.vip.Is6() {
				t.Fatalf("a flow from %s to %s is %s, %s, %s", addr, f.vip, flow.ID.Client(), flow.ID.VIP(), flow.ID.Protocol())
			}
			want[flow.ID] = flow
			if err := l.tables.PutFlow(flow); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := func() map[FlowID]Flow {
		got := make(map[FlowID]Flow)
		if err := l.tables.ScanFlows(func(flows []Flow) error {
			for _, f := range flows {
				got[f.ID] = f
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if diff := diffFlows(want, read()); diff != "" {
		t.Fatal(diff)
	}
	// Some of those to be removed are gone already, the first and the last too.
	var gone, doomed []FlowID
	for id, f := range want {
		switch f.Listener % 4 {
		case 0:
			gone, doomed = append(gone, id), append(doomed, id)
		case 1:
			doomed = append(doomed, id)
		}
	}
	for _, ids := range [][]FlowID{gone, doomed, doomed, nil} {
		if err := l.tables.DeleteFlows(ids); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range doomed {
		delete(want, id)
	}
	if diff := diffFlows(want, read()); diff != "" {
		t.Fatal(diff)
	}
}

func diffFlows(want, got map[FlowID]Flow) string {
	if len(want) != len(got) {
		return fmt.Sprintf("%d records, want %d", len(got), len(want))
	}
	for id, f := range want {
		if got[id] != f {
			return fmt.Sprintf("the record of %s is %+v, want %+v", id.Client(), got[id], f)
		}
	}
	return ""
}

// TestSweepEmbryonic removes what is old, also where stamps have wrapped, and
// leaves the rest.
func TestSweepEmbryonic(t *testing.T) {
	l := newTrackLab(t, 16)
	for _, now := range []uint32{0, 200 << 12, 255 << 12, 256 << 12, 1<<32 - 1} {
		l.forget(t)
		l.setSlot(t, moving(webB, webA), 0)
		l.clock = now
		for _, f := range families() {
			l.send(t, f, lb.TCP, trackStep{flags: packet.SYN, to: webB, decided: model.DecidedNew})
		}
		for _, step := range []struct{ later, left uint32 }{{0, 2}, {10 << 12, 2}, {11 << 12, 2}, {12 << 12, 0}} {
			left, err := l.tables.SweepEmbryonic(l.clock+step.later, 11*EmbryonicUnit)
			if err != nil || left != step.left {
				t.Errorf("from %d on, %d ms later %d are left, %v; want %d", now, step.later, left, err, step.left)
			}
		}
		l.config.Embryonic = nil
		l.checkFlows(t)
	}
}

// TestEmbryonicAge keeps embryonic records for no less than it is told, and for
// little more, from the first SYN on: however often that is repeated, one from
// before a change does not outlive it.
func TestEmbryonicAge(t *testing.T) {
	const unit, age = uint32(1 << 12), 64_000
	l := newTrackLab(t, 16)
	l.setSlot(t, moving(webB, webA), 0)
	syn := trackStep{flags: packet.SYN, to: webB, decided: model.DecidedNew}
	for _, first := range []uint32{100 * unit, 100*unit - 1} { // begin and end of a unit
		l.forget(t)
		l.clock = first - 777
		l.send(t, families()[0], lb.TCP, syn)
		for range 50 {
			l.send(t, families()[0], lb.TCP, syn)
		}
		for _, step := range []struct{ later, left uint32 }{{age, 1}, {age + 2*unit, 0}} {
			left, err := l.tables.SweepEmbryonic(first+step.later, age*time.Millisecond)
			if err != nil || left != step.left {
				t.Errorf("from %d on, %d ms later %d are left, %v; want %d", first, step.later, left, err, step.left)
			}
		}
	}
}
