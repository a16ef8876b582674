// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
)

// settleTimeout bounds how long a new configuration waits for the first results
// of its checks and for its neighbours to answer. Tables that are built before
// that change again with every result, and move flows for nothing.
const settleTimeout = 5 * time.Second

// ErrRestart is wrapped by the error of a new configuration that only an agent
// started with it can fulfil.
var ErrRestart = errors.New("takes a restart of the agent to change")

// start makes the first configuration the running one. It goes on from the
// health that an earlier agent left in the tables, so that no flow moves.
func (a *Agent) start(ctx context.Context, file *config.File) (control.ApplyReport, error) {
	a.applying.Lock()
	defer a.applying.Unlock()

	before, err := a.plane.Tables().Snapshot()
	if err != nil {
		return control.ApplyReport{}, err
	}
	k := knobs(file)
	k.Features = k.Features.Union(tableFeatures(before))
	if err := a.links.setKnobs(k); err != nil {
		return control.ApplyReport{}, err
	}
	if err := a.links.set(ctx, file.Agent.Interfaces, file.Agent.XDPMode); err != nil {
		return control.ApplyReport{}, err
	}
	known := make(map[control.BackendKey]lb.Health)
	for _, b := range before.Backends {
		known[control.BackendKey{Listener: b.Listener, Address: b.Address.String()}] = b.Health
	}
	ix := newIndex(file.Balancers)
	a.watch(ix.initial(known), &ix)
	a.settle(ctx)
	return a.commit(ctx, file, ix)
}

// Apply makes a configuration the running one, as a whole or not at all.
func (a *Agent) Apply(ctx context.Context, name string, data []byte) (control.ApplyReport, error) {
	file, err := config.Parse(name, data)
	if err == nil {
		var report control.ApplyReport
		if report, err = a.replace(ctx, file); err == nil {
			a.noteReload(name, nil)
			return report, nil
		}
	}
	a.noteReload(name, err)
	return control.ApplyReport{}, err
}

// replace puts a configuration in the place of the running one. What can fail
// for a reason that can be known is tried before anything changes.
func (a *Agent) replace(ctx context.Context, file *config.File) (control.ApplyReport, error) {
	a.applying.Lock()
	defer a.applying.Unlock()

	a.mu.Lock()
	old, oldIndex := a.state.file, a.state.index
	var err error
	if old == nil {
		err = errors.New("the agent is still starting: try again")
	} else if err = restartNeeded(&old.Agent, &file.Agent); err == nil {
		err = a.state.reconciler.Plan(a.desired(file))
	}
	a.mu.Unlock()
	if err != nil {
		return control.ApplyReport{}, err
	}

	ix := newIndex(file.Balancers)
	report, err := a.switchTo(ctx, old, file, &oldIndex, ix)
	if err != nil {
		return report, errors.Join(err, a.back(ctx, old, oldIndex))
	}
	return report, nil
}

// switchTo has the interfaces, the program and the tables follow a new
// configuration. While it waits for first results, changes of the old one go
// on reaching the tables.
func (a *Agent) switchTo(ctx context.Context, old, file *config.File, oldIndex *index, ix index) (control.ApplyReport, error) {
	k := knobs(file)
	k.Features = k.Features.Union(knobs(old).Features)
	if err := a.links.setKnobs(k); err != nil {
		return control.ApplyReport{}, err
	}
	if err := a.links.set(ctx, file.Agent.Interfaces, file.Agent.XDPMode); err != nil {
		return control.ApplyReport{}, err
	}
	a.watch(ix.initial(a.knownHealth(oldIndex)), oldIndex, &ix)
	a.settle(ctx)
	return a.commit(ctx, file, ix)
}

// knownHealth returns what the checks say of the backends of an index. With
// another check a backend is another target, but not another backend.
func (a *Agent) knownHealth(ix *index) map[control.BackendKey]lb.Health {
	known := make(map[control.BackendKey]lb.Health)
	for key, l := range ix.listeners {
		for _, b := range l.Backends {
			if status, ok := a.checker.Status(l.Check.Target(b)); ok {
				known[backendKey(key, b)] = status.Health
			}
		}
	}
	return known
}

// back restores what a configuration that failed midway has changed.
func (a *Agent) back(ctx context.Context, old *config.File, ix index) error {
	a.log.Error("going back to the configuration before", "hash", old.Hash)
	if err := a.links.set(ctx, old.Agent.Interfaces, old.Agent.XDPMode); err != nil {
		return fmt.Errorf("and going back: %w", err)
	}
	a.watch(nil, &ix)
	if _, err := a.commit(ctx, old, ix); err != nil {
		return fmt.Errorf("and going back: %w", err)
	}
	return nil
}

// settle waits until checks and neighbours have answered, within bounds.
func (a *Agent) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := errors.Join(a.resolver.Wait(ctx), a.checker.Ready(ctx)); err != nil {
		a.log.Warn("some backends have not answered yet, going on without them", "waited", settleTimeout)
	}
}

// commit has the tables follow a configuration and makes it the running one.
func (a *Agent) commit(ctx context.Context, file *config.File, ix index) (control.ApplyReport, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	began := time.Now()
	report, err := a.state.reconciler.Apply(ctx, a.desired(file))
	if err != nil {
		return control.ApplyReport{}, err
	}
	if !a.state.ready { // later it is noteReload that knows how it went
		a.state.config = control.ConfigStatus{
			File: a.options.ConfigPath, Own: a.options.ConfigPath, LastReload: time.Now(), ReloadOK: true,
		}
	}
	a.state.config.Hash = file.Hash
	a.state.file, a.state.index, a.state.ready = file, ix, true
	a.watch(nil, &ix)
	if err := a.links.setKnobs(knobs(file)); err != nil {
		a.log.Warn("the program keeps parts that the configuration no longer uses", "err", err)
	}
	out := applyReport(report)
	out.Hash, out.Duration = file.Hash, time.Since(began)
	a.log.Info("configuration applied", "hash", file.Hash, "duration", out.Duration,
		"added", out.Added, "removed", out.Removed, "changed", out.Changed, "slots", out.Slots, "writes", out.MapWrites)
	// Reading a large file takes many times the memory that its contents do.
	debug.FreeOSMemory()
	return out, nil
}

func applyReport(r reconcile.Report) control.ApplyReport {
	return control.ApplyReport{
		Added: r.ListenersAdded, Removed: r.ListenersRemoved, Changed: r.ListenersChanged,
		Slots: r.Slots, MapWrites: r.Writes(),
	}
}

// restartNeeded names the first setting that a running agent cannot change.
func restartNeeded(old, new *config.Agent) error {
	for _, s := range []struct {
		key      string
		old, new any
	}{
		{"bpf_object", old.BPFObject, new.BPFObject},
		{"socket", old.Socket, new.Socket},
		{"pin_path", old.PinPath, new.PinPath},
		{"metrics", cmp.Or(old.Metrics, "off"), cmp.Or(new.Metrics, "off")},
		{"limits.listeners", old.Limits.Listeners, new.Limits.Listeners},
		{"limits.backends", old.Limits.Backends, new.Limits.Backends},
		{"limits.slots", old.Limits.Slots, new.Limits.Slots},
	} {
		if s.old != s.new {
			return fmt.Errorf("agent.%s: %w: from %v to %v", s.key, ErrRestart, s.old, s.new)
		}
	}
	return nil
}

// reload reads the agent's own configuration file again.
func (a *Agent) reload(ctx context.Context) {
	file, err := config.Load(a.options.ConfigPath)
	if err == nil {
		_, err = a.replace(ctx, file)
	}
	if err != nil {
		a.log.Error("configuration not reloaded, the one before stays", "file", a.options.ConfigPath, "err", err)
	}
	a.noteReload(a.options.ConfigPath, err)
}

// noteReload remembers how the last change of the configuration ended.
func (a *Agent) noteReload(file string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.config.LastReload = time.Now()
	a.state.config.ReloadOK = err == nil
	var mistakes config.Errors
	switch {
	case err == nil:
		a.state.config.File, a.state.config.Error = file, ""
	case errors.As(err, &mistakes):
		a.state.config.Error = err.Error() // which begins with the file
	default:
		a.state.config.Error = fmt.Sprintf("%s: %v", file, err)
	}
}

// applyChanges has the tables follow the backends whose health or next hop has
// changed. After a change that failed midway the whole state is applied.
func (a *Agent) applyChanges(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	began := time.Now()
	var changes []reconcile.Change
	for key := range a.changes.take(&a.state.index) {
		changes = append(changes, reconcile.Change{
			Balancer: key.Balancer, Listener: a.desiredListener(a.state.index.listeners[key]),
		})
	}
	if len(changes) == 0 {
		return
	}
	report, err := a.state.reconciler.Update(ctx, changes)
	if errors.Is(err, reconcile.ErrUnfinished) {
		report, err = a.state.reconciler.Apply(ctx, a.desired(a.state.file))
	}
	if err != nil {
		a.log.Error("tables not updated, trying again within a second", "listeners", len(changes), "err", err)
		return
	}
	if report.Writes() > 0 {
		a.log.Info("tables updated", "listeners", len(changes), "slots", report.Slots,
			"writes", report.Writes(), "duration", time.Since(began))
	}
}

// tidy removes from the tables what nothing refers to any more, and finishes a
// change that failed midway.
func (a *Agent) tidy(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.state.reconciler.Collect(ctx)
	if err == nil {
		_, err = a.state.reconciler.Update(ctx, nil)
	}
	if errors.Is(err, reconcile.ErrUnfinished) {
		_, err = a.state.reconciler.Apply(ctx, a.desired(a.state.file))
	}
	if err != nil && ctx.Err() == nil {
		a.log.Error("tables not tidied, trying again within a second", "err", err)
	}
}
