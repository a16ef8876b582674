// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import "fmt"

// poolStep is what the pieces of the maps slots and backends are rounded up
// to: a cache line of slots.
const poolStep = 16

func roundUp(n int) int { return (n + poolStep - 1) / poolStep * poolStep }

// checkLimits compares what the balancers need with agent.limits, so that a
// file that cannot fit is known before it reaches a kernel.
func checkLimits(root *block, f *File) {
	var need Limits
	for _, b := range f.Balancers {
		need.Listeners += len(b.Addresses) * len(b.Listeners)
		for _, l := range b.Listeners {
			need.Slots += roundUp(int(l.TableSize))
			need.Backends += roundUp(len(l.Backends) + 1)
		}
	}
	agent := root.get("agent")
	if agent == nil {
		return
	}
	have := f.Agent.Limits
	agent.checkLimit("listeners", need.Listeners, have.Listeners,
		"each listener takes one for each address of its balancer")
	agent.checkLimit("backends", need.Backends, have.Backends,
		"each pool takes one more than its backends, rounded up to a multiple of 16")
	agent.checkLimit("slots", need.Slots, have.Slots,
		"each listener takes its table_size, rounded up to a multiple of 16")
}

// checkLimit reports a limit that is too low, where the file sets it, or else
// at the agent's block.
func (v *value) checkLimit(name string, need, have int, rule string) {
	if need <= have {
		return
	}
	if b := v.p.limits; b != nil && b.get(name) != nil {
		b.get(name).errorf("%d is too low, this file needs %d: %s", have, need, rule)
		return
	}
	v.p.add(&Error{
		Line: v.line, Column: v.column, Key: "agent.limits." + name,
		Message: fmt.Sprintf("the default, %d, is too low, this file needs %d: %s", have, need, rule),
	})
}
