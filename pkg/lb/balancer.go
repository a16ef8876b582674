// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"net/netip"
	"time"
)

// Balancer is a load balancer with addresses of its own. Its label is unique
// in a configuration; its addresses belong to no other balancer.
type Balancer struct {
	Label     string
	Addresses []netip.Addr
	Listeners []Listener
}

// Listener is one protocol and port of a balancer, with its pool of backends.
// Protocol and port are unique within a balancer.
type Listener struct {
	Port         uint16
	Protocol     Protocol
	Forward      Forward
	Algorithm    Algorithm
	TableSize    uint32 // slots of the consistent-hash table, a prime
	OnDown       OnDown
	OnAllDown    OnAllDown
	DrainTimeout time.Duration // how long a draining backend keeps its flows
	IdleTimeout  time.Duration // how long a flow may be silent and is still known
	Check        Check
	Backends     []Backend
}

// Backend is one server of a pool. Address is what makes it the same backend
// over time: it is unique in its pool, while the label may change.
type Backend struct {
	Label   string
	Address netip.AddrPort
	Weight  uint8 // 1 to 255, relative to the other backends of the pool
	Mode    Mode  // of the configuration; a command may have set another
}

// ListenerKey names a listener across all balancers, as BALANCER/PORT/PROTO
// on the command line.
type ListenerKey struct {
	Balancer string
	Port     uint16
	Protocol Protocol
}

// String returns the key as the command line writes it, such as "web/443/tcp".
func (k ListenerKey) String() string {
	return fmt.Sprintf("%s/%d/%s", k.Balancer, k.Port, k.Protocol)
}

// Key returns the name of listener l of balancer b.
func (b *Balancer) Key(l *Listener) ListenerKey {
	return ListenerKey{Balancer: b.Label, Port: l.Port, Protocol: l.Protocol}
}
