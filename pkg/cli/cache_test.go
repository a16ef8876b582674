// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"net/netip"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
)

// sendPacket is the script command `packet ADDRESS:PORT [ack]`, which runs the
// balancer's program on the maps at $PINS for one packet of TCP, a SYN unless it
// is to be an ACK. It does so on one CPU, always the same, whose number it leaves
// in $CPU.
func sendPacket(ts *testscript.TestScript, neg bool, args []string) {
	flags := packet.SYN
	if len(args) == 2 && args[1] == "ack" {
		flags, args = packet.ACK, args[:1]
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: packet ADDRESS:PORT [ack]")
	}
	to, err := netip.ParseAddrPort(args[0])
	ts.Check(err)
	client := netip.MustParseAddr("192.0.2.1")
	if to.Addr().Is6() {
		client = netip.MustParseAddr("2001:db8::1")
	}
	frame := packet.Eth(lb.MAC{2, 0, 0, 0, 0, 1}, lb.MAC{2, 0, 0, 0, 0, 2}).IP(client, to.Addr()).
		TCP(40000, to.Port(), flags).Bytes()

	spec, err := ebpf.LoadCollectionSpec("../dataplane/weir_bpfel.o")
	ts.Check(err)
	pinned := make(map[string]*ebpf.Map)
	for name, s := range spec.Maps {
		if strings.HasPrefix(name, ".") {
			continue
		}
		pinned[name] = openPin(ts, name)
		s.MaxEntries = pinned[name].MaxEntries()
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: pinned})
	ts.Check(err)
	ts.Defer(coll.Close)
	ts.Setenv("CPU", onOneCPU(ts, func() {
		_, err := coll.Programs["weir_xdp"].Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, 256)})
		ts.Check(err)
	}))
}

// openPin opens one of the maps at $PINS until the script ends.
func openPin(ts *testscript.TestScript, name string) *ebpf.Map {
	m, err := ebpf.LoadPinnedMap(filepath.Join(ts.Getenv("PINS"), "maps", name), nil)
	ts.Check(err)
	ts.Defer(func() { ts.Check(m.Close()) })
	return m
}

// onOneCPU calls fn on the first CPU that this process may use and returns the
// number of that CPU.
func onOneCPU(ts *testscript.TestScript, fn func()) string {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	ts.Check(unix.SchedGetaffinity(0, &all))
	cpu := 0
	for !all.IsSet(cpu) {
		cpu++
	}
	one.Set(cpu)
	ts.Check(unix.SchedSetaffinity(0, &one))
	defer func() { ts.Check(unix.SchedSetaffinity(0, &all)) }()
	fn()
	return strconv.Itoa(cpu)
}

// changeListener is the script command `listener put|remove ADDRESS:PORT
// [killed]`, which changes an entry of TCP at $PINS; with killed, as an agent
// does that is killed before it has told the CPUs.
func changeListener(ts *testscript.TestScript, neg bool, args []string) {
	killed := len(args) == 3 && args[2] == "killed"
	if neg || len(args) != 2 && !killed {
		ts.Fatalf("usage: listener put|remove ADDRESS:PORT [killed]")
	}
	addrPort, err := netip.ParseAddrPort(args[1])
	ts.Check(err)
	tables, err := dataplane.OpenTables(ts.Getenv("PINS"))
	ts.Check(err)
	defer tables.Close()
	before, err := tables.ListenerGeneration()
	ts.Check(err)
	key := dataplane.ListenerKey{Address: addrPort.Addr(), Port: addrPort.Port(), Protocol: lb.TCP}
	switch args[0] {
	case "put":
		ts.Check(tables.PutListener(key, dataplane.Listener{
			ID: 3, Balancer: 1, Slots: 32, TableSize: 17, Pool: 16, PoolSize: 16, OnAllDown: lb.AllDownDrop,
		}))
	case "remove":
		ts.Check(tables.DeleteListener(key))
	default:
		ts.Fatalf("listener %s: want put or remove", args[0])
	}
	if killed {
		ts.Check(openPin(ts, "listener_generation").Put(uint32(0), before))
	}
}
