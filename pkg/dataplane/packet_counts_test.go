// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/packet/model"
)

// counts is what all counters of all maps say.
type counts struct {
	reasons   []Traffic
	listeners []ListenerTraffic
	backends  []Traffic
	tracking  []TrackingTraffic // by listener
}

// counterMaps are the maps that the program writes to.
func counterMaps() []string {
	return []string{"reason_counters", "listener_counters", "backend_counters", "tracking_counters"}
}

// countInMemory makes the counters arrays that this process maps into its
// memory. Reading those is much faster than reading what each CPU has, which
// tests of very many packets need. The program is the same.
func countInMemory(spec *ebpf.CollectionSpec) { makeMappable(spec, counterMaps()...) }

// countNodeInMemory is countInMemory for the program of a node.
func countNodeInMemory(spec *ebpf.CollectionSpec) { makeMappable(spec, "node_counters") }

func makeMappable(spec *ebpf.CollectionSpec, names ...string) {
	for _, name := range names {
		spec.Maps[name].Type = ebpf.Array
		spec.Maps[name].Flags |= unix.BPF_F_MMAPABLE
	}
}

// nodeCounterReader returns what reads the counters of a node.
func nodeCounterReader(t testing.TB, n *Node) func() ([]Traffic, error) {
	t.Helper()
	m := n.maps["node_counters"]
	if m.Type() == ebpf.PerCPUArray {
		return func() ([]Traffic, error) {
			return sumCPUs(m, m.MaxEntries(), func(sum *Traffic, cpu nodeTraffic) {
				*sum = sum.Add(Traffic{Packets: cpu.Packets, Bytes: cpu.Bytes})
			})
		}
	}
	memory, err := m.Memory()
	if err != nil {
		t.Fatal(err)
	}
	return func() ([]Traffic, error) { return readTraffic(memory, m.MaxEntries()*m.ValueSize()) }
}

// counterReader returns what reads all counters.
func counterReader(t testing.TB, tables *Tables, maps map[string]*ebpf.Map) func() (counts, error) {
	t.Helper()
	if maps["reason_counters"].Type() == ebpf.PerCPUArray {
		return tables.allCounts
	}
	var memory [4]*ebpf.Memory
	var size [4]uint32 // bytes of all values
	for i, name := range counterMaps() {
		m := maps[name]
		var err error
		if memory[i], err = m.Memory(); err != nil {
			t.Fatal(err)
		}
		size[i] = m.MaxEntries() * m.ValueSize()
	}
	return func() (c counts, err error) {
		var values [3][]Traffic
		for i := range values {
			if values[i], err = readTraffic(memory[i], size[i]); err != nil {
				return c, err
			}
		}
		c.reasons, c.backends = values[0], values[2]
		c.listeners = make([]ListenerTraffic, 0, len(values[1])/2)
		for pair := values[1]; len(pair) > 0; pair = pair[2:] {
			c.listeners = append(c.listeners, ListenerTraffic{Forwarded: pair[0], Dropped: pair[1]})
		}
		c.tracking, err = readTracking(memory[3], size[3])
		return c, err
	}
}

func readTracking(m *ebpf.Memory, size uint32) ([]TrackingTraffic, error) {
	b := make([]byte, size)
	if _, err := m.ReadAt(b, 0); err != nil {
		return nil, err
	}
	const each = int(unsafe.Sizeof(weirTrackingCounter{}))
	values := make([]TrackingTraffic, 0, len(b)/each)
	for ; len(b) > 0; b = b[each:] {
		values = append(values, decodeTracking(*(*weirTrackingCounter)(unsafe.Pointer(&b[0]))))
	}
	return values, nil
}

func readTraffic(m *ebpf.Memory, size uint32) ([]Traffic, error) {
	b := make([]byte, size)
	if _, err := m.ReadAt(b, 0); err != nil {
		return nil, err
	}
	values := make([]Traffic, 0, size/16)
	for ; len(b) > 0; b = b[16:] {
		values = append(values, Traffic{Packets: binary.NativeEndian.Uint64(b), Bytes: binary.NativeEndian.Uint64(b[8:])})
	}
	return values, nil
}

// allCounts reads every entry of every counter, also of reasons to come.
func (t *Tables) allCounts() (c counts, err error) {
	if c.reasons, err = sumCPUs(t.maps.ReasonCounters, t.maps.ReasonCounters.MaxEntries(), addTraffic); err != nil {
		return c, err
	}
	if c.listeners, err = t.ListenerCounters(t.maps.ListenerCounters.MaxEntries()); err != nil {
		return c, err
	}
	if c.backends, err = t.BackendCounters(t.maps.BackendCounters.MaxEntries()); err != nil {
		return c, err
	}
	c.tracking, err = t.TrackingCounters(t.maps.TrackingCounters.MaxEntries())
	return c, err
}

// since returns which counters have moved, and by how much.
func (l *lab) since(before, after counts) map[string]Traffic {
	moved := make(map[string]Traffic)
	add := func(a, b Traffic, name string, id any) {
		moved[fmt.Sprintf(name, id)] = Traffic{Packets: b.Packets - a.Packets, Bytes: b.Bytes - a.Bytes}
	}
	for i, r := range after.reasons {
		if b := before.reasons[i]; b != r {
			add(b, r, "%s", reasonName(l.reasons, i))
		}
	}
	for i, t := range after.listeners {
		if b := before.listeners[i].Forwarded; b != t.Forwarded {
			add(b, t.Forwarded, "listener %d forwarded", i)
		}
		if b := before.listeners[i].Dropped; b != t.Dropped {
			add(b, t.Dropped, "listener %d dropped", i)
		}
	}
	for i, t := range after.backends {
		if b := before.backends[i]; b != t {
			add(b, t, "backend %d", i)
		}
	}
	for i, t := range after.tracking {
		tracked(moved, i, before.tracking[i], t)
	}
	return moved
}

// tracked adds to moved what has changed in the tracking of a listener.
func tracked(moved map[string]Traffic, listener int, before, after TrackingTraffic) {
	add := func(b, a uint64, what string) {
		if a != b {
			moved[fmt.Sprintf("listener %d %s", listener, what)] = Traffic{Packets: a - b}
		}
	}
	add(before.New, after.New, model.DecidedNew)
	add(before.Record, after.Record, model.DecidedRecord)
	add(before.Previous, after.Previous, model.DecidedPrevious)
	add(before.Current, after.Current, model.DecidedCurrent)
	add(before.Overflow, after.Overflow, "overflow")
	for i, n := range after.Broken {
		add(before.Broken[i], n, "broken: "+Unusable(i).String())
	}
}

// reasonName returns the name of a reason, its number where it has none.
func reasonName(names []string, number int) string {
	if number < len(names) {
		return names[number]
	}
	return fmt.Sprintf("reason %d", number)
}

// counted returns which counters a frame moves whose result is r.
func (l *lab) counted(r model.Result, frame []byte) map[string]Traffic {
	one := Traffic{Packets: 1, Bytes: uint64(len(frame))}
	want := map[string]Traffic{strings.ToLower(r.Reason): one}
	if r.Listener != nil {
		what := "dropped"
		if r.Backend != nil {
			what = "forwarded"
		}
		want[fmt.Sprintf("listener %d %s", l.listeners[r.Listener], what)] = one
	}
	if r.Backend != nil {
		want[fmt.Sprintf("backend %d", l.backends[r.Backend])] = one
	}
	if r.Listener == nil {
		return want
	}
	for what, so := range map[string]bool{
		r.Decided: r.Decided != "", "broken: " + r.Broken: r.Broken != "", "overflow": r.Overflow,
	} {
		if so {
			want[fmt.Sprintf("listener %d %s", l.listeners[r.Listener], what)] = Traffic{Packets: 1}
		}
	}
	return want
}
