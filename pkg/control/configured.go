// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"slices"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// Configured returns the part of a snapshot that the running configuration has.
// The agent's conditions have exactly its backends. A backend that was removed
// stays in the kernel's tables as long as flows may refer to it, and so does an
// entry whose way of forwarding changed. Without an agent, and with one that is
// not ready and has no running configuration yet, the entries themselves say
// which of them were removed.
func Configured(s *dataplane.Snapshot, status Status, conditions map[BackendKey]Condition) *dataplane.Snapshot {
	if !status.Ready {
		conditions = nil
	}
	out := &dataplane.Snapshot{
		Balancers: slices.Clone(s.Balancers), Listeners: slices.Clone(s.Listeners),
		Backends: configuredBackends(s.Backends, conditions),
	}
	type count struct{ backends, up int }
	ofListener, ofBalancer := make(map[lb.ListenerKey]count), make(map[string]count)
	for _, b := range out.Backends {
		l, all := ofListener[b.Listener], ofBalancer[b.Listener.Balancer]
		l.backends, all.backends = l.backends+1, all.backends+1
		if b.Health == lb.HealthUp {
			l.up, all.up = l.up+1, all.up+1
		}
		ofListener[b.Listener], ofBalancer[b.Listener.Balancer] = l, all
	}
	for i := range out.Listeners {
		l := &out.Listeners[i]
		l.Backends, l.Up = ofListener[l.ListenerKey].backends, ofListener[l.ListenerKey].up
	}
	for i := range out.Balancers {
		b := &out.Balancers[i]
		b.Backends, b.Up = ofBalancer[b.Label].backends, ofBalancer[b.Label].up
	}
	return out
}

// configuredBackends returns the backends that have a condition, with the
// health that it says; without conditions, those that were not removed. A pool
// has an address twice while the way to it changes: they are one here, the one
// that stays or gets more of the traffic.
func configuredBackends(backends []dataplane.BackendState, conditions map[BackendKey]Condition) []dataplane.BackendState {
	if conditions == nil {
		return slices.DeleteFunc(slices.Clone(backends), func(b dataplane.BackendState) bool {
			return b.Unusable == dataplane.Removed
		})
	}
	var out []dataplane.BackendState
	seen := make(map[BackendKey]int) // index in out
	for _, b := range backends {
		key := BackendKey{Listener: b.Listener, Address: b.Address.String()}
		condition, ok := conditions[key]
		if !ok {
			continue
		}
		b.Health = condition.Health
		i, twice := seen[key]
		if !twice {
			seen[key] = len(out)
			out = append(out, b)
			continue
		}
		slots, traffic := out[i].Slots+b.Slots, out[i].Traffic.Add(b.Traffic)
		if stays := out[i].Unusable != dataplane.Removed; !stays || b.Unusable != dataplane.Removed && b.Slots > out[i].Slots {
			out[i] = b
		}
		out[i].Slots, out[i].Traffic = slots, traffic
	}
	return out
}
