// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"regexp"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/weirlb/weir/pkg/lb"
)

// Sizes of a listener's table. The largest is a prime of half a megabyte of
// slots, which still fits the second cache of one core, and gives a pool that
// is as large as it can be 4 slots a backend.
const (
	DefaultTableSize = 16_381
	MinTableSize     = 3
	MaxTableSize     = 131_071
)

// MaxBackends is how many backends a pool can have: a slot names them in 15
// bits, of which 0 is none.
const MaxBackends = 1<<15 - 1

// Times of tracking. A day is longer than a flow should wait for its next
// packet.
const (
	defaultDrainTimeout   = 300 * time.Second
	defaultIdleTimeoutTCP = 350 * time.Second
	defaultIdleTimeoutUDP = 16 * time.Second
	minIdleTimeout        = time.Second
	maxFlowTime           = 24 * time.Hour // of both
)

func defaultIdleTimeout(protocol lb.Protocol) time.Duration {
	if protocol == lb.UDP {
		return defaultIdleTimeoutUDP
	}
	return defaultIdleTimeoutTCP
}

func listenerFields(l *lb.Listener) []field {
	return []field{
		{name: "port", read: func(v *value) { l.Port = v.listenerPort() }},
		notBuilt("ports", "write a listener with one port: for each"),
		{name: "protocol", read: func(v *value) { readProtocol(v, l) }},
		{name: "forward", read: func(v *value) { readForward(v, l) }},
		{name: "algorithm", read: func(v *value) { pick(v, &l.Algorithm, nil, lb.Maglev, lb.Source) }},
		{name: "table_size", read: func(v *value) { readTableSize(v, l) }},
		{name: "on_down", read: func(v *value) { pick(v, &l.OnDown, nil, lb.DownRebalance, lb.DownPersist) }},
		{name: "on_all_down", read: func(v *value) {
			pick(v, &l.OnAllDown, nil, lb.AllDownOpen, lb.AllDownDrop, lb.AllDownReject)
		}},
		{name: "drain_timeout", read: func(v *value) { l.DrainTimeout, _ = v.duration(0, maxFlowTime) }},
		{name: "idle_timeout", read: func(v *value) { l.IdleTimeout, _ = v.duration(minIdleTimeout, maxFlowTime) }},
		{name: "check", read: func(v *value) { l.Check = readCheck(v, l.Protocol) }},
		{name: "backends", read: func(v *value) { l.Backends = readBackends(v, l) }},
	}
}

// portProtocol is what is unique among the listeners of a balancer.
type portProtocol struct {
	port     uint16
	protocol lb.Protocol
}

func (p portProtocol) String() string { return fmt.Sprintf("%d/%s", p.port, p.protocol) }

func readListeners(v *value) []lb.Listener {
	items, ok := v.list("a list of listeners")
	if !ok {
		return nil
	}
	listeners := make([]lb.Listener, len(items))
	seen := unique[portProtocol]{}
	for i, item := range items {
		l := &listeners[i]
		*l = lb.Listener{Protocol: lb.TCP, TableSize: DefaultTableSize, DrainTimeout: defaultDrainTimeout}
		b, ok := item.block(listenerFields(l))
		if !ok {
			continue
		}
		if b.get("port") == nil && b.get("ports") == nil {
			b.missing("port", "write the port that clients send to, 1-65535")
		}
		if b.get("forward") == nil {
			b.missing("forward", "the default, nat, is not built yet: write forward: ipip or forward: dsr")
		}
		if b.get("idle_timeout") == nil {
			l.IdleTimeout = defaultIdleTimeout(l.Protocol)
		}
		if b.get("check") == nil {
			l.Check = defaultCheck(l.Protocol)
		}
		if l.Port != 0 && l.Protocol != 0 {
			seen.add(portProtocol{l.Port, l.Protocol}, b.get("port"), "a listener of this balancer")
		}
	}
	return listeners
}

// port returns 0 for one that is wrong, which was reported.
func (v *value) port(least uint64) uint16 {
	n, _ := v.integer(least, 65535)
	return uint16(n)
}

var portRangePattern = regexp.MustCompile(`^[0-9]+ *- *[0-9]+$`)

// listenerPort is port, for a key of which people expect that it takes ranges.
func (v *value) listenerPort() uint16 {
	if v.node.Kind == yaml.ScalarNode && portRangePattern.MatchString(v.node.Value) {
		v.errorf("%s is a range of ports, and ranges are not built yet: write a listener with one port: for each", v.show())
		return 0
	}
	return v.port(1)
}

// readProtocol leaves 0 where the protocol is wrong, so that nothing is said
// about what depends on it.
func readProtocol(v *value, l *lb.Listener) {
	const instead = "use tcp, and let the backends speak it"
	l.Protocol = 0
	pick(v, &l.Protocol, later{"http": instead, "https": instead}, lb.TCP, lb.UDP)
}

func readForward(v *value, l *lb.Listener) {
	pick(v, &l.Forward, later{
		"nat": "use ipip or dsr",
		"gue": "use ipip",
	}, lb.IPIP, lb.DSR)
}

func readTableSize(v *value, l *lb.Listener) {
	n, ok := v.integer(MinTableSize, MaxTableSize)
	if !ok {
		return
	}
	if !prime(n) {
		below, above := n, n
		for !prime(below) {
			below--
		}
		for !prime(above) {
			above++
		}
		v.errorf("%s is not a prime, the nearest are %d and %d", v.show(), below, above)
		return
	}
	l.TableSize = uint32(n)
}

func prime(n uint64) bool {
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n >= 2
}
