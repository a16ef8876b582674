// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"

	"github.com/weirlb/weir/pkg/lb"
)

const defaultWeight = 100

func backendFields(b *lb.Backend) []field {
	return []field{
		{name: "label", read: func(v *value) { b.Label, _ = v.label() }},
		{name: "address", read: func(v *value) { b.Address, _ = v.endpoint() }},
		{name: "weight", read: func(v *value) {
			n, _ := v.integer(1, 255)
			b.Weight = uint8(n)
		}},
		{name: "mode", read: func(v *value) {
			pick(v, &b.Mode, nil, lb.ModeAccept, lb.ModeDrain, lb.ModeReject, lb.ModeBackup)
		}},
	}
}

// readBackends needs what l says besides its pool.
func readBackends(v *value, l *lb.Listener) []lb.Backend {
	items, ok := v.list("a list of backends")
	if !ok {
		return nil
	}
	if len(items) > MaxBackends {
		v.errorf("%d backends are too many for one pool, allowed: %d", len(items), MaxBackends)
	}
	if len(items) > int(l.TableSize) {
		v.errorf("%d backends do not fit a table of %d slots: raise table_size, best to 100 times the backends",
			len(items), l.TableSize)
	}
	backends := make([]lb.Backend, len(items))
	labels, addresses := unique[string]{}, unique[netip.AddrPort]{}
	for i, item := range items {
		b := &backends[i]
		b.Weight = defaultWeight
		block, ok := item.block(backendFields(b))
		if !ok {
			continue
		}
		if block.get("address") == nil {
			block.missing("address", "write ADDRESS:PORT such as 10.0.0.11:443")
		}
		if b.Address.IsValid() {
			at := block.get("address")
			addresses.add(b.Address, at, "in this pool")
			checkBackendPort(at, b, l)
			v.p.backends = append(v.p.backends, backendAddress{b.Address.Addr(), at})
		}
		if b.Label != "" {
			labels.add(b.Label, block.get("label"), "the label of a backend of this pool")
		}
		if block.get("label") == nil && b.Address.IsValid() {
			b.Label = b.Address.String()
		}
	}
	return backends
}

// checkBackendPort finds a backend on another port than its listener. That
// takes a translation of the packet, which ipip and dsr do not make.
func checkBackendPort(at *value, b *lb.Backend, l *lb.Listener) {
	if l.Port == 0 || l.Forward == 0 || b.Address.Port() == l.Port {
		return
	}
	at.errorf("%s has another port than its listener, %d: %s does not change packets, so the backend gets them on port %d",
		b.Address, l.Port, l.Forward, l.Port)
}
