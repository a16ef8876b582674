// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/weirlb/weir/pkg/lb"
)

// Constants of bpf/lib/types.h under the names that other packages use.
const (
	SlotsPerLine = uint32(weirSlotBitsSLOTS_PER_LINE)    // slot ranges are multiples of it
	MaxPool      = uint16(weirSlotBitsSLOT_BACKEND_MASK) // the largest index in a pool
	NameMax      = len(weirName{}.Text) - 1              // bytes of a label

	NameBalancer = NameKind(weirNameKindNAME_BALANCER)
	NameBackend  = NameKind(weirNameKindNAME_BACKEND)
)

// Network byte order is what the generated types hold in fields of C type
// __be16 and __be32, which Go sees as host integers: the functions up to
// decodePorts are the only place that turns them.

func toBE16(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

func fromBE16(v uint16) uint16 { return toBE16(v) }

func toBE(addr netip.Addr) (words [4]uint32) {
	b := addr.As16()
	for i := range words {
		words[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return words
}

func fromBE(words [4]uint32) netip.Addr {
	var b [16]byte
	for i, w := range words {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b).Unmap()
}

func fromBE4(address uint32) netip.Addr {
	mapped := toBE(netip.IPv4Unspecified())
	mapped[3] = address
	return fromBE(mapped)
}

// encodePorts returns both ports of a packet as one load from its header.
func encodePorts(source, dest uint16) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint16(b[:], source)
	binary.BigEndian.PutUint16(b[2:], dest)
	return binary.NativeEndian.Uint32(b[:])
}

func decodePorts(ports uint32) (source, dest uint16) {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], ports)
	return binary.BigEndian.Uint16(b[:]), binary.BigEndian.Uint16(b[2:])
}

func encodeFlow(f Flow) weirFlow {
	out := weirFlow{Listener: f.Listener, Hash: f.Hash, Seen: f.Seen, Backend: f.Backend}
	if f.Closing {
		out.Closing = 1
	}
	return out
}

// decodeFlow sets all of f but its ID.
func decodeFlow(f *Flow, v weirFlow) {
	f.Listener, f.Hash, f.Seen, f.Backend, f.Closing = v.Listener, v.Hash, v.Seen, v.Backend, v.Closing != 0
}

func encodeKey4(k ListenerKey) weirListener4Key {
	return weirListener4Key{Address: toBE(k.Address)[3], Port: toBE16(k.Port), Protocol: uint8(k.Protocol)}
}

func decodeKey4(k weirListener4Key) ListenerKey {
	return ListenerKey{Address: fromBE4(k.Address), Port: fromBE16(k.Port), Protocol: lb.Protocol(k.Protocol)}
}

func encodeKey6(k ListenerKey) weirListener6Key {
	return weirListener6Key{Address: toBE(k.Address), Port: toBE16(k.Port), Protocol: uint8(k.Protocol)}
}

func decodeKey6(k weirListener6Key) ListenerKey {
	return ListenerKey{Address: fromBE(k.Address), Port: fromBE16(k.Port), Protocol: lb.Protocol(k.Protocol)}
}

func encodeListener(l Listener) weirListener {
	var flags weirListenerFlags
	if l.Algorithm == lb.Source {
		flags |= weirListenerFlagsLISTENER_HASH_SOURCE
	}
	switch l.OnAllDown {
	case lb.AllDownDrop:
		flags |= weirListenerFlagsLISTENER_DROP_ALL_DOWN
	case lb.AllDownReject:
		flags |= weirListenerFlagsLISTENER_REJECT_ALL_DOWN
	}
	if l.OldTable {
		flags |= weirListenerFlagsLISTENER_OLD_TABLE
	}
	return weirListener{
		Id: l.ID, Balancer: l.Balancer, Slots: l.Slots, TableSize: l.TableSize,
		Pool: l.Pool, PoolSize: l.PoolSize, Flags: uint32(flags),
	}
}

func decodeListener(l weirListener) Listener {
	flags := weirListenerFlags(l.Flags)
	out := Listener{
		ID: l.Id, Balancer: l.Balancer, Slots: l.Slots, TableSize: l.TableSize,
		Pool: l.Pool, PoolSize: l.PoolSize, OldTable: flags&weirListenerFlagsLISTENER_OLD_TABLE != 0,
	}
	if flags&weirListenerFlagsLISTENER_HASH_SOURCE != 0 {
		out.Algorithm = lb.Source
	}
	switch {
	case flags&weirListenerFlagsLISTENER_DROP_ALL_DOWN != 0:
		out.OnAllDown = lb.AllDownDrop
	case flags&weirListenerFlagsLISTENER_REJECT_ALL_DOWN != 0:
		out.OnAllDown = lb.AllDownReject
	}
	return out
}

func decodeCached4(c weirListenerCache4) CachedListener {
	return CachedListener{Key: decodeKey4(c.Key), Generation: c.Generation, Listener: decodeListener(c.Listener)}
}

func decodeCached6(c weirListenerCache6) CachedListener {
	return CachedListener{Key: decodeKey6(c.Key), Generation: c.Generation, Listener: decodeListener(c.Listener)}
}

func encodeVIP(v VIP) weirVip {
	var protocols weirVipProtocols
	if v.TCP {
		protocols |= weirVipProtocolsVIP_TCP
	}
	if v.UDP {
		protocols |= weirVipProtocolsVIP_UDP
	}
	return weirVip{Balancer: v.Balancer, Protocols: uint32(protocols)}
}

func decodeVIP(v weirVip) VIP {
	protocols := weirVipProtocols(v.Protocols)
	return VIP{
		Balancer: v.Balancer,
		TCP:      protocols&weirVipProtocolsVIP_TCP != 0,
		UDP:      protocols&weirVipProtocolsVIP_UDP != 0,
	}
}

func encodeBackend(b Backend) weirBackend {
	if b == (Backend{}) {
		return weirBackend{}
	}
	out := weirBackend{
		Address: toBE(b.Address.Addr()),
		DstMac:  b.NextHop.Dest,
		Mtu:     uint16(min(b.NextHop.MTU, 0xffff)),
		SrcMac:  b.NextHop.Source,
		Port:    toBE16(b.Address.Port()),
		Ifindex: uint32(b.NextHop.Interface),
		Counter: b.Counter,
		Forward: uint8(b.Forward),
		Weight:  b.Weight,
		Health:  uint8(b.Health),

		Unusable:       uint8(b.Unusable),
		Mode:           uint8(b.Mode),
		ConfiguredMode: uint8(b.Configured),
		ModeSince:      b.ModeSince,
	}
	if b.Address.Addr().Is6() {
		out.Ipv6 = 1
	}
	return out
}

func decodeBackend(b weirBackend) Backend {
	if b.Forward == uint8(weirForwardFORWARD_NONE) {
		return Backend{}
	}
	return Backend{
		Address: netip.AddrPortFrom(fromBE(b.Address), fromBE16(b.Port)),
		Forward: lb.Forward(b.Forward),
		Weight:  b.Weight,
		Health:  lb.Health(b.Health),
		Counter: b.Counter,
		NextHop: lb.NextHop{
			Interface: int(b.Ifindex), Source: b.SrcMac, Dest: b.DstMac, MTU: int(b.Mtu),
		},
		Unusable:   Unusable(b.Unusable),
		Mode:       lb.Mode(b.Mode),
		Configured: lb.Mode(b.ConfiguredMode),
		ModeSince:  b.ModeSince,
	}
}

// backendWords is a backend as the aligned 64-bit words that packets see
// change at once.
type backendWords [unsafe.Sizeof(weirBackend{}) / 8]uint64

// forwardWord is the index of the word that makes an entry a backend.
const forwardWord = unsafe.Offsetof(weirBackend{}.Forward) / 8

func (b weirBackend) words() backendWords {
	return *(*backendWords)(unsafe.Pointer(&b))
}

func (w backendWords) backend() weirBackend {
	return *(*weirBackend)(unsafe.Pointer(&w))
}

func encodeSlot(s Slot) uint32 {
	word := uint32(s.Current) | uint32(s.Previous)<<weirSlotBitsSLOT_PREVIOUS_SHIFT
	if s.Tracked {
		word |= uint32(weirSlotBitsSLOT_TRACKED)
	}
	return word
}

func decodeSlot(word uint32) Slot {
	mask := uint32(weirSlotBitsSLOT_BACKEND_MASK)
	return Slot{
		Current:  uint16(word & mask),
		Previous: uint16(word >> weirSlotBitsSLOT_PREVIOUS_SHIFT & mask),
		Tracked:  word&uint32(weirSlotBitsSLOT_TRACKED) != 0,
	}
}

func encodeName(name string) (weirName, error) {
	var out weirName
	if len(name) > NameMax {
		return out, fmt.Errorf("label %q is longer than %d bytes", name, NameMax)
	}
	copy(out.Text[:], name)
	return out, nil
}

func decodeName(n weirName) string {
	text, _, _ := bytes.Cut(n.Text[:], []byte{0})
	return string(text)
}

func traffic(t weirTraffic) Traffic { return Traffic{Packets: t.Packets, Bytes: t.Bytes} }

func decodeTracking(c weirTrackingCounter) TrackingTraffic {
	return TrackingTraffic{
		New:      c.Decided[weirDecidedDECIDED_NEW],
		Record:   c.Decided[weirDecidedDECIDED_RECORD],
		Previous: c.Decided[weirDecidedDECIDED_PREVIOUS],
		Current:  c.Decided[weirDecidedDECIDED_CURRENT],
		Broken:   c.Broken,
		Overflow: c.Overflow,
	}
}

func encodeOldTable(o OldTable) weirOldTable {
	out := weirOldTable{Slots: o.Slots, TableSize: o.TableSize}
	if o.Algorithm == lb.Source {
		out.Flags = uint32(weirListenerFlagsLISTENER_HASH_SOURCE)
	}
	return out
}

func decodeOldTable(o weirOldTable) OldTable {
	out := OldTable{Slots: o.Slots, TableSize: o.TableSize}
	if o.Flags&uint32(weirListenerFlagsLISTENER_HASH_SOURCE) != 0 {
		out.Algorithm = lb.Source
	}
	return out
}
