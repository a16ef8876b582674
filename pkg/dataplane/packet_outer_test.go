// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
	"github.com/weirlb/weir/pkg/packet"
)

// outerTests are of what the outer header takes over from the inner one. The
// inner one stays as it is: neither TTL nor label change.
func outerTests() (tests []packetTest) {
	add := func(w way, name string, vip netip.Addr, in, out packet.Frame) {
		tests = append(tests, packetTest{w.name + ", " + name, in, w.forwards(vip, lb.TCP, out)})
	}
	for _, w := range ways()[:3] {
		is4 := w.backend.Address.Is4()
		hash4, hash6 := hashOf(client4, vip4, w.port, lb.TCP), hashOf(client6, vip6, w.port, lb.TCP)
		in4 := func(o ...packet.IPOption) packet.Frame {
			return eth.IP(client4, vip4, o...).TCP(clientPort, w.port, packet.ACK)
		}
		in6 := func(o ...packet.IPOption) packet.Frame {
			return eth.IP(client6, vip6, o...).TCP(clientPort, w.port, packet.ACK)
		}
		// of4 and of6 are what an outer header has of the inner; DF and ID only
		// IPv4 can have, and an outer one around IPv6 always has DF.
		of4 := func(fragmentation []packet.IPOption, o ...packet.IPOption) []packet.IPOption {
			if is4 {
				return append(o, fragmentation...)
			}
			return o
		}
		of6 := func(o ...packet.IPOption) []packet.IPOption { return of4([]packet.IPOption{packet.DF()}, o...) }

		for ecn := range uint8(4) {
			for _, dscp := range []uint8{0, 46, 63} {
				tos := packet.TOS(dscp<<2 | ecn)
				name := fmt.Sprintf("dscp %d, ecn %d", dscp, ecn)
				add(w, "ipv4, "+name, vip4, in4(tos), w.leaves(in4(tos), hash4, of4(nil, tos)...))
				add(w, "ipv6, "+name, vip6, in6(tos), w.leaves(in6(tos), hash6, of6(tos)...))
			}
		}
		for _, ttl := range []uint8{0, 1, 255} {
			name := fmt.Sprintf("ttl %d", ttl)
			add(w, "ipv4, "+name, vip4, in4(packet.TTL(ttl)), w.leaves(in4(packet.TTL(ttl)), hash4))
			add(w, "ipv6, "+name, vip6, in6(packet.TTL(ttl)), w.leaves(in6(packet.TTL(ttl)), hash6, of6()...))
		}
		for _, id := range []uint16{1, 0x1234, 0xffff} {
			fragmentation := []packet.IPOption{packet.ID(id)}
			in := in4(fragmentation...)
			add(w, fmt.Sprintf("id %d", id), vip4, in, w.leaves(in, hash4, of4(fragmentation)...))
			fragmentation = append(fragmentation, packet.DF())
			in = in4(fragmentation...)
			add(w, fmt.Sprintf("df, id %d", id), vip4, in, w.leaves(in, hash4, of4(fragmentation)...))
		}
		reserved := func(f packet.Frame, at int) packet.Frame { return f.With(func(b []byte) { b[at] |= 0x80 }) }
		add(w, "reserved flag", vip4, reserved(in4(), atIP+6), reserved(w.leaves(in4(), hash4), atIP+6+w.overhead()))
		for _, label := range []uint32{1, 0xfffff} {
			in := in6(packet.Label(label))
			add(w, fmt.Sprintf("label %d", label), vip6, in, w.leaves(in, hash6, of6()...))
		}
	}
	return tests
}

// TestOuterSource: the outer source address lies in the prefix, and what of it
// is the hosts' is what the hash says.
func TestOuterSource(t *testing.T) {
	tests := []struct {
		prefix string
		mask   uint32 // of the last word, what the hash fills
	}{
		{"192.0.2.77/32", 0},
		{"192.0.2.76/31", 1},
		{"192.0.2.77/24", 0xff}, // the host part is not the prefix'
		{"198.18.0.0/15", 0x1ffff},
		{"0.0.0.0/0", 0xffffffff},
		{"2001:db8::77/128", 0},
		{"2001:db8::ff00/120", 0xff},
		{"2001:db8:1:2:3:4::/96", 0xffffffff},
		{"2001:db8:1:2::/64", 0xffffffff},
		{"::/0", 0xffffffff},
	}
	for _, test := range tests {
		t.Run(test.prefix, func(t *testing.T) {
			prefix := netip.MustParsePrefix(test.prefix)
			knobs, w := labKnobs(), ways()[0]
			if prefix.Addr().Is4() {
				knobs.TunnelSource4 = prefix
			} else {
				knobs.TunnelSource6, w = prefix, ways()[1]
			}
			l := labWith(t, knobs, countInMemory)
			seen := make(map[netip.Addr]bool)
			const flows = 128
			for port := range uint16(flows) {
				in := from6.TCP(port, w.port, packet.SYN).Bytes()
				out := l.check(t, in, l.config.Run(in))
				got, want := outerSource(t, out), prefix.Masked().Addr().As16()
				hash := uint32(maglev.Hash(labSeed, client6, vip6, port, w.port, packet.ProtoTCP)) & test.mask
				for i := range 4 {
					want[12+i] |= byte(hash >> (24 - 8*i))
				}
				if got.As16() != want || !prefix.Contains(got) {
					t.Fatalf("port %d: outer source is %s, want %s", port, got, netip.AddrFrom16(want).Unmap())
				}
				seen[got] = true
			}
			if want := min(int64(test.mask)+1, flows) / 2; int64(len(seen)) < want {
				t.Errorf("%d flows have %d outer sources, want %d or more", flows, len(seen), want)
			}
		})
	}
}

// outerSource returns the source address of the outer IP header.
func outerSource(t *testing.T, frame []byte) netip.Addr {
	t.Helper()
	decoded, err := packet.Decode(frame)
	if err != nil {
		t.Fatalf("%v\n%s", err, decoded)
	}
	switch h := decoded[1].(type) {
	case packet.IPv4:
		return h.Src
	case packet.IPv6:
		return h.Src
	}
	t.Fatalf("no IP header:\n%s", decoded)
	return netip.Addr{}
}
