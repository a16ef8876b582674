// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"slices"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
)

// outages says of which listeners of a state no healthy backend takes new
// flows. planned: the state is not that of the tables.
func outages(d *reconcile.Desired, planned bool) (warnings []string) {
	for i := range d.Balancers {
		b := &d.Balancers[i]
		for j := range b.Listeners {
			l := &b.Listeners[j]
			key := lb.ListenerKey{Balancer: b.Label, Port: l.Port, Protocol: l.Protocol}
			warnings = append(warnings, outage(key, l, planned)...)
		}
	}
	return warnings
}

// outage says what becomes of the new flows of a listener that has no healthy
// backend for them, and nothing of one that has.
func outage(key lb.ListenerKey, l *reconcile.Listener, planned bool) []string {
	takers := l.Takers()
	if takers == reconcile.TakersHealthy {
		return nil
	}
	takes, has, is, are, lead := "takes", "has", "is", "are", "go"
	if planned {
		takes, has, is, are, lead = "would take", "would have", "would be", "would be", "would go"
	}
	fate := are + " dropped"
	if l.OnAllDown == lb.AllDownReject {
		fate = are + " rejected"
	}
	switch {
	case len(l.Backends) == 0:
		return []string{fmt.Sprintf("listener %s %s no backends: its packets %s", key, has, fate)}
	case !slices.ContainsFunc(l.Backends, func(b reconcile.Backend) bool {
		return b.Mode == lb.ModeAccept || b.Mode == lb.ModeBackup
	}):
		return []string{fmt.Sprintf("no backend of %s %s new flows: they %s", key, takes, fate)}
	case takers == reconcile.TakersDown:
		return []string{fmt.Sprintf("no healthy backend of %s %s left: new flows %s to those that are down", key, is, lead)}
	}
	return []string{fmt.Sprintf("no healthy backend of %s %s left: new flows %s", key, is, fate)}
}
