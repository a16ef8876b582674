// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// packetsPerRun is how many packets are sent at a time: enough for the test run
// itself not to matter, and few enough that what else goes on in the machine
// rarely changes from one run to the next.
const packetsPerRun = 1 << 18

// stream is what a generator sends: TCP packets of that many flows from the first
// one on, evenly to that many ports of an address.
type stream struct {
	dest   netip.Addr
	flows  uint32
	ports  uint32
	syn    bool // first packets of flows, else ACKs
	inTurn bool // one flow after the other, else at random
	first  uint32
}

// countless is a number of flows that a run does not get to the end of.
const countless = 1<<32 - 1

// firstPort is the first port that packets go to; FIRST_PORT in
// bpf/bench_xdp.c.
const firstPort = 1024

// generator sends a stream through one program after the other.
type generator struct {
	generatorObjects
	frame []byte
}

func newGenerator(s stream) (*generator, error) {
	g := &generator{frame: frame(s)}
	spec, err := loadGenerator()
	if err != nil {
		return nil, fmt.Errorf("reading the generator: %w", err)
	}
	for name, value := range map[string]any{
		"flows":     s.flows,
		"ports":     s.ports,
		"frame_len": uint32(len(g.frame)),
		"ipv6":      s.dest.Is6(),
		"in_turn":   s.inTurn, "first_flow": s.first,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("setting %s of the generator: %w", name, err)
		}
	}
	if err := spec.LoadAndAssign(&g.generatorObjects, nil); err != nil {
		return nil, fmt.Errorf("loading the generator: %w", err)
	}
	return g, nil
}

// frame is a TCP packet with 10 bytes of payload, 64 bytes long over IPv4. The
// generator writes its Ethernet header, source address and ports.
func frame(s stream) []byte {
	const ethernet, ipv4, ipv6, tcp, payload = 14, 20, 40, 20, 10
	ip := make([]byte, ipv4)
	if s.dest.Is4() {
		ip[0] = 4<<4 | ipv4/4
		binary.BigEndian.PutUint16(ip[2:], ipv4+tcp+payload)
		ip[6] = 0x40 // don't fragment
		ip[8], ip[9] = 64, unix.IPPROTO_TCP
		copy(ip[16:], s.dest.AsSlice())
	} else {
		ip = make([]byte, ipv6)
		ip[0] = 6 << 4
		binary.BigEndian.PutUint16(ip[4:], tcp+payload)
		ip[6], ip[7] = unix.IPPROTO_TCP, 64
		copy(ip[8:], netip.MustParseAddr("2001:db8:c::").AsSlice())
		copy(ip[24:], s.dest.AsSlice())
	}
	segment := make([]byte, tcp+payload)
	segment[12], segment[13] = tcp/4<<4, 0x10 // ACK
	if s.syn {
		segment[13] = 0x02
	}
	return append(append(make([]byte, ethernet), ip...), segment...)
}

// aim makes prog the program under test.
func (g *generator) aim(prog *ebpf.Program) error {
	if err := g.Subject.Put(uint32(0), prog); err != nil {
		return fmt.Errorf("inserting the program under test: %w", err)
	}
	return nil
}

// run sends packetsPerRun packets, or more if a signal interrupts it, as it
// starts again then. It returns what one took of this thread's CPU time, in
// nanoseconds, and how many there were. The last one must leave with action.
func (g *generator) run(action uint32) (ns float64, n uint64, err error) {
	var before, after uint64
	if err := g.Packets.Get(&before); err != nil {
		return 0, 0, fmt.Errorf("reading the number of packets: %w", err)
	}
	start, err := cpuTime()
	if err != nil {
		return 0, 0, err
	}
	got, err := g.BenchGenerate.Run(&ebpf.RunOptions{Data: g.frame, Repeat: packetsPerRun})
	if err != nil {
		return 0, 0, fmt.Errorf("sending packets: %w", err)
	}
	end, err := cpuTime()
	if err != nil {
		return 0, 0, err
	}
	if err := g.Packets.Get(&after); err != nil {
		return 0, 0, fmt.Errorf("reading the number of packets: %w", err)
	}
	if got != action {
		return 0, 0, fmt.Errorf("a packet left with XDP action %d, want %d", got, action)
	}
	n = after - before
	return float64(end-start) / float64(n), n, nil
}

// cpuTime returns the time that this thread has spent on a CPU. Unlike the
// clock on the wall it stands still while others run.
func cpuTime() (time.Duration, error) { return clockTime(unix.CLOCK_THREAD_CPUTIME_ID) }

// allCPUTime returns the time that all threads of this process have spent on
// CPUs.
func allCPUTime() (time.Duration, error) { return clockTime(unix.CLOCK_PROCESS_CPUTIME_ID) }

func clockTime(clock int32) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("reading the CPU time: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// stayAlone keeps this goroutine on one CPU, before all other threads where the
// system allows that, until restore.
func stayAlone(b *testing.B) (restore func()) {
	b.Helper()
	stand, err := standInFront()
	if err != nil {
		b.Logf("other threads may come in between, figures are noisier: %v", err)
	}
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		b.Fatalf("reading the CPUs that may be used: %v", err)
	}
	for cpu := range len(before) * 64 {
		if before.IsSet(cpu) { // the last one, as the first has most interrupts
			one.Zero()
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		b.Fatalf("staying on one CPU: %v", err)
	}
	return func() {
		if err := errors.Join(unix.SchedSetaffinity(0, &before), stand()); err != nil {
			b.Errorf("being as other threads again: %v", err)
		}
	}
}

// standInFront keeps this goroutine on its thread, and that before all others,
// until restore. If it returns an error, the thread is one as all others.
func standInFront() (restore func() error, err error) {
	runtime.LockOSThread()
	fifo := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	err = unix.SchedSetAttr(0, &fifo, 0)
	return func() error {
		normal := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}
		err := unix.SchedSetAttr(0, &normal, 0)
		if err == nil { // else the thread ends with the goroutine
			runtime.UnlockOSThread()
		}
		return err
	}, err
}
