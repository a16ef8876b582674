// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
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

// ErrResize is wrapped by the error of a new configuration with other sizes of
// maps.
var ErrResize = errors.New("maps cannot be resized: needs weir unload, which interrupts traffic, and a start of the agent")

// errStopping ends what waits when the agent is told to stop.
var errStopping = errors.New("the agent is stopping")

// start makes the first configuration the running one. It goes on from the
// health that an earlier agent left in the tables, so that no flow moves.
func (a *Agent) start(ctx context.Context, file *config.File) error {
	before, err := a.plane.Tables().Snapshot()
	if err != nil {
		return err
	}
	return a.startFrom(ctx, file, before)
}

// startFrom starts with the tables as they are. What an earlier agent left on
// the interfaces fits them, by a seed that only it knew, and stays until they
// change.
func (a *Agent) startFrom(ctx context.Context, file *config.File, before *dataplane.Snapshot) error {
	a.applying.Lock()
	defer a.applying.Unlock()
	ctx, cancel := a.whileRunning(ctx)
	defer cancel()

	if a.plane.New() { // at once: if it cannot be attached, nobody has to wait to hear of it
		if err := a.links.extend(file.Agent.Interfaces, file.Agent.XDPMode); err != nil {
			return err
		}
		a.links.want(file.Agent.Interfaces)
	}
	labels := labelsBefore(before, file.Balancers)
	known := make(map[control.BackendKey]lb.Health)
	for _, b := range before.Backends {
		key := control.BackendKey{Listener: b.Listener, Address: b.Address.String()}
		key.Listener.Balancer = labels[key.Listener.Balancer]
		known[key] = b.Health
	}
	a.mu.Lock()
	a.state.overflow = overflowBefore(before)
	a.state.modes = modesBefore(before).follow(labels)
	ix := newIndex(file.Balancers, a.state.modes)
	a.mu.Unlock()
	a.watch(ix.initial(known), &ix)
	if err := a.settle(ctx); err != nil {
		return err
	}
	if !a.plane.New() {
		if err := a.takeOver(file, before); err != nil {
			return err
		}
	}
	_, err := a.commit(ctx, file, ix)
	return err
}

// takeOver puts the agent's program in the place of the earlier agent's. New
// interfaces come first, as they are what can fail.
func (a *Agent) takeOver(file *config.File, before *dataplane.Snapshot) error {
	var had, added []string
	for _, attached := range a.plane.Attachments() {
		had = append(had, attached.Name)
	}
	for _, name := range file.Agent.Interfaces {
		if !slices.Contains(had, name) {
			added = append(added, name)
		}
	}
	if err := a.links.extend(added, file.Agent.XDPMode); err != nil {
		return err
	}
	k := knobs(file)
	k.Features = k.Features.Union(tableFeatures(before))
	err := a.links.setKnobs(k)
	if err == nil {
		err = a.links.extend(file.Agent.Interfaces, file.Agent.XDPMode)
	}
	if err != nil {
		return errors.Join(err, a.links.keep(had))
	}
	return nil
}

// whileRunning returns a context that ends with ctx or when the agent stops.
func (a *Agent) whileRunning(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(a.running, func() { cancel(errStopping) })
	return ctx, func() { stop(); cancel(nil) }
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
	if a.running.Err() != nil {
		return control.ApplyReport{}, errStopping
	}
	ctx, cancel := a.whileRunning(ctx)
	defer cancel()

	a.mu.Lock()
	old, oldIndex := a.state.file, a.state.index
	err := a.replaceable(file)
	if err == nil {
		err = a.state.reconciler.Plan(a.desired(file))
	}
	ix := newIndex(file.Balancers, a.modesFor(file))
	a.mu.Unlock()
	if err == nil {
		err = a.links.exist(file.Agent.Interfaces)
	}
	if err != nil {
		return control.ApplyReport{}, err
	}

	report, err := a.switchTo(ctx, old, file, &oldIndex, ix)
	if err != nil {
		return report, errors.Join(err, a.back(ctx, old, oldIndex))
	}
	return report, nil
}

// errStarting is returned while there is no configuration to change yet.
var errStarting = errors.New("the agent is still starting: try again")

// replaceable says why a configuration cannot take the place of the running one
// while the agent runs. The caller holds a.mu.
func (a *Agent) replaceable(file *config.File) error {
	if a.state.file == nil {
		return errStarting
	}
	return restartNeeded(&a.state.file.Agent, &file.Agent)
}

// switchTo has the interfaces, the program and the tables follow a new
// configuration. While it waits for first results, changes of the old one go
// on reaching the tables: until then the program can only do more than before.
func (a *Agent) switchTo(ctx context.Context, old, file *config.File, oldIndex *index, ix index) (control.ApplyReport, error) {
	k := knobs(old)
	k.Features = k.Features.Union(knobs(file).Features)
	if err := a.links.setKnobs(k); err != nil {
		return control.ApplyReport{}, err
	}
	if err := a.links.extend(file.Agent.Interfaces, file.Agent.XDPMode); err != nil {
		return control.ApplyReport{}, err
	}
	a.watch(ix.initial(a.knownHealth(oldIndex)), oldIndex, &ix)
	if err := a.settle(ctx); err != nil {
		return control.ApplyReport{}, err
	}
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
		why      error
	}{
		{"bpf_object", old.BPFObject, new.BPFObject, ErrRestart},
		{"socket", old.Socket, new.Socket, ErrRestart},
		{"pin_path", old.PinPath, new.PinPath, ErrRestart},
		{"metrics", cmp.Or(old.Metrics, "off"), cmp.Or(new.Metrics, "off"), ErrRestart},
		{"flow_table_size", old.FlowTableSize, new.FlowTableSize, ErrResize},
		{"limits.listeners", old.Limits.Listeners, new.Limits.Listeners, ErrResize},
		{"limits.backends", old.Limits.Backends, new.Limits.Backends, ErrResize},
		{"limits.slots", old.Limits.Slots, new.Limits.Slots, ErrResize},
	} {
		if s.old != s.new {
			return fmt.Errorf("agent.%s: from %v to %v: %w", s.key, s.old, s.new, s.why)
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
	if errors.Is(err, errStopping) {
		return
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
