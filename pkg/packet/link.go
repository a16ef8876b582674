// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/weirlb/weir/pkg/lb"
)

// EtherTypes.
const (
	TypeIPv4 = 0x0800
	TypeARP  = 0x0806
	TypeVLAN = 0x8100
	TypeIPv6 = 0x86dd
)

// Ethernet is an Ethernet header.
type Ethernet struct {
	Dst, Src lb.MAC
	Type     uint16
}

// VLAN is an 802.1Q tag: what follows the Ethernet type 0x8100.
type VLAN struct {
	ID       uint16 // 12 bits
	Priority uint8  // 3 bits
	Type     uint16
}

// ARP is an ARP packet for IPv4 on Ethernet (RFC 826).
type ARP struct {
	Op                   uint16 // 1: request, 2: reply
	SenderMAC, TargetMAC lb.MAC
	Sender, Target       netip.Addr
}

// Payload is data that no layer of this package stands for.
type Payload []byte

// Padding is what follows the IP packet in an Ethernet frame.
type Padding []byte

// ARP adds an ARP packet.
func (f Frame) ARP(a ARP) Frame { return f.add(a) }

func (e Ethernet) String() string {
	return fmt.Sprintf("ethernet %s > %s type 0x%04x", mac(e.Src), mac(e.Dst), e.Type)
}

func (v VLAN) String() string {
	return fmt.Sprintf("vlan %d priority %d type 0x%04x", v.ID, v.Priority, v.Type)
}

func (a ARP) String() string {
	return fmt.Sprintf("arp op %d %s (%s) > %s (%s)", a.Op, a.Sender, mac(a.SenderMAC), a.Target, mac(a.TargetMAC))
}

func (p Payload) String() string { return "payload " + bytesText(p) }

func (p Padding) String() string { return "padding " + bytesText(p) }

func bytesText(b []byte) string {
	const most = 64
	if len(b) > most {
		return fmt.Sprintf("%d bytes %x…", len(b), b[:most])
	}
	return fmt.Sprintf("%d bytes %x", len(b), b)
}

func mac(m lb.MAC) string { return net.HardwareAddr(m[:]).String() }

func (Ethernet) etherType() uint16 { return 0 }
func (VLAN) etherType() uint16     { return TypeVLAN }
func (ARP) etherType() uint16      { return TypeARP }
func (Payload) etherType() uint16  { return 0 }
func (Padding) etherType() uint16  { return 0 }

func (Ethernet) protocol() uint8 { return ProtoTest }
func (VLAN) protocol() uint8     { return ProtoTest }
func (ARP) protocol() uint8      { return ProtoTest }
func (Payload) protocol() uint8  { return ProtoTest }
func (Padding) protocol() uint8  { return ProtoTest }

func (e Ethernet) encode(_, inner []Layer, body []byte) []byte {
	b := append(append([]byte{}, e.Dst[:]...), e.Src[:]...)
	return append(binary.BigEndian.AppendUint16(b, nextType(inner, e.Type)), body...)
}

func (v VLAN) encode(_, inner []Layer, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(v.Priority)<<13|v.ID&0xfff)
	return append(binary.BigEndian.AppendUint16(b, nextType(inner, v.Type)), body...)
}

// nextType returns the type of the next layer, or t if that has none.
func nextType(inner []Layer, t uint16) uint16 {
	if t == 0 && len(inner) > 0 {
		return inner[0].etherType()
	}
	return t
}

func (a ARP) encode(_, _ []Layer, body []byte) []byte {
	b := []byte{0, 1, 8, 0, 6, 4} // Ethernet, IPv4, and their lengths
	b = binary.BigEndian.AppendUint16(b, a.Op)
	b = append(append(b, a.SenderMAC[:]...), a.Sender.AsSlice()...)
	b = append(append(b, a.TargetMAC[:]...), a.Target.AsSlice()...)
	return append(b, body...)
}

func (p Payload) encode(_, _ []Layer, body []byte) []byte {
	return append(append([]byte{}, p...), body...)
}

func (p Padding) encode(_, _ []Layer, body []byte) []byte {
	return append(append([]byte{}, p...), body...)
}
