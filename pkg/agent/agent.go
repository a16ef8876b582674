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
	plane    *dataplane.Dataplane
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
	reconciler *reconcile.Reconciler
	file       *config.File
	index      index
	config     control.ConfigStatus
	ready      bool
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
		return err
	}
	defer a.close()

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.checker.Run(ctx) })
	group.Go(func() error { return a.resolver.Run(ctx) })
	group.Go(func() error { return a.serveControl(ctx, listener) })
	group.Go(func() error { return a.serveMetrics(ctx, metrics) })
	group.Go(func() error { return a.run(ctx, file) })
	return group.Wait()
}

// close lets go of the data plane, which goes on without the agent. One that an
// agent made and never got to fill is taken away.
func (a *Agent) close() {
	a.resolver.Close()
	if a.plane.New() && !a.Status().Ready {
		if err := a.plane.Remove(); err != nil {
			a.log.Error("data plane not taken away", "err", err)
		}
	}
	a.plane.Close()
}

// open makes the parts of the agent, which touches no packet yet.
func (a *Agent) open(ctx context.Context, file *config.File) (err error) {
	a.changes.init()
	a.links.init(a.log, a.interfaceBack)
	a.checker = health.New(health.Options{Logger: a.log, OnChange: a.healthChanged})
	a.resolver, err = netdev.NewResolver(netdev.ResolverOptions{Logger: a.log, OnChange: a.nextHopsChanged})
	if err != nil {
		return err
	}
	a.plane, err = dataplane.Open(ctx, dataplane.Options{
		PinPath: file.Agent.PinPath,
		Object:  file.Agent.BPFObject,
		Limits: dataplane.Limits{
			Listeners: uint32(file.Agent.Limits.Listeners),
			Backends:  uint32(file.Agent.Limits.Backends),
			Slots:     uint32(file.Agent.Limits.Slots),
		},
		Knobs: knobs(file),
	})
	if err != nil {
		a.resolver.Close()
		return err
	}
	a.links.plane = a.plane
	a.state.reconciler, err = reconcile.Open(a.plane.Tables(), reconcile.Options{})
	if err != nil {
		a.close()
	}
	return err
}

// run makes the first configuration the running one and then keeps the tables
// in step with whatever changes.
func (a *Agent) run(ctx context.Context, file *config.File) error {
	if _, err := a.start(ctx, file); err != nil {
		return err
	}
	var reloads sync.WaitGroup
	reloads.Go(func() { a.reloads(ctx) })
	defer reloads.Wait()
	defer a.links.stop()

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

// tidyInterval is how often entries that nothing refers to any more are looked
// for.
const tidyInterval = time.Second

// healthChanged and nextHopsChanged note which listeners have to be looked at.
// The checker and the resolver call them; they must not wait.
func (a *Agent) healthChanged(t lb.Target, _ health.Status) { a.changes.addTarget(t) }

func (a *Agent) nextHopsChanged(addrs []netip.Addr) { a.changes.addAddresses(addrs) }

// interfaceBack has all listeners looked at again after the program was put on
// an interface that had been away: backends behind it are reachable again.
func (a *Agent) interfaceBack() {
	a.mu.Lock()
	addrs := slices.Collect(maps.Keys(a.state.index.byAddress))
	a.mu.Unlock()
	a.changes.addAddresses(addrs)
}
