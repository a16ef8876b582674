// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"slices"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/health"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
)

// desired puts a configuration together with what is known of its backends. The
// caller holds a.mu.
func (a *Agent) desired(file *config.File) reconcile.Desired {
	d, m := reconcile.Desired{Seed: file.Agent.Seed}, a.modesFor(file)
	for i := range file.Balancers {
		b := &file.Balancers[i]
		balancer := reconcile.Balancer{Label: b.Label, Addresses: b.Addresses}
		for j := range b.Listeners {
			l := &b.Listeners[j]
			balancer.Listeners = append(balancer.Listeners, a.desiredListener(b.Key(l), l, m))
		}
		d.Balancers = append(d.Balancers, balancer)
	}
	return d
}

// desiredListener is desired of one listener, by modes that know it by its key.
func (a *Agent) desiredListener(key lb.ListenerKey, l *lb.Listener, m modes) reconcile.Listener {
	out := reconcile.Listener{
		Port: l.Port, Protocol: l.Protocol, Forward: l.Forward, Algorithm: l.Algorithm,
		TableSize: l.TableSize, OnDown: l.OnDown, OnAllDown: l.OnAllDown,
		DrainTimeout: l.DrainTimeout, IdleTimeout: l.IdleTimeout,
		Backends: make([]reconcile.Backend, len(l.Backends)),
	}
	for i, b := range l.Backends {
		hop, err := a.nextHop(l, b)
		status := a.health(l, b)
		out.Backends[i] = reconcile.Backend{
			Label: b.Label, Address: b.Address, Weight: b.Weight,
			Mode: m.of(key, b), Configured: b.Mode,
			Health: status.Health, NextHop: hop, Reachable: err == nil,
		}
	}
	return out
}

// nextHop returns where frames for a backend go, or why none can.
func (a *Agent) nextHop(l *lb.Listener, b lb.Backend) (lb.NextHop, error) {
	hop, err := a.resolver.Lookup(b.Address.Addr())
	if err != nil {
		return lb.NextHop{}, err
	}
	if l.Forward == lb.DSR && !hop.OnLink() {
		return lb.NextHop{}, fmt.Errorf("forward: dsr needs a backend on the same link, "+
			"but %s is behind the router %s; use ipip", b.Address.Addr(), hop.Gateway)
	}
	if err := a.links.sendsTo(hop.Interface); err != nil {
		return lb.NextHop{}, fmt.Errorf("%s is reached by %w", b.Address.Addr(), err)
	}
	return hop, nil
}

// health returns what the checks say of a backend. One that is not checked is
// up, and no target of the checker: a hundred thousand of those would only
// take memory.
func (a *Agent) health(l *lb.Listener, b lb.Backend) health.Status {
	if l.Check.Type == lb.CheckNone {
		return health.Status{Health: lb.HealthUp}
	}
	status, _ := a.checker.Status(l.Check.Target(b))
	return status
}

// condition is what the agent knows of a backend in a mode.
func (a *Agent) condition(l *lb.Listener, b lb.Backend, mode lb.Mode) control.Condition {
	status := a.health(l, b)
	c := control.Condition{
		Health: status.Health, Since: status.Since, Check: status.Duration,
		Successes: status.Successes, Failures: status.Failures,
	}
	_, err := a.nextHop(l, b)
	switch {
	case mode == lb.ModeReject: // as somebody wants it
	case err != nil:
		c.Problem = err.Error()
	case status.Health == lb.HealthDown:
		c.Problem = status.Err
	case status.Health == lb.HealthUnknown:
		c.Problem = "not checked yet"
	}
	return c
}

// knobs returns what the program must be loaded with for a configuration.
func knobs(file *config.File) dataplane.Knobs {
	k := dataplane.Knobs{
		Seed:          file.Agent.Seed,
		TunnelSource4: file.Agent.TunnelSource4,
		TunnelSource6: file.Agent.TunnelSource6,
	}
	for _, b := range file.Balancers {
		for _, l := range b.Listeners {
			k.SourceHash = k.SourceHash || l.Algorithm == lb.Source
			k.Reject = k.Reject || l.OnAllDown == lb.AllDownReject
			k.DSR = k.DSR || l.Forward == lb.DSR
			ipv6 := func(b lb.Backend) bool { return b.Address.Addr().Is6() }
			ipv4 := func(b lb.Backend) bool { return b.Address.Addr().Is4() }
			if l.Forward == lb.IPIP {
				k.IPIP4 = k.IPIP4 || slices.ContainsFunc(l.Backends, ipv4)
				k.IPIP6 = k.IPIP6 || slices.ContainsFunc(l.Backends, ipv6)
			}
		}
	}
	return k
}

// tableFeatures returns what the program must have for the tables as they are,
// which an earlier agent may have filled from another configuration.
func tableFeatures(s *dataplane.Snapshot) dataplane.Features {
	var f dataplane.Features
	for _, l := range s.Listeners {
		f.SourceHash = f.SourceHash || l.Entry.Algorithm == lb.Source
		f.Reject = f.Reject || l.Entry.OnAllDown == lb.AllDownReject
	}
	for _, b := range s.Backends {
		f.DSR = f.DSR || b.Forward == lb.DSR
		f.IPIP4 = f.IPIP4 || b.Forward == lb.IPIP && b.Address.Addr().Is4()
		f.IPIP6 = f.IPIP6 || b.Forward == lb.IPIP && b.Address.Addr().Is6()
	}
	return f
}
