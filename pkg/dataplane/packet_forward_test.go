// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
	"github.com/weirlb/weir/pkg/packet"
)

// family is what packets of IPv4 or of IPv6 have in common.
type family struct {
	name        string
	client, vip netip.Addr
	in          packet.Frame
}

func families() []family {
	return []family{{"ipv4", client4, vip4, from4}, {"ipv6", client6, vip6, from6}}
}

// outerDF is what an outer header has besides the usual: around IPv6, which
// nobody fragments on the way, IPv4 has DF.
func outerDF(f family, w way) []packet.IPOption {
	if f.client.Is6() && w.backend.Address.Is4() {
		return []packet.IPOption{packet.DF()}
	}
	return nil
}

// forwardTests send every kind of packet every way.
func forwardTests() []packetTest {
	var tests []packetTest
	for _, w := range ways() {
		for _, f := range families() {
			tests = append(tests, w.forwardTests(f)...)
		}
	}
	for _, f := range families() {
		tests = append(tests, sourceTests(f)...)
	}
	return slices.Concat(tests, extensionTests(), optionTests(), addressedTests())
}

// forwardTests are of all that is whole packets of TCP and UDP.
func (w way) forwardTests(f family) (tests []packetTest) {
	add := func(name string, p lb.Protocol, in packet.Frame) {
		out := w.leaves(in, hashOf(f.client, f.vip, w.port, p), outerDF(f, w)...)
		tests = append(tests, packetTest{
			fmt.Sprintf("%s, %s, %s", w.name, f.name, name), in, w.forwards(f.vip, p, out),
		})
	}
	tcp, udp := f.in.TCP(clientPort, w.port, packet.ACK), f.in.UDP(clientPort, w.port)
	add("syn", lb.TCP, f.in.TCP(clientPort, w.port, packet.SYN, func(h *packet.TCP) { h.Options = []byte{2, 4, 5, 0xb4} }))
	add("ack", lb.TCP, tcp)
	add("tcp data", lb.TCP, tcp.Text("GET / HTTP/1.1\r\n\r\n"))
	add("fin", lb.TCP, f.in.TCP(clientPort, w.port, packet.FIN|packet.ACK))
	add("rst", lb.TCP, f.in.TCP(clientPort, w.port, packet.RST))
	add("no flags", lb.TCP, f.in.TCP(clientPort, w.port, 0))
	add("udp data", lb.UDP, udp.Text("data"))
	add("udp without data", lb.UDP, udp)
	add("udp data after the datagram", lb.UDP, f.in.UDP(clientPort, w.port).Text("datagram"))
	return tests
}

// sourceTests are of the algorithm source: the client's address alone says
// which slot it is, while the outer source address varies with the flow.
func sourceTests(f family) (tests []packetTest) {
	w := ways()[0]
	w.port = portSource
	hash := func(port uint16, p lb.Protocol) uint32 {
		return uint32(maglev.Hash(labSeed, f.client, f.vip, port, portSource, uint8(p)))
	}
	var outer []packet.IPOption
	if f.client.Is6() {
		outer = append(outer, packet.DF())
	}
	for _, port := range []uint16{1, 1024, 65535} {
		tcp, udp := f.in.TCP(port, portSource, packet.SYN), f.in.UDP(port, portSource)
		tests = append(tests,
			packetTest{fmt.Sprintf("source, %s, tcp from %d", f.name, port), tcp, w.forwards(f.vip, lb.TCP, w.leaves(tcp, hash(port, lb.TCP), outer...))},
			packetTest{fmt.Sprintf("source, %s, udp from %d", f.name, port), udp, w.forwards(f.vip, lb.UDP, w.leaves(udp, hash(port, lb.UDP), outer...))},
		)
	}
	return tests
}

// extensionTests are of IPv6 packets with extension headers, which travel on.
func extensionTests() (tests []packetTest) {
	six := from6.HopByHop(1).DestOpts(2).Routing(1).AH(3).Fragment(0, false, 7).DestOpts(1)
	for _, test := range []struct {
		name string
		in   packet.Frame
	}{
		{"hop-by-hop options", from6.HopByHop(1)},
		{"long hop-by-hop options", from6.HopByHop(32)},
		{"destination options", from6.DestOpts(1)},
		{"routing header", from6.Routing(3)},
		{"authentication header", from6.AH(3)},
		{"no check value", from6.AH(0)},
		{"atomic fragment", from6.Fragment(0, false, 7)},
		{"two extensions", from6.HopByHop(1).DestOpts(1)},
		{"six extensions", six},
		{"six times the same", from6.AH(1).AH(1).AH(1).AH(1).AH(1).AH(1)},
		{"atomic fragment twice", from6.Fragment(0, false, 7).Fragment(0, false, 8).AH(1)},
	} {
		for _, w := range ways()[:3] {
			tcp, udp := test.in.TCP(clientPort, w.port, packet.ACK), test.in.UDP(clientPort, w.port).Text("data")
			outer := outerDF(families()[1], w)
			tcpOut := w.leaves(tcp, hashOf(client6, vip6, w.port, lb.TCP), outer...)
			udpOut := w.leaves(udp, hashOf(client6, vip6, w.port, lb.UDP), outer...)
			tests = append(tests,
				packetTest{fmt.Sprintf("%s, tcp, %s", w.name, test.name), tcp, w.forwards(vip6, lb.TCP, tcpOut)},
				packetTest{fmt.Sprintf("%s, udp, %s", w.name, test.name), udp, w.forwards(vip6, lb.UDP, udpOut)},
			)
		}
	}
	return tests
}

// optionTests are of IPv4 packets with options, which travel on, and of what
// the balancer does not look at.
func optionTests() (tests []packetTest) {
	add := func(name string, w way, p lb.Protocol, in, out packet.Frame) {
		tests = append(tests, packetTest{w.name + ", " + name, in, w.forwards(vip4, p, out)})
	}
	for _, w := range ways()[:3] {
		hash := hashOf(client4, vip4, w.port, lb.TCP)
		for _, words := range []int{1, 5, 10} {
			options := make([]byte, 4*words)
			for i := range options {
				options[i] = 1 // no operation
			}
			in := eth.IP(client4, vip4, packet.Options(options...)).TCP(clientPort, w.port, packet.ACK).Text("data")
			add(fmt.Sprintf("%d words of options", words), w, lb.TCP, in, w.leaves(in, hash))
		}
		tcp := from4.TCP(clientPort, w.port, packet.ACK)
		offset := w.overhead()
		add("padded", w, lb.TCP, tcp.PadTo(60), w.leaves(tcp, hash).PadTo(60+offset))
		add("much padding", w, lb.TCP, tcp.PadTo(1600), w.leaves(tcp, hash).PadTo(1600+offset))
		add("wrong tcp checksum", w, lb.TCP, broken(tcp, at4+16), broken(w.leaves(tcp, hash), at4+16+offset))
		add("wrong ip checksum", w, lb.TCP, broken(tcp, atIP+10), broken(w.leaves(tcp, hash), atIP+10+offset))

		hash = hashOf(client4, vip4, w.port, lb.UDP)
		udp := from4.UDP(clientPort, w.port).Text("data")
		none := func(at int) func([]byte) { return func(b []byte) { b[at], b[at+1] = 0, 0 } }
		add("udp without a checksum", w, lb.UDP, udp.With(none(at4+6)), w.leaves(udp, hash).With(none(at4+6+offset)))
		short := func(at int) func([]byte) { return func(b []byte) { b[at+1] = 8 } }
		add("udp length below that of the packet", w, lb.UDP, udp.With(short(at4+4)), w.leaves(udp, hash).With(short(at4+4+offset)))
	}
	return tests
}

// addressedTests are of frames that are addressed to the backend, or nearly so.
// Only what goes there by dsr has reached its last hop by that.
func addressedTests() (tests []packetTest) {
	add := func(name string, w way, to lb.MAC) {
		in := packet.Eth(routerMAC, to).IP(client4, vip4).TCP(clientPort, w.port, packet.ACK)
		out := w.leaves(in, hashOf(client4, vip4, w.port, lb.TCP))
		tests = append(tests, packetTest{w.name + ", " + name, in, w.forwards(vip4, lb.TCP, out)})
	}
	for _, w := range ways() {
		to := w.backend.NextHop.Dest
		if w.backend.Forward == lb.IPIP {
			add("addressed to the next hop", w, to)
			continue
		}
		for i := range to {
			other := to
			other[i] ^= 0x80
			add(fmt.Sprintf("not addressed to the backend by byte %d", i), w, other)
		}
	}
	return tests
}
