// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

const (
	ingress = 3
	seed    = 0x8f2a61d7c3b4095e
)

var (
	router, balancer = lb.MAC{2, 0, 0, 0, 0, 1}, lb.MAC{2, 0, 0, 0, 0, 2}
	out, hop         = lb.MAC{2, 0, 0, 0, 0, 3}, lb.MAC{2, 0, 0, 0, 0, 4}

	client4, vip4, other4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("203.0.113.11")
	client6, vip6, other6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::10"), netip.MustParseAddr("2001:db8::11")
	backend4, backend6    = netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("2001:db8:1::11")

	eth  = packet.Eth(router, balancer)
	syn4 = eth.IP(client4, vip4).TCP(40000, 443, packet.SYN)
	syn6 = eth.IP(client6, vip6).TCP(40000, 443, packet.SYN)
)

// Ports of both VIPs, TCP but for the last, and what their one backend is like.
const (
	portIPIP4 = 443 + iota // beyond another interface
	portIPIP6              // beyond another interface
	portDSR                // beyond the interface that packets come in by
	portNone               // there is no backend
	portNoHop              // the next hop of the backend is unknown
	portUDP                // UDP, by source, as portIPIP4
)

func config() *model.Config {
	far := lb.NextHop{Interface: 7, Source: out, Dest: hop, MTU: 1500}
	near := far
	near.Interface = ingress
	pools := map[uint16]*model.Backend{
		portIPIP4: {Address: backend4, Forward: lb.IPIP, NextHop: far},
		portIPIP6: {Address: backend6, Forward: lb.IPIP, NextHop: far},
		portDSR:   {Address: backend4, Forward: lb.DSR, NextHop: near},
		portNone:  nil,
		portNoHop: {Address: backend4, Forward: lb.IPIP},
		portUDP:   {Address: backend4, Forward: lb.IPIP, NextHop: far},
	}
	c := &model.Config{
		VIPs:          []netip.Addr{vip4, vip6, other4, other6},
		Listeners:     map[model.Service]*model.Listener{},
		Seed:          seed,
		TunnelSource4: netip.MustParsePrefix("172.16.0.0/16"),
		TunnelSource6: netip.MustParsePrefix("100::/64"),
		Ingress:       ingress,
	}
	for port, b := range pools {
		l := &model.Listener{ID: uint32(port), Slots: make([]model.Slot, 251), Backends: map[uint16]*model.Backend{}}
		protocol := lb.TCP
		if port == portUDP {
			protocol, l.Algorithm = lb.UDP, lb.Source
		}
		if b != nil {
			l.Backends[1] = b
			l.Slots = model.SteadySlots(slices.Repeat([]uint16{1}, len(l.Slots)))
		}
		for _, vip := range []netip.Addr{vip4, vip6} {
			c.Listeners[model.Service{Address: netip.AddrPortFrom(vip, port), Protocol: protocol}] = l
		}
	}
	return c
}

func set(f packet.Frame, at int, value byte) packet.Frame {
	return f.With(func(b []byte) { b[at] = value })
}

// TestReasons has each reason for each way to get it.
func TestReasons(t *testing.T) {
	in4, in6 := eth.IP(client4, vip4), eth.IP(client6, vip6)
	lost6 := eth.IP(client6, other6)
	data := make([]byte, 2000)
	part := func(vip netip.Addr, protocol uint8) packet.Frame {
		return eth.IP(client4, vip, packet.Part(8, true), packet.Protocol(protocol)).Payload(data[:64])
	}
	tcpPort := func(port uint16) packet.Frame { return in4.TCP(40000, port, packet.ACK) }
	elsewhere := func(f func(src, dst netip.Addr) packet.Frame) packet.Frame {
		return f(client4, netip.MustParseAddr("198.51.100.1"))
	}

	tests := []struct {
		name  string
		frame packet.Frame
		want  string
	}{
		{"cut in the ethernet header", syn4.TruncateTo(13), model.PassNotIP},
		{"broadcast", packet.Eth(router, lb.MAC{255, 255, 255, 255, 255, 255}).IP(client4, vip4).TCP(1, portIPIP4, packet.SYN), model.PassNotIP},
		{"arp", eth.ARP(packet.ARP{Op: 1, Sender: client4, Target: vip4}), model.PassNotIP},
		{"vlan", eth.VLAN(3).IP(client4, vip4).TCP(1, portIPIP4, packet.SYN), model.PassNotIP},

		{"ipv4 cut off", syn4.TruncateTo(14 + 19), model.PassMalformed},
		{"ipv4 version", set(syn4, 14, 0x65), model.PassMalformed},
		{"ipv4 header of 16 bytes", set(syn4, 14, 0x44), model.PassMalformed},
		{"ipv4 header longer than the packet", set(set(in4.UDP(1, 2), 14, 0x4f), 17, 59), model.PassMalformed},
		{"ipv4 longer than the frame", set(syn4, 17, 41), model.PassMalformed},
		{"ipv6 cut off", syn6.TruncateTo(14 + 39), model.PassMalformed},
		{"ipv6 version", set(syn6, 14, 0x40), model.PassMalformed},
		{"ipv6 longer than the frame", set(syn6, 19, 21), model.PassMalformed},
		{"extension longer than the packet", set(in6.DestOpts(1).UDP(1, 2), 55, 2), model.PassMalformed},
		{"extension cut off", in6.DestOpts(1).TruncateTo(60).With(func(b []byte) { b[19] = 6 }), model.PassMalformed},
		{"seven extensions", in6.DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).UDP(1, 2), model.PassMalformed},
		{"tcp cut off", set(syn4.TruncateTo(14+39), 17, 39), model.PassMalformed},
		{"tcp header of 16 bytes", set(syn4, 14+20+12, 0x40), model.PassMalformed},
		{"tcp header longer than the packet", set(syn6, 14+40+12, 0x60), model.PassMalformed},
		{"tcp cut off, padded", set(syn4, 17, 39), model.PassMalformed},
		{"udp cut off", set(in4.UDP(1, portUDP).TruncateTo(14+27), 17, 27), model.PassMalformed},
		{"udp length below 8", set(in4.UDP(1, portUDP), 14+20+5, 7), model.PassMalformed},
		{"udp length beyond the packet", set(in6.UDP(1, portUDP), 14+40+5, 9), model.PassMalformed},
		{"first fragment without ports", eth.IP(client4, vip4, packet.Part(0, true), packet.Protocol(packet.ProtoTCP)).Payload(data[:16]), model.PassMalformed},

		{"another host", elsewhere(func(s, d netip.Addr) packet.Frame { return eth.IP(s, d).TCP(1, portIPIP4, packet.SYN) }), model.PassNotOurs},
		{"ping to another host", elsewhere(func(s, d netip.Addr) packet.Frame { return eth.IP(s, d).EchoRequest(1, 1) }), model.PassNotOurs},
		{"fragment to another host", part(netip.MustParseAddr("198.51.100.1"), packet.ProtoTCP), model.PassNotOurs},
		{"IPv4-mapped", eth.IP(client6, netip.AddrFrom16(vip4.As16())).TCP(1, portIPIP4, packet.SYN), model.PassNotOurs},

		{"other port", tcpPort(1), model.PassNoListener},
		{"other protocol on a port", in4.UDP(1, portIPIP4), model.PassNoListener},
		{"other protocol", eth.IP(client4, vip4, packet.Protocol(packet.ProtoTest)), model.PassNoListener},
		{"ICMPv6 in IPv4", in4.ICMPv6(packet.EchoRequestV6, 0, 1), model.PassNoListener},
		{"ICMPv4 in IPv6", in6.ICMPv4(packet.EchoRequestV4, 0, 1), model.PassNoListener},
		{"first fragment to another port", eth.IP(client4, vip4, packet.Part(0, true)).UDP(1, 2).Text("12345678"), model.PassNoListener},
		{"fragment of another protocol", part(vip4, packet.ProtoTest), model.PassNoListener},
		{"fragment without a listener", part(other4, packet.ProtoTCP), model.PassNoListener},
		{"fragment6 without a listener", lost6.Fragment(8, false, 1).UDP(1, 2), model.PassNoListener},

		{"port unreachable", in4.ICMPv4(packet.UnreachableV4, 3, 0).Quote(syn4, 28), model.PassICMP},
		{"echo reply", in6.EchoReply(1, 1), model.PassICMP},
		{"ping with code", in4.ICMPv4(packet.EchoRequestV4, 1, 0), model.PassICMP},
		{"ping with options", eth.IP(client4, vip4, packet.Options(1, 1, 1, 1)).EchoRequest(1, 1), model.PassICMP},
		{"ping with extension", in6.HopByHop(1).EchoRequest(1, 1), model.PassICMP},
		{"ping cut off", set(in4.EchoRequest(1, 1), 17, 27), model.PassICMP},
		{"ping from nowhere", eth.IP(netip.IPv4Unspecified(), vip4).EchoRequest(1, 1), model.PassICMP},
		{"ping from loopback", eth.IP(netip.MustParseAddr("127.0.0.1"), vip4).EchoRequest(1, 1), model.PassICMP},
		{"ping from a group", eth.IP(netip.MustParseAddr("224.0.0.1"), vip4).EchoRequest(1, 1), model.PassICMP},
		{"ping6 from nowhere", eth.IP(netip.IPv6Unspecified(), vip6).EchoRequest(1, 1), model.PassICMP},
		{"ping6 from a group", eth.IP(netip.MustParseAddr("ff02::1"), vip6).EchoRequest(1, 1), model.PassICMP},
		{"ping in fragments", eth.IP(client4, vip4, packet.Part(0, true)).EchoRequest(1, 1), model.PassICMP},
		{"later fragment of a ping", part(vip4, packet.ProtoICMPv4), model.PassICMP},

		{"first fragment", eth.IP(client4, vip4, packet.Part(0, true)).TCP(1, portIPIP4, packet.ACK).Text("12345678"), model.DropFragment},
		{"first fragment of a datagram", set(eth.IP(client4, vip4, packet.Part(0, true)).UDP(1, portUDP), 38, 9), model.DropFragment},
		{"later fragment", part(vip4, packet.ProtoTCP), model.DropFragment},
		{"last fragment", eth.IP(client4, vip4, packet.Part(8, false), packet.Protocol(packet.ProtoUDP)).Text("x"), model.DropFragment},
		{"first fragment6", in6.Fragment(0, true, 1).TCP(1, portIPIP4, packet.ACK), model.DropFragment},
		{"later fragment6", in6.HopByHop(1).Fragment(8, false, 1).UDP(1, 2), model.DropFragment},

		{"no backend", tcpPort(portNone), model.DropNoBackend},
		{"no next hop", tcpPort(portNoHop), model.DropNoNextHop},
		{"too big for ipip4", in4.TCP(1, portIPIP4, packet.ACK).Payload(data[:1441]), model.DropTooBig},
		{"too big for ipip6", in4.TCP(1, portIPIP6, packet.ACK).Payload(data[:1421]), model.DropTooBig},
		{"too big for dsr", in6.TCP(1, portDSR, packet.ACK).Payload(data[:1441]), model.DropTooBig},

		{"largest for ipip4", in4.TCP(1, portIPIP4, packet.ACK).Payload(data[:1440]), model.Forwarded},
		{"largest for ipip6", in4.TCP(1, portIPIP6, packet.ACK).Payload(data[:1420]), model.Forwarded},
		{"largest for dsr", in6.TCP(1, portDSR, packet.ACK).Payload(data[:1440]), model.Forwarded},
		{"padding does not count", in4.TCP(1, portIPIP4, packet.ACK).PadTo(1600), model.Forwarded},
		{"ip options", eth.IP(client4, vip4, packet.Options(1, 1, 1, 1)).TCP(1, portIPIP4, packet.ACK), model.Forwarded},
		{"six extensions", in6.HopByHop(1).DestOpts(2).Routing(1).AH(3).Fragment(0, false, 7).DestOpts(1).UDP(1, portUDP), model.Forwarded},
		{"ping", in4.EchoRequest(1, 1), model.EchoReply},
		{"ping to a VIP without listeners", eth.IP(client6, other6).EchoRequest(1, 1), model.EchoReply},
	}
	c := config()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			frame := test.frame.Bytes()
			sent := slices.Clone(frame)
			got := c.Run(frame)
			if got.Reason != test.want {
				t.Errorf("reason %s, want %s", got.Reason, test.want)
			}
			if !bytes.Equal(frame, sent) {
				t.Error("the frame that was given has changed")
			}
			checkResult(t, sent, got)
		})
	}
}

// checkResult checks what is true of every result.
func checkResult(t *testing.T, sent []byte, got model.Result) {
	t.Helper()
	want, leaves := model.Pass, false
	switch got.Reason {
	case model.Forwarded:
		want, leaves = model.Redirect, true
		if got.Egress == ingress {
			want = model.TX
		}
	case model.EchoReply, model.Reset, model.PortUnreachable:
		want, leaves = model.TX, true
	case model.DropFragment, model.DropNoBackend, model.DropNoNextHop, model.DropTooBig, model.DropRejectLimit:
		want = model.Drop
	}
	if got.Action != want {
		t.Errorf("%s: action %s, want %s", got.Reason, got.Action, want)
	}
	if leaves == bytes.Equal(sent, got.Frame) || leaves == (got.Egress == 0) {
		t.Errorf("%s by interface %d:\n%s", got.Reason, got.Egress, packet.Diff(sent, got.Frame))
	}
	if (got.Reason == model.Forwarded) != (got.Backend != nil) || got.Backend != nil && got.Listener == nil {
		t.Errorf("%s counts backend %v of listener %v", got.Reason, got.Backend, got.Listener)
	}
}

func TestListenerCounts(t *testing.T) {
	c := config()
	first := c.Run(eth.IP(client4, vip4, packet.Part(0, true)).TCP(1, portIPIP4, packet.ACK).Bytes())
	if want := c.Listeners[model.Service{Address: netip.AddrPortFrom(vip4, portIPIP4), Protocol: lb.TCP}]; first.Listener != want {
		t.Error("the listener does not count the first fragment as dropped")
	}
	later := c.Run(eth.IP(client4, vip4, packet.Part(8, false), packet.Protocol(packet.ProtoTCP)).Bytes())
	if later.Reason != model.DropFragment || later.Listener != nil {
		t.Error("a listener counts a later fragment, which has no ports")
	}
}

// FuzzRun: nothing makes the model panic, and what holds for every result does.
func FuzzRun(f *testing.F) {
	for _, frame := range []packet.Frame{syn4, syn6, eth.IP(client6, vip6).HopByHop(1).Fragment(8, true, 1).EchoRequest(1, 1)} {
		f.Add(frame.Bytes())
	}
	c := rejecting()
	f.Fuzz(func(t *testing.T, frame []byte) {
		sent := slices.Clone(frame)
		got := c.Run(frame)
		if !bytes.Equal(frame, sent) {
			t.Error("the frame that was given has changed")
		}
		if got.Reason != model.EchoReply && got.Reason != model.Forwarded { // those may be what was sent
			checkResult(t, sent, got)
		}
	})
}

// hash is the lower half of the hash of syn4 or syn6, to port.
func hash(src, dst netip.Addr, port uint16) uint32 {
	return uint32(maglev.Hash(seed, src, dst, 40000, port, 6))
}
