// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"os"
	"slices"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
)

// Status describes the agent.
func (a *Agent) Status() control.Status {
	a.mu.Lock()
	s := control.Status{
		Version: a.options.Version,
		PID:     os.Getpid(),
		Started: a.started,
		Ready:   a.state.ready,
		Config:  a.state.config,
	}
	if a.state.file != nil {
		s.PinPath = a.state.file.Agent.PinPath
		s.Tracking = trackingStatus(a.state.reconciler.Tracking(), a.state.file.Agent.FlowTableSize)
		s.Tracking.OverflowBefore = a.state.overflow
	}
	s.Modes = a.modeStatus()
	a.mu.Unlock()

	if !s.Ready {
		decided, total := a.checker.Decided()
		s.NotReady = fmt.Sprintf("waiting for the first checks of %d of %d targets and for their neighbours",
			total-decided, total)
	}
	var problems []string
	s.Interfaces, problems = a.links.status()
	if !s.Config.ReloadOK && s.Config.Error != "" {
		problems = append(problems, "last reload: "+s.Config.Error)
	}
	a.eachCondition(func(key lb.ListenerKey, b lb.Backend, c control.Condition) {
		if c.Problem != "" {
			problems = append(problems, fmt.Sprintf("backend %s: %s", backendName(key, b), c.Problem))
		}
	})
	slices.Sort(problems)
	s.Problems = problems
	return s
}

// Snapshot reads the kernel's tables.
func (a *Agent) Snapshot() (*dataplane.Snapshot, error) { return a.plane.Tables().Snapshot() }

// Tables returns the kernel's tables, for reading.
func (a *Agent) Tables() *dataplane.Tables { return a.plane.Tables() }

// Conditions says what is known of each backend of the running configuration.
func (a *Agent) Conditions() map[control.BackendKey]control.Condition {
	out := make(map[control.BackendKey]control.Condition)
	a.eachCondition(func(key lb.ListenerKey, b lb.Backend, c control.Condition) {
		out[backendKey(key, b)] = c
	})
	return out
}

// eachCondition calls fn for each backend of the running configuration.
func (a *Agent) eachCondition(fn func(lb.ListenerKey, lb.Backend, control.Condition)) {
	a.mu.Lock()
	listeners, modes := a.state.index.listeners, a.state.modes.clone()
	a.mu.Unlock()
	for key, l := range listeners {
		for _, b := range l.Backends {
			fn(key, b, a.condition(l, b, modes.of(key, b)))
		}
	}
}

// backendName names a backend for people: by its label, which may be its address.
func backendName(key lb.ListenerKey, b lb.Backend) string {
	name := fmt.Sprintf("%s/%s", key, b.Label)
	if address := b.Address.String(); address != b.Label {
		name += " (" + address + ")"
	}
	return name
}

// overflowBefore returns how many packets of each listener had found no room for
// a record.
func overflowBefore(s *dataplane.Snapshot) map[string]uint64 {
	out := make(map[string]uint64)
	for _, l := range s.Listeners {
		if n := l.Tracking.Overflow; n > 0 {
			out[l.ListenerKey.String()] = n
		}
	}
	return out
}

func trackingStatus(t reconcile.Tracking, tableSize int) control.TrackingStatus {
	return control.TrackingStatus{
		Unsteady: t.Unsteady, Records4: t.Records4, Records6: t.Records6, TableSize: uint32(tableSize),
		Embryonic: t.Embryonic, Scanned: t.Scanned, Scan: t.Scan,
	}
}
