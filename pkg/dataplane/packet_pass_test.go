// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"slices"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
)

// with sets one byte of a frame.
func with(f packet.Frame, at int, value byte) packet.Frame {
	return f.With(func(b []byte) { b[at] = value })
}

// Where headers are in a frame without options and extensions.
const (
	atIP = 14
	at4  = atIP + 20 // behind an IPv4 header
	at6  = atIP + 40
)

// passTests are of what is not for a listener: it stays as it is.
func passTests() []packetTest {
	return slices.Concat(notIPTests(), notOursTests(), noListenerTests())
}

// to starts a frame to another address than the balancer's.
func to(dst lb.MAC) packet.Frame { return packet.Eth(routerMAC, dst) }

// part4 is an IPv4 packet of a protocol that is not looked into.
func part4(dst netip.Addr, protocol uint8, options ...packet.IPOption) packet.Frame {
	return eth.IP(client4, dst, append(options, packet.Protocol(protocol))...).Payload(make([]byte, 64))
}

// notIPTests are of what is not IP, or is for many hosts.
func notIPTests() []packetTest {
	notIP, data := passes("pass_not_ip"), make([]byte, 64)
	syn4, syn6 := from4.TCP(clientPort, portIPIP4, packet.SYN), from6.TCP(clientPort, portIPIP6, packet.SYN)
	return []packetTest{
		{"arp request", eth.ARP(packet.ARP{Op: 1, SenderMAC: routerMAC, Sender: client4, Target: vip4}), notIP},
		{"arp broadcast", to(lb.MAC{255, 255, 255, 255, 255, 255}).ARP(packet.ARP{Op: 1, Sender: client4, Target: vip4}).PadTo(60), notIP},
		{"ethernet header alone", eth.EtherType(0x88cc), notIP},
		{"unknown ethernet type", eth.EtherType(0x88cc).Payload(data), notIP},
		{"length instead of a type", eth.EtherType(64).Payload(data), notIP},
		{"vlan", eth.VLAN(42).IP(client4, vip4).TCP(clientPort, portIPIP4, packet.SYN), notIP},
		{"two vlans", eth.VLAN(42).VLAN(43).IP(client6, vip6).EchoRequest(1, 1), notIP},
		{"broadcast to a listener", to(lb.MAC{255, 255, 255, 255, 255, 255}).Inner(syn4), notIP},
		{"ipv4 multicast mac", to(lb.MAC{1, 0, 0x5e, 0, 0, 1}).Inner(syn4), notIP},
		{"ipv6 multicast mac", to(lb.MAC{0x33, 0x33, 0, 0, 0, 1}).Inner(syn6), notIP},
		{"ping to a multicast mac", to(lb.MAC{0x33, 0x33, 0, 0, 0, 1}).IP(client6, vip6).EchoRequest(1, 1), notIP},
	}
}

// notOursTests are of what is for others: for another address, or for a
// backend that it will reach without us.
func notOursTests() []packetTest {
	notOurs, data := passes("pass_not_ours"), make([]byte, 64)
	first, later := packet.Part(0, true), packet.Part(8, true)
	mapped := eth.IP(client6, netip.AddrFrom16(vip4.As16()))
	syn4 := from4.TCP(clientPort, portIPIP4, packet.SYN)
	return []packetTest{
		{"tcp4 to another host", eth.IP(client4, other4).TCP(clientPort, portIPIP4, packet.SYN), notOurs},
		{"tcp6 to another host", eth.IP(client6, other6).TCP(clientPort, portIPIP4, packet.SYN), notOurs},
		{"udp4 to another host", eth.IP(client4, other4).UDP(clientPort, portIPIP4).PadTo(60), notOurs},
		{"tcp4 from a vip", eth.IP(vip4, client4).TCP(portIPIP4, clientPort, packet.SYN|packet.ACK), notOurs},
		{"tcp6 from a vip", eth.IP(vip6, client6).TCP(portIPIP4, clientPort, packet.SYN|packet.ACK), notOurs},
		{"ping4 to another host", eth.IP(client4, other4).EchoRequest(1, 1), notOurs},
		{"ping6 to another host", eth.IP(client6, other6).EchoRequest(1, 1), notOurs},
		{"neighbour solicitation", eth.IP(client6, other6, packet.TTL(255)).ICMPv6(135, 0, 0).Payload(data[:16]), notOurs},
		{"options to another host", eth.IP(client4, other4, packet.Options(0x94, 4, 0, 0)).TCP(1, 2, packet.SYN), notOurs},
		{"extensions to another host", eth.IP(client6, other6).HopByHop(1).DestOpts(1).UDP(1, 2), notOurs},
		{"first fragment to another host", eth.IP(client4, other4, first).TCP(clientPort, portIPIP4, packet.ACK).Payload(data[:4]), notOurs},
		{"later fragment to another host", part4(other4, packet.ProtoTCP, later), notOurs},
		{"later fragment6 to another host", eth.IP(client6, other6).Fragment(8, false, 7).Payload(data), notOurs},
		{"unknown protocol to another host", part4(other4, packet.ProtoTest), notOurs},
		{"tunnel to another host", eth.IP(client4, other4).Inner(syn4), notOurs},
		{"a vip as ipv4-mapped ipv6, tcp", mapped.TCP(clientPort, portIPIP4, packet.SYN), notOurs},
		{"a vip as ipv4-mapped ipv6, ping", mapped.EchoRequest(1, 1), notOurs},
		{"a vip as ipv4-mapped ipv6, fragment", mapped.Fragment(8, false, 7).Payload(data), notOurs},
		{"dsr4, addressed to the backend already", to(far.Dest).IP(client4, vip4).TCP(clientPort, portDSR4, packet.ACK), passes("pass_on_its_way")},
		{"dsr6, addressed to the backend already", to(far.Dest).IP(client6, vip6).TCP(clientPort, portDSR6, packet.ACK), passes("pass_on_its_way")},
	}
}

// noListenerTests are of what is for a balancer's address and for no listener.
func noListenerTests() []packetTest {
	noListener, data := passes("pass_no_listener"), make([]byte, 64)
	first, later, last := packet.Part(0, true), packet.Part(8, true), packet.Part(8, false)
	syn4 := from4.TCP(clientPort, portIPIP4, packet.SYN)
	return []packetTest{
		{"tcp4, no listener on the port", from4.TCP(clientPort, 1, packet.SYN), noListener},
		{"tcp6, no listener on the port", from6.TCP(clientPort, 1, packet.SYN), noListener},
		{"udp6, no listener on the port", from6.UDP(clientPort, 1), noListener},
		{"udp where tcp is", from4.UDP(clientPort, portTCP), noListener},
		{"tcp where udp is", from6.TCP(clientPort, portUDP, packet.SYN), noListener},
		{"ports the other way round", from4.TCP(portIPIP4, clientPort, packet.SYN), noListener},
		{"tcp to a vip without listeners", eth.IP(client4, bare4).TCP(clientPort, portIPIP4, packet.SYN), noListener},
		{"another listener's port of another vip", eth.IP(client6, half6).TCP(clientPort, portIPIP4, packet.SYN), noListener},
		{"sctp", part4(vip4, 132), noListener},
		{"gre", eth.IP(client6, vip6, packet.Protocol(47)).Payload(data), noListener},
		{"no next header", eth.IP(client6, vip6, packet.Protocol(packet.ProtoNoNext)).Payload(data), noListener},
		{"esp", part4(vip4, 50), noListener},
		{"ipv4 with an ipv6 extension's number", part4(vip4, packet.ProtoDestOpts), noListener},
		{"tunnel to a vip", from4.Inner(syn4), noListener},
		{"icmpv6 in ipv4", from4.ICMPv6(packet.EchoRequestV6, 0, 1), noListener},
		{"icmpv4 in ipv6", from6.ICMPv4(packet.EchoRequestV4, 0, 1), noListener},
		{"first fragment, no listener on the port", eth.IP(client4, vip4, first).TCP(clientPort, 1, packet.ACK).Payload(data[:4]), noListener},
		{"first fragment6, no listener on the port", from6.Fragment(0, true, 7).UDP(clientPort, 1), noListener},
		{"later fragment of another protocol", part4(vip4, packet.ProtoTest, later), noListener},
		{"later fragment, vip without listeners", part4(bare4, packet.ProtoTCP, later), noListener},
		{"last fragment, vip without listeners of udp", part4(half4, packet.ProtoUDP, last), noListener},
		{"fragment6, vip without listeners", eth.IP(client6, bare6).Fragment(8, true, 7).UDP(1, 2), noListener},
		{"fragment6, vip without listeners of udp", eth.IP(client6, half6).Fragment(8, true, 7).UDP(1, 2), noListener},
		{"extensions behind a fragment header", from6.Fragment(0, true, 7).DestOpts(1).TCP(clientPort, portIPIP4, packet.ACK), noListener},
	}
}

// malformedTests are of what contradicts itself, as far as it must be read.
func malformedTests() []packetTest {
	syn4, syn6 := from4.TCP(clientPort, portIPIP4, packet.SYN), from6.TCP(clientPort, portIPIP6, packet.SYN)
	udp4, udp6 := from4.UDP(clientPort, portUDP).Text("data"), from6.UDP(clientPort, portUDP).Text("data")
	frames := []struct {
		name string
		in   packet.Frame
	}{
		{"ipv4 header cut off", syn4.TruncateTo(at4 - 1)},
		{"ipv4 without a byte", syn4.TruncateTo(atIP)},
		{"ipv4 says it is version 6", with(syn4, atIP, 0x65)},
		{"ipv4 header of 16 bytes", with(syn4, atIP, 0x44)},
		{"ipv4 header longer than the packet", with(with(from4.UDP(1, 2), atIP, 0x4f), atIP+3, 59)},
		{"ipv4 longer than the frame", with(syn4, atIP+3, 41)},
		{"ipv4 shorter than its header", with(syn4, atIP+3, 19)},
		{"ipv6 header cut off", syn6.TruncateTo(at6 - 1)},
		{"ipv6 without a byte", syn6.TruncateTo(atIP)},
		{"ipv6 says it is version 4", with(syn6, atIP, 0x40)},
		{"ipv6 longer than the frame", with(syn6, atIP+5, 21)},
		{"extension longer than the packet", with(from6.DestOpts(1).UDP(1, portUDP), at6+1, 2)},
		{"extension cut off", with(from6.DestOpts(1).UDP(1, portUDP), atIP+5, 7)},
		{"extension missing", with(from6.DestOpts(1).UDP(1, portUDP), atIP+5, 0)},
		{"fragment header cut off", with(from6.Fragment(0, true, 7), atIP+5, 7)},
		{"ah longer than the packet", with(from6.AH(3).UDP(1, portUDP), at6+1, 9)},
		{"seven extensions", from6.HopByHop(1).DestOpts(1).Routing(1).AH(1).Fragment(0, false, 7).DestOpts(1).DestOpts(1).UDP(1, portUDP)},
		{"seven extensions to another host", eth.IP(client6, other6).DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).UDP(1, 2)},
		{"tcp4 cut off", with(syn4.TruncateTo(at4+19), atIP+3, 39)},
		{"tcp4 longer than the packet, padded", with(syn4.PadTo(60), atIP+3, 39)},
		{"tcp6 header of 16 bytes", with(syn6, at6+12, 0x40)},
		{"tcp6 header longer than the packet", with(syn6, at6+12, 0x60)},
		{"udp4 cut off", with(udp4.TruncateTo(at4+7), atIP+3, 27)},
		{"udp4 longer than the packet, padded", with(udp4.PadTo(60), atIP+3, 31)},
		{"udp4 length below 8", with(udp4, at4+5, 7)},
		{"udp6 length beyond the packet", with(udp6, at6+5, 13)},
		{"first fragment without ports", eth.IP(client4, vip4, packet.Part(0, true), packet.Protocol(packet.ProtoTCP)).Text("12345678")},
		{"first fragment6 without ports", from6.Fragment(0, true, 7).TCP(1, portTCP, packet.ACK).TruncateTo(at6 + 16).With(func(b []byte) { b[atIP+5] = 16 })},
		{"tcp cut off to another host", with(eth.IP(client4, other4).TCP(1, 2, packet.SYN).TruncateTo(at4+19), atIP+3, 39)},
	}
	var tests []packetTest
	for _, f := range frames {
		tests = append(tests, packetTest{f.name, f.in, passes("pass_malformed")})
	}
	return tests
}
