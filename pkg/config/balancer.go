// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"

	"github.com/weirlb/weir/pkg/lb"
)

func balancerFields(b *lb.Balancer) []field {
	throttle := func(v *value) {
		if n, ok := v.integer(0, 4_294_967_295); ok && n != 0 {
			v.errorf("%s is not built yet, want 0, which is off: limit clients on the backends", v.show())
		}
	}
	return []field{
		{name: "label", read: func(v *value) { b.Label, _ = v.label() }},
		{name: "addresses", read: func(v *value) { b.Addresses = readAddresses(v) }},
		notBuilt("firewall", "filter before the balancer or on the backends, and remove the key"),
		{name: "client_conn_throttle", read: throttle},
		{name: "client_udp_sess_throttle", read: throttle},
		{name: "listeners", read: func(v *value) { b.Listeners = readListeners(v) }},
	}
}

func readBalancers(v *value) []lb.Balancer {
	items, ok := v.list("a list of balancers")
	if !ok {
		return nil
	}
	balancers := make([]lb.Balancer, len(items))
	labels := unique[string]{}
	for i, item := range items {
		b := &balancers[i]
		block, ok := item.block(balancerFields(b))
		if !ok {
			continue
		}
		if block.get("label") == nil {
			block.missing("label", "every balancer has a name, such as web")
		}
		if block.get("addresses") == nil {
			block.missing("addresses", "write the addresses that clients send to, such as [203.0.113.10]")
		}
		if b.Label != "" {
			labels.add(b.Label, block.get("label"), "the label of a balancer")
		}
	}
	return balancers
}

func readAddresses(v *value) []netip.Addr {
	items, ok := v.list("a list of addresses, such as [203.0.113.10]")
	if !ok {
		return nil
	}
	if len(items) == 0 {
		v.errorf("is empty, want at least one address")
	}
	var addresses []netip.Addr
	for _, item := range items {
		addr, ok := item.vip()
		if ok && v.p.vips.add(addr, item, "an address of a balancer") {
			addresses = append(addresses, addr)
		}
	}
	return addresses
}
