// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// crampedLab is a lab whose frames have nothing in front of them.
func crampedLab(t testing.TB) *lab {
	t.Helper()
	l := standardLab(t)
	l.leaveHeadroom(t, 0)
	return l
}

// leaveHeadroom makes the lab send frames that have so many bytes of room in
// front of them. BPF_PROG_TEST_RUN gives every frame the same, so a program
// before the one under test takes what is too much and writes the frame there.
func (l *lab) leaveHeadroom(t testing.TB, bytes int) {
	t.Helper()
	const most = 256 // that the kernel gives, of which it uses a part itself
	next, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	taken := most
	for ; taken > 0; taken-- { // nothing is in the map yet
		action, _, err := runCramped(next, make([]byte, minFrame), taken, l.out)
		if err != nil {
			t.Fatal(err)
		}
		if action == crampedNoNext {
			break
		}
	}
	if err := next.Put(uint32(0), l.program); err != nil {
		t.Fatal(err)
	}
	l.run = func(frame []byte) (uint32, []byte, error) { return runCramped(next, frame, taken-bytes, l.out) }
}

// What the program before the one under test returns when it cannot go on.
const (
	crampedNoRoom = 100 + iota // for a frame so far in front
	crampedNoNext              // program to go on with
)

// runCramped sends a frame through the program in the map next with less room
// in front of it, by taken bytes.
func runCramped(next *ebpf.Map, frame []byte, taken int, out []byte) (uint32, []byte, error) {
	const fail = "no room"
	move := func(helper asm.BuiltinFunc) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, int32(-taken)),
			helper.Call(),
			asm.JNE.Imm(asm.R0, 0, fail),
		}
	}
	code := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	code = append(code, move(asm.FnXdpAdjustHead)...)
	code = append(code, move(asm.FnXdpAdjustTail)...)
	code = append(code,
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, int32(len(frame))),
		asm.JGT.Reg(asm.R4, asm.R3, fail),
	)
	for i, b := range frame {
		code = append(code, asm.StoreImm(asm.R2, int16(i), int64(b), asm.Byte))
	}
	code = append(code,
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, next.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, crampedNoNext),
		asm.Return(),
		asm.Mov.Imm(asm.R0, crampedNoRoom).WithSymbol(fail),
		asm.Return(),
	)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "cramped", Type: ebpf.XDP, AttachType: ebpf.AttachXDP, License: "Dual BSD/GPL", Instructions: code,
	})
	if err != nil {
		return 0, nil, err
	}
	defer program.Close()
	return testRun(program, make([]byte, len(frame)), out)
}

// headroomTests are of frames with nothing in front of them.
func headroomTests() (tests []packetTest) {
	dsr := ways()[2]
	for _, f := range families() {
		for _, port := range []uint16{portIPIP4, portIPIP6, portNearIPIP4, portNearIPIP6} {
			in := f.in.TCP(clientPort, port, packet.SYN)
			tests = append(tests, packetTest{fmt.Sprintf("%s, port %d", f.name, port), in,
				aborts("aborted_headroom", f.vip, port, lb.TCP)})
		}
		in := f.in.TCP(clientPort, dsr.port, packet.SYN)
		out := dsr.leaves(in, 0)
		udp := f.in.UDP(clientPort, portReject).Text("data")
		tests = append(tests,
			packetTest{f.name + ", dsr needs no room", in, dsr.forwards(f.vip, lb.TCP, out)},
			packetTest{f.name + ", nor does a reset", f.in.TCP(clientPort, portReject, packet.ACK).Text("data"), f.resets(packet.RST, 0, 0)},
			packetTest{f.name + ", an icmp error", udp, aborts("aborted_headroom", f.vip, portReject, lb.UDP)},
		)
	}
	pong := verdict{action: model.TX, reason: "echo_reply", out: answer.IP(vip4, client4).EchoReply(1, 1).Bytes()}
	return append(tests,
		packetTest{"a ping needs no room", from4.EchoRequest(1, 1), pong},
		packetTest{"nor what passes", from6.TCP(1, 2, packet.SYN), passes("pass_no_listener")},
	)
}

// TestHeadroom: an outer header takes the room that it needs and no more.
func TestHeadroom(t *testing.T) {
	l := standardLab(t)
	for _, w := range ways()[:3] {
		for _, room := range []int{w.overhead() - 1, w.overhead(), w.overhead() + 1} {
			if room < 0 {
				continue
			}
			l.leaveHeadroom(t, room)
			in := from4.TCP(clientPort, w.port, packet.SYN)
			want := aborts("aborted_headroom", vip4, w.port, lb.TCP)
			if room >= w.overhead() {
				want = w.forwards(vip4, lb.TCP, w.leaves(in, hashOf(client4, vip4, w.port, lb.TCP)))
			}
			t.Run(fmt.Sprintf("%s, %d bytes", w.name, room), func(t *testing.T) {
				l.checkPacket(t, packetTest{in: in, want: want})
			})
		}
	}
}

// TestRejectHeadroom: nor does an ICMP error take more than it needs.
func TestRejectHeadroom(t *testing.T) {
	l := standardLab(t)
	for _, f := range families() {
		in := f.in.UDP(clientPort, portReject).Text("data")
		need := len(in.Bytes()) - atIP - 8 - len("data") + 8 // an IP and an ICMP header
		for _, room := range []int{need - 1, need, need + 1} {
			l.leaveHeadroom(t, room)
			want := aborts("aborted_headroom", f.vip, portReject, lb.UDP)
			if room >= need {
				want = f.quoting(in, len(in.Bytes())-atIP)
			}
			t.Run(fmt.Sprintf("%s, %d bytes", f.name, room), func(t *testing.T) {
				l.checkPacket(t, packetTest{in: in, want: want})
			})
		}
	}
}

// Ports whose listeners contradict the tables.
const (
	portBadSlots     = 9000 + iota // its slots are behind the last
	portBadPool                    // its pool is behind the last entry
	portBadIndex                   // its slots name the entry behind its pool
	portBadMaximum                 // its slots name an entry behind the last
	portBadForward                 // its backend is of a kind that there is not
	portBadTableSize               // its table goes on behind the last slot
)

func badPorts() []uint16 {
	return []uint16{portBadSlots, portBadPool, portBadIndex, portBadMaximum, portBadForward, portBadTableSize}
}

// corruptLab is a lab with entries that no agent writes.
func corruptLab(t testing.TB) *lab {
	t.Helper()
	l := standardLab(t)
	limits := l.tables.Limits()
	vips := []netip.Addr{vip4, vip6}
	for _, port := range badPorts() {
		table := []uint16{1, 1, 1, 1, 1, 1, 1}
		switch port {
		case portBadIndex:
			table = []uint16{2, 2, 2, 2, 2, 2, 2}
		case portBadMaximum:
			table = []uint16{MaxPool, MaxPool, MaxPool, MaxPool, MaxPool, MaxPool, MaxPool}
		}
		entry := l.addListener(t, vips, port, lb.TCP, lb.Maglev, table, ways()[0].backend)
		switch port {
		case portBadSlots:
			entry.Slots = limits.Slots
		case portBadPool:
			entry.Pool = limits.Backends - 1
		case portBadTableSize:
			entry.Slots, entry.TableSize = limits.Slots-1, 1<<31
		case portBadForward:
			b := Backend{Address: netip.AddrPortFrom(backend4, port), Forward: 99, NextHop: far}
			l.putBackend(t, entry.Pool+1, b)
		}
		for _, vip := range vips {
			l.putListener(t, vip, port, lb.TCP, entry)
		}
	}
	return l
}

func badTableTests() (tests []packetTest) {
	for _, f := range families() {
		for _, port := range badPorts() {
			tests = append(tests, packetTest{fmt.Sprintf("%s, port %d", f.name, port),
				f.in.TCP(clientPort, port, packet.SYN), aborts("aborted_bad_table", f.vip, port, lb.TCP)})
		}
	}
	return tests
}

// onlyLab opens a lab whose program was loaded for one way of forwarding, and
// for the 5-tuple, while its tables have all else too.
func onlyLab(f Features) func(testing.TB) *lab {
	return func(t testing.TB) *lab {
		t.Helper()
		knobs := labKnobs()
		knobs.Features = f
		return labWith(t, knobs)
	}
}

// onlyTests: what the program was loaded for goes, all else cannot.
func onlyTests(features Features) func() []packetTest {
	return func() (tests []packetTest) {
		for _, f := range families() {
			for _, w := range ways() {
				in := f.in.TCP(clientPort, w.port, packet.SYN)
				want := aborts("aborted_bad_table", f.vip, w.port, lb.TCP)
				if features == w.needs() {
					hash := hashOf(f.client, f.vip, w.port, lb.TCP)
					want = w.forwards(f.vip, lb.TCP, w.leaves(in, hash, outerDF(f, w)...))
				}
				tests = append(tests, packetTest{f.name + ", " + w.name, in, want})
			}
			lost := f.in.TCP(clientPort, portNoHop, packet.SYN)
			tests = append(tests, packetTest{f.name + ", no next hop", lost, dropsOf("drop_no_nexthop", f.vip, portNoHop, lb.TCP)})
		}
		return tests
	}
}

// needs returns what a program must have in it for a way.
func (w way) needs() Features {
	if w.backend.Forward == lb.DSR {
		return Features{DSR: true}
	}
	return Features{IPIP4: w.backend.Address.Is4(), IPIP6: w.backend.Address.Is6()}
}

// TestRedirect: a packet leaves by the interface of the backend's next hop.
// What bpf_redirect is told nobody can see, so it is made to return that.
func TestRedirect(t *testing.T) {
	l := labWith(t, labKnobs(), func(spec *ebpf.CollectionSpec) {
		replaceCalls(t, spec.Programs[programName], asm.FnRedirect, asm.Mov.Reg(asm.R0, asm.R1))
	})
	for _, w := range ways() {
		action, _, err := l.run(from4.TCP(clientPort, w.port, packet.SYN).Bytes())
		if err != nil {
			t.Fatal(err)
		}
		want := uint32(w.action)
		if w.action == model.Redirect {
			want = uint32(w.backend.NextHop.Interface)
		}
		if action != want {
			t.Errorf("%s: %d, want %d", w.name, action, want)
		}
	}
}

// replaceCalls puts an instruction in the place of each call of a helper.
func replaceCalls(t testing.TB, p *ebpf.ProgramSpec, helper asm.BuiltinFunc, by asm.Instruction) {
	t.Helper()
	found := false
	for i, ins := range p.Instructions {
		if ins.IsBuiltinCall() && ins.Constant == int64(helper) {
			p.Instructions[i] = by.WithMetadata(ins.Metadata)
			found = true
		}
	}
	if !found {
		t.Fatalf("the program does not call %s", helper)
	}
}
