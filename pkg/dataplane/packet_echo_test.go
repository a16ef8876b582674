// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"

	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// echoTests are of ICMP to a balancer's addresses.
func echoTests() []packetTest {
	answered := func(out packet.Frame) verdict {
		return verdict{action: model.TX, reason: "echo_reply", out: out.Bytes()}
	}
	back4, back6 := answer.IP(vip4, client4), answer.IP(vip6, client6)
	data := make([]byte, 1400)
	for i := range data {
		data[i] = byte(i)
	}
	ttl, tos := packet.TTL(3), packet.TOS(0xb9)
	tests := []packetTest{
		{"ping4", from4.EchoRequest(7, 8).Text("abcdefgh"), answered(back4.EchoReply(7, 8).Text("abcdefgh"))},
		{"ping6", from6.EchoRequest(7, 8).Text("abcdefgh"), answered(back6.EchoReply(7, 8).Text("abcdefgh"))},
		{"ping4 of an odd length", from4.EchoRequest(7, 8).Text("abc"), answered(back4.EchoReply(7, 8).Text("abc"))},
		{"ping6 of an odd length", from6.EchoRequest(7, 8).Text("abc"), answered(back6.EchoReply(7, 8).Text("abc"))},
		{"ping4 without data", from4.EchoRequest(1, 1), answered(back4.EchoReply(1, 1))},
		{"ping6 without data", from6.EchoRequest(1, 1), answered(back6.EchoReply(1, 1))},
		{"large ping4", from4.EchoRequest(1, 1).Payload(data), answered(back4.EchoReply(1, 1).Payload(data))},
		{"large ping6", from6.EchoRequest(1, 1).Payload(data), answered(back6.EchoReply(1, 1).Payload(data))},
		{"padded ping4", from4.EchoRequest(1, 1).PadTo(60), answered(back4.EchoReply(1, 1).PadTo(60))},
		{"padded ping6", from6.EchoRequest(1, 1).PadTo(80), answered(back6.EchoReply(1, 1).PadTo(80))},
		{"ping4 ttl, tos, df and id",
			eth.IP(client4, vip4, ttl, tos, packet.DF(), packet.ID(0xfffe)).EchoRequest(1, 1),
			answered(answer.IP(vip4, client4, tos, packet.DF(), packet.ID(0xfffe)).EchoReply(1, 1))},
		{"ping4 with ttl 255", eth.IP(client4, vip4, packet.TTL(255)).EchoRequest(1, 1), answered(back4.EchoReply(1, 1))},
		{"ping6 hop limit, class and label",
			eth.IP(client6, vip6, ttl, tos, packet.Label(0xabcde)).EchoRequest(1, 1),
			answered(answer.IP(vip6, client6, tos, packet.Label(0xabcde)).EchoReply(1, 1))},
		{"ping6 from a link-local address",
			eth.IP(netip.MustParseAddr("fe80::1"), vip6).EchoRequest(1, 1),
			answered(answer.IP(vip6, netip.MustParseAddr("fe80::1")).EchoReply(1, 1))},
		{"ping4 to a vip without listeners", eth.IP(client4, bare4).EchoRequest(1, 1), answered(answer.IP(bare4, client4).EchoReply(1, 1))},
		{"ping6 to a vip without listeners", eth.IP(client6, bare6).EchoRequest(1, 1), answered(answer.IP(bare6, client6).EchoReply(1, 1))},
		{"ping4 with a wrong checksum", broken(from4.EchoRequest(7, 8), at4+2), answered(broken(back4.EchoReply(7, 8), at4+2))},
		{"ping6 with a wrong checksum", broken(from6.EchoRequest(7, 8), at6+2), answered(broken(back6.EchoReply(7, 8), at6+2))},
		// The sum over a reply of zeros alone is +0, and 0 is no right checksum of it.
		{"ping4 of zeros", from4.EchoRequest(0, 0).Payload(make([]byte, 8)), answered(back4.EchoReply(0, 0).Payload(make([]byte, 8)))},
		{"ping6 of zeros", from6.EchoRequest(0, 0).Payload(make([]byte, 8)), answered(back6.EchoReply(0, 0).Payload(make([]byte, 8)))},
	}
	return append(tests, notEchoTests()...)
}

// broken makes a checksum wrong by one bit, of a weight that carries nothing.
func broken(f packet.Frame, at int) packet.Frame {
	return f.With(func(b []byte) { b[at+1] ^= 1 })
}

// notEchoTests are of ICMP that only looks like an echo request, or is one that
// the host knows more about.
func notEchoTests() []packetTest {
	data := make([]byte, 64)
	syn4, syn6 := from4.TCP(clientPort, portIPIP4, packet.SYN), from6.TCP(clientPort, portIPIP6, packet.SYN)
	source := func(addr string) packet.Frame {
		a := netip.MustParseAddr(addr)
		if a.Is4() {
			return eth.IP(a, vip4).EchoRequest(1, 1)
		}
		return eth.IP(a, vip6).EchoRequest(1, 1)
	}
	frames := []struct {
		name string
		in   packet.Frame
	}{
		{"port unreachable", from4.ICMPv4(packet.UnreachableV4, 3, 0).Quote(syn4, 28)},
		{"fragmentation needed", from4.ICMPv4(packet.UnreachableV4, 4, 1400).Quote(syn4, 28)},
		{"time exceeded", from4.ICMPv4(packet.TimeExceededV4, 0, 0).Quote(syn4, 28)},
		{"timestamp", from4.ICMPv4(13, 0, 0).Payload(data[:12])},
		{"packet too big", from6.ICMPv6(packet.PacketTooBigV6, 0, 1280).Quote(syn6, 1232)},
		{"unreachable6", from6.ICMPv6(packet.UnreachableV6, 4, 0).Quote(syn6, 1232)},
		{"neighbour solicitation", eth.IP(client6, vip6, packet.TTL(255)).ICMPv6(135, 0, 0).Payload(data[:16])},
		{"echo reply4", from4.EchoReply(1, 1)},
		{"echo reply6", from6.EchoReply(1, 1)},
		{"ping4 with a code", from4.ICMPv4(packet.EchoRequestV4, 1, 0)},
		{"ping6 with a code", from6.ICMPv6(packet.EchoRequestV6, 1, 0)},
		{"ping4 with options", eth.IP(client4, vip4, packet.Options(1, 1, 1, 1)).EchoRequest(1, 1)},
		{"ping6 with hop-by-hop options", from6.HopByHop(1).EchoRequest(1, 1)},
		{"ping6 with destination options", from6.DestOpts(2).EchoRequest(1, 1)},
		{"ping6, routed", from6.Routing(1).EchoRequest(1, 1)},
		{"ping6, an atomic fragment", from6.Fragment(0, false, 7).EchoRequest(1, 1)},
		{"ping4 cut off", with(from4.EchoRequest(1, 1), atIP+3, 27)},
		{"ping6 cut off", with(from6.EchoRequest(1, 1), atIP+5, 7)},
		{"icmp without a byte", eth.IP(client4, vip4, packet.Protocol(packet.ProtoICMPv4))},
		{"first fragment of a ping4", eth.IP(client4, vip4, packet.Part(0, true)).EchoRequest(1, 1).Payload(data)},
		{"later fragment of a ping4", eth.IP(client4, vip4, packet.Part(8, false), packet.Protocol(packet.ProtoICMPv4)).Payload(data)},
		{"first fragment of a ping6", from6.Fragment(0, true, 7).EchoRequest(1, 1).Payload(data)},
		{"later fragment of a ping6", eth.IP(client6, vip6).Fragment(8, false, 7).EchoRequest(1, 1)},
		{"ping4 from 0.0.0.0", source("0.0.0.0")},
		{"ping4 from 0/8", source("0.1.2.3")},
		{"ping4 from loopback", source("127.0.0.1")},
		{"ping4 from a group", source("224.0.0.1")},
		{"ping4 from class e", source("240.0.0.1")},
		{"ping4 from broadcast", source("255.255.255.255")},
		{"ping6 from ::", source("::")},
		{"ping6 from a group", source("ff02::1")},
	}
	var tests []packetTest
	for _, f := range frames {
		tests = append(tests, packetTest{f.name, f.in, passes("pass_icmp")})
	}
	return tests
}
