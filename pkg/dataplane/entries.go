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
	OldTable  bool // flows without a record go by its OldTable
}

// OldTable is the table that a listener had before its size or algorithm
// changed.
type OldTable struct {
	Slots     uint32 // index of its first slot
	TableSize uint32 // number of its slots
	Algorithm lb.Algorithm
}

// NewerThan reports whether l is a newer entry of a listener than o. A change that
// was cut short between two addresses leaves two versions, both complete.
func (l Listener) NewerThan(o Listener) bool {
	switch {
	case l.Slots == o.Slots && l.OldTable != o.OldTable:
		// Packets never see slots first without an old table and then with one. It
		// is gone: slots are settled, and flows may have begun that have no record.
		return o.OldTable
	case l.PoolSize != o.PoolSize:
		return l.PoolSize > o.PoolSize
	}
	return l.OldTable && !o.OldTable
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

	Unusable   Unusable // why recorded flows leave it
	Mode       lb.Mode  // that is in force
	Configured lb.Mode  // of the configuration
	ModeSince  uint32   // when Mode came in force, in seconds since boot
}

// Unusable says why the flows of a backend have to leave it.
type Unusable uint8

// Reasons, as enum unusable in bpf/lib/types.h has them.
const (
	Usable      = Unusable(weirUnusableUNUSABLE_NO)          // they may stay
	Removed     = Unusable(weirUnusableUNUSABLE_REMOVED)     // it is no longer in the pool
	Down        = Unusable(weirUnusableUNUSABLE_DOWN)        // its checks fail
	Drained     = Unusable(weirUnusableUNUSABLE_DRAINED)     // it has drained long enough
	Rejected    = Unusable(weirUnusableUNUSABLE_REJECTED)    // mode: reject
	Unreachable = Unusable(weirUnusableUNUSABLE_UNREACHABLE) // its next hop is not known
)

// Slot is one word of a consistent-hash table. Backends are named by their
// index in the listener's pool, 1 to MaxPool; 0 means none.
type Slot struct {
	Current  uint16
	Previous uint16
	Tracked  bool
}

// Steady reports whether all flows of the slot are on its current backend, so
// that packets look nothing up.
func (s Slot) Steady() bool { return s.Current == s.Previous && !s.Tracked }

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
	Flows     uint32 // records of flows of each family; 0 for as many as compiled in
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
