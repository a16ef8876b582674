// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"cmp"
	"net/netip"

	"github.com/weirlb/weir/pkg/lb"
)

// ListenerKey is what a packet is matched by: an address of a balancer, a
// port and a protocol. A listener has one key for each address.
type ListenerKey struct {
	Address  netip.Addr
	Port     uint16
	Protocol lb.Protocol
}

// Compare orders keys by address, port and protocol.
func (k ListenerKey) Compare(o ListenerKey) int {
	return cmp.Or(k.Address.Compare(o.Address), cmp.Compare(k.Port, o.Port), cmp.Compare(k.Protocol, o.Protocol))
}

// Family is the version of IP that a map is for.
type Family uint8

const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Listener is the entry of a listener, the same under all of its keys.
type Listener struct {
	ID        uint32 // index of its counters
	Balancer  uint32 // identifier of its balancer
	Slots     uint32 // index of its first slot, a multiple of SlotsPerLine
	TableSize uint32 // number of its slots
	Pool      uint32 // index of entry 0 of its pool, which is always empty
	PoolSize  uint32 // entries of its pool, entry 0 included
	Algorithm lb.Algorithm
	OnAllDown lb.OnAllDown
}

// VIP is the entry of an address of a balancer.
type VIP struct {
	Balancer uint32 // identifier of the balancer
	TCP, UDP bool   // it has listeners of that protocol
}

// Backend is one entry of a pool. The zero Backend is an empty entry.
type Backend struct {
	Address netip.AddrPort
	Forward lb.Forward
	Weight  uint8
	Health  lb.Health
	Counter uint32     // index of its counters, and of its name
	NextHop lb.NextHop // Interface is 0 while unknown; Gateway is not stored
}

// Slot is one word of a consistent-hash table. Backends are named by their
// index in the listener's pool, 1 to MaxPool; 0 means none.
type Slot struct {
	Current  uint16
	Previous uint16
	Tracked  bool
}

// SlotChange is a new value for slot Index of a listener, 0 the first.
type SlotChange struct {
	Index uint32
	Slot  Slot
}

// NameKind says what a name belongs to.
type NameKind uint32

// NameKey names a balancer by its identifier or a backend by its counter.
type NameKey struct {
	Kind NameKind
	ID   uint32
}

// Limits are the sizes of the tables.
type Limits struct {
	Listeners uint32 // listeners times addresses, of each family
	Backends  uint32 // entries of all pools
	Slots     uint32 // slots of all listeners
}

// Traffic counts packets, and bytes from the Ethernet header on as received.
type Traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Add returns the sum of two counts.
func (t Traffic) Add(o Traffic) Traffic {
	return Traffic{Packets: t.Packets + o.Packets, Bytes: t.Bytes + o.Bytes}
}
