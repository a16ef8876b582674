// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// TestCachedFlow follows one record through the cache of a CPU: the packet after
// the one that wrote it puts it there, and it is good until something changes.
func TestCachedFlow(t *testing.T) {
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			_, use := cpus(t)
			use(0)
			l := newTrackLab(t, 16)
			l.setSlot(t, moving(webB, webA), 0)
			ack := f.in.TCP(clientPort, portMoving, packet.ACK).Bytes()
			id := NewFlowID(netip.AddrPortFrom(f.client, clientPort), netip.AddrPortFrom(f.vip, portMoving), lb.TCP)
			current := func() []uint16 { return l.currentlyCached(t, id) }

			l.checkAsModel(t, ack)
			if got := current(); got != nil {
				t.Errorf("the packet that wrote the record has cached backend %d", got)
			}
			for range 2 {
				l.checkAsModel(t, ack)
				if diff := cmp.Diff([]uint16{webA}, current()); diff != "" {
					t.Errorf("backends that are cached (-want +got):\n%s", diff)
				}
			}
			record, ok, err := l.tables.LookupFlow(id)
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			for what, change := range map[string]func() error{
				"the clock goes on":   func() error { return l.tables.SetFlowClock(1) },
				"a record is removed": func() error { return l.tables.DeleteFlows([]FlowID{id}) },
				"a record is written": func() error { return l.tables.PutFlow(record) },
				"a listener changes": func() error {
					return l.tables.PutListener(ListenerKey{Address: f.vip, Port: portMoving, Protocol: lb.TCP}, l.entries[lb.TCP])
				},
				"another begins there": func() error { return l.tables.dropCaches() },
			} {
				l.checkAsModel(t, ack)
				if current() == nil {
					t.Fatalf("nothing is cached before %s", what)
				}
				if err := change(); err != nil {
					t.Fatal(err)
				}
				if got := current(); got != nil {
					t.Errorf("%s: backend %d is still cached", what, got)
				}
				if err := l.tables.PutFlow(record); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestCacheIsAsked: the tables are not looked at as long as the cache answers.
func TestCacheIsAsked(t *testing.T) {
	_, use := cpus(t)
	use(0)
	for _, f := range families() {
		l := newTrackLab(t, 16)
		l.setSlot(t, moving(webB, webA), 0)
		ack := f.in.TCP(clientPort, portMoving, packet.ACK).Bytes()
		for range 2 {
			l.checkAsModel(t, ack)
		}
		id := NewFlowID(netip.AddrPortFrom(f.client, clientPort), netip.AddrPortFrom(f.vip, portMoving), lb.TCP)
		m, key := l.tables.maps.Flows4, any(id.key4())
		if id.IPv6() {
			m, key = l.tables.maps.Flows6, any(&id.key)
		}
		if err := m.Delete(key); err != nil { // and nobody is told
			t.Fatal(err)
		}
		l.checkAsModel(t, ack)
		if err := l.tables.dropFlowCaches(); err != nil {
			t.Fatal(err)
		}
		l.config.Flows = nil
		l.checkAsModel(t, ack)
		l.checkFlows(t)
	}
}

// TestManyCachedFlows has more flows than a CPU keeps, of one client, whose
// address is all that slots are chosen by: some share an entry of the cache, and
// their hash. Each goes by its own record.
func TestManyCachedFlows(t *testing.T) {
	_, use := cpus(t)
	use(0)
	l := newTrackLab(t, 1<<14)
	l.setSlot(t, settled(webC), 0)
	h := cacheHistory{trackLab: l, fataler: t}
	listener, entry := l.config.Listeners[service(vip4, portMoving, lb.TCP)], l.entries[lb.TCP]
	listener.Algorithm, entry.Algorithm = lb.Source, lb.Source
	l.config.Flows = make(map[model.Flow]model.Record)
	flows := uint16(l.tables.maps.FlowCache.MaxEntries()/2 + 1000)
	for _, f := range families() {
		l.putListener(t, f.vip, portMoving, lb.TCP, entry)
		for i := range flows {
			flow := model.Flow{
				Src: netip.AddrPortFrom(f.client, i), Dst: netip.AddrPortFrom(f.vip, portMoving), Protocol: lb.TCP,
			}
			h.writeRecord(model.FlowRecord{Flow: flow, Record: model.Record{Listener: entry.ID, Backend: webA + i%2}})
		}
	}
	for range 2 {
		for i := range flows {
			for _, f := range families() {
				ack := f.in.TCP(i, portMoving, packet.ACK).Bytes()
				l.checkAsModel(t, ack)
				l.checkAsModel(t, ack)
			}
		}
	}
	l.checkFlows(t)
}

// currentlyCached returns the backends that CPUs have for a flow.
func (l *trackLab) currentlyCached(t fataler, id FlowID) (backends []uint16) {
	rows, err := l.tables.CachedFlows()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Current && r.Flow.ID == id {
			backends = append(backends, r.Flow.Backend)
		}
	}
	return backends
}

// TestCacheOfAnotherCPU has one CPU keep the record of a flow, whose connection
// then ends, or has to leave its backend, in packets on the same CPU or on
// another, if there is one.
func TestCacheOfAnotherCPU(t *testing.T) {
	const syn, ack, fin = packet.SYN, packet.ACK, packet.FIN | packet.ACK
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			n, use := cpus(t)
			l := newTrackLab(t, 16)
			h := cacheHistory{trackLab: l, fataler: t}
			send := func(cpu int, flags ...packet.TCPFlags) {
				t.Helper()
				use(cpu)
				for _, flag := range flags {
					l.checkAsModel(t, f.in.TCP(clientPort, portMoving, flag).Bytes())
				}
			}
			for _, cpu := range []int{0, n - 1} {
				l.forget(t)
				h.setSlots(moving(webB, webA))
				send(0, ack, ack)
				send(cpu, fin, syn, ack, ack) // is on another backend from here on
				send(0, ack, ack)

				l.forget(t)
				send(0, ack, ack)
				h.setUnusable(webA, Down)
				send(cpu, ack)
				h.setUnusable(webA, Usable) // which does not bring the flow back
				send(0, ack, ack)
			}
			l.checkFlows(t)
		})
	}
}

// TestCacheHistories sends packets of a few flows on all CPUs, and in between
// changes all that a cache could have missed. The clock mostly stands still, as
// it does for so many packets.
func TestCacheHistories(t *testing.T) {
	n, use := cpus(t)
	l := newTrackLab(t, 1024)
	rapid.Check(t, func(t *rapid.T) {
		h := cacheHistory{trackLab: l, fataler: t}
		h.forget(t)
		h.setSlots(moving(webB, webA))
		for range 80 {
			switch rapid.IntRange(0, 24).Draw(t, "what") {
			case 0:
				h.setSlots(moving(drawBackend(t), drawBackend(t)))
			case 1:
				h.setUnusable(drawBackend(t), rapid.SampledFrom([]Unusable{Usable, Down, Drained}).Draw(t, "unusable"))
			case 2:
				if r, ok := drawRecord(t, l.config); ok {
					h.removeRecord(r)
				}
			case 3:
				if r, ok := drawRecord(t, l.config); ok {
					r.Record.Backend = drawBackend(t)
					h.writeRecord(r)
				}
			case 4:
				h.tick(rapid.Uint32Range(0, 3000).Draw(t, "milliseconds"))
			default:
				use(rapid.IntRange(0, n-1).Draw(t, "cpu"))
				l.checkAsModel(t, drawCached(t))
			}
		}
	})
	l.checkFlows(t)
}

// drawCached draws a packet of one of four flows: so few that each is cached on
// every CPU.
func drawCached(t *rapid.T) []byte {
	f := rapid.SampledFrom(families()).Draw(t, "family")
	if rapid.IntRange(0, 3).Draw(t, "UDP") == 0 {
		return f.in.UDP(clientPort, portMoving).PadTo(80).Bytes()
	}
	flags := rapid.SampledFrom([]packet.TCPFlags{
		packet.ACK, packet.ACK, packet.ACK, packet.ACK, packet.ACK, packet.SYN, packet.FIN | packet.ACK, packet.RST,
		packet.SYN | packet.ACK, packet.SYN | packet.FIN,
	}).Draw(t, "flags")
	return f.in.TCP(clientPort, portMoving, flags).Bytes()
}

func drawBackend(t *rapid.T) uint16 { return rapid.Uint16Range(webA, webDrained).Draw(t, "backend") }

// drawRecord draws one of the records that there are.
func drawRecord(t *rapid.T, c *model.Config) (r model.FlowRecord, ok bool) {
	records := c.Records()
	if len(records) == 0 {
		return r, false
	}
	return rapid.SampledFrom(records).Draw(t, "record"), true
}

// cacheHistory changes a trackLab, the maps and the model alike.
type cacheHistory struct {
	*trackLab
	fataler
}

func (h cacheHistory) must(err error) {
	if err != nil {
		h.Fatal(err)
	}
}

func (h cacheHistory) setSlots(s Slot) {
	for p, entry := range h.entries {
		h.must(h.tables.WriteSlots(entry.Slots, 1, []SlotChange{{Slot: s}}))
		h.config.Listeners[service(vip4, portMoving, p)].Slots[0] = model.Slot(s)
	}
}

// setUnusable says why flows have to leave a backend.
func (h cacheHistory) setUnusable(id uint16, why Unusable) {
	whys := map[Unusable]string{Usable: "", Down: model.Down, Drained: model.Drained}
	for p, entry := range h.entries {
		index := entry.Pool + uint32(id)
		b, err := h.tables.Backends(index, 1)
		h.must(err)
		b[0].Unusable = why
		h.must(h.tables.PutBackend(index, b[0]))
		h.config.Listeners[service(vip4, portMoving, p)].Backends[id].Unusable = whys[why]
	}
}

func (h cacheHistory) removeRecord(r model.FlowRecord) {
	h.must(h.tables.DeleteFlows([]FlowID{NewFlowID(r.Flow.Src, r.Flow.Dst, r.Flow.Protocol)}))
	delete(h.config.Flows, r.Flow)
}

func (h cacheHistory) writeRecord(r model.FlowRecord) {
	h.must(h.tables.PutFlow(Flow{
		ID:       NewFlowID(r.Flow.Src, r.Flow.Dst, r.Flow.Protocol),
		Listener: r.Record.Listener, Hash: r.Record.Hash, Seen: r.Record.Seen, Backend: r.Record.Backend, Closing: r.Record.Closing,
	}))
	h.config.Flows[r.Flow] = r.Record
}

func (h cacheHistory) tick(ms uint32) {
	h.clock += ms
	h.config.Clock = h.clock
	h.must(h.tables.SetFlowClock(h.clock))
}
