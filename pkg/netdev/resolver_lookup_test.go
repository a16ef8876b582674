// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// addrIn draws from a few networks, so that prefixes and addresses meet.
func addrIn(t *rapid.T, label string) netip.Addr {
	host := byte(rapid.IntRange(0, 255).Draw(t, label))
	if rapid.Bool().Draw(t, label+" is IPv4") {
		return netip.AddrFrom4([4]byte{192, 0, 2, host})
	}
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: host})
}

func TestLookupsCoverWhatWasInvalidatedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &Resolver{}
		for range rapid.IntRange(0, 50).Draw(t, "targets") {
			r.order = append(r.order, addrIn(t, "target"))
		}
		slices.SortFunc(r.order, netip.Addr.Compare)
		r.order = slices.Compact(r.order)

		var want []netip.Addr
		var prefixes []netip.Prefix
		for range rapid.IntRange(0, 8).Draw(t, "prefixes") {
			addr := addrIn(t, "prefix")
			bits := addr.BitLen() - rapid.IntRange(0, 9).Draw(t, "host bits")
			prefixes = append(prefixes, netip.PrefixFrom(addr, bits))
		}
		if rapid.IntRange(0, 9).Draw(t, "all") == 0 {
			prefixes = append(prefixes, netip.Prefix{})
		}
		for _, addr := range r.order {
			if slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return !p.IsValid() || p.Contains(addr) }) {
				want = append(want, addr)
			}
		}

		now := time.Unix(1, 0)
		for _, p := range prefixes {
			r.invalidate(p, now)
		}
		if got := !r.lookups.due.IsZero(); got != (len(want) > 0) {
			t.Fatalf("look-ups are due: %v, with %d targets to look up", got, len(want))
		}
		r.begin()
		got := slices.Concat(r.lookups.running...)
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Fatalf("targets looked up (-want +got):\n%s", diff)
		}
	})
}

func TestLookupsLeaveTimeForOtherThings(t *testing.T) {
	now := time.Unix(100, 0)
	r := &Resolver{order: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	r.invalidate(netip.Prefix{}, now)
	if got := r.lookups.due.Sub(now); got != lookupDelay {
		t.Errorf("the first pass begins after %v, want %v", got, lookupDelay)
	}
	r.lookups = lookupQueue{ended: now, spent: time.Second}
	r.invalidate(netip.Prefix{}, now)
	if got := r.lookups.due.Sub(now); got != lookupShare*time.Second {
		t.Errorf("after a pass of 1s the next begins after %v, want %v", got, lookupShare*time.Second)
	}
}
