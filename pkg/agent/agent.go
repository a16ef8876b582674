// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/health"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/reconcile"
)

// Options say how an agent runs.
type Options struct {
	ConfigPath string
	Version    string
	Logger     *slog.Logger
	Reload     <-chan struct{} // each value reads ConfigPath again; may be nil
}

// Agent is a running load balancer. Its exported methods are what the control
// API and the metrics ask for; all are safe for concurrent use.
type Agent struct {
	options  Options
	log      *slog.Logger
	started  time.Time
	running  context.Context // ends when the agent stops
	plane    plane
	checker  *health.Checker
	resolver *netdev.Resolver
	changes  changes
	links    links

	// applying is held while a configuration is put in the place of another,
	// which waits for checks and neighbours; state is guarded by mu, which is
	// held only as long as the tables are written.
	applying sync.Mutex
	mu       sync.Mutex
	state    state
}

// state is what the agent's decisions rest on.
type state struct {
	reconciler reconciler
	file       *config.File
	index      index
	modes      modes
	config     control.ConfigStatus
	ready      bool
	behind     bool              // a change has not reached the tables
	overflow   map[string]uint64 // of listeners, as the agent found it; without those of 0
}

// plane is what the agent needs of a dataplane.Dataplane.
type plane interface {
	New() bool
	Tables() *dataplane.Tables
	Knobs() dataplane.Knobs
	SetKnobs(dataplane.Knobs) error
	Attach(dataplane.Interface, dataplane.Mode) (dataplane.Attachment, error)
	Detach(name string) error
	Attachments() []dataplane.Attachment
	Remove() error
	Close() error
}

// reconciler is what the agent needs of a reconcile.Reconciler.
type reconciler interface {
	Plan(reconcile.Desired) error
	Apply(context.Context, reconcile.Desired) (reconcile.Report, error)
	Update(context.Context, []reconcile.Change) (reconcile.Report, error)
	Collect(context.Context) (reconcile.Report, error)
	Preview(context.Context, reconcile.Desired) ([]reconcile.Preview, error)
	Tracking() reconcile.Tracking
}

// Run runs an agent until the context ends, and leaves the data plane running.
// It returns an error if the agent cannot start; a config.Errors if that is the
// configuration's fault.
func Run(ctx context.Context, o Options) error {
	file, err := config.Load(o.ConfigPath)
	if err != nil {
		return err
	}
	for _, name := range file.Agent.Interfaces {
		if _, err := netdev.Interface(name); err != nil {
			return fmt.Errorf("agent.interfaces: %w", err)
		}
	}
	// The sockets first: they show at once, and without a trace, that another
	// agent runs.
	listener, err := control.Listen(file.Agent.Socket)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: run as root", err)
	}
	if err != nil {
		return err
	}
	defer listener.Close()
	metrics, err := listenMetrics(ctx, file.Agent.Metrics)
	if err != nil {
		return fmt.Errorf("agent.metrics: %w; name another address, or off", err)
	}
	if metrics != nil {
		defer metrics.Close()
	}

	a := &Agent{options: o, log: o.Logger, started: time.Now()}
	if err := a.open(ctx, file); err != nil {
		if ctx.Err() != nil {
			o.Logger.Info("stopped before the data plane was loaded", "err", err)
			return nil
		}
		return err
	}
	defer a.close()

	group, running := errgroup.WithContext(ctx)
	a.running = running
	group.Go(func() error { return a.checker.Run(running) })
	group.Go(func() error { return a.resolver.Run(running) })
	group.Go(func() error { return a.serveControl(running, listener) })
	group.Go(func() error { return a.serveMetrics(running, metrics) })
	group.Go(func() error { return a.run(running, file) })
	return stopped(ctx, group.Wait())
}

// stopped returns how an agent ended: being told to is no error.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, errStopping) || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// close lets go of the data plane, which goes on without the agent. One that an
// agent made and never got to fill is taken away. A configuration that is being
// applied by the control API is waited for, which may outlive its server.
func (a *Agent) close() {
	a.applying.Lock()
	defer a.applying.Unlock()
	a.resolver.Close()
	if a.plane.New() && !a.Status().Ready {
		if err := a.plane.Remove(); err != nil {
			a.log.Error("data plane not taken away", "err", err)
		}
	}
	a.plane.Close()
}

// open makes the parts of the agent, which touches no packet yet.
func (a *Agent) open(ctx context.Context, file *config.File) error {
	a.changes.init()
	a.links.init(a.log, a.interfacesChanged)
	a.checker = health.New(health.Options{Logger: a.log, OnChange: a.healthChanged})
	var err error
	a.resolver, err = netdev.NewResolver(netdev.ResolverOptions{Logger: a.log, OnChange: a.nextHopsChanged})
	if err != nil {
		return err
	}
	plane, err := dataplane.Open(ctx, dataplane.Options{
		PinPath: file.Agent.PinPath,
		Object:  file.Agent.BPFObject,
		Limits: dataplane.Limits{
			Listeners: uint32(file.Agent.Limits.Listeners),
			Backends:  uint32(file.Agent.Limits.Backends),
			Slots:     uint32(file.Agent.Limits.Slots),
			Flows:     uint32(file.Agent.FlowTableSize),
		},
		Knobs: knobs(file),
	})
	if err != nil {
		a.resolver.Close()
		return err
	}
	a.plane, a.links.plane = plane, plane
	tables, err := reconcile.Open(plane.Tables(), reconcile.Options{})
	if err != nil {
		a.close()
		return err
	}
	a.state.reconciler = tables
	return nil
}

// run makes the first configuration the running one and then keeps the tables
// in step with whatever changes.
func (a *Agent) run(ctx context.Context, file *config.File) error {
	defer func() { // not while a configuration is being applied, which starts the links anew
		a.applying.Lock()
		defer a.applying.Unlock()
		a.links.stop()
	}()
	if err := a.start(ctx, file); err != nil {
		return err
	}
	var beside sync.WaitGroup
	beside.Go(func() { a.reloads(ctx) })
	beside.Go(func() { a.collects(ctx) })
	defer beside.Wait()

	tidy := time.NewTicker(tidyInterval)
	defer tidy.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.changes.wake:
			a.applyChanges(ctx)
		case <-tidy.C:
			a.tidy(ctx)
		}
	}
}

// reloads reads the configuration again whenever it is told to. It does not
// hold up the changes of the present one, as it waits for checks.
func (a *Agent) reloads(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.options.Reload:
			a.reload(ctx)
		}
	}
}

// collects has the tables do what time makes due: of flows that moves put at
// risk, and of what nothing refers to any more. Changes do not wait for it.
func (a *Agent) collects(ctx context.Context) {
	tick := time.NewTicker(tidyInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			done, err := a.state.reconciler.Collect(ctx)
			if err != nil && ctx.Err() == nil {
				a.log.Error("tables not collected, trying again within a second", "err", err)
			}
			if done.Drained > 0 {
				a.log.Info("drain_timeout is over, connections leave their backends", "backends", done.Drained)
			}
		}
	}
}

// tidyInterval is how often the agent looks for what is left to do.
const tidyInterval = time.Second

// healthChanged and nextHopsChanged note which listeners have to be looked at.
// The checker and the resolver call them; they must not wait.
func (a *Agent) healthChanged(t lb.Target, _ health.Status) { a.changes.addTarget(t) }

func (a *Agent) nextHopsChanged(addrs []netip.Addr) { a.changes.addAddresses(addrs) }

// interfacesChanged has all listeners looked at again after an interface went
// away or came back, and with it the backends behind it.
func (a *Agent) interfacesChanged() {
	a.mu.Lock()
	addrs := slices.Collect(maps.Keys(a.state.index.byAddress))
	a.mu.Unlock()
	a.changes.addAddresses(addrs)
}
