// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/testutil"
)

// flooder is a host at an interface of its own of the balancer. It sends SYNs
// from ever new clients that do not exist. What the balancer forwards of it is
// counted on its way to the backends, and dropped.
//
// Packets come from an XDP program that the kernel runs again and again in live
// frame mode (Documentation/bpf/bpf_prog_run.rst): nothing else is as fast.
type flooder struct {
	lab       *lab
	host      *testutil.Host
	ifindex   uint32
	families  []*floodProgram
	forwarded *ebpf.Map // one counter: packets of the flood that the balancer forwarded
}

// floodProgram sends the SYNs of one family.
type floodProgram struct {
	program *ebpf.Program
	frame   []byte
	sent    *ebpf.Map // one counter: packets so far
}

// The clients of a flood are in these networks: of the address the last 16 bits
// vary, and all of the port.
var (
	floodClients4 = netip.MustParsePrefix("198.18.0.0/16")
	floodClients6 = netip.MustParsePrefix("2001:db8:f::/48")
)

// floodInterface is the balancer's interface to the flooder.
const floodInterface = "eth1"

// newFlooder connects a flooder to the balancer. It floods an IPv4 and an IPv6
// address of it.
func (l *lab) newFlooder(port uint16, vips ...netip.Addr) *flooder {
	l.t.Helper()
	f := &flooder{lab: l, host: l.network.Host("flooder")}
	l.must(netdev.Connect(
		netdev.Port{Namespace: f.host.Namespace, Name: "eth0", MAC: lb.MAC{0x02, 0, 0, 0, 9, 1}},
		netdev.Port{Namespace: l.balancer.Namespace, Name: floodInterface, MAC: lb.MAC{0x02, 0, 0, 0, 9, 2}}))
	at, err := f.host.Interface("eth0")
	l.must(err)
	f.ifindex = uint32(at.Index)
	for _, vip := range vips {
		f.families = append(f.families, f.newProgram(vip, port))
	}
	f.forwarded = f.newCounter()
	l.network.FilterPort(l.balancer.Ports[0], f.attachSink)
	return f
}

func (f *flooder) newCounter() *ebpf.Map {
	f.lab.t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	f.lab.must(err)
	f.lab.t.Cleanup(func() { _ = m.Close() })
	return m
}

func readCounter(m *ebpf.Map) (n uint64, err error) {
	err = m.Lookup(uint32(0), &n)
	return n, err
}

// Where what varies is in the frames of a flood, and where in a tunnel's.
const (
	ethernetSize   = 14
	ipv4Size       = 20
	ipv6Size       = 40
	ipv4ID         = 4
	ipv4Protocol   = 9
	ipv4Source     = 12
	ipv6Source     = 8
	ipv6SourceLast = 22 // its last 16 bits
	tcpSeq         = 4
)

// newProgram makes the program that sends SYNs to an address. Packet n is from
// address n mod 2^16 and port n / 2^16. Checksums need not be computed: for each
// field that varies there is one that says the opposite.
func (f *flooder) newProgram(vip netip.Addr, port uint16) *floodProgram {
	f.lab.t.Helper()
	syn := packet.Eth(lb.MAC{0x02, 0, 0, 0, 9, 1}, lb.MAC{0x02, 0, 0, 0, 9, 2})
	opposite := func(h *packet.TCP) { h.Seq = 0xffffffff }
	var address, identification, tcp int16
	if vip.Is4() {
		syn = syn.IP(floodClients4.Addr(), vip, packet.ID(0xffff))
		address, identification, tcp = ethernetSize+ipv4Source+2, ethernetSize+ipv4ID, ethernetSize+ipv4Size
	} else {
		syn = syn.IP(floodClients6.Addr(), vip)
		address, tcp = ethernetSize+ipv6SourceLast, ethernetSize+ipv6Size
	}
	p := &floodProgram{frame: syn.TCP(0, port, packet.SYN, opposite).Bytes(), sent: f.newCounter()}

	code := asm.Instructions{
		asm.LoadMem(asm.R7, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R7),
		asm.Add.Imm(asm.R4, int32(len(p.frame))),
		asm.JGT.Reg(asm.R4, asm.R3, "short"),
		asm.LoadMapValue(asm.R1, p.sent.FD(), 0),
		asm.LoadMem(asm.R8, asm.R1, 0, asm.DWord), // it runs on one processor at a time
		asm.Mov.Reg(asm.R2, asm.R8), asm.Add.Imm(asm.R2, 1),
		asm.StoreMem(asm.R1, 0, asm.R2, asm.DWord),
	}
	code = append(code, storeBytes(asm.R7, p.frame)...) // a frame comes back as others left it
	store := func(offset int16) asm.Instruction { return asm.StoreMem(asm.R7, offset, asm.R2, asm.Half) }
	code = append(code, asm.Mov.Reg(asm.R2, asm.R8), store(address), asm.Xor.Imm(asm.R2, 0xffff))
	if identification != 0 {
		code = append(code, store(identification))
	}
	code = append(code,
		store(tcp+tcpSeq),
		asm.Mov.Reg(asm.R2, asm.R8), asm.RSh.Imm(asm.R2, 16), store(tcp),
		asm.Xor.Imm(asm.R2, 0xffff), store(tcp+tcpSeq+2),
		asm.Mov.Imm(asm.R0, xdpTX), asm.Return(),
		asm.Mov.Imm(asm.R0, xdpAborted).WithSymbol("short"), asm.Return(),
	)
	p.program = f.load("flood", code)
	return p
}

// Values of enum xdp_action.
const (
	xdpAborted = 0
	xdpDrop    = 1
	xdpPass    = 2
	xdpTX      = 3
)

// storeBytes stores b where a register points.
func storeBytes(at asm.Register, b []byte) (code asm.Instructions) {
	for offset := 0; offset < len(b); {
		switch rest := len(b) - offset; {
		case rest >= 8:
			code = append(code, asm.LoadImm(asm.R2, int64(binary.NativeEndian.Uint64(b[offset:])), asm.DWord),
				asm.StoreMem(at, int16(offset), asm.R2, asm.DWord))
			offset += 8
		default:
			code = append(code, asm.StoreImm(at, int16(offset), int64(b[offset]), asm.Byte))
			offset++
		}
	}
	return code
}

func (f *flooder) load(name string, code asm.Instructions) *ebpf.Program {
	f.lab.t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.XDP, License: "Apache-2.0", Instructions: code})
	f.lab.must(err)
	f.lab.t.Cleanup(func() { _ = program.Close() })
	return program
}

// attachSink puts the program on an interface that counts and drops what the
// balancer has put into a tunnel over IPv4 of the flood.
func (f *flooder) attachSink(ifindex int) (io.Closer, error) {
	const inner = ethernetSize + ipv4Size
	load := func(to asm.Register, offset int16, size asm.Size) asm.Instruction {
		return asm.LoadMem(to, asm.R7, offset, size)
	}
	clients4, clients6 := floodClients4.Addr().As4(), floodClients6.Addr().As16()
	program := f.load("flood_sink", asm.Instructions{
		load7(asm.R1), asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R7), asm.Add.Imm(asm.R4, inner+ipv6Source+8), asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		load(asm.R2, ethernetSize+ipv4Protocol, asm.Byte),
		asm.JEq.Imm(asm.R2, int32(packet.ProtoIPv4), "4"), asm.JEq.Imm(asm.R2, int32(packet.ProtoIPv6), "6"),
		asm.Ja.Label("pass"),
		load(asm.R2, inner+ipv4Source, asm.Half).WithSymbol("4"),
		asm.JEq.Imm(asm.R2, int32(binary.NativeEndian.Uint16(clients4[:])), "drop"), asm.Ja.Label("pass"),
		load(asm.R2, inner+ipv6Source, asm.Word).WithSymbol("6"),
		asm.LoadImm(asm.R5, int64(binary.NativeEndian.Uint32(clients6[:])), asm.DWord), asm.JNE.Reg(asm.R2, asm.R5, "pass"),
		load(asm.R2, inner+ipv6Source+4, asm.Half),
		asm.JNE.Imm(asm.R2, int32(binary.NativeEndian.Uint16(clients6[4:])), "pass"),
		asm.LoadMapValue(asm.R1, f.forwarded.FD(), 0).WithSymbol("drop"), asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, xdpDrop), asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"), asm.Return(),
	})
	return link.AttachXDP(link.XDPOptions{Program: program, Interface: ifindex, Flags: link.XDPDriverMode})
}

// load7 loads where the frame begins into R7, which is where sinks look for it.
func load7(ctx asm.Register) asm.Instruction { return asm.LoadMem(asm.R7, ctx, 0, asm.Word) }

// floodRun is how many packets are sent by one system call, which takes 40 ms to
// begin and to end.
const floodRun = 1 << 16

// errEnough ends a flood.
var errEnough = errors.New("enough")

// flood sends until enough returns true, which is asked about every 100 ms
// with the number of flows that the balancer has forwarded so far in this flood.
// It returns that number.
func (f *flooder) flood(enough func(forwarded uint64) bool) uint64 {
	f.lab.t.Helper()
	const liveFrames = 1 << 1 // BPF_F_TEST_XDP_LIVE_FRAMES
	before, err := readCounter(f.forwarded)
	f.lab.must(err)
	var forwarded uint64
	err = f.host.Do(func() error {
		for {
			for _, p := range f.families {
				context := struct{ Data, DataEnd, DataMeta, Ingress, Queue, Egress uint32 }{
					DataEnd: uint32(len(p.frame)), Ingress: f.ifindex,
				}
				_, err := p.program.Run(&ebpf.RunOptions{
					Data: p.frame, Context: &context, Repeat: floodRun, Flags: liveFrames,
				})
				if err != nil {
					return fmt.Errorf("sending a flood: %w", err)
				}
			}
			now, err := readCounter(f.forwarded)
			if err != nil {
				return err
			}
			if forwarded = now - before; enough(forwarded) {
				return errEnough
			}
		}
	})
	if !errors.Is(err, errEnough) {
		f.lab.t.Fatal(err)
	}
	return forwarded
}

// sent returns how many packets were sent.
func (f *flooder) sent() (sum uint64) {
	f.lab.t.Helper()
	for _, p := range f.families {
		n, err := readCounter(p.sent)
		f.lab.must(err)
		sum += n
	}
	return sum
}
