// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"net/netip"
	"testing"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// portReject is a port of both VIPs, of TCP and UDP, whose listener has no
// backend and rejects.
const portReject = 500

// rejecting is config with portReject.
func rejecting() *model.Config {
	c := config()
	l := &model.Listener{Slots: make([]model.Slot, 7), Rejects: true}
	for _, vip := range []netip.Addr{vip4, vip6} {
		for _, p := range []lb.Protocol{lb.TCP, lb.UDP} {
			c.Listeners[model.Service{Address: netip.AddrPortFrom(vip, portReject), Protocol: p}] = l
		}
	}
	return c
}

// segment sets the numbers of a TCP header.
func segment(seq, ack uint32) func(*packet.TCP) {
	return func(h *packet.TCP) { h.Seq, h.Ack, h.Window = seq, ack, 0 }
}

// TestReject has the answers as the RFCs want them, written out.
func TestReject(t *testing.T) {
	in4, in6 := eth.IP(client4, vip4, packet.TOS(0xb8), packet.TTL(3)), eth.IP(client6, vip6, packet.Label(9))
	back := packet.Eth(balancer, router)
	back4, back6 := back.IP(vip4, client4, packet.DF()), back.IP(vip6, client6)
	long := make([]byte, 1400)

	udp4, udp6 := in4.UDP(40000, portReject), in6.UDP(40000, portReject)
	tests := []struct {
		name     string
		in, want packet.Frame
		reason   string
	}{
		{"syn", in4.TCP(40000, portReject, packet.SYN, segment(7, 0)),
			back4.TCP(portReject, 40000, packet.RST|packet.ACK, segment(0, 8)), model.Reset},
		{"data", in6.TCP(40000, portReject, packet.ACK, segment(7, 1<<31)).Text("data").PadTo(90),
			back6.TCP(portReject, 40000, packet.RST, segment(1<<31, 0)), model.Reset},
		{"data without ack", in6.HopByHop(1).TCP(40000, portReject, packet.FIN, segment(0xfffffffe, 0)).Text("data"),
			back6.TCP(portReject, 40000, packet.RST|packet.ACK, segment(0, 3)), model.Reset},
		{"udp4", udp4.Text("data").PadTo(60),
			back4.ICMPv4(packet.UnreachableV4, 3, 0).Quote(udp4.Text("data"), 100), model.PortUnreachable},
		{"udp6", udp6.Text("data"),
			back6.ICMPv6(packet.UnreachableV6, 4, 0).Quote(udp6.Text("data"), 100), model.PortUnreachable},
		{"long udp4", udp4.Payload(long),
			back4.ICMPv4(packet.UnreachableV4, 3, 0).Quote(udp4.Payload(long), 548), model.PortUnreachable},
		{"long udp6", udp6.Payload(long),
			back6.ICMPv6(packet.UnreachableV6, 4, 0).Quote(udp6.Payload(long), 1232), model.PortUnreachable},
	}
	c := rejecting()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			frame := test.in.Bytes()
			got := c.Run(frame)
			if got.Reason != test.reason || got.Listener == nil || got.Egress != ingress {
				t.Errorf("%s to interface %d of listener %v, want %s", got.Reason, got.Egress, got.Listener, test.reason)
			}
			checkResult(t, frame, got)
			if diff := packet.Diff(test.want.Bytes(), got.Frame); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestRejectDrops has what is dropped although its listener rejects.
func TestRejectDrops(t *testing.T) {
	spent := rejecting()
	spent.AnswersSpent = true
	unanswerable := func(src, dst netip.Addr) packet.Frame { return eth.IP(src, dst).UDP(1, portReject) }
	for _, test := range []struct {
		name string
		c    *model.Config
		in   packet.Frame
		want string
	}{
		{"reset", rejecting(), eth.IP(client4, vip4).TCP(1, portReject, packet.RST|packet.ACK), model.DropNoBackend},
		{"from a group", rejecting(), unanswerable(netip.MustParseAddr("224.0.0.1"), vip4), model.DropNoBackend},
		{"from nowhere", rejecting(), unanswerable(netip.IPv6Unspecified(), vip6), model.DropNoBackend},
		{"fragment", rejecting(), eth.IP(client4, vip4, packet.Part(0, true)).UDP(1, portReject), model.DropFragment},
		{"spent", spent, eth.IP(client4, vip4).TCP(1, portReject, packet.SYN), model.DropRejectLimit},
		{"reset, spent", spent, eth.IP(client4, vip4).TCP(1, portReject, packet.RST), model.DropNoBackend},
		{"drop, spent", spent, eth.IP(client4, vip4).TCP(1, portNone, packet.SYN), model.DropNoBackend},
	} {
		t.Run(test.name, func(t *testing.T) {
			frame := test.in.Bytes()
			got := test.c.Run(frame)
			if got.Reason != test.want || got.Listener == nil {
				t.Errorf("%s of listener %v, want %s", got.Reason, got.Listener, test.want)
			}
			checkResult(t, frame, got)
		})
	}
}
