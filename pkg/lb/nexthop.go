// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package lb

import "net/netip"

// MAC is an Ethernet address.
type MAC [6]byte

// NextHop is where a frame for a backend goes first: the backend itself when
// it is on a link of this host, else the router towards it.
type NextHop struct {
	Interface int        // index of the interface that the frame leaves by
	Source    MAC        // of that interface
	Dest      MAC        // of the backend or the router
	Gateway   netip.Addr // the router; the zero Addr when the backend is on-link
	MTU       int        // bytes of an IP packet that fit on the way there
}

// OnLink reports whether the backend is reached without a router.
func (n NextHop) OnLink() bool { return !n.Gateway.IsValid() }
