// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
)

// modes are the modes that commands have set. Each lasts until the configuration
// says another mode of its backend than it did when the command came. The tables
// hold them too, so that the next agent knows them.
type modes map[control.BackendKey]modeSet

// modeSet is a mode that a command has set.
type modeSet struct {
	mode       lb.Mode
	configured lb.Mode // what the configuration said
	since      time.Time
}

// modesBefore returns the modes that an earlier agent left in the tables.
func modesBefore(s *dataplane.Snapshot) modes {
	m, booted := make(modes), bootTime()
	for _, b := range s.Backends {
		if b.Mode != b.Configured && b.Unusable != dataplane.Removed {
			m[control.BackendKey{Listener: b.Listener, Address: b.Address.String()}] = modeSet{
				b.Mode, b.Configured, booted.Add(time.Duration(b.ModeSince) * time.Second),
			}
		}
	}
	return m
}

// of returns the mode of a backend that is in force.
func (m modes) of(listener lb.ListenerKey, b lb.Backend) lb.Mode {
	if set, ok := m[backendKey(listener, b)]; ok && set.configured == b.Mode {
		return set.mode
	}
	return b.Mode
}

// labelsBefore returns the labels that a configuration has for the balancers of a
// snapshot, by those that they have there.
func labelsBefore(s *dataplane.Snapshot, after []lb.Balancer) map[string]string {
	before := make([]lb.Balancer, len(s.Balancers))
	for i, b := range s.Balancers {
		before[i] = lb.Balancer{Label: b.Label, Addresses: b.Addresses}
	}
	return renamed(before, after)
}

// renamed returns the labels of balancers that go on, by those that they had: a
// balancer is known by its addresses.
func renamed(before, after []lb.Balancer) map[string]string {
	plain := func(balancers []lb.Balancer) []reconcile.Balancer {
		out := make([]reconcile.Balancer, len(balancers))
		for i, b := range balancers {
			out[i] = reconcile.Balancer{Label: b.Label, Addresses: b.Addresses}
		}
		return out
	}
	return reconcile.Renamed(plain(before), plain(after))
}

// modesFor returns the modes that are in force in the words of a configuration,
// which may have other labels than the running one. The caller holds a.mu.
func (a *Agent) modesFor(file *config.File) modes {
	if a.state.file == nil || a.state.file == file || len(a.state.modes) == 0 {
		return a.state.modes
	}
	return a.state.modes.follow(renamed(a.state.file.Balancers, file.Balancers))
}

// follow returns the modes of balancers that go on under new labels.
func (m modes) follow(labels map[string]string) modes {
	out := make(modes, len(m))
	for key, set := range m {
		if label, ok := labels[key.Listener.Balancer]; ok {
			key.Listener.Balancer = label
			out[key] = set
		}
	}
	return out
}

func (m modes) clone() modes { return maps.Clone(m) }

// with returns m and the mode of one more backend, which a command sets now.
func (m modes) with(listener lb.ListenerKey, b lb.Backend, mode lb.Mode) modes {
	out := make(modes, len(m)+1)
	maps.Copy(out, m)
	delete(out, backendKey(listener, b))
	if mode != b.Mode {
		out[backendKey(listener, b)] = modeSet{mode, b.Mode, time.Now().UTC().Round(time.Second)}
	}
	return out
}

// prune forgets the modes of backends that are no more, or of which the
// configuration has changed its mind.
func (m modes) prune(ix *index) {
	if len(m) == 0 {
		return
	}
	configured := make(map[control.BackendKey]lb.Mode)
	for key, l := range ix.listeners {
		for _, b := range l.Backends {
			configured[backendKey(key, b)] = b.Mode
		}
	}
	maps.DeleteFunc(m, func(key control.BackendKey, set modeSet) bool {
		mode, ok := configured[key]
		return !ok || mode != set.configured
	})
}

// SetMode changes the mode of one backend now. Commands wait for each other, and
// for a configuration that is being applied.
func (a *Agent) SetMode(ctx context.Context, c control.ModeChange) (control.ModeReport, error) {
	a.applying.Lock()
	defer a.applying.Unlock()
	if a.running.Err() != nil {
		return control.ModeReport{}, errStopping
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.file == nil {
		return control.ModeReport{}, errStarting
	}
	key := lb.ListenerKey{Balancer: c.Balancer, Port: c.Port, Protocol: c.Protocol}
	l, b, err := a.findBackend(key, c.Backend)
	if err != nil {
		return control.ModeReport{}, err
	}
	if c.Mode == lb.ModeAccept && b.Mode == lb.ModeBackup {
		c.Mode = lb.ModeBackup // accept gives back what another command took
	}
	report := control.ModeReport{
		Balancer: c.Balancer, Port: c.Port, Protocol: c.Protocol, Backend: b.Label, Address: b.Address,
		Before: a.state.modes.of(key, b), Mode: c.Mode, Configured: b.Mode,
	}
	if c.Mode == lb.ModeDrain || c.Mode == lb.ModeReject {
		after := a.desiredListener(key, l, a.state.modes.with(key, b, c.Mode))
		report.Warnings = outage(key, &after, false)
	}
	since := a.state.modes[backendKey(key, b)].since
	if report.Before != report.Mode {
		since = time.Now().UTC().Round(time.Second)
		if report.Slots, err = a.changeMode(ctx, key, l, b, c.Mode); err != nil {
			return control.ModeReport{}, err
		}
		a.log.Info("mode of a backend set by command", "backend", fmt.Sprintf("%s/%s", key, b.Label),
			"before", report.Before, "mode", report.Mode, "configured", report.Configured, "slots", report.Slots)
		a.warn(report.Warnings)
	}
	if c.Mode == lb.ModeDrain && !since.IsZero() {
		report.Until = since.Add(l.DrainTimeout)
	}
	return report, nil
}

// changeMode gives a backend another mode, or leaves everything as it is. It
// returns how many slots were written.
func (a *Agent) changeMode(ctx context.Context, key lb.ListenerKey, l *lb.Listener, b lb.Backend, mode lb.Mode) (int, error) {
	before := a.state.modes
	a.state.modes = before.with(key, b, mode)
	report, err := a.writeMode(context.WithoutCancel(ctx), key, l)
	if err != nil {
		a.state.modes = before
		a.rewatch()
	}
	return report.Slots, err
}

// writeMode has checks and tables follow the modes of a listener.
func (a *Agent) writeMode(ctx context.Context, key lb.ListenerKey, l *lb.Listener) (reconcile.Report, error) {
	a.rewatch()
	change := reconcile.Change{Balancer: key.Balancer, Listener: a.desiredListener(key, l, a.state.modes)}
	report, err := a.state.reconciler.Update(ctx, []reconcile.Change{change})
	if errors.Is(err, reconcile.ErrUnfinished) {
		report, err = a.state.reconciler.Apply(ctx, a.desired(a.state.file))
	}
	if err != nil {
		a.state.behind = true // some of it may have reached the tables
	}
	return report, err
}

// rewatch has the checker follow the modes as they are. The caller holds a.mu.
func (a *Agent) rewatch() {
	a.state.index = newIndex(a.state.file.Balancers, a.state.modes)
	a.watch(nil, &a.state.index)
}

// findBackend finds a backend of the running configuration by its label or its
// address.
func (a *Agent) findBackend(key lb.ListenerKey, name string) (*lb.Listener, lb.Backend, error) {
	l := a.state.index.listeners[key]
	if l == nil {
		return nil, lb.Backend{}, fmt.Errorf("%w: there is no listener %s", control.ErrNoBackend, key)
	}
	i := slices.IndexFunc(l.Backends, func(b lb.Backend) bool { return b.Label == name })
	if i < 0 {
		i = slices.IndexFunc(l.Backends, func(b lb.Backend) bool { return b.Address.String() == name })
	}
	if i < 0 {
		return nil, lb.Backend{}, fmt.Errorf("%w: listener %s has no backend %s", control.ErrNoBackend, key, name)
	}
	return l, l.Backends[i], nil
}

// modeStatus returns the modes that commands have set. The caller holds a.mu.
func (a *Agent) modeStatus() []control.ModeStatus {
	var out []control.ModeStatus
	for key, l := range a.state.index.listeners {
		for _, b := range l.Backends {
			set, ok := a.state.modes[backendKey(key, b)]
			if !ok {
				continue
			}
			out = append(out, control.ModeStatus{
				Balancer: key.Balancer, Port: key.Port, Protocol: key.Protocol, Backend: b.Label, Address: b.Address,
				Mode: set.mode, Configured: set.configured, Since: set.since,
			})
		}
	}
	slices.SortFunc(out, func(x, y control.ModeStatus) int {
		return cmp.Or(cmp.Compare(x.Balancer, y.Balancer), cmp.Compare(x.Port, y.Port),
			cmp.Compare(x.Protocol, y.Protocol), x.Address.Compare(y.Address))
	})
	return out
}

// bootTime returns when the machine was started, to the second.
func bootTime() time.Time {
	return time.Now().Add(-dataplane.Uptime()).Round(time.Second).UTC()
}
