// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
	"github.com/weirlb/weir/pkg/testutil"
)

// minFrame and maxFrame bound what BPF_PROG_TEST_RUN takes: an Ethernet
// header, and a page without what the kernel keeps for itself.
const (
	minFrame = 14
	maxFrame = 3000
)

// labFlows is how many records of each family a lab has room for, if it does not
// say: the kernel takes its time for the buckets of a million.
const labFlows = 1 << 16

// loopback is the interface by which BPF_PROG_TEST_RUN lets frames come in.
const loopback = 1

// lab is a balancer that is attached to nothing and pinned nowhere: frames go
// through its program by BPF_PROG_TEST_RUN. What is in its maps is in config
// too, for the model.
type lab struct {
	config    *model.Config
	tables    *Tables
	program   *ebpf.Program
	reasons   []string
	listeners map[*model.Listener]uint32 // to identifier
	backends  map[*model.Backend]uint32  // to counter
	slots     uint32                     // that are in use
	pool      uint32                     // entries that are in use
	counts    counts                     // after the last frame
	out       []byte                     // what frames leave in

	// run sends a frame through the program, read reads all counters.
	run  func(frame []byte) (action uint32, out []byte, err error)
	read func() (counts, error)
}

// reporter is what tests, fuzz tests and properties have in common.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// openLab loads the program. patch may change what is loaded.
func openLab(t testing.TB, limits Limits, knobs Knobs, patch ...func(*ebpf.CollectionSpec)) *lab {
	t.Helper()
	testutil.RequireBPF(t)
	reasons, err := Reasons()
	if err != nil {
		t.Fatal(err)
	}
	spec, err := loadWeir()
	if err != nil {
		t.Fatal(err)
	}
	if limits.Flows == 0 {
		limits.Flows = labFlows
	}
	resize(spec, limits)
	if err := knobs.set(spec); err != nil {
		t.Fatal(err)
	}
	stopClock(t, spec)
	for _, p := range patch {
		p(spec)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coll.Close)
	l := &lab{
		config: &model.Config{
			Listeners: make(map[model.Service]*model.Listener),
			Seed:      knobs.Seed, TunnelSource4: knobs.TunnelSource4, TunnelSource6: knobs.TunnelSource6,
			Ingress: loopback,
		},
		tables: newTables(coll.Maps), program: coll.Programs[programName], reasons: reasons,
		listeners: make(map[*model.Listener]uint32), backends: make(map[*model.Backend]uint32),
		out: make([]byte, maxFrame+256),
	}
	l.run = func(frame []byte) (uint32, []byte, error) { return testRun(l.program, frame, l.out) }
	l.read = counterReader(t, l.tables, coll.Maps)
	if l.counts, err = l.read(); err != nil {
		t.Fatal(err)
	}
	if err := l.tables.setBuckets(weirRejectBucket{Answers: plenty, Filled: labClock}); err != nil {
		t.Fatal(err)
	}
	return l
}

// testRun sends a frame through a program. out, which it leaves in, is large
// enough for any.
func testRun(p *ebpf.Program, frame, out []byte) (uint32, []byte, error) {
	opts := ebpf.RunOptions{Data: frame, DataOut: out[:cap(out)]}
	action, err := p.Run(&opts)
	return action, opts.DataOut, err
}

// addVIP makes an address one of a balancer.
func (l *lab) addVIP(t testing.TB, addr netip.Addr) {
	t.Helper()
	v := VIP{Balancer: 1}
	for s := range l.config.Listeners {
		v.TCP = v.TCP || s.Address.Addr() == addr && s.Protocol == lb.TCP
		v.UDP = v.UDP || s.Address.Addr() == addr && s.Protocol == lb.UDP
	}
	if err := l.tables.PutVIP(addr, v); err != nil {
		t.Fatal(err)
	}
	l.config.VIPs = append(l.config.VIPs, addr)
}

// addListener makes a listener on a port of some addresses. The slots of its
// table hold indices of its pool, which begins with 1.
func (l *lab) addListener(t testing.TB, vips []netip.Addr, port uint16, protocol lb.Protocol,
	algorithm lb.Algorithm, table []uint16, pool ...model.Backend) Listener {
	t.Helper()
	entry := Listener{
		ID: uint32(len(l.listeners)) + 1, Balancer: 1, Slots: l.slots, TableSize: uint32(len(table)),
		Pool: l.pool, PoolSize: uint32(len(pool)) + 1, Algorithm: algorithm,
	}
	listener := &model.Listener{
		ID: entry.ID, Algorithm: algorithm, Slots: model.SteadySlots(table), Backends: make(map[uint16]*model.Backend),
	}
	l.listeners[listener] = entry.ID
	l.slots += lines(entry.TableSize) * SlotsPerLine
	l.pool += entry.PoolSize

	for i, b := range pool {
		counter := uint32(len(l.backends)) + 1
		l.backends[&b] = counter
		listener.Backends[uint16(i+1)] = &b
		l.putBackend(t, entry.Pool+uint32(i)+1, Backend{
			Address: netip.AddrPortFrom(b.Address, port), Forward: b.Forward, Weight: 1, Counter: counter, NextHop: b.NextHop,
		})
	}
	changes := make([]SlotChange, len(table))
	for i, b := range table {
		changes[i] = SlotChange{Index: uint32(i), Slot: Slot{Current: b, Previous: b}}
	}
	if err := l.tables.WriteSlots(entry.Slots, entry.TableSize, changes); err != nil {
		t.Fatal(err)
	}
	for _, vip := range vips {
		l.config.Listeners[service(vip, port, protocol)] = listener
		l.putListener(t, vip, port, protocol, entry)
	}
	return entry
}

func (l *lab) putListener(t testing.TB, vip netip.Addr, port uint16, p lb.Protocol, entry Listener) {
	t.Helper()
	if err := l.tables.PutListener(ListenerKey{Address: vip, Port: port, Protocol: p}, entry); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) putBackend(t testing.TB, index uint32, b Backend) {
	t.Helper()
	if err := l.tables.PutBackend(index, b); err != nil {
		t.Fatal(err)
	}
}

func service(vip netip.Addr, port uint16, p lb.Protocol) model.Service {
	return model.Service{Address: netip.AddrPortFrom(vip, port), Protocol: p}
}

// check sends a frame through the program and compares all that comes of it:
// action, reason, the frame that leaves, and every counter there is. It returns
// that frame, which is valid until the next one.
func (l *lab) check(t reporter, frame []byte, want model.Result) []byte {
	t.Helper()
	given := slices.Clone(frame)
	action, out, err := l.run(frame)
	if err != nil {
		t.Fatalf("sending %d bytes through the program: %v", len(frame), err)
	}
	before := l.counts
	if l.counts, err = l.read(); err != nil {
		t.Fatalf("%v", err)
	}
	wrong := false
	if action != uint32(want.Action) {
		t.Errorf("action %d, want %d (%s)", action, want.Action, want.Action)
		wrong = true
	}
	if diff := packet.Diff(want.Frame, out); diff != "" {
		t.Errorf("the frame that leaves (-want +got):\n%s", diff)
		wrong = true
	}
	if want, got := l.counted(want, frame), l.since(before, l.counts); !maps.Equal(want, got) {
		t.Errorf("counters (-want +got):\n%s", cmp.Diff(want, got))
		wrong = true
	}
	if wrong {
		t.Errorf("of the frame %x\n%s", given, describeFrame(given))
	}
	return out
}

func describeFrame(frame []byte) string {
	decoded, err := packet.Decode(frame)
	if err != nil {
		return fmt.Sprintf("%s(%v)", decoded, err)
	}
	return decoded.String()
}
