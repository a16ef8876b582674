// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
	"github.com/weirlb/weir/pkg/testutil"
)

// nodeLab is a node that is attached to nothing and pinned nowhere, for vip4
// and vip6.
type nodeLab struct {
	node    *Node
	reasons []string
	read    func() ([]Traffic, error)
	counts  []Traffic // after the last frame
	out     []byte
}

func openNodeLab(t testing.TB, patch ...func(*ebpf.CollectionSpec)) *nodeLab {
	t.Helper()
	testutil.RequireBPF(t)
	reasons, err := NodeReasons()
	if err != nil {
		t.Fatal(err)
	}
	spec, err := loadNode()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range patch {
		p(spec)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coll.Close)
	l := &nodeLab{
		node:    &Node{prog: coll.Programs[nodeProgramName], maps: coll.Maps},
		reasons: reasons, out: make([]byte, maxFrame+256),
	}
	l.read = nodeCounterReader(t, l.node)
	if l.counts, err = l.read(); err != nil {
		t.Fatal(err)
	}
	if err := l.node.setVIPs([]netip.Addr{vip4, vip6}); err != nil {
		t.Fatal(err)
	}
	return l
}

// nodeVerdict is what becomes of a frame. No other counter than that of the
// reason moves.
type nodeVerdict struct {
	action model.Action
	reason string
	out    []byte // nil: as it came in
}

func nodePasses(reason string) nodeVerdict { return nodeVerdict{action: model.Pass, reason: reason} }
func nodeDrops(reason string) nodeVerdict  { return nodeVerdict{action: model.Drop, reason: reason} }

func decapsulated(out packet.Frame) nodeVerdict {
	return nodeVerdict{action: model.Pass, reason: "decapsulated", out: out.Bytes()}
}

// check sends a frame through the program and returns what leaves.
func (l *nodeLab) check(t reporter, frame []byte, want nodeVerdict) []byte {
	t.Helper()
	action, out, err := testRun(l.node.Program(), frame, l.out)
	if err != nil {
		t.Fatalf("sending %d bytes through the program: %v", len(frame), err)
	}
	before := l.counts
	if l.counts, err = l.read(); err != nil {
		t.Fatalf("%v", err)
	}
	moved := make(map[string]Traffic)
	for i, now := range l.counts {
		if now != before[i] {
			moved[reasonName(l.reasons, i)] = Traffic{Packets: now.Packets - before[i].Packets, Bytes: now.Bytes - before[i].Bytes}
		}
	}
	if want.out == nil {
		want.out = frame
	}
	diff := packet.Diff(want.out, out)
	counted := map[string]Traffic{want.reason: {Packets: 1, Bytes: uint64(len(frame))}}
	if !maps.Equal(counted, moved) {
		diff += cmp.Diff(counted, moved)
	}
	if action != uint32(want.action) || diff != "" {
		t.Errorf("action %d, want %d (%s); frame and counters (-want +got):\n%s\nof the frame %x\n%s",
			action, want.action, want.action, diff, frame, describeFrame(frame))
	}
	return out
}

type nodeTest struct {
	name string
	in   packet.Frame
	want nodeVerdict
}

func TestNodePackets(t *testing.T) {
	l := openNodeLab(t)
	for _, tests := range [][]nodeTest{decapTests(), nodePassTests(), nodeMalformedTests(), ecnTests()} {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				out := l.check(t, test.in.Bytes(), test.want)
				if test.want.reason != "decapsulated" {
					return
				}
				if got := readGopacket(t, out); len(got.Complaints) > 0 {
					t.Errorf("gopacket finds %v", got)
				}
			})
		}
	}
	got, err := l.node.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.counts[:len(l.reasons)], got); diff != "" {
		t.Errorf("Counters (-want +got):\n%s", diff)
	}
}

// tunnel is an outer header, and the family of what it leads to.
type tunnel struct {
	name     string
	src, dst netip.Addr
}

func tunnels() []tunnel {
	return []tunnel{
		{"ipv4", netip.MustParseAddr("198.18.3.4"), backend4},
		{"ipv6", netip.MustParseAddr("100::3:4"), backend6},
	}
}

// header starts a frame with the outer header.
func (u tunnel) header(o ...packet.IPOption) packet.Frame { return eth.IP(u.src, u.dst, o...) }

// inner4 and inner6 are packets to VIPs.
func inner4(o ...packet.IPOption) packet.Frame {
	return eth.IP(client4, vip4, o...).TCP(clientPort, portTCP, packet.ACK).Text("data")
}

func inner6(o ...packet.IPOption) packet.Frame {
	return eth.IP(client6, vip6, o...).TCP(clientPort, portTCP, packet.ACK).Text("data")
}

// namedFrame is a frame in a table of tests that have the rest in common.
type namedFrame struct {
	name string
	packet.Frame
}

// decapTests are of what is taken out of its tunnel.
func decapTests() (tests []nodeTest) {
	add := func(name string, in, out packet.Frame) { tests = append(tests, nodeTest{name, in, decapsulated(out)}) }
	data := make([]byte, 1400)
	inners := []namedFrame{
		{"tcp4", inner4()}, {"tcp6", inner6()},
		{"udp4", from4.UDP(1, 2).Text("odd")}, {"udp6", from6.UDP(1, 2).Text("odd")},
		{"ping4", from4.EchoRequest(1, 1)}, {"ping6", from6.EchoRequest(1, 1)},
		{"large4", from4.UDP(1, 2).Payload(data)}, {"large6", from6.UDP(1, 2).Payload(data)},
		{"header4 alone", from4},
		{"df, id, ttl", inner4(packet.DF(), packet.ID(7), packet.TTL(1), packet.TOS(0xb8))},
		{"label, hop limit", inner6(packet.Label(0xabcde), packet.TTL(1), packet.TOS(0xb8))},
		{"inner options", inner4(packet.Options(1, 1, 1, 1))},
		{"inner extensions", from6.HopByHop(1).DestOpts(1).UDP(1, 2)},
		{"inner first fragment", inner4(packet.Part(0, true))},
		{"inner later fragment", eth.IP(client4, vip4, packet.Part(8, false), packet.Protocol(packet.ProtoTCP)).Text("data")},
		{"inner later fragment6", from6.Fragment(8, true, 7).UDP(1, 2)},
		{"tunnel in a tunnel", from4.Inner(inner4())},
	}
	for _, u := range tunnels() {
		for _, in := range inners {
			wrapped := u.header().Inner(in.Frame)
			outer := len(u.header().Bytes()) - atIP
			add(in.name+" in "+u.name, wrapped, eth.Inner(in.Frame))
			// What follows the packet in its frame, or in its tunnel, stays there.
			add(in.name+" in "+u.name+", padded", wrapped.PadTo(1600), eth.Inner(in.Frame).PadTo(1600-outer))
			more := append(in.Bytes()[atIP:], 0, 0, 0, 0)
			protocol := packet.Protocol(map[byte]uint8{4: packet.ProtoIPv4, 6: packet.ProtoIPv6}[more[0]>>4])
			add(in.name+" in "+u.name+", and more", u.header(protocol).Payload(more), eth.Inner(in.Frame).PadTo(atIP+len(more)))
		}
	}
	return append(tests, outerHeaderTests()...)
}

// outerHeaderTests are of what the outer header may have and be.
func outerHeaderTests() (tests []nodeTest) {
	add := func(name string, outer packet.Frame) {
		tests = append(tests,
			nodeTest{name + ", ipv4 in it", outer.Inner(inner4()), decapsulated(eth.Inner(inner4()))},
			nodeTest{name + ", ipv6 in it", outer.Inner(inner6()), decapsulated(eth.Inner(inner6()))},
		)
	}
	four, six := tunnels()[0], tunnels()[1]
	options := make([]byte, 40)
	for i := range options {
		options[i] = 1 // no operation
	}
	add("outer options", four.header(packet.Options(options[:4]...)))
	add("most outer options", four.header(packet.Options(options...)))
	add("outer df", four.header(packet.DF(), packet.ID(7)))
	add("outer to anybody", eth.IP(client4, other4))
	add("outer hop-by-hop", six.header().HopByHop(1))
	add("outer long hop-by-hop", six.header().HopByHop(32))
	add("outer destination options", six.header(packet.Label(5)).DestOpts(1))
	add("outer routing", six.header().Routing(2))
	add("outer ah", six.header().AH(3))
	add("outer atomic fragment", six.header().Fragment(0, false, 7))
	add("outer six extensions", six.header().HopByHop(1).DestOpts(1).Routing(1).AH(1).Fragment(0, false, 7).DestOpts(2))
	return tests
}

// nodePassTests are of what is not for the node's program.
func nodePassTests() []nodeTest {
	other, notOurs, fragment := nodePasses("pass_not_tunnelled"), nodePasses("pass_not_ours"), nodePasses("pass_fragment")
	four, six := tunnels()[0], tunnels()[1]
	return []nodeTest{
		{"tcp4 to a vip", inner4(), other},
		{"tcp6 to a vip", inner6().PadTo(100), other},
		{"ping to a vip", from4.EchoRequest(1, 1), other},
		{"arp", eth.ARP(packet.ARP{Op: 1, Sender: client4, Target: vip4}), other},
		{"vlan", eth.VLAN(42).Inner(four.header().Inner(inner4())), other},
		{"gre", four.header(packet.Protocol(47)).Text("12345678"), other},
		{"multicast", packet.Eth(routerMAC, lb.MAC{1, 0, 0x5e, 0, 0, 1}).Inner(four.header().Inner(inner4())), other},
		{"outer cut off", four.header().Inner(inner4()).TruncateTo(at4 - 1), other},
		{"outer longer than the frame", four.header().Inner(inner4()).TruncateTo(at4 + 30), other},
		{"outer seven extensions", six.header().DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).DestOpts(1).Inner(inner4()), other},
		{"fragment that is no tunnel", eth.IP(client4, vip4, packet.Part(8, true), packet.Protocol(packet.ProtoTCP)).Text("data"), other},

		{"ipv4 in ipv4 to another", four.header().Inner(eth.IP(client4, other4).UDP(1, 2)), notOurs},
		{"ipv6 in ipv4 to another", four.header().Inner(eth.IP(client6, other6).UDP(1, 2)), notOurs},
		{"ipv4 in ipv6 to another", six.header().Inner(eth.IP(client4, other4).UDP(1, 2)), notOurs},
		{"ipv6 in ipv6 to another", six.header().Inner(eth.IP(client6, other6).UDP(1, 2)).PadTo(200), notOurs},
		{"from a vip", four.header().Inner(eth.IP(vip4, client4).UDP(1, 2)), notOurs},
		{"outer to a vip", from4.Inner(eth.IP(client4, other4).UDP(1, 2)), notOurs},
		{"to another, with a mark that drops", four.header(packet.TOS(3)).Inner(eth.IP(client4, other4).UDP(1, 2)), notOurs},
		{"to another, with a mark to carry inwards", six.header(packet.TOS(3)).Inner(eth.IP(client6, other6, packet.TOS(1)).UDP(1, 2)), notOurs},

		{"first fragment of a tunnel", four.header(packet.Part(0, true)).Inner(inner4()), fragment},
		{"later fragment of a tunnel", four.header(packet.Part(8, true), packet.Protocol(packet.ProtoIPv4)).Text("data"), fragment},
		{"last fragment of a tunnel to ipv6", four.header(packet.Part(8, false), packet.Protocol(packet.ProtoIPv6)).Text("data").PadTo(60), fragment},
		{"first fragment6 of a tunnel", six.header().Fragment(0, true, 7).Inner(inner6()), fragment},
		{"later fragment6 of a tunnel", six.header().HopByHop(1).Fragment(8, false, 7).Inner(inner4()), fragment},
	}
}

// nodeMalformedTests are of inner packets that contradict themselves.
func nodeMalformedTests() (tests []nodeTest) {
	for _, u := range tunnels() {
		at := len(u.header().Bytes()) // of the inner packet
		raw := func(protocol uint8, inner packet.Frame, bytes int) packet.Frame {
			return u.header(packet.Protocol(protocol)).Payload(inner.Bytes()[atIP : atIP+bytes])
		}
		four, six := u.header().Inner(inner4()), u.header().Inner(inner6())
		for _, in := range []namedFrame{
			{"no byte of ipv4", u.header(packet.Protocol(packet.ProtoIPv4))},
			{"no byte of ipv6", u.header(packet.Protocol(packet.ProtoIPv6))},
			{"no byte of ipv4, padded", u.header(packet.Protocol(packet.ProtoIPv4)).PadTo(120)},
			{"header4 cut off", raw(packet.ProtoIPv4, inner4(), 19)},
			{"header6 cut off", raw(packet.ProtoIPv6, inner6(), 39)},
			{"header6 cut off, padded", raw(packet.ProtoIPv6, inner6(), 39).PadTo(200)},
			{"ipv4 cut off", raw(packet.ProtoIPv4, inner4(), 43)},
			{"ipv6 cut off", raw(packet.ProtoIPv6, inner6(), 63)},
			{"ipv4 cut off, padded", raw(packet.ProtoIPv4, inner4(), 43).PadTo(200)},
			{"ipv4 that says it is ipv6", with(four, at, 0x65)},
			{"ipv6 that says it is ipv4", with(six, at, 0x40)},
			{"ipv4 as ipv6", raw(packet.ProtoIPv6, inner4(), 44)},
			{"ipv6 as ipv4", raw(packet.ProtoIPv4, inner6(), 64)},
			{"header4 of 16 bytes", with(four, at, 0x44)},
			{"header4 longer than the packet", with(with(four, at, 0x4f), at+3, 59)},
			{"ipv4 shorter than its header", with(four, at+3, 19)},
			{"ipv4 longer than the tunnel", with(four, at+3, 45)},
			{"ipv6 longer than the tunnel", with(six, at+5, 25)},
		} {
			tests = append(tests, nodeTest{in.name + " in " + u.name, in.Frame, nodePasses("pass_malformed")})
		}
	}
	return tests
}

// ecnTests are the table of RFC 6040, section 4.2: what the inner packet bears
// after a tunnel whose outer header bore a mark.
func ecnTests() (tests []nodeTest) {
	const notECT, ect1, ect0, ce, drop = 0, 1, 2, 3, 0xff
	table := [4][4]uint8{ // by inner, then by outer
		notECT: {notECT: notECT, ect0: notECT, ect1: notECT, ce: drop},
		ect0:   {notECT: ect0, ect0: ect0, ect1: ect1, ce: ce},
		ect1:   {notECT: ect1, ect0: ect1, ect1: ect1, ce: ce},
		ce:     {notECT: ce, ect0: ce, ect1: ce, ce: ce},
	}
	// The DSCP of the outer header is another one, and stays outside. The inner
	// checksum is near where updating it carries.
	const outerDSCP, innerDSCP = 46 << 2, 63 << 2
	for inner, row := range table {
		for outer, result := range row {
			for _, u := range tunnels() {
				header := u.header(packet.TOS(outerDSCP | uint8(outer)))
				for _, make := range []func(...packet.IPOption) packet.Frame{inner4, inner6} {
					in := header.Inner(make(packet.TOS(innerDSCP | uint8(inner))))
					want := nodeDrops("drop_congestion")
					if result != drop {
						want = decapsulated(eth.Inner(make(packet.TOS(innerDSCP | result))))
					}
					family := []string{"ipv4", "ipv6"}[make().Bytes()[atIP]>>5&1]
					tests = append(tests, nodeTest{fmt.Sprintf("ecn, %d in %d, %s in %s", inner, outer, family, u.name), in, want})
				}
			}
		}
	}
	return tests
}

// TestNodeHeaderAlone: an inner packet may end with its header. (gopacket takes
// such an IPv6 packet for a jumbogram and complains.)
func TestNodeHeaderAlone(t *testing.T) {
	l := openNodeLab(t)
	for _, u := range tunnels() {
		l.check(t, u.header().Inner(from6).Bytes(), decapsulated(eth.Inner(from6)))
	}
}

// TestNodeChecksums: whatever the inner header, its checksum is right after a
// mark has been carried inwards.
func TestNodeChecksums(t *testing.T) {
	l := openNodeLab(t)
	outer := tunnels()[1].header(packet.TOS(3))
	for id := range uint16(2048) {
		in := outer.Inner(inner4(packet.ID(id*31), packet.TOS(uint8(id<<2)|1)))
		l.check(t, in.Bytes(), decapsulated(eth.Inner(inner4(packet.ID(id*31), packet.TOS(uint8(id<<2)|3)))))
	}
}

// TestNodeHeadroom has the helper fail that takes the outer header off. That
// cannot happen: it refuses what leaves less than an Ethernet header only.
func TestNodeHeadroom(t *testing.T) {
	l := openNodeLab(t, func(spec *ebpf.CollectionSpec) {
		replaceCalls(t, spec.Programs[nodeProgramName], asm.FnXdpAdjustHead, asm.Mov.Imm(asm.R0, -22))
	})
	for _, test := range headroomNodeTests() {
		t.Run(test.name, func(t *testing.T) { l.check(t, test.in.Bytes(), test.want) })
	}
}

func headroomNodeTests() (tests []nodeTest) {
	for _, u := range tunnels() {
		tests = append(tests, nodeTest{u.name, u.header().Inner(inner4()), nodeVerdict{action: model.Aborted, reason: "aborted_headroom"}})
	}
	return tests
}

// TestEveryNodeReasonHasAPacket: what is added to the enum gets a test.
func TestEveryNodeReasonHasAPacket(t *testing.T) {
	names, err := NodeReasons()
	if err != nil {
		t.Fatal(err)
	}
	tested := make(map[string]bool)
	for _, tests := range [][]nodeTest{decapTests(), nodePassTests(), nodeMalformedTests(), ecnTests(), headroomNodeTests()} {
		for _, test := range tests {
			tested[test.want.reason] = true
		}
	}
	for _, name := range names[1:] {
		if !tested[name] {
			t.Errorf("no packet test of the node has the reason %s", name)
		}
	}
}
