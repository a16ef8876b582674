// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet/model"
)

// portMoving is the port of the listeners of a trackLab.
const portMoving = 9000

// trackLab is a lab whose listeners, of TCP and of UDP, have one slot each.
type trackLab struct {
	*lab
	entries map[lb.Protocol]Listener
	clock   uint32
}

func newTrackLab(t testing.TB, flows uint32) *trackLab {
	t.Helper()
	l := &trackLab{entries: make(map[lb.Protocol]Listener), clock: 1000}
	l.lab = openLab(t, Limits{Listeners: 64, Backends: 64, Slots: 1024, Flows: flows}, labKnobs(), countInMemory)
	l.config.FlowLimit = int(flows)
	pool := make([]model.Backend, webDrained)
	for i := range pool {
		pool[i] = model.Backend{
			Address: netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}), Forward: lb.IPIP, NextHop: far,
		}
	}
	pool[webDown-1].Unusable, pool[webDrained-1].Unusable = model.Down, model.Drained
	for _, p := range []lb.Protocol{lb.TCP, lb.UDP} {
		l.entries[p] = l.addListener(t, []netip.Addr{vip4, vip6}, portMoving, p, lb.Maglev, []uint16{0}, pool...)
		for id, why := range map[uint32]Unusable{webDown: Down, webDrained: Drained} {
			index := l.entries[p].Pool + id
			b, err := l.tables.Backends(index, 1)
			if err != nil {
				t.Fatal(err)
			}
			b[0].Unusable = why
			l.putBackend(t, index, b[0])
		}
	}
	l.addVIP(t, vip4)
	l.addVIP(t, vip6)
	return l
}

// setSlot writes the slot of both listeners, and that of an old table unless
// that is to lead nowhere.
func (l *trackLab) setSlot(t testing.TB, s Slot, old uint16) {
	t.Helper()
	for p, entry := range l.entries {
		write := func(first uint32, s Slot) {
			if err := l.tables.WriteSlots(first, 1, []SlotChange{{Slot: s}}); err != nil {
				t.Fatal(err)
			}
		}
		write(entry.Slots, s)
		listener := l.config.Listeners[service(vip4, portMoving, p)]
		listener.Slots[0], listener.Old = model.Slot(s), nil
		entry.OldTable = old != 0
		if old != 0 {
			oldSlot := Slot{Current: webDown, Previous: old, Tracked: true}
			first := entry.Slots + 512
			write(first, oldSlot)
			if err := l.tables.PutOldTable(entry.ID, OldTable{Slots: first, TableSize: 1}); err != nil {
				t.Fatal(err)
			}
			listener.Old = &model.OldTable{Slots: []model.Slot{model.Slot(oldSlot)}}
		}
		for _, vip := range []netip.Addr{vip4, vip6} {
			l.putListener(t, vip, portMoving, p, entry)
		}
	}
}

// forget removes all records.
func (l *trackLab) forget(t fataler) {
	err := l.tables.ScanFlows(func(flows []Flow) error {
		var ids []FlowID
		for i := range flows {
			ids = append(ids, flows[i].ID)
		}
		return l.tables.DeleteFlows(ids)
	})
	if err != nil {
		t.Fatal(err)
	}
	l.config.Flows, l.config.Embryonic = nil, nil
	if _, err := l.tables.SweepEmbryonic(l.clock+128<<12, 0); err != nil { // half a turn of the stamps later
		t.Fatal(err)
	}
}

func (l *trackLab) run(t *testing.T, tt trackTest, f family) {
	t.Helper()
	l.forget(t)
	l.setSlot(t, tt.slot, tt.old)
	protocol := lb.TCP
	if tt.protocol != 0 {
		protocol = tt.protocol
	}
	for _, s := range tt.sent {
		if s.slot != nil {
			l.setSlot(t, *s.slot, tt.old)
		}
		l.send(t, f, protocol, s)
	}
	l.checkFlows(t)

	records := l.config.Records()
	switch {
	case tt.record == 0 && len(records) > 0:
		t.Errorf("there is a record in the end: %+v", records)
	case tt.record != 0 && (len(records) != 1 || records[0].Record.Backend != tt.record):
		t.Errorf("records in the end: %+v, want one of backend %d", records, tt.record)
	}
	var embryos []uint16
	for _, e := range l.config.Embryonic {
		embryos = append(embryos, e.Backend)
	}
	if tt.embryo == 0 && len(embryos) > 0 || tt.embryo != 0 && (len(embryos) != 1 || embryos[0] != tt.embryo) {
		t.Errorf("embryonic records in the end: %v, want one of backend %d, 0 for none", embryos, tt.embryo)
	}
}

// send sends a packet, some time after the one before, and compares what becomes
// of it with s and with the model.
func (l *trackLab) send(t testing.TB, f family, p lb.Protocol, s trackStep) {
	t.Helper()
	l.clock += 777
	l.config.Clock = l.clock
	if err := l.tables.SetFlowClock(l.clock); err != nil {
		t.Fatal(err)
	}
	frame := f.in.UDP(clientPort, portMoving).PadTo(80)
	if p == lb.TCP {
		frame = f.in.TCP(clientPort, portMoving, s.flags)
	}
	result := l.config.Run(frame.Bytes())
	got := trackStep{flags: s.flags, slot: s.slot, decided: result.Decided, broken: result.Broken, seen: result.Overflow}
	for id, b := range l.config.Listeners[service(f.vip, portMoving, p)].Backends {
		if b == result.Backend {
			got.to = id
		}
	}
	if diff := cmp.Diff(s, got, cmp.AllowUnexported(trackStep{})); diff != "" {
		t.Errorf("%s, by the model (-want +got):\n%s", describeFrame(frame.Bytes()), diff)
	}
	l.check(t, frame.Bytes(), result)
}

// checkFlows compares all records with those of the model.
func (l *lab) checkFlows(t testing.TB) {
	t.Helper()
	got := make(map[model.Flow]model.Record)
	err := l.tables.ScanFlows(func(flows []Flow) error {
		for i := range flows {
			f := &flows[i]
			got[model.Flow{Src: f.ID.Client(), Dst: f.ID.VIP(), Protocol: f.ID.Protocol()}] = model.Record{
				Listener: f.Listener, Backend: f.Backend, Seen: f.Seen, Hash: f.Hash, Closing: f.Closing,
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	compare := []cmp.Option{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
	if diff := cmp.Diff(l.config.Flows, got, compare...); diff != "" {
		t.Errorf("records (-model +program):\n%s", diff)
	}
	embryos := make(map[uint32]model.Embryo)
	err = window(l.tables.maps.Embryonic, 0, l.tables.maps.Embryonic.MaxEntries(), false, func(words []uint64) {
		for i, word := range words {
			if word != 0 {
				embryos[uint32(i)] = model.Embryo{Tag: word >> weirEmbryonicBitsEMBRYONIC_TAG_SHIFT, Backend: uint16(word & 0x7fff)}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.config.Embryonic, embryos, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("embryonic records (-model +program):\n%s", diff)
	}
}
