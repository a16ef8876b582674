// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/reconcile"
)

// settle waits until checks and neighbours have answered, within bounds. Its
// error says that ctx has ended.
func (a *Agent) settle(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	err := errors.Join(a.resolver.Wait(bounded), a.checker.Ready(bounded))
	if a.running.Err() != nil {
		return errStopping
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		a.log.Warn("some backends have not answered yet, going on without them", "waited", settleTimeout)
	}
	return nil
}

// commit has the tables follow a configuration and makes it the running one.
// It is not interrupted: a change that has begun is soon finished.
func (a *Agent) commit(ctx context.Context, file *config.File, ix index) (control.ApplyReport, error) {
	report, err := a.write(context.WithoutCancel(ctx), file, ix)
	if err != nil {
		return control.ApplyReport{}, err
	}
	// Health goes on reaching the tables during the rest, which no packet
	// waits for.
	if err := a.links.keep(file.Agent.Interfaces); err != nil {
		a.log.Warn("the program stays on an interface that is no longer configured", "err", err)
	}
	if err := a.links.setKnobs(knobs(file)); err != nil {
		a.log.Warn("the program keeps parts that the configuration no longer uses", "err", err)
	}
	// Reading a large file takes many times the memory that its contents do.
	debug.FreeOSMemory()
	return report, nil
}

// write is the part of commit that the agent's other work waits for. Seed and
// tunnel sources of the program change together with the tables.
func (a *Agent) write(ctx context.Context, file *config.File, ix index) (control.ApplyReport, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	began := time.Now()
	before := a.links.knobs()
	k := knobs(file)
	k.Features = k.Features.Union(before.Features)
	if err := a.links.setKnobs(k); err != nil {
		return control.ApplyReport{}, err
	}
	wanted := a.links.want(file.Agent.Interfaces)
	desired, modes := a.desired(file), a.modesFor(file)
	report, err := a.state.reconciler.Apply(ctx, desired)
	if err != nil {
		a.links.want(wanted)
		return control.ApplyReport{}, errors.Join(err, a.links.setKnobs(before))
	}
	if !a.state.ready { // later it is noteReload that knows how it went
		a.state.config = control.ConfigStatus{
			File: a.options.ConfigPath, Own: a.options.ConfigPath, LastReload: time.Now(), ReloadOK: true,
		}
	}
	a.state.config.Hash = file.Hash
	a.state.file, a.state.index, a.state.modes, a.state.ready, a.state.behind = file, ix, modes, true, false
	a.state.modes.prune(&ix)
	a.watch(nil, &ix)
	out := applyReport(report)
	out.Hash, out.Duration, out.Warnings = file.Hash, time.Since(began), outages(&desired, false)
	a.log.Info("configuration applied", "hash", file.Hash, "duration", out.Duration,
		"added", out.Added, "removed", out.Removed, "changed", out.Changed, "slots", out.Slots, "writes", out.MapWrites)
	a.warn(out.Warnings)
	return out, nil
}

// warn logs the warnings of a change.
func (a *Agent) warn(warnings []string) {
	for _, w := range warnings {
		a.log.Warn(w)
	}
}

// back restores what a configuration that failed midway has changed: first how
// the program reads the tables. It goes on whatever cannot be restored.
func (a *Agent) back(ctx context.Context, old *config.File, ix index) error {
	level := slog.LevelError
	if a.running.Err() != nil {
		level = slog.LevelInfo // nothing is wrong
	}
	a.log.Log(ctx, level, "going back to the configuration before", "hash", old.Hash)
	k := knobs(old)
	k.Features = k.Features.Union(a.links.knobs().Features)
	err := errors.Join(
		a.links.setKnobs(k),
		a.links.restore(old.Agent.Interfaces, old.Agent.XDPMode),
	)
	a.watch(nil, &ix)
	_, failed := a.commit(ctx, old, ix)
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("and going back: %w", err)
	}
	return nil
}

// applyChanges has the tables follow the backends whose health or next hop has
// changed. After a change that failed midway the whole state is applied.
func (a *Agent) applyChanges(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	began := time.Now()
	var changes []reconcile.Change
	for key := range a.changes.take(&a.state.index) {
		changes = append(changes, reconcile.Change{
			Balancer: key.Balancer, Listener: a.desiredListener(key, a.state.index.listeners[key], a.state.modes),
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
		a.state.behind = true // the changes have been taken and are in no other list
		if ctx.Err() == nil {
			a.log.Error("tables not updated, trying again within a second", "listeners", len(changes), "err", err)
		}
		return
	}
	if report.Writes() > 0 {
		a.log.Info("tables updated", "listeners", len(changes), "slots", report.Slots,
			"writes", report.Writes(), "duration", time.Since(began))
	}
}

// tidy makes up for changes that could not be made.
func (a *Agent) tidy(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var err error
	if !a.state.behind {
		_, err = a.state.reconciler.Update(ctx, nil)
	}
	if a.state.behind || errors.Is(err, reconcile.ErrUnfinished) {
		_, err = a.state.reconciler.Apply(ctx, a.desired(a.state.file))
		a.state.behind = err != nil
	}
	if err != nil && ctx.Err() == nil {
		a.log.Error("tables not tidied, trying again within a second", "err", err)
	}
}
