// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/testutil"
)

// tap is a raw socket on eth0 of a host that receives frames of one Ethernet
// type.
type tap struct {
	t       *testing.T
	fd      int
	ifindex int
}

func openTap(t *testing.T, host *testutil.Host, etherType uint16) *tap {
	t.Helper()
	eth0, err := host.Interface("eth0")
	must(t, err)
	tp := &tap{t: t, ifindex: eth0.Index}
	networkOrder := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, etherType))
	must(t, host.Do(func() (err error) {
		tp.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(networkOrder))
		return err
	}))
	t.Cleanup(func() { must(t, unix.Close(tp.fd)) })
	must(t, unix.Bind(tp.fd, &unix.SockaddrLinklayer{Protocol: networkOrder, Ifindex: eth0.Index}))
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	must(t, unix.SetsockoptTimeval(tp.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
	return tp
}

// next returns the next frame that came in and that wanted accepts.
func (tp *tap) next(wanted func(frame []byte) bool) []byte {
	tp.t.Helper()
	buf := make([]byte, 2048)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		n, from, err := unix.Recvfrom(tp.fd, buf, 0)
		must(tp.t, err)
		incoming := from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING
		if incoming && wanted(buf[:n]) {
			return buf[:n]
		}
	}
	tp.t.Fatal("no such frame arrived")
	return nil
}

// mirror sends every frame of the type 0x88b5 (for experiments) back to its
// sender with XDP_TX.
func mirror() asm.Instructions {
	const (
		xdpAborted, xdpPass, xdpTx = 0, 2, 3
		experimental               = 0xb588 // as a little-endian host reads it
	)
	load := func(dst asm.Register, offset int16, size asm.Size) asm.Instruction {
		return asm.LoadMem(dst, asm.R2, offset, size)
	}
	store := func(offset int16, src asm.Register, size asm.Size) asm.Instruction {
		return asm.StoreMem(asm.R2, offset, src, size)
	}
	return asm.Instructions{
		asm.Mov.Imm(asm.R0, xdpPass),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "out"),
		load(asm.R4, 12, asm.Half),
		asm.JNE.Imm(asm.R4, experimental, "out"),
		load(asm.R4, 0, asm.Word), load(asm.R5, 4, asm.Half),
		load(asm.R6, 6, asm.Word), load(asm.R7, 10, asm.Half),
		store(0, asm.R6, asm.Word), store(4, asm.R7, asm.Half),
		store(6, asm.R4, asm.Word), store(10, asm.R5, asm.Half),
		asm.Mov.Imm(asm.R0, xdpTx),
		asm.Return().WithSymbol("out"),
	}
}

func TestConnectedPortsTakeFramesFromXDP(t *testing.T) {
	testutil.RequireBPF(t)
	hosts := testutil.LAN(t, "mirror", "client")
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: mirror(), License: "GPL"})
	must(t, err)
	defer program.Close()
	must(t, hosts[0].Do(func() error {
		eth0, err := hosts[0].Interface("eth0")
		if err != nil {
			return err
		}
		l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: eth0.Index, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { must(t, l.Close()) })
		}
		return err
	}))

	tp := openTap(t, hosts[1], 0x88b5)
	client, server := hosts[1].MAC(), hosts[0].MAC()
	frame := append(append(append(server[:], client[:]...), 0x88, 0xb5), bytes.Repeat([]byte("weir"), 16)...)
	_, err = unix.Write(tp.fd, frame)
	must(t, err)
	want := append(append(client[:], server[:]...), frame[12:]...)
	got := tp.next(func([]byte) bool { return true })
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestConnectedPortsSendCompleteChecksums(t *testing.T) {
	hosts := testutil.LAN(t, "server", "client")
	tp := openTap(t, hosts[0], unix.ETH_P_IP)
	const port = 4242
	conn, err := hosts[1].DialContext(t.Context(), "udp4", netip.AddrPortFrom(hosts[0].IPv4(), port).String())
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("a datagram of odd length."))
	must(t, err)

	const ip, udp = 14, 14 + 20
	frame := tp.next(func(f []byte) bool {
		return len(f) > udp+8 && f[ip+9] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(f[udp+2:]) == port
	})
	datagram := frame[udp:][:binary.BigEndian.Uint16(frame[udp+4:])]
	pseudo := append(append([]byte(nil), frame[ip+12:ip+20]...), 0, unix.IPPROTO_UDP, datagram[4], datagram[5])
	var sum uint32
	for _, part := range [][]byte{pseudo, append(append([]byte(nil), datagram...), 0)} {
		for ; len(part) > 1; part = part[2:] {
			sum += uint32(binary.BigEndian.Uint16(part))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum != 0xffff {
		t.Errorf("the UDP checksum is not complete: the sum is %#x", sum)
	}
}
