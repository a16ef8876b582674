// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/packet"
)

// TestModelAgrees: the program does with random frames, most of which are good
// or nearly so, what the model says.
func TestModelAgrees(t *testing.T) {
	l := fastLab(t)
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			frame := drawPacket(t).Bytes()
			l.checkAsModel(t, frame)
			for range 5 {
				frame = drawMutation(t, frame)
				l.checkAsModel(t, frame)
			}
		}
	})
	l.checkFlows(t)
}

// TestNodeModelAgrees is TestModelAgrees for the program of a node.
func TestNodeModelAgrees(t *testing.T) {
	l := openNodeLab(t, countNodeInMemory)
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			u := rapid.SampledFrom(tunnels()).Draw(t, "tunnel")
			frame := drawExtensions(t, u.header(drawOptions(t, u.src)...), u.src.Is6()).Inner(drawPacket(t)).Bytes()
			l.check(t, frame, nodeModel(frame, vip4, vip6))
			for range 5 {
				frame = drawMutation(t, frame)
				l.check(t, frame, nodeModel(frame, vip4, vip6))
			}
		}
	})
}

// drawPacket draws a packet that a balancer knows something about.
func drawPacket(t *rapid.T) packet.Frame {
	dst := rapid.SampledFrom([]netip.Addr{vip4, vip6, vip4, vip6, half4, half6, bare4, bare6, other4, other6}).Draw(t, "destination")
	src := client4
	if dst.Is6() {
		src = client6
	}
	f := drawExtensions(t, eth.IP(src, dst, drawOptions(t, dst)...), dst.Is6())
	sport := rapid.Uint16().Draw(t, "source port")
	dport := rapid.Uint16Range(portIPIP4-1, portUDP+1).Draw(t, "destination port")
	switch rapid.SampledFrom([]string{"tcp", "udp", "ping", "icmp", "tunnel", "payload"}).Draw(t, "what") {
	case "tcp":
		f = f.TCP(sport, dport, packet.TCPFlags(rapid.Byte().Draw(t, "flags")))
	case "udp":
		f = f.UDP(sport, dport)
	case "ping":
		f = f.EchoRequest(sport, dport)
	case "icmp":
		f = f.ICMPv4(rapid.Byte().Draw(t, "type"), rapid.ByteMax(1).Draw(t, "code"), 0)
	case "tunnel":
		f = f.Inner(from4.TCP(sport, dport, packet.ACK))
	}
	size := rapid.OneOf(rapid.IntRange(0, 32), rapid.IntRange(1360, 1480)).Draw(t, "payload")
	return f.Payload(slices.Repeat([]byte{0xa5}, size)).PadTo(rapid.SampledFrom([]int{0, 60, 1600}).Draw(t, "padded to"))
}

// drawOptions draws what the header of a packet to dst says.
func drawOptions(t *rapid.T, dst netip.Addr) []packet.IPOption {
	o := []packet.IPOption{packet.TOS(rapid.Byte().Draw(t, "tos")), packet.TTL(rapid.Byte().Draw(t, "ttl"))}
	if dst.Is6() {
		return append(o, packet.Label(rapid.Uint32Max(0xfffff).Draw(t, "label")))
	}
	o = append(o, packet.ID(rapid.Uint16().Draw(t, "id")))
	if rapid.Bool().Draw(t, "df") {
		o = append(o, packet.DF())
	}
	if words := rapid.SampledFrom([]int{0, 0, 0, 1, 10}).Draw(t, "words of options"); words > 0 {
		o = append(o, packet.Options(make([]byte, 4*words)...))
	}
	if rapid.IntRange(0, 9).Draw(t, "fragment") == 0 {
		offset := rapid.SampledFrom([]uint16{0, 8, 65528}).Draw(t, "offset")
		o = append(o, packet.Part(offset, rapid.Bool().Draw(t, "more")))
	}
	return o
}

// drawExtensions adds extension headers to an IPv6 header.
func drawExtensions(t *rapid.T, f packet.Frame, ipv6 bool) packet.Frame {
	if !ipv6 {
		return f
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2, 6, 7}).Draw(t, "extensions") {
		units := rapid.IntRange(1, 3).Draw(t, "units")
		switch rapid.IntRange(0, 4).Draw(t, "extension") {
		case 0:
			f = f.HopByHop(units)
		case 1:
			f = f.DestOpts(units)
		case 2:
			f = f.Routing(units)
		case 3:
			f = f.AH(units)
		case 4:
			offset := rapid.SampledFrom([]uint16{0, 0, 0, 8}).Draw(t, "offset6")
			f = f.Fragment(offset, rapid.IntRange(0, 3).Draw(t, "more6") == 0, 7)
		}
	}
	return f
}

// drawMutation changes a frame a little.
func drawMutation(t *rapid.T, frame []byte) []byte {
	frame = slices.Clone(frame)
	at := rapid.IntRange(0, min(len(frame), 120)-1).Draw(t, "at")
	switch rapid.SampledFrom([]string{"flip", "set", "truncate", "extend", "port"}).Draw(t, "mutation") {
	case "flip":
		frame[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	case "set":
		frame[at] = rapid.SampledFrom([]byte{0, 1, 4, 6, 17, 41, 44, 58, 60, 0x45, 0x60, 0xff}).Draw(t, "value")
	case "truncate":
		frame = frame[:max(minFrame, rapid.IntRange(len(frame)-8, len(frame)).Draw(t, "length"))]
	case "extend":
		frame = append(frame, make([]byte, rapid.IntRange(1, 8).Draw(t, "bytes"))...)
	case "port":
		if at = at6; len(frame) > atIP && frame[atIP]>>4 == 4 {
			at = at4
		}
		if len(frame) >= at+4 {
			port := rapid.Uint16Range(portIPIP4, portUDP).Draw(t, "port")
			frame[at+2], frame[at+3] = byte(port>>8), byte(port)
		}
	}
	return frame
}
