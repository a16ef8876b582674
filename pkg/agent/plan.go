// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
)

// Plan says what a configuration would change, and changes nothing. What Apply
// would refuse it refuses in the same words. Backends that are not known yet
// count as healthy and reachable.
func (a *Agent) Plan(ctx context.Context, name string, data []byte) (control.PlanReport, error) {
	file, err := config.Parse(name, data)
	if err != nil {
		return control.PlanReport{}, err
	}
	a.mu.Lock()
	if err = a.replaceable(file); err != nil {
		a.mu.Unlock()
		return control.PlanReport{}, err
	}
	desired := a.assumed(file)
	rows := a.state.reconciler
	a.mu.Unlock()
	if err := a.links.exist(file.Agent.Interfaces); err != nil {
		return control.PlanReport{}, err
	}

	changes, err := rows.Preview(ctx, desired)
	if err != nil {
		return control.PlanReport{}, err
	}
	report := control.PlanReport{Hash: file.Hash, Listeners: make([]control.ListenerPlan, 0, len(changes))}
	for _, c := range changes {
		report.Listeners = append(report.Listeners, listenerPlan(c))
	}
	report.Warnings = planWarnings(&desired, changes)
	return report, nil
}

// assumed is desired, where backends that the running configuration does not
// have are taken to be as they should. The caller holds a.mu.
func (a *Agent) assumed(file *config.File) reconcile.Desired {
	known, labels := make(map[control.BackendKey]bool), renamed(a.state.file.Balancers, file.Balancers)
	for key, l := range a.state.index.listeners {
		key.Balancer = labels[key.Balancer]
		for _, b := range l.Backends {
			known[backendKey(key, b)] = true
		}
	}
	d := a.desired(file)
	for _, b := range d.Balancers {
		for _, l := range b.Listeners {
			key := lb.ListenerKey{Balancer: b.Label, Port: l.Port, Protocol: l.Protocol}
			for i := range l.Backends {
				if at := (control.BackendKey{Listener: key, Address: l.Backends[i].Address.String()}); !known[at] {
					l.Backends[i].Health, l.Backends[i].Reachable = lb.HealthUp, true
				}
			}
		}
	}
	return d
}

func listenerPlan(c reconcile.Preview) control.ListenerPlan {
	p := control.ListenerPlan{
		Balancer: c.Key.Balancer, Port: c.Key.Port, Protocol: c.Key.Protocol, Change: control.PlanUnchanged,
		Added: labels(c.BackendsAdded), Removed: labels(c.BackendsRemoved), Changed: labels(c.BackendsChanged), Reasons: labels(c.Reasons),
		TableSize: c.TableSize, Slots: c.Slots, Flows: c.Flows, Moved: c.Moved,
	}
	switch {
	case c.Added:
		p.Change = control.PlanAdded
	case c.Removed:
		p.Change = control.PlanRemoved
	case c.Changed:
		p.Change = control.PlanChanged
	}
	return p
}

// labels never returns nil, which JSON would show as null.
func labels(list []string) []string { return append([]string{}, list...) }

// planWarnings says what an operator would want to know beforehand.
func planWarnings(d *reconcile.Desired, changes []reconcile.Preview) []string {
	warnings := outages(d, true)
	for _, c := range changes {
		for _, label := range c.Lost {
			warnings = append(warnings, fmt.Sprintf("%s of %s would lose all its flows, also those that are not recorded: drain it first",
				label, c.Key))
		}
		if c.Moved > 0 {
			warnings = append(warnings, fmt.Sprintf("listener %s: %d of %d recorded flows would lose their backend",
				c.Key, c.Moved, c.Flows))
		}
	}
	return warnings
}
