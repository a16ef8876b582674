// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
)

// dropTests are of what is for a listener and cannot go to a backend.
func dropTests() (tests []packetTest) {
	for _, f := range families() {
		tests = append(tests,
			packetTest{f.name + ", no backend, tcp", f.in.TCP(clientPort, portNone, packet.SYN), dropsOf("drop_no_backend", f.vip, portNone, lb.TCP)},
			packetTest{f.name + ", no backend, udp", f.in.UDP(clientPort, portNone).PadTo(80), dropsOf("drop_no_backend", f.vip, portNone, lb.UDP)},
			packetTest{f.name + ", no next hop, tcp", f.in.TCP(clientPort, portNoHop, packet.SYN), dropsOf("drop_no_nexthop", f.vip, portNoHop, lb.TCP)},
			packetTest{f.name + ", no next hop, udp", f.in.UDP(clientPort, portNoHop).PadTo(80), dropsOf("drop_no_nexthop", f.vip, portNoHop, lb.UDP)},
		)
	}
	return append(tests, fragmentTests()...)
}

// fragmentTests: the first fragment says whose it is, a later one only that
// it is a listener's, of which nobody knows.
func fragmentTests() []packetTest {
	const fragment = "drop_fragment"
	data := make([]byte, 64)
	first := packet.Part(0, true)
	later := func(offset uint16, more bool, protocol uint8) packet.Frame {
		return eth.IP(client4, vip4, packet.Part(offset, more), packet.Protocol(protocol)).Payload(data)
	}
	// The datagram goes on in later fragments.
	longer := func(f packet.Frame, at int) packet.Frame { return with(f, at+4, 4) }
	tests := []packetTest{
		{"first, tcp", eth.IP(client4, vip4, first).TCP(clientPort, portIPIP4, packet.ACK).Text("12345678"), dropsOf(fragment, vip4, portIPIP4, lb.TCP)},
		{"first, udp", longer(eth.IP(client4, vip4, first).UDP(clientPort, portUDP).Text("12345678"), at4), dropsOf(fragment, vip4, portUDP, lb.UDP)},
		{"first, dsr", eth.IP(client4, vip4, first).TCP(clientPort, portDSR4, packet.ACK).Text("12345678"), dropsOf(fragment, vip4, portDSR4, lb.TCP)},
		{"first, no backend", eth.IP(client4, vip4, first).TCP(clientPort, portNone, packet.ACK).Text("12345678"), dropsOf(fragment, vip4, portNone, lb.TCP)},
		{"later, tcp", later(8, true, packet.ProtoTCP), drops(fragment)},
		{"last, udp", later(65528, false, packet.ProtoUDP), drops(fragment)},
		{"last, of one byte", eth.IP(client4, vip4, packet.Part(8, false), packet.Protocol(packet.ProtoTCP)).Text("x").PadTo(60), drops(fragment)},
		{"later, what looks like ports of no listener", eth.IP(client4, vip4, packet.Part(8, true)).TCP(clientPort, 1, packet.ACK), drops(fragment)},
		{"later, vip with listeners of tcp", eth.IP(client4, half4, packet.Part(8, false), packet.Protocol(packet.ProtoTCP)).Payload(data), drops(fragment)},
		{"later with options", eth.IP(client4, vip4, packet.Part(8, false), packet.Protocol(packet.ProtoTCP), packet.Options(1, 1, 1, 1)).Payload(data), drops(fragment)},

		{"first6, tcp", from6.Fragment(0, true, 7).TCP(clientPort, portIPIP4, packet.ACK).Text("1234"), dropsOf(fragment, vip6, portIPIP4, lb.TCP)},
		{"first6, udp", longer(from6.Fragment(0, true, 7).UDP(clientPort, portUDP).Text("12345678"), at6+8), dropsOf(fragment, vip6, portUDP, lb.UDP)},
		{"first6, behind extensions", from6.HopByHop(1).Routing(1).Fragment(0, true, 7).TCP(clientPort, portIPIP4, packet.ACK).Text("1234"), dropsOf(fragment, vip6, portIPIP4, lb.TCP)},
		{"first6, sixth extension", from6.HopByHop(1).DestOpts(1).Routing(1).DestOpts(1).AH(1).Fragment(0, true, 7).UDP(clientPort, portUDP), dropsOf(fragment, vip6, portUDP, lb.UDP)},
		{"later6, tcp", from6.Fragment(8, true, 7).TCP(clientPort, portIPIP4, packet.ACK), drops(fragment)},
		{"last6, udp", from6.Fragment(65528, false, 7).UDP(clientPort, portUDP), drops(fragment)},
		{"later6, behind extensions", from6.HopByHop(1).Fragment(8, false, 7).UDP(1, 2), drops(fragment)},
		{"later6, vip with listeners of tcp", eth.IP(client6, half6).Fragment(8, false, 7).TCP(1, 2, packet.ACK), drops(fragment)},
	}
	for bit := range 13 {
		offset := uint16(8) << bit
		tests = append(tests,
			packetTest{fmt.Sprintf("last, at %d", offset), later(offset, false, packet.ProtoTCP), drops(fragment)},
			packetTest{fmt.Sprintf("last6, at %d", offset), from6.Fragment(offset, false, 7).UDP(1, 2), drops(fragment)},
		)
	}
	for i := range tests {
		tests[i].name = "fragment, " + tests[i].name
	}
	return tests
}

// mtuTests: what fits exactly goes, and one byte more does not. Padding is no
// part of the packet.
func mtuTests() (tests []packetTest) {
	const tooBig, tcpHeader = "drop_too_big", 20
	for _, w := range ways() {
		for _, f := range families() {
			header := 20
			if f.client.Is6() {
				header = 40
			}
			fits := w.backend.NextHop.MTU - w.overhead() - header - tcpHeader
			in := func(bytes int) packet.Frame {
				return f.in.TCP(clientPort, w.port, packet.ACK).Payload(make([]byte, bytes))
			}
			name := func(what string) string { return fmt.Sprintf("%s, %s, %s", w.name, f.name, what) }
			out := w.leaves(in(fits), hashOf(f.client, f.vip, w.port, lb.TCP), outerDF(f, w)...)
			dropped := dropsOf(tooBig, f.vip, w.port, lb.TCP)
			tests = append(tests,
				packetTest{name("fits"), in(fits), w.forwards(f.vip, lb.TCP, out)},
				packetTest{name("fits, padded"), in(fits).PadTo(1600), w.forwards(f.vip, lb.TCP, out.PadTo(1600+w.overhead()))},
				packetTest{name("one byte over"), in(fits + 1), dropped},
				packetTest{name("far over"), in(fits + 1000), dropped},
			)
		}
	}
	return tests
}
