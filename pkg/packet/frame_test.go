// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package packet_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
)

var (
	router   = lb.MAC{2, 0, 0, 0, 0, 1}
	balancer = lb.MAC{2, 0, 0, 0, 0, 2}
	client4  = netip.MustParseAddr("192.0.2.1")
	vip4     = netip.MustParseAddr("203.0.113.10")
	client6  = netip.MustParseAddr("2001:db8::1")
	vip6     = netip.MustParseAddr("2001:db8::10")

	eth  = packet.Eth(router, balancer)
	syn4 = eth.IP(client4, vip4, packet.DF(), packet.ID(7)).TCP(40000, 443, packet.SYN)
	syn6 = eth.IP(client6, vip6, packet.TOS(0x2e)).TCP(40000, 443, packet.SYN)
)

func mss(h *packet.TCP) { h.Options = []byte{2, 4, 0x05, 0xb4} }

// frames has one of everything, with what another decoder must see in it.
var frames = []struct {
	name  string
	frame packet.Frame
	want  []string
}{
	{"tcp4", syn4, []string{"Ethernet", "IPv4", "TCP"}},
	{"tcp4 data", eth.IP(client4, vip4).TCP(1, 2, packet.ACK|packet.PSH).Text("odd"), []string{"Ethernet", "IPv4", "TCP", "Payload"}},
	{"tcp4 options", eth.IP(client4, vip4, packet.Options(1, 1, 1, 0)).TCP(1, 2, packet.ACK, mss), []string{"Ethernet", "IPv4", "TCP"}},
	{"tcp6", syn6, []string{"Ethernet", "IPv6", "TCP"}},
	{"udp4", eth.IP(client4, vip4).UDP(5000, 5001).Text("data"), []string{"Ethernet", "IPv4", "UDP", "Payload"}},
	{"udp6", eth.IP(client6, vip6, packet.Label(0xabcde)).UDP(5000, 5001).Text("data"), []string{"Ethernet", "IPv6", "UDP", "Payload"}},
	{"ping4", eth.IP(client4, vip4).EchoRequest(1, 2).Text("abc"), []string{"Ethernet", "IPv4", "ICMPv4", "Payload"}},
	{"ping6", eth.IP(client6, vip6).EchoReply(1, 2).Text("abc"), []string{"Ethernet", "IPv6", "ICMPv6", "ICMPv6Echo", "Payload"}},
	{"icmp4 unreachable", eth.IP(vip4, client4).ICMPv4(packet.UnreachableV4, 4, 1400).Quote(syn4, 28), []string{"Ethernet", "IPv4", "ICMPv4", "Payload"}},
	{"icmp6 too big", eth.IP(vip6, client6).ICMPv6(packet.PacketTooBigV6, 0, 1280).Quote(syn6, 1232), []string{"Ethernet", "IPv6", "ICMPv6", "Payload"}},
	{"arp", eth.ARP(packet.ARP{Op: 1, SenderMAC: router, Sender: client4, Target: vip4}), []string{"Ethernet", "ARP"}},
	{"vlan", eth.VLAN(42).IP(client4, vip4).UDP(1, 2), []string{"Ethernet", "Dot1Q", "IPv4", "UDP"}},
	{"two vlans", eth.VLAN(42).VLAN(43).IP(client6, vip6).UDP(1, 2), []string{"Ethernet", "Dot1Q", "Dot1Q", "IPv6", "UDP"}},
	{"hop-by-hop", eth.IP(client6, vip6).HopByHop(2).TCP(1, 2, packet.ACK), []string{"Ethernet", "IPv6", "IPv6HopByHop", "TCP"}},
	{"extensions", eth.IP(client6, vip6).HopByHop(1).DestOpts(3).UDP(1, 2), []string{"Ethernet", "IPv6", "IPv6HopByHop", "IPv6Destination", "UDP"}},
	{"fragment6", eth.IP(client6, vip6).Fragment(0, true, 9).UDP(1, 2), []string{"Ethernet", "IPv6", "IPv6Fragment", "Fragment"}},
	{"fragment4", eth.IP(client4, vip4, packet.Part(8, true), packet.Protocol(packet.ProtoUDP)).Text("12345678"), []string{"Ethernet", "IPv4", "Fragment"}},
	{"ah", eth.IP(client6, vip6).AH(4).TCP(1, 2, packet.ACK), []string{"Ethernet", "IPv6", "IPSecAH", "TCP"}},
	{"4 in 4", eth.IP(client4, vip4).Inner(syn4), []string{"Ethernet", "IPv4", "IPv4", "TCP"}},
	{"6 in 4", eth.IP(client4, vip4).Inner(syn6), []string{"Ethernet", "IPv4", "IPv6", "TCP"}},
	{"4 in 6", eth.IP(client6, vip6).Inner(syn4), []string{"Ethernet", "IPv6", "IPv4", "TCP"}},
	{"6 in 6", eth.IP(client6, vip6).Inner(syn6), []string{"Ethernet", "IPv6", "IPv6", "TCP"}},
}

// TestGopacket lets a decoder that is not ours read the frames and check their
// checksums.
func TestGopacket(t *testing.T) {
	for _, test := range frames {
		t.Run(test.name, func(t *testing.T) {
			p := gopacket.NewPacket(test.frame.Bytes(), layers.LayerTypeEthernet, gopacket.DecodeStreamsAsDatagrams)
			if e := p.ErrorLayer(); e != nil {
				t.Errorf("decoding: %v", e.Error())
			}
			var got []string
			for _, l := range p.Layers() {
				got = append(got, l.LayerType().String())
				bindChecksum(t, p, l)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("layers (-want +got):\n%s", diff)
			}
			err, mismatches := p.VerifyChecksums()
			if err != nil {
				t.Error(err)
			}
			for _, m := range mismatches {
				t.Errorf("%s checksum is %x, want %x", m.Layer.LayerType(), m.Actual, m.Correct)
			}
		})
	}
}

// bindChecksum tells a layer whose checksum covers a pseudo header which IP
// header that is: the last one of the frame.
func bindChecksum(t *testing.T, p gopacket.Packet, l gopacket.Layer) {
	t.Helper()
	upper, ok := l.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	})
	if !ok {
		return
	}
	for _, network := range slices.Backward(p.Layers()) {
		if n, ok := network.(gopacket.NetworkLayer); ok {
			if err := upper.SetNetworkLayerForChecksum(n); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

// TestGopacketFields compares the fields of one frame with a known reader.
func TestGopacketFields(t *testing.T) {
	frame := eth.IP(client4, vip4, packet.DF(), packet.ID(7), packet.TTL(3), packet.TOS(0xb9)).TCP(40000, 443, packet.SYN|packet.ACK, mss)
	p := gopacket.NewPacket(frame.Bytes(), layers.LayerTypeEthernet, gopacket.Default)
	ip := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	tcp := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	got := fmt.Sprint(ip.SrcIP, ip.DstIP, ip.Flags, ip.Id, ip.TTL, ip.TOS, ip.Length, uint16(tcp.SrcPort), uint16(tcp.DstPort), tcp.SYN, tcp.ACK, tcp.RST, tcp.Options)
	if want := "192.0.2.1 203.0.113.10 DF 7 3 185 44 40000 443 true true false [TCPOption(MSS:1460 0x05b4)]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestFramesAreValues: what is made from one frame does not change another.
func TestFramesAreValues(t *testing.T) {
	base := eth.IP(client4, vip4)
	one, two := base.UDP(1, 1), base.UDP(2, 2)
	before := one.Bytes()
	for _, f := range []packet.Frame{two, one.Text("x"), one.With(func(b []byte) { b[0] = 9 }), one.PadTo(100)} {
		if string(f.Bytes()) == string(before) {
			t.Error("the mutation has no effect")
		}
	}
	if diff := packet.Diff(before, one.Bytes()); diff != "" {
		t.Errorf("the frame changed:\n%s", diff)
	}
}

func TestEdits(t *testing.T) {
	frame := eth.IP(client4, vip4).UDP(1, 2)
	if got := len(frame.TruncateTo(20).Bytes()); got != 20 {
		t.Errorf("TruncateTo(20) gives %d bytes", got)
	}
	if got := len(frame.TruncateTo(1000).Bytes()); got != 42 {
		t.Errorf("TruncateTo(1000) gives %d bytes", got)
	}
	if got := len(frame.PadTo(60).TruncateTo(59).Bytes()); got != 59 {
		t.Errorf("PadTo and TruncateTo give %d bytes", got)
	}
	if got := eth.EtherType(0x88cc).Text("x").Bytes(); string(got[12:]) != "\x88\xccx" {
		t.Errorf("EtherType gives %x", got)
	}
	defer func() {
		if got := recover(); got != "packet: an IPv6 header has no DF" {
			t.Errorf("DF on IPv6 panics with %v", got)
		}
	}()
	eth.IP(client6, vip6, packet.DF())
}

// TestRoundTrip: what Decode reads of a random frame, encodes to that frame.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frame := drawFrame(t).Bytes()
		decoded, err := packet.Decode(frame)
		if err != nil {
			t.Fatalf("%v\n%s", err, decoded)
		}
		if diff := packet.Diff(frame, packet.Encode(decoded)); diff != "" {
			t.Errorf("encoded again:\n%s", diff)
		}
	})
}

func drawFrame(t *rapid.T) packet.Frame {
	base := packet.Eth(drawMAC(t), drawMAC(t))
	for range rapid.IntRange(0, 2).Draw(t, "vlans") {
		base = base.VLAN(rapid.Uint16Range(1, 4094).Draw(t, "vlan"))
	}
	for range rapid.IntRange(1, 3).Draw(t, "ip headers") {
		base = drawIP(t, base)
	}
	sport, dport := rapid.Uint16().Draw(t, "sport"), rapid.Uint16().Draw(t, "dport")
	switch rapid.IntRange(0, 3).Draw(t, "transport") {
	case 0:
		base = base.TCP(sport, dport, packet.TCPFlags(rapid.Byte().Draw(t, "flags")))
	case 1:
		base = base.UDP(sport, dport)
	case 2:
		base = base.EchoRequest(sport, dport)
	}
	if data := rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "data"); len(data) > 0 {
		base = base.Payload(data)
	}
	return base.PadTo(rapid.IntRange(0, 100).Draw(t, "pad"))
}

func drawIP(t *rapid.T, base packet.Frame) packet.Frame {
	tos, ttl := packet.TOS(rapid.Byte().Draw(t, "tos")), packet.TTL(rapid.Byte().Draw(t, "ttl"))
	if rapid.Bool().Draw(t, "ipv4") {
		options := rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "options")
		return base.IPv4(drawAddr(t, 4), drawAddr(t, 4), tos, ttl, packet.Options(slices.Repeat(options, 4)...))
	}
	base = base.IPv6(drawAddr(t, 16), drawAddr(t, 16), tos, ttl, packet.Label(rapid.Uint32Max(0xfffff).Draw(t, "label")))
	for range rapid.IntRange(0, 3).Draw(t, "extensions") {
		units := rapid.IntRange(1, 4).Draw(t, "units")
		switch rapid.IntRange(0, 4).Draw(t, "extension") {
		case 0:
			base = base.HopByHop(units)
		case 1:
			base = base.DestOpts(units)
		case 2:
			base = base.Routing(units)
		case 3:
			base = base.AH(units)
		case 4:
			base = base.Fragment(0, false, rapid.Uint32().Draw(t, "id"))
		}
	}
	return base
}

func drawMAC(t *rapid.T) lb.MAC {
	return lb.MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
}

func drawAddr(t *rapid.T, size int) netip.Addr {
	addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address"))
	return addr
}
