// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// addRejecting makes a listener without backends that rejects.
func (l *lab) addRejecting(t testing.TB, vips []netip.Addr, port uint16, p lb.Protocol) {
	t.Helper()
	entry := l.addListener(t, vips, port, p, lb.Maglev, make([]uint16, 7))
	l.reject(t, vips, port, p, entry)
}

// reject makes a listener reject what it has no backend for.
func (l *lab) reject(t testing.TB, vips []netip.Addr, port uint16, p lb.Protocol, entry Listener) {
	t.Helper()
	entry.OnAllDown = lb.AllDownReject
	for _, vip := range vips {
		l.config.Listeners[service(vip, port, p)].Rejects = true
		l.putListener(t, vip, port, p, entry)
	}
}

// back starts what goes back to a client of the family.
func (f family) back() packet.Frame {
	if f.client.Is4() {
		return answer.IP(f.vip, f.client, packet.DF())
	}
	return answer.IP(f.vip, f.client)
}

// numbers sets those of a TCP header.
func numbers(seq, ack uint32) func(*packet.TCP) {
	return func(h *packet.TCP) { h.Seq, h.Ack = seq, ack }
}

// resets is the verdict on a segment that is answered with a reset.
func (f family) resets(flags packet.TCPFlags, seq, ack uint32) verdict {
	out := f.back().TCP(portReject, clientPort, flags, numbers(seq, ack), func(h *packet.TCP) { h.Window = 0 })
	return verdict{
		action: model.TX, reason: "reset", out: out.Bytes(), listener: service(f.vip, portReject, lb.TCP),
	}
}

// maxQuote is the most bytes of a datagram that an ICMP error quotes.
func (f family) maxQuote() int {
	if f.client.Is4() {
		return 576 - 20 - 8
	}
	return 1280 - 40 - 8
}

// quoting is the verdict on a datagram that is answered with an ICMP error. It
// quotes the first bytes of what is the IP packet of the frame.
func (f family) quoting(in packet.Frame, bytes int) verdict {
	out := f.back().ICMPv6(packet.UnreachableV6, 4, 0)
	if f.client.Is4() {
		out = f.back().ICMPv4(packet.UnreachableV4, 3, 0)
	}
	return verdict{
		action: model.TX, reason: "unreachable", out: out.Payload(in.Bytes()[atIP : atIP+bytes]).Bytes(),
		listener: service(f.vip, portReject, lb.UDP),
	}
}

// rejectTests are of what is for a listener that has no backend and rejects.
func rejectTests() (tests []packetTest) {
	for _, f := range families() {
		for _, group := range [][]packetTest{
			f.resetTests(), f.sequenceTests(), f.unreachableTests(), f.quoteTests(), f.noAnswerTests(),
		} {
			for _, test := range group {
				test.name = f.name + ", " + test.name
				tests = append(tests, test)
			}
		}
	}
	return append(tests, rejectedOptionTests()...)
}

// resetTests are of each kind of segment. (RFC 9293, 3.10.7.1: one with ACK
// says itself where the reset has to be.)
func (f family) resetTests() []packetTest {
	const seq, ack = 0x01020304, 0x85868788
	n := numbers(seq, ack)
	in := func(flags packet.TCPFlags) packet.Frame { return f.in.TCP(clientPort, portReject, flags, n) }
	there, without := f.resets(packet.RST, ack, 0), func(length uint32) verdict {
		return f.resets(packet.RST|packet.ACK, 0, seq+length)
	}
	options := func(h *packet.TCP) { h.Options = []byte{2, 4, 5, 0xb4, 1, 1, 4, 2} }
	urgent := func(h *packet.TCP) { h.Urgent = 3 }
	return []packetTest{
		{"syn", in(packet.SYN), without(1)},
		{"syn with options", f.in.TCP(clientPort, portReject, packet.SYN, n, options), without(1)},
		{"syn with data", in(packet.SYN).Text("early"), without(6)},
		{"syn with options and data", f.in.TCP(clientPort, portReject, packet.SYN, n, options).Text("early"), without(6)},
		{"syn, ack", in(packet.SYN | packet.ACK), there},
		{"ack", in(packet.ACK), there},
		{"data", in(packet.ACK | packet.PSH).Text("GET / HTTP/1.1\r\n\r\n"), there},
		{"much data", in(packet.ACK).Payload(make([]byte, 1400)), there},
		{"data without ack", in(packet.PSH).Text("data"), without(4)},
		{"urgent data", f.in.TCP(clientPort, portReject, packet.URG|packet.ACK, n, urgent).Text("data"), there},
		{"fin, ack", in(packet.FIN | packet.ACK), there},
		{"fin", in(packet.FIN), without(1)},
		{"fin with data", in(packet.FIN).Text("data"), without(5)},
		{"syn, fin", in(packet.SYN | packet.FIN), without(2)},
		{"no flags", in(0), without(0)},
		{"all flags but rst and ack", in(^(packet.RST | packet.ACK)), without(2)},
		{"all flags but rst", in(^packet.RST), there},
		{"padded", in(packet.SYN).PadTo(80), without(1)},
		{"data, padded much", in(packet.ACK).Text("data").PadTo(1600), there},
		{"a wrong checksum", in(packet.SYN).With(func(b []byte) { b[len(b)-4] ^= 1 }), without(1)},
		{"dscp, ecn and ttl", withHeader(f, packet.TOS(0xbb), packet.TTL(1)).TCP(clientPort, portReject, packet.SYN, n), without(1)},
	}
}

// withHeader is what comes in of a family with another IP header.
func withHeader(f family, o ...packet.IPOption) packet.Frame { return eth.IP(f.client, f.vip, o...) }

// sequenceTests are of the numbers: they go round, and every bit counts.
func (f family) sequenceTests() (tests []packetTest) {
	for _, seq := range []uint32{0, 1, 0x7fffffff, 0xfffffffe, 0xffffffff, 0xa5a5a5a5} {
		syn := f.in.TCP(clientPort, portReject, packet.SYN, numbers(seq, ^seq)).Text("data")
		ack := f.in.TCP(clientPort, portReject, packet.ACK, numbers(^seq, seq)).Text("data")
		tests = append(tests,
			packetTest{fmt.Sprintf("syn with data at %#x", seq), syn, f.resets(packet.RST|packet.ACK, 0, seq+5)},
			packetTest{fmt.Sprintf("ack of %#x", seq), ack, f.resets(packet.RST, seq, 0)},
		)
	}
	return tests
}

// unreachableTests are of each kind of datagram.
func (f family) unreachableTests() []packetTest {
	udp := f.in.UDP(clientPort, portReject)
	header := len(udp.Bytes()) - atIP
	at := atIP + header - 8
	noChecksum := udp.Text("data").With(func(b []byte) { b[at+6], b[at+7] = 0, 0 })
	shorter := with(udp.Text("data"), at+5, 8)
	wrong := broken(udp.Text("data"), at+6)
	return []packetTest{
		{"udp without data", udp, f.quoting(udp, header)},
		{"udp data", udp.Text("data"), f.quoting(udp.Text("data"), header+4)},
		{"padded udp", udp.Text("x").PadTo(80), f.quoting(udp.Text("x"), header+1)},
		{"udp without data, padded much", udp.PadTo(1600), f.quoting(udp, header)},
		{"udp without a checksum", noChecksum, f.quoting(noChecksum, header+4)},
		{"udp with a wrong checksum", wrong, f.quoting(wrong, header+4)},
		{"udp length below that of the packet", shorter, f.quoting(shorter, header+4)},
		{"udp from port 0", f.in.UDP(0, portReject), f.quoting(f.in.UDP(0, portReject), header)},
		{"udp with another header", withHeader(f, packet.TOS(0xbb), packet.TTL(1)).UDP(clientPort, portReject),
			f.quoting(withHeader(f, packet.TOS(0xbb), packet.TTL(1)).UDP(clientPort, portReject), header)},
	}
}

// quoteTests are of the length of what is quoted: all of it, up to the bound. A
// checksum covers any number of bytes, so there are some of each kind.
func (f family) quoteTests() (tests []packetTest) {
	udp := f.in.UDP(clientPort, portReject)
	header, most := len(udp.Bytes())-atIP, f.maxQuote()
	for _, bytes := range []int{
		header + 1, header + 2, header + 3, header + 5, 255, 256, 257, 511, 512, 513,
		most - 4, most - 3, most - 2, most - 1, most, most + 1, most + 2, most + 3, most + 4, 1500, 2000,
	} {
		data := make([]byte, bytes-header)
		for i := range data {
			data[i] = byte(0xff - i*7)
		}
		in := udp.Payload(data)
		tests = append(tests,
			packetTest{fmt.Sprintf("udp of %d bytes", bytes), in, f.quoting(in, min(bytes, most))},
			packetTest{fmt.Sprintf("udp of %d bytes, padded", bytes), in.PadTo(2100), f.quoting(in, min(bytes, most))},
		)
	}
	ones := make([]byte, most-header)
	for i := range ones {
		ones[i] = 0xff
	}
	return append(tests, packetTest{"udp of ones", udp.Payload(ones), f.quoting(udp.Payload(ones), most)})
}

// noAnswerTests are of what nobody answers.
func (f family) noAnswerTests() (tests []packetTest) {
	dropped := func(p lb.Protocol) verdict { return dropsOf("drop_no_backend", f.vip, portReject, p) }
	for _, flags := range []packet.TCPFlags{packet.RST, packet.RST | packet.ACK, packet.RST | packet.SYN, 0xff} {
		tests = append(tests, packetTest{"flags " + flags.String(), f.in.TCP(clientPort, portReject, flags), dropped(lb.TCP)})
	}
	sources := []string{"::", "ff02::1", "ff0e::1"}
	if f.client.Is4() {
		sources = []string{"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255"}
	}
	for _, s := range sources {
		in := eth.IP(netip.MustParseAddr(s), f.vip)
		tests = append(tests,
			packetTest{"syn from " + s, in.TCP(clientPort, portReject, packet.SYN), dropped(lb.TCP)},
			packetTest{"udp from " + s, in.UDP(clientPort, portReject), dropped(lb.UDP)},
		)
	}
	return tests
}

// rejectedOptionTests are of IPv4 options and IPv6 extension headers: a reset
// goes without, and an ICMP error quotes them. A fragment is dropped.
func rejectedOptionTests() (tests []packetTest) {
	f4, f6 := families()[0], families()[1]
	add := func(name string, f family, in packet.Frame) {
		syn, udp := in.TCP(clientPort, portReject, packet.SYN, numbers(7, 0)).Text("data"), in.UDP(clientPort, portReject).Text("odd")
		long := in.UDP(clientPort, portReject).Payload(make([]byte, 1400))
		tests = append(tests,
			packetTest{"tcp, " + name, syn, f.resets(packet.RST|packet.ACK, 0, 12)},
			packetTest{"udp, " + name, udp, f.quoting(udp, len(udp.Bytes())-atIP)},
			packetTest{"long udp, " + name, long, f.quoting(long, f.maxQuote())},
		)
	}
	for _, words := range []int{1, 2, 10} {
		add(fmt.Sprintf("%d words of options", words), f4, eth.IP(client4, vip4, packet.Options(make([]byte, 4*words)...)))
	}
	add("id and df", f4, eth.IP(client4, vip4, packet.ID(0xfffe), packet.DF()))
	add("label", f6, eth.IP(client6, vip6, packet.Label(0xabcde)))
	add("hop-by-hop options", f6, from6.HopByHop(1))
	add("atomic fragment", f6, from6.Fragment(0, false, 7))
	add("authentication header", f6, from6.AH(3))
	add("six extensions", f6, from6.HopByHop(1).DestOpts(2).Routing(1).AH(3).Fragment(0, false, 7).DestOpts(1))

	first4 := eth.IP(client4, vip4, packet.Part(0, true)).UDP(clientPort, portReject).Text("12345678")
	first6 := from6.Fragment(0, true, 7).TCP(clientPort, portReject, packet.SYN)
	return append(tests,
		packetTest{"first fragment of udp", first4, dropsOf("drop_fragment", vip4, portReject, lb.UDP)},
		packetTest{"first fragment of tcp", first6, dropsOf("drop_fragment", vip6, portReject, lb.TCP)},
	)
}
