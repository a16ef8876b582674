// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// field is a length, or a number that says what follows, in a header.
type field struct{ at, size int }

// The fields of a frame without options and extensions.
func ipv4Fields() []field { return []field{{atIP, 1}, {atIP + 2, 2}, {atIP + 6, 2}, {atIP + 9, 1}} }
func ipv6Fields() []field { return []field{{atIP, 1}, {atIP + 4, 2}, {atIP + 6, 1}} }

// goodPacket is a packet with its reason, and where its lengths are.
type goodPacket struct {
	name   string
	frame  packet.Frame
	reason string
	fields []field
}

// goodPackets has one or more for each reason but those of what cannot happen.
func goodPackets() []goodPacket {
	data := "sixteen bytes in"
	v4 := func(more ...field) []field { return append(ipv4Fields(), more...) }
	v6 := func(more ...field) []field { return append(ipv6Fields(), more...) }
	tcp := func(port uint16) packet.Frame { return from4.TCP(clientPort, port, packet.ACK).Text(data) }
	chain := from6.HopByHop(1).AH(1).Fragment(0, false, 7)
	return []goodPacket{
		{"not ip", eth.VLAN(42).Inner(tcp(portIPIP4)), "pass_not_ip", []field{{12, 2}}},
		{"malformed", tcp(portIPIP4).With(func(b []byte) { b[atIP+3]++ }), "pass_malformed", v4()},
		{"not ours", eth.IP(client4, other4).UDP(clientPort, portUDP).Text(data), "pass_not_ours", v4(field{at4 + 4, 2})},
		{"no listener", from4.TCP(clientPort, 1, packet.SYN), "pass_no_listener", v4(field{at4 + 12, 1})},
		{"icmp", from4.ICMPv4(packet.UnreachableV4, 3, 0).Quote(tcp(portIPIP4), 28), "pass_icmp", v4()},
		{"on its way", packet.Eth(routerMAC, far.Dest).IP(client4, vip4).TCP(clientPort, portDSR4, packet.ACK).Text(data), "pass_on_its_way", v4(field{0, 2}, field{4, 2})},
		{"ping4", from4.EchoRequest(1, 1).Text(data), "echo_reply", v4()},
		{"ping6", from6.EchoRequest(1, 1).Text(data), "echo_reply", v6()},
		{"tcp4 into ipip4", tcp(portIPIP4), "forwarded", v4(field{at4 + 12, 1})},
		{"tcp4 with options", eth.IP(client4, vip4, packet.Options(1, 1, 1, 1)).TCP(clientPort, portIPIP6, packet.ACK), "forwarded", v4(field{at4 + 16, 1})},
		{"udp4 into ipip6", from4.UDP(clientPort, portIPIP6).Text(data), "forwarded", v4(field{at4 + 4, 2})},
		{"tcp6 into ipip6", from6.TCP(clientPort, portIPIP6, packet.ACK).Text(data), "forwarded", v6(field{at6 + 12, 1})},
		{"udp6 by dsr", from6.UDP(clientPort, portDSR4).Text(data), "forwarded", v6(field{at6 + 4, 2})},
		{"udp6 with extensions", chain.UDP(clientPort, portIPIP4).Text(data), "forwarded",
			v6(field{at6, 1}, field{at6 + 1, 1}, field{at6 + 8, 1}, field{at6 + 9, 1}, field{at6 + 24, 1}, field{at6 + 26, 2}, field{at6 + 36, 2})},
		{"first fragment", eth.IP(client4, vip4, packet.Part(0, true)).TCP(clientPort, portIPIP4, packet.ACK).Text("12345678"), "drop_fragment", v4()},
		{"later fragment6", from6.Fragment(8, true, 7).Text(data).With(func(b []byte) { b[at6] = packet.ProtoTCP }), "drop_fragment", v6(field{at6 + 2, 2})},
		{"no backend", tcp(portNone), "drop_no_backend", v4(field{at4 + 12, 1})},
		{"no next hop", from6.UDP(clientPort, portNoHop).Text(data), "drop_no_nexthop", v6(field{at6 + 4, 2})},
		{"tcp4 with options, rejected", eth.IP(client4, vip4, packet.Options(1, 1, 1, 1)).TCP(clientPort, portReject, packet.SYN).Text(data), "reset", v4(field{at4 + 16, 1})},
		{"tcp6, rejected", from6.DestOpts(1).TCP(clientPort, portReject, packet.ACK).Text(data), "reset", v6(field{at6 + 1, 1}, field{at6 + 20, 1})},
		{"udp4, rejected", from4.UDP(clientPort, portReject).Text(data), "unreachable", v4(field{at4 + 4, 2})},
		{"udp6, rejected", from6.AH(1).UDP(clientPort, portReject).Text(data), "unreachable", v6(field{at6 + 1, 1}, field{at6 + 16, 2})},
		{"too big", tcp(portIPIP4).Payload(make([]byte, 1430)), "drop_too_big", v4()},
	}
}

// TestTruncated cuts good packets off at every length. The verdict is the
// model's, one reason counts it, and nothing else moves that the model does not
// say. (That nothing is read beyond the end, the verifier has seen to.)
func TestTruncated(t *testing.T) {
	l := fastLab(t)
	for _, good := range goodPackets() {
		t.Run(good.name, func(t *testing.T) {
			frame := good.frame.Bytes()
			if got := l.config.Run(frame); strings.ToLower(got.Reason) != good.reason {
				t.Fatalf("the model says %s of the whole packet, want %s", got.Reason, good.reason)
			}
			for n := minFrame; n <= len(frame); n++ {
				l.checkAsModel(t, frame[:n])
			}
		})
	}
}

// checkAsModel sends a frame and compares what comes of it with the model.
func (l *lab) checkAsModel(t reporter, frame []byte) {
	t.Helper()
	want := l.config.Run(frame)
	out := l.check(t, frame, want)
	if want.Action == model.Pass && !slices.Equal(frame, out) {
		t.Errorf("a packet that passes has changed:\n%s", packet.Diff(frame, out))
	}
}

// TestLyingLengths cuts good packets off and has their headers say what is not
// so, or what is so again.
func TestLyingLengths(t *testing.T) {
	const most = 110 // bytes: in longer packets nothing new comes
	l := fastLab(t)
	for _, good := range goodPackets() {
		t.Run(good.name, func(t *testing.T) {
			whole := good.frame.Bytes()
			for n := minFrame; n <= min(len(whole), most); n++ {
				for _, f := range good.fields {
					if f.at+f.size <= n {
						l.lie(t, whole[:n], f)
					}
				}
			}
		})
	}
}

// lie sends a frame with a field that says many things.
func (l *lab) lie(t *testing.T, frame []byte, f field) {
	frame = slices.Clone(frame)
	if f.size == 1 {
		for _, v := range []byte{0, 1, 2, 4, 5, 6, 17, 41, 43, 44, 51, 58, 60, 0x3f, 0x40, 0x44, 0x45, 0x46, 0x4f, 0x50, 0x60, 0x65, 0xff} {
			frame[f.at] = v
			l.checkAsModel(t, frame)
		}
		return
	}
	behind := len(frame) - f.at
	for _, v := range []int{
		0, 1, 7, 8, 9, 19, 20, 21, 39, 40, 0x2000, 0x4000, 0x7fff, 0xffff, 0x0800, 0x86dd, // lengths, fragments and types
		behind - 40, behind - 36, behind - 35, behind - 34, behind + 1, behind + 2, behind + 3, behind + 4, behind + 5,
	} {
		binary.BigEndian.PutUint16(frame[f.at:], uint16(v))
		l.checkAsModel(t, frame)
	}
}

// TestNodeTruncated cuts tunnelled packets off at every length: with what the
// outer header says no longer there, they are for the host to complain about.
// With an outer header that says what is there, the inner packet is cut off.
func TestNodeTruncated(t *testing.T) {
	l := openNodeLab(t)
	for _, u := range tunnels() {
		for _, inner := range []packet.Frame{inner4(), inner6()} {
			whole := u.header().Inner(inner).Bytes()
			start := len(u.header().Bytes())
			t.Run(fmt.Sprintf("%d bytes in %s", len(whole)-start, u.name), func(t *testing.T) {
				for n := minFrame; n < len(whole); n++ {
					l.check(t, whole[:n], nodePasses("pass_not_tunnelled"))
					if n >= start {
						l.check(t, saysItsLength(whole[:n]), nodePasses("pass_malformed"))
					}
				}
				l.check(t, whole, decapsulated(eth.Inner(inner)))
			})
		}
	}
}

// saysItsLength returns the frame with an IP header that is right about its
// length.
func saysItsLength(frame []byte) []byte {
	frame = slices.Clone(frame)
	if frame[atIP]>>4 == 4 {
		binary.BigEndian.PutUint16(frame[atIP+2:], uint16(len(frame)-atIP))
	} else {
		binary.BigEndian.PutUint16(frame[atIP+4:], uint16(len(frame)-at6))
	}
	return frame
}
