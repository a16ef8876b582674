// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/testutil"
)

// failer is what tests and properties have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// The table sizes of a plane. They are tight: what is not given back is missed
// at the end of a history.
var limits = dataplane.Limits{Listeners: 16, Backends: 256, Slots: 2048}

// seed is that of the packet hash and of the tables. A change of it would move
// every flow, so it is the same throughout.
const seed = 0x8f2a61d7c3b4095e

// object is the program as it is committed, and embedded in the product.
const object = "../dataplane/weir_bpfel.o"

var (
	tunnelSource4 = netip.MustParsePrefix("198.18.0.0/15")
	tunnelSource6 = netip.MustParsePrefix("100::/64")
)

// plane is a loaded program that is attached to nothing, with its tables.
type plane struct {
	tables    *dataplane.Tables
	program   *ebpf.Program
	counters  *counters
	embryonic []uint64 // the map, in this process's memory
	out       []byte   // what frames leave in
}

// openPlane loads a plane that has room for some records of each family.
func openPlane(t testing.TB, flows uint32) *plane {
	t.Helper()
	path := testutil.PinPath(t)
	l := limits
	l.Flows = flows
	d, err := dataplane.Open(t.Context(), dataplane.Options{
		PinPath: path,
		Object:  "embedded",
		Limits:  l,
		Knobs: dataplane.Knobs{
			Features: dataplane.Features{IPIP4: true, IPIP6: true, SourceHash: true},
			Seed:     seed, TunnelSource4: tunnelSource4, TunnelSource6: tunnelSource6,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &plane{tables: d.Tables(), out: make([]byte, 2048)}
	p.load(t, filepath.Join(path, "maps"))
	return p
}

// load loads the program once more, on the tables under a path, but with
// counters that this process has in its memory: reading what each CPU has takes
// longer than a packet. The program is the same.
func (p *plane) load(t testing.TB, pins string) {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{
		"hash_seed": uint64(seed),
		"use_ipip4": true, "use_ipip6": true, "use_source_hash": true,
		"tunnel_source4": uint32(198<<24 | 18<<16), "tunnel_host_mask4": uint32(1<<17 - 1),
		"tunnel_source6": [3]uint32{1}, "tunnel_host_mask6_last": ^uint32(0), // 0100:: as it lies in memory
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			t.Fatal(err)
		}
	}
	shared := make(map[string]*ebpf.Map)
	defer func() {
		for _, m := range shared {
			m.Close()
		}
	}()
	for name, m := range spec.Maps {
		if isCounter(name) {
			m.Type, m.Flags = ebpf.Array, m.Flags|unix.BPF_F_MMAPABLE
			m.MaxEntries = counterEntries(name)
			continue
		}
		if strings.HasPrefix(name, ".") {
			continue // the program's constants
		}
		pinned, err := ebpf.LoadPinnedMap(filepath.Join(pins, name), nil)
		if err != nil {
			t.Fatal(err)
		}
		shared[name], m.MaxEntries = pinned, pinned.MaxEntries()
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coll.Close)
	p.program = coll.Programs["weir_xdp"]
	p.counters = openCounters(t, coll.Maps)
	p.embryonic = mapMemory(t, coll.Maps["embryonic"])
}

// mapMemory returns an array as it is in the kernel.
func mapMemory(t testing.TB, m *ebpf.Map) []uint64 {
	t.Helper()
	size := int(m.MaxEntries() * m.ValueSize())
	memory, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(memory); err != nil {
			t.Error(err)
		}
	})
	return unsafe.Slice((*uint64)(unsafe.Pointer(&memory[0])), size/8)
}

// run sends a frame through the program and returns the action and the frame
// as it leaves, which is valid until the next one.
func (p *plane) run(frame []byte) (action uint32, out []byte, err error) {
	opts := ebpf.RunOptions{Data: frame, DataOut: p.out}
	action, err = p.program.Run(&opts)
	return action, opts.DataOut, err
}

// clear empties the tables, whatever is in them. It does not trust an agent to
// do so.
func (p *plane) clear(t failer, clock uint32) {
	t.Helper()
	var errs []error
	check := func(err error) { errs = append(errs, err) }
	listeners, err := p.tables.Listeners()
	check(err)
	for key := range listeners {
		check(p.tables.DeleteListener(key))
	}
	vips, err := p.tables.VIPs()
	check(err)
	for addr := range vips {
		check(p.tables.DeleteVIP(addr))
	}
	names, err := p.tables.Names()
	check(err)
	for key := range names {
		check(p.tables.DeleteName(key))
	}
	check(p.clearArrays())
	var ids []dataplane.FlowID
	check(p.tables.ScanFlows(func(flows []dataplane.Flow) error {
		for i := range flows {
			ids = append(ids, flows[i].ID)
		}
		return nil
	}))
	check(p.tables.DeleteFlows(ids))
	check(p.tables.SetFlowClock(clock))
	p.counters.reset()
	for i := range p.embryonic {
		if atomic.LoadUint64(&p.embryonic[i]) != 0 {
			p.embryonic[i] = 0
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("clearing the tables: %v", err)
	}
}

func (p *plane) clearArrays() error {
	entries, err := p.tables.Backends(0, limits.Backends)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if e != (dataplane.Backend{}) {
			err = errors.Join(err, p.tables.PutBackend(uint32(i), dataplane.Backend{}))
		}
	}
	for id := range limits.Listeners {
		old, readErr := p.tables.OldTable(id)
		err = errors.Join(err, readErr)
		if old != (dataplane.OldTable{}) {
			err = errors.Join(err, p.tables.PutOldTable(id, dataplane.OldTable{}))
		}
	}
	changes := make([]dataplane.SlotChange, limits.Slots)
	for i := range changes {
		changes[i].Index = uint32(i)
	}
	return errors.Join(err, p.tables.WriteSlots(0, limits.Slots, changes))
}
