// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// matching finds for the balancers of a desired state those in the tables that
// are the same, so that they keep their identifiers, listeners and counters.
type matching struct {
	have      map[uint32]*balancer
	byAddress map[netip.Addr][]*balancer
	byLabel   map[string][]*balancer
	claimed   map[uint32]bool
}

// matchBalancers returns for each desired balancer its like, or nil. The best
// match has label and address in common. Addresses go before labels: what
// packets reach under an address stays, whatever it is called now.
func matchBalancers(desired []*Balancer, have map[uint32]*balancer) []*balancer {
	m := matching{
		have:      have,
		byAddress: make(map[netip.Addr][]*balancer),
		byLabel:   make(map[string][]*balancer),
		claimed:   make(map[uint32]bool),
	}
	for _, id := range slices.Sorted(maps.Keys(have)) {
		b := have[id]
		for _, addr := range b.addresses {
			m.byAddress[addr] = append(m.byAddress[addr], b)
		}
		m.byLabel[b.label] = append(m.byLabel[b.label], b)
	}
	out := make([]*balancer, len(desired))
	for _, find := range []func(*Balancer) *balancer{m.sameLabelAndAddress, m.sameAddress, m.sameLabel} {
		for i, want := range desired {
			if out[i] != nil {
				continue
			}
			if b := find(want); b != nil {
				out[i] = b
				m.claimed[b.id] = true
			}
		}
	}
	return out
}

func (m *matching) sameLabelAndAddress(want *Balancer) *balancer {
	return m.mostShared(want, func(b *balancer) bool { return b.label == want.Label })
}

func (m *matching) sameAddress(want *Balancer) *balancer {
	return m.mostShared(want, func(*balancer) bool { return true })
}

func (m *matching) sameLabel(want *Balancer) *balancer {
	for _, b := range m.byLabel[want.Label] {
		if !m.claimed[b.id] {
			return b
		}
	}
	return nil
}

// mostShared returns the balancer with the most addresses in common, of
// several the one with the lowest identifier.
func (m *matching) mostShared(want *Balancer, ok func(*balancer) bool) *balancer {
	shared := make(map[uint32]int)
	for _, addr := range want.Addresses {
		for _, b := range m.byAddress[plainAddr(addr)] {
			if !m.claimed[b.id] && ok(b) {
				shared[b.id]++
			}
		}
	}
	if len(shared) == 0 {
		return nil
	}
	return m.have[slices.MinFunc(slices.Collect(maps.Keys(shared)), func(x, y uint32) int {
		return cmp.Or(cmp.Compare(shared[y], shared[x]), cmp.Compare(x, y))
	})]
}
