// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// loopback is the interface by which frames of a test run come in.
const loopback = 1

// world is all there is in a history.
type world struct {
	failer
	*plane
	agent
	journal
	model   *model.Config
	clients []*client

	counterOf map[*model.Backend]uint32
	records   map[model.Flow]meaning
	embryos   map[uint32]*embryo // by place
	flooded   int                // SYNs so far that were of no client
}

// meaning is what the identifiers of a record mean, when it is written and ever
// after.
type meaning struct {
	backend netip.Addr
	orphan  bool // its listener is gone, so no other may have its identifier
}

// embryo is what is known of an embryonic record besides.
type embryo struct {
	meaning
	flow     model.Flow
	listener uint32
	since    uint32 // the clock of the flows when it was written
}

// newWorld makes a world on a plane, with an agent that has done nothing yet.
func newWorld(t failer, p *plane, flowLimit uint32, flowClock uint32, clients []*client) *world {
	t.Helper()
	p.clear(t, flowClock)
	w := &world{
		failer: t, plane: p, clients: clients,
		model: &model.Config{
			Seed: seed, TunnelSource4: tunnelSource4, TunnelSource6: tunnelSource6, Ingress: loopback,
			FlowLimit: int(flowLimit), Flows: make(map[model.Flow]model.Record), Embryonic: make(map[uint32]model.Embryo),
		},
		records: make(map[model.Flow]meaning), embryos: make(map[uint32]*embryo),
	}
	for _, c := range clients {
		c.end()
	}
	w.agent = newAgent(w)
	w.open()
	w.look()
	return w
}

// failFlow ends a history that a flow has shown to be wrong.
func (w *world) failFlow(f model.Flow, format string, args ...any) {
	w.Helper()
	w.Fatalf("%s\n%s\nwhat is known of it: %s", fmt.Sprintf(format, args...), w.tell(f), w.knowledge(f))
}

// fail ends a history that is wrong.
func (w *world) fail(format string, args ...any) {
	w.Helper()
	w.failFlow(model.Flow{}, format, args...)
}

// knowledge says what the model has of a flow.
func (w *world) knowledge(f model.Flow) string {
	l := w.listenerOf(f)
	if l == nil {
		return "no listener"
	}
	slot := l.Slots[maglev.Slot(flowHash(f, l.Algorithm), uint32(len(l.Slots)))]
	s := fmt.Sprintf("slot %+v of listener %d", slot, l.ID)
	if l.Old != nil {
		s += fmt.Sprintf(", old %+v", l.Old.Slots[maglev.Slot(flowHash(f, l.Old.Algorithm), uint32(len(l.Old.Slots)))])
	}
	if r, ok := w.model.Flows[f]; ok {
		s += fmt.Sprintf(", record %+v", r)
	}
	if e := w.embryoOf(f, l.ID); e != nil {
		s += fmt.Sprintf(", embryonic record of %s", labelOf(e.backend))
	}
	for _, id := range slices.Sorted(maps.Keys(l.Backends)) {
		b := l.Backends[id]
		s += fmt.Sprintf(", %d is %s", id, labelOf(b.Address))
		if b.Unusable != "" {
			s += ", " + b.Unusable
		}
	}
	return fmt.Sprintf("%s, clock %d", s, w.model.Clock)
}

func (w *world) listenerOf(f model.Flow) *model.Listener {
	return w.model.Listeners[model.Service{Address: f.Dst, Protocol: f.Protocol}]
}

// must fails the history over what has nothing to do with what it is about.
func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.fail("%v", err)
	}
}

var unusableReasons = map[dataplane.Unusable]string{
	dataplane.Usable: "", dataplane.Removed: model.Removed, dataplane.Down: model.Down, dataplane.Drained: model.Drained,
	dataplane.Rejected: model.Rejected, dataplane.Unreachable: model.Unreachable,
}

// look tells the model what the tables say, but for records.
func (w *world) look() {
	w.Helper()
	entries, err := w.tables.Listeners()
	w.must(err)
	vips, err := w.tables.VIPs()
	w.must(err)
	w.model.VIPs = slices.Collect(maps.Keys(vips))
	w.model.Clock, err = w.tables.FlowClock()
	w.must(err)
	w.model.Listeners = make(map[model.Service]*model.Listener, len(entries))
	w.counterOf = make(map[*model.Backend]uint32)
	same := make(map[dataplane.Listener]*model.Listener)
	for key, e := range entries {
		if same[e] == nil {
			same[e] = w.lookAt(e)
		}
		s := model.Service{Address: netip.AddrPortFrom(key.Address, key.Port), Protocol: key.Protocol}
		w.model.Listeners[s] = same[e]
	}
	w.checkIdentifiers()
}

// lookAt returns a listener with all that its entry refers to.
func (w *world) lookAt(e dataplane.Listener) *model.Listener {
	w.Helper()
	l := &model.Listener{
		ID: e.ID, Algorithm: e.Algorithm, Slots: w.slots(e.Slots, e.TableSize), Backends: make(map[uint16]*model.Backend),
	}
	if e.OldTable {
		old, err := w.tables.OldTable(e.ID)
		w.must(err)
		l.Old = &model.OldTable{Algorithm: old.Algorithm, Slots: w.slots(old.Slots, old.TableSize)}
	}
	pool, err := w.tables.Backends(e.Pool, e.PoolSize)
	w.must(err)
	for i, b := range pool {
		if b == (dataplane.Backend{}) {
			continue
		}
		to := &model.Backend{
			Address: b.Address.Addr(), Forward: b.Forward, NextHop: b.NextHop, Unusable: unusableReasons[b.Unusable],
		}
		l.Backends[uint16(i)] = to
		w.counterOf[to] = b.Counter
	}
	return l
}

func (w *world) slots(first, n uint32) []model.Slot {
	w.Helper()
	slots := make([]dataplane.Slot, n)
	w.must(w.tables.ReadSlots(first, slots))
	out := make([]model.Slot, n)
	for i, s := range slots {
		out[i] = model.Slot(s)
	}
	return out
}

// checkIdentifiers checks that what records refer to has not become another
// thing meanwhile.
func (w *world) checkIdentifiers() {
	w.Helper()
	byID := make(map[uint32][]*model.Listener)
	for _, l := range w.model.Listeners {
		byID[l.ID] = append(byID[l.ID], l)
	}
	var wrong problems
	check := func(f model.Flow, what string, m *meaning, listener uint32, backend uint16) {
		if len(byID[listener]) == 0 {
			m.orphan = true
		} else if m.orphan {
			wrong.add(f, "identifier %d is a new listener's, and %s of %s is of one that is gone", listener, what, f)
		}
		for _, l := range byID[listener] {
			if b := l.Backends[backend]; b != nil && b.Address != m.backend {
				wrong.add(f, "backend %d of listener %d is %s, but was %s when %s of %s was written",
					backend, listener, labelOf(b.Address), labelOf(m.backend), what, f)
			}
		}
	}
	for f, r := range w.model.Flows {
		m := w.records[f]
		check(f, "the record", &m, r.Listener, r.Backend)
		w.records[f] = m
	}
	for place, e := range w.model.Embryonic {
		known := w.embryos[place]
		check(known.flow, "the embryonic record", &known.meaning, known.listener, e.Backend)
	}
	w.report(wrong)
}

// problems are what is wrong with flows, by what is said of it.
type problems map[string]model.Flow

func (p *problems) add(f model.Flow, format string, args ...any) {
	if *p == nil {
		*p = make(problems)
	}
	(*p)[fmt.Sprintf(format, args...)] = f
}

// report fails the history if there are problems, always over the same one.
func (w *world) report(p problems) {
	w.Helper()
	if len(p) > 0 {
		text := slices.Min(slices.Collect(maps.Keys(p)))
		w.failFlow(p[text], "%s", text)
	}
}

// compare compares the records in the kernel with those of the model.
func (w *world) compare() {
	w.Helper()
	have := make(map[model.Flow]model.Record, len(w.model.Flows))
	w.must(w.tables.ScanFlows(func(flows []dataplane.Flow) error {
		for i := range flows {
			f := &flows[i]
			have[flowOf(&f.ID)] = model.Record{Listener: f.Listener, Backend: f.Backend, Seen: f.Seen, Hash: f.Hash, Closing: f.Closing}
		}
		return nil
	}))
	if !maps.Equal(w.model.Flows, have) {
		diff := cmp.Diff(w.model.Flows, have, cmp.Comparer(func(a, b model.Flow) bool { return a == b }))
		w.fail("records (-model +kernel):\n%s", diff)
	}
	var wrong problems
	for place, want := range w.model.Embryonic {
		word := w.embryonic[place]
		if got := (model.Embryo{Tag: word >> 24, Backend: uint16(word & 0x7fff)}); got != want {
			wrong.add(w.embryos[place].flow, "embryonic record %d is %+v, want %+v", place, got, want)
		}
	}
	w.report(wrong)
}

func flowOf(id *dataplane.FlowID) model.Flow {
	return model.Flow{Src: id.Client(), Dst: id.VIP(), Protocol: id.Protocol()}
}

// embryoPlace returns where the embryonic table has a flow of a listener, and
// under which tag.
func embryoPlace(f model.Flow, listener uint32) (place uint32, tag uint64) {
	hash := maglev.Hash(seed, f.Src.Addr(), f.Dst.Addr(), f.Src.Port(), f.Dst.Port(), uint8(f.Protocol))
	e := (hash ^ uint64(listener)) * 0x9e3779b97f4a7c15
	e ^= e >> 32
	return uint32(e & (1<<18 - 1)), e >> 24
}

// embryoOf returns what is known of the embryonic record of a flow, nil if it
// has none.
func (w *world) embryoOf(f model.Flow, listener uint32) *embryo {
	place, tag := embryoPlace(f, listener)
	if have, ok := w.model.Embryonic[place]; !ok || have.Tag != tag {
		return nil
	}
	return w.embryos[place]
}

// destination returns to which backend a frame goes by its outer header.
func destination(frame []byte) netip.Addr {
	const ethernet = 14
	if binary.BigEndian.Uint16(frame[12:]) == packet.TypeIPv4 {
		return netip.AddrFrom4([4]byte(frame[ethernet+16:]))
	}
	return netip.AddrFrom16([16]byte(frame[ethernet+24:]))
}

// age returns how long ago something happened by the clock of the flows.
func (w *world) age(since uint32) time.Duration {
	return time.Duration(w.model.Clock-since) * time.Millisecond
}

func isUDP(f model.Flow) bool { return f.Protocol == lb.UDP }
