// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package packet_test

import (
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/packet"
)

// TestDecodeAll: every frame that the builder makes is right in every length
// and checksum, and encodes to itself.
func TestDecodeAll(t *testing.T) {
	for _, test := range frames {
		t.Run(test.name, func(t *testing.T) {
			frame := test.frame.Bytes()
			decoded, err := packet.Decode(frame)
			if err != nil {
				t.Errorf("%v\n%s", err, decoded)
			}
			if diff := packet.Diff(frame, packet.Encode(decoded)); diff != "" {
				t.Errorf("encoded again:\n%s", diff)
			}
		})
	}
}

// TestDecodeTruncated cuts every frame at every length: nothing that is missing
// goes unnoticed.
func TestDecodeTruncated(t *testing.T) {
	for _, test := range frames {
		frame := test.frame.Bytes()
		for n := range frame {
			if decoded, err := packet.Decode(frame[:n]); err == nil {
				t.Errorf("%s cut to %d of %d bytes is taken for whole:\n%s", test.name, n, len(frame), decoded)
			}
		}
	}
}

// TestDecodeFlipped flips every bit behind the Ethernet header that a checksum
// covers.
func TestDecodeFlipped(t *testing.T) {
	for _, frame := range []packet.Frame{syn4.Text("data"), eth.IP(client4, vip4).UDP(1, 2).Text("x"), eth.IP(client4, vip4).EchoRequest(1, 1)} {
		good := frame.Bytes()
		for bit := 14 * 8; bit < len(good)*8; bit++ {
			bad := frame.With(func(b []byte) { b[bit/8] ^= 1 << (bit % 8) }).Bytes()
			if decoded, err := packet.Decode(bad); err == nil {
				t.Errorf("bit %d of byte %d flipped:\n%s", bit%8, bit/8, decoded)
			}
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	set := func(f packet.Frame, at int, value byte) packet.Frame {
		return f.With(func(b []byte) { b[at] = value })
	}
	udp4, udp6 := eth.IP(client4, vip4).UDP(1, 2), eth.IP(client6, vip6).UDP(1, 2)
	tests := []struct {
		name  string
		frame packet.Frame
		want  string
	}{
		{"ipv4 version", set(syn4, 14, 0x65), "ipv4 header starts with 0x65, and there are 40 bytes"},
		{"ipv4 header length", set(syn4, 14, 0x44), "ipv4 header starts with 0x44, and there are 40 bytes"},
		{"ipv4 checksum", set(syn4, 24, 0xff), "ipv4 checksum is 0xffbd, want 0x3cbd"},
		{"ipv4 total length", set(syn4, 17, 41), "ipv4 total length is 41, the header has 20 bytes and there are 40"},
		{"ipv6 version", set(syn6, 14, 0x40), "ipv6 header starts with 0x40"},
		{"ipv6 payload length", set(syn6, 19, 21), "ipv6 payload length is 21, there are 20 bytes"},
		{"tcp offset", set(syn6, 14+40+12, 0x40), "tcp header says it has 16 bytes, there are 20"},
		{"tcp checksum", set(syn6, 14+40+16, 0), "tcp checksum is 0x00"},
		{"udp length", set(udp4, 14+20+5, 9), "udp length is 9, want 8"},
		{"udp checksum", set(udp4, 14+20+7, 1), "udp checksum is"},
		{"udp6 without checksum", set(set(udp6, 60, 0), 61, 0), "udp has no checksum, which IPv6 demands"},
		{"icmp checksum", set(eth.IP(client6, vip6).EchoRequest(1, 1), 56, 0), "icmp checksum is 0x00"},
		{"extension", set(eth.IP(client6, vip6).DestOpts(1), 55, 1), "extension header needs 16 bytes, there are 8"},
		{"behind inner", set(eth.IP(client4, vip4).IP(client4, vip4, packet.Protocol(99)).Text("x"), 37, 20), "1 bytes after the inner packet"},
		{"arp", set(eth.ARP(packet.ARP{Op: 1, Sender: client4, Target: vip4}), 15, 6), "arp packet is not for IPv4 on Ethernet"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			decoded, err := packet.Decode(test.frame.Bytes())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s, of\n%s", err, test.want, decoded)
			}
		})
	}
}

func TestUDP4WithoutChecksum(t *testing.T) {
	frame := eth.IP(client4, vip4).UDP(1, 2).With(func(b []byte) { b[40], b[41] = 0, 0 })
	if _, err := packet.Decode(frame.Bytes()); err != nil {
		t.Error(err)
	}
}

func TestLayersString(t *testing.T) {
	decoded, err := packet.Decode(eth.VLAN(5).IP(client4, vip4, packet.DF()).Inner(syn6).Text("hi").PadTo(150).Bytes())
	if err != nil {
		t.Fatal(err)
	}
	const want = `ethernet 02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x8100
vlan 5 priority 0 type 0x0800
ipv4 192.0.2.1 > 203.0.113.10 protocol 41 length 82 ttl 64 tos 0x00 id 0x0000 DF checksum 0x3c77
ipv6 2001:db8::1 > 2001:db8::10 next 6 length 22 hoplimit 64 class 0x2e label 0x00000
tcp 40000 > 443 SYN seq 1000 ack 0 window 65535 checksum 0x4a11
payload 2 bytes 6869
padding 50 bytes 0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
`
	if got := decoded.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := len(packet.All[packet.IPv6](decoded)); got != 1 {
		t.Errorf("%d IPv6 headers", got)
	}
}

func TestDiff(t *testing.T) {
	want := eth.IP(client4, vip4).Inner(syn4).Bytes()
	if got := packet.Diff(want, want); got != "" {
		t.Errorf("equal frames differ:\n%s", got)
	}
	got := packet.Diff(want, syn4.With(func(b []byte) { b[53] = 1 }).Bytes())
	const text = `  ethernet 02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x0800
- ipv4 192.0.2.1 > 203.0.113.10 protocol 4 length 60 ttl 64 tos 0x00 id 0x0000 checksum 0x7cb2
- ipv4 192.0.2.1 > 203.0.113.10 protocol 6 length 40 ttl 64 tos 0x00 id 0x0007 DF checksum 0x3cbd
- tcp 40000 > 443 SYN seq 1000 ack 0 window 65535 checksum 0x0ff3
+ ipv4 192.0.2.1 > 203.0.113.10 protocol 6 length 40 ttl 64 tos 0x00 id 0x0007 DF checksum 0x3cbd
+ tcp 40000 > 443 SYN seq 1000 ack 0 window 65535 checksum 0x0ff3 urgent 1
+ ! tcp checksum is 0x0ff3, want 0x0ff2
`
	if !strings.HasPrefix(got, text) {
		t.Errorf("got\n%s\nwant it to start with\n%s", got, text)
	}
	if end := "want 74 bytes, got 54; they differ from byte 17 on:\n"; !strings.Contains(got, end) {
		t.Errorf("got\n%s\nwant it to contain\n%s", got, end)
	}
}

// FuzzDecode: no frame makes the decoder panic or read what is not there.
func FuzzDecode(f *testing.F) {
	for _, test := range frames {
		f.Add(test.frame.Bytes())
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		decoded, err := packet.Decode(frame)
		if err == nil && len(decoded) > 0 && len(packet.Encode(decoded)) != len(frame) {
			t.Errorf("%d of %d bytes are in the layers:\n%s", len(packet.Encode(decoded)), len(frame), decoded)
		}
	})
}
