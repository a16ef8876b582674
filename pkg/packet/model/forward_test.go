// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// source4 and source6 are outer addresses, as the rules have them.
func source4(h uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 16, byte(h >> 8), byte(h)})
}

func source6(h uint32) netip.Addr {
	b := netip.MustParseAddr("100::").As16()
	binary.BigEndian.PutUint32(b[12:], h)
	return netip.AddrFrom16(b)
}

func TestForward(t *testing.T) {
	leaving := packet.Eth(out, hop)
	flags, tos := packet.SYN, packet.TOS(0xb9) // EF, ECT(1)
	in4 := eth.IP(client4, vip4, tos, packet.ID(77), packet.TTL(3))
	in4DF := eth.IP(client4, vip4, packet.ID(78), packet.DF())
	in6 := eth.IP(client6, vip6, tos, packet.Label(5), packet.TTL(3))
	h4, h6 := hash(client4, vip4, portIPIP4), hash(client6, vip6, portIPIP4)
	h46, h66 := hash(client4, vip4, portIPIP6), hash(client6, vip6, portIPIP6)
	label := func(h uint32) packet.IPOption { return packet.Label(h & 0xfffff) }

	toIPIP4, toIPIP6 := in4.TCP(40000, portIPIP4, flags), in4.TCP(40000, portIPIP6, flags)
	in4ToDF, in6To4, in6To6 := in4DF.TCP(40000, portIPIP4, flags), in6.TCP(40000, portIPIP4, flags), in6.TCP(40000, portIPIP6, flags)
	tests := []struct {
		name     string
		in, want packet.Frame
		action   model.Action
		egress   int
	}{
		{"4 in 4", toIPIP4, leaving.IP(source4(h4), backend4, tos, packet.ID(77)).Inner(toIPIP4), model.Redirect, 7},
		{"4 in 4, DF", in4ToDF, leaving.IP(source4(h4), backend4, packet.ID(78), packet.DF()).Inner(in4ToDF), model.Redirect, 7},
		{"4 in 4, padded", toIPIP4.PadTo(60), leaving.IP(source4(h4), backend4, tos, packet.ID(77)).Inner(toIPIP4).PadTo(80), model.Redirect, 7},
		{"6 in 4", in6To4, leaving.IP(source4(h6), backend4, tos, packet.DF()).Inner(in6To4), model.Redirect, 7},
		{"4 in 6", toIPIP6, leaving.IP(source6(h46), backend6, tos, label(h46)).Inner(toIPIP6), model.Redirect, 7},
		{"6 in 6", in6To6, leaving.IP(source6(h66), backend6, tos, label(h66)).Inner(in6To6), model.Redirect, 7},
		{"dsr4", in4.TCP(1, portDSR, flags), leaving.IP(client4, vip4, tos, packet.ID(77), packet.TTL(3)).TCP(1, portDSR, flags), model.TX, ingress},
		{"dsr6", in6.TCP(1, portDSR, flags), leaving.IP(client6, vip6, tos, packet.Label(5), packet.TTL(3)).TCP(1, portDSR, flags), model.TX, ingress},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := config().Run(test.in.Bytes())
			if got.Reason != model.Forwarded || got.Action != test.action || got.Egress != test.egress {
				t.Errorf("%s %s to interface %d", got.Action, got.Reason, got.Egress)
			}
			if diff := packet.Diff(test.want.Bytes(), got.Frame); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if _, err := packet.Decode(got.Frame); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSource: the algorithm source looks at the client's address alone, while
// outer addresses vary with the flow.
func TestSource(t *testing.T) {
	c := config()
	l := c.Listeners[model.Service{Address: netip.AddrPortFrom(vip4, portUDP), Protocol: lb.UDP}]
	l.Backends[2] = &model.Backend{Address: backend6, Forward: lb.IPIP, NextHop: l.Backends[1].NextHop}
	l.Slots = model.SteadySlots(slices.Repeat([]uint16{1, 2}, 125))
	outer := map[netip.Addr]bool{}
	backends := map[*model.Backend]bool{}
	for port := range uint16(50) {
		r := c.Run(eth.IP(client4, vip4).UDP(port, portUDP).Bytes())
		layers, err := packet.Decode(r.Frame)
		if err != nil {
			t.Fatal(err)
		}
		backends[r.Backend] = true
		for _, h := range packet.All[packet.IPv4](layers)[:1] {
			outer[h.Src] = true
		}
		for _, h := range packet.All[packet.IPv6](layers) {
			outer[h.Src] = true
		}
	}
	if len(backends) != 1 {
		t.Errorf("flows of one client went to %d backends", len(backends))
	}
	if len(outer) < 45 {
		t.Errorf("50 flows of one client have %d outer addresses", len(outer))
	}
}

func TestNarrowTunnelSource(t *testing.T) {
	c := config()
	c.TunnelSource4 = netip.MustParsePrefix("172.16.0.5/32")
	c.TunnelSource6 = netip.MustParsePrefix("100::5/124")
	for port, within := range map[uint16]netip.Prefix{portIPIP4: c.TunnelSource4, portIPIP6: c.TunnelSource6} {
		layers, err := packet.Decode(c.Run(eth.IP(client4, vip4).TCP(9, port, packet.SYN).Bytes()).Frame)
		if err != nil {
			t.Fatal(err)
		}
		var src netip.Addr
		switch h := layers[1].(type) {
		case packet.IPv4:
			src = h.Src
		case packet.IPv6:
			src = h.Src
		}
		if !within.Contains(src) {
			t.Errorf("outer address %s is not of %s", src, within)
		}
	}
}

func TestEcho(t *testing.T) {
	back := packet.Eth(balancer, router)
	tests := []struct {
		name     string
		in, want packet.Frame
	}{
		{"v4", eth.IP(client4, vip4, packet.TTL(9), packet.ID(5), packet.TOS(2)).EchoRequest(7, 8).Text("odd"),
			back.IP(vip4, client4, packet.ID(5), packet.TOS(2)).EchoReply(7, 8).Text("odd")},
		{"v4 padded", eth.IP(client4, vip4).EchoRequest(7, 8).PadTo(60), back.IP(vip4, client4).EchoReply(7, 8).PadTo(60)},
		{"v6", eth.IP(client6, vip6, packet.TTL(255), packet.Label(9)).EchoRequest(7, 8).Text("odd"),
			back.IP(vip6, client6, packet.Label(9)).EchoReply(7, 8).Text("odd")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := config().Run(test.in.Bytes())
			if got.Reason != model.EchoReply || got.Action != model.TX || got.Egress != ingress {
				t.Errorf("%s %s to interface %d", got.Action, got.Reason, got.Egress)
			}
			if diff := packet.Diff(test.want.Bytes(), got.Frame); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
