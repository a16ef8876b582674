// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
)

// Options say how the demo runs.
type Options struct {
	Executable string // the weir binary that agent and nodes are started from
	Stdout     io.Writer
	Color      bool
}

// requests is how many requests each step makes to each address.
const requests = 120

// patience bounds the wait for anything that takes far less.
const patience = 20 * time.Second

// demo is a demonstration under way.
type demo struct {
	options Options
	print   printer
	lab     *lab
	agent   *process
	nodes   []*process
	servers []*webServer
}

// Run builds the network, shows what Weir does in it, and takes it down. It
// returns nil only if every step was seen to work. When the context ends it
// stops, and takes the network down all the same.
func Run(ctx context.Context, o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("the demo makes network namespaces and loads BPF programs: run it as root (sudo weir demo)")
	}
	d := &demo{options: o, print: printer{w: o.Stdout, color: o.Color}}
	err := d.run(ctx)
	unclean := d.close(ctx)
	if ctx.Err() != nil {
		// What else went wrong did so because of that.
		if err = errInterrupted; unclean == nil {
			return fmt.Errorf("%w; everything is cleaned up", err)
		}
	}
	if err = errors.Join(err, unclean); err == nil {
		d.print.done()
	}
	return err
}

var errInterrupted = errors.New("interrupted")

// run shows one step after the other.
func (d *demo) run(ctx context.Context) error {
	for _, step := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"building a client, a balancer and three backends out of network namespaces", d.build},
		{"starting weir node on each backend, and a web server", d.startBackends},
		{"starting weir agent on the balancer", d.startAgent},
		{"every backend answers, over both families, tunnelled and direct", d.all},
		{"web-3 drains: its connections go on, new ones go to the others", d.drain},
		{"web-2 goes down: its clients go to the others", d.down},
		{"web-2 comes back: it takes its share again", d.all2},
	} {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.print.step(step.title)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	return nil
}

func (d *demo) build(context.Context) (err error) {
	if d.lab, err = newLab(); err != nil {
		return err
	}
	d.print.picture(d.lab)
	return nil
}

func (d *demo) startBackends(ctx context.Context) error {
	for _, h := range d.lab.backends {
		args := []string{"node", "--interface", "eth0", "--pin-path", d.lab.nodePins(h), "--state-dir", d.lab.dir + "/" + h.label}
		for _, w := range ways() {
			args = append(args, "--vip", w.address.String())
		}
		node, err := start(ctx, h, d.options.Executable, args...)
		if err != nil {
			return err
		}
		d.nodes = append(d.nodes, node)
		server, err := serve(h)
		if err != nil {
			return err
		}
		d.servers = append(d.servers, server)
	}
	return nil
}

func (d *demo) startAgent(ctx context.Context) error {
	path, err := d.lab.config()
	if err != nil {
		return err
	}
	d.agent, err = start(ctx, d.lab.balancer, d.options.Executable, "agent", "--config", path)
	if err != nil {
		return err
	}
	client := control.NewClient(d.lab.socket(), dialUnix)
	var status control.Status
	err = d.await(ctx, func() error {
		if status, err = client.Status(ctx); err != nil {
			return err
		}
		if !status.Ready {
			return errors.New(status.NotReady)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, i := range status.Interfaces {
		d.print.note(fmt.Sprintf("attached to %s in %s mode", i.Name, i.Mode))
	}
	return d.awaitHealth(ctx, lb.HealthUp)
}

// all sees every backend answer, through every address.
func (d *demo) all(ctx context.Context) error {
	return d.spread(ctx, func(host *host) bool { return true })
}

func (d *demo) all2(ctx context.Context) (err error) {
	if d.servers[1], err = serve(d.lab.backends[1]); err != nil {
		return err
	}
	if err := d.awaitHealth(ctx, lb.HealthUp); err != nil {
		return err
	}
	return d.all(ctx)
}

// down stops a web server and sees no request fail once that is noticed.
func (d *demo) down(ctx context.Context) error {
	stopped := d.lab.backends[1]
	began := time.Now()
	if err := d.servers[1].stop(); err != nil {
		return fmt.Errorf("stopping the web server of %s: %w", stopped.label, err)
	}
	if err := d.awaitHealth(ctx, lb.HealthDown, stopped.label); err != nil {
		return err
	}
	d.print.note(fmt.Sprintf("the checks noticed after %s", time.Since(began).Round(10*time.Millisecond)))
	return d.spread(ctx, func(host *host) bool { return host != stopped })
}

// spread makes requests to every address. None may fail, and all those
// backends must answer that are expected to, each a fair share, and no other.
func (d *demo) spread(ctx context.Context, expected func(*host) bool) error {
	d.print.tableHead(d.lab.backends)
	var errs []error
	for _, w := range ways() {
		got := d.lab.request(ctx, w.address, requests)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.print.tableRow(w, d.lab.backends, got)
		errs = append(errs, d.judge(w, got, expected))
	}
	return errors.Join(append(errs, d.alive())...)
}

// judge says what is wrong with the answers to one address.
func (d *demo) judge(w way, got answers, expected func(*host) bool) error {
	where := fmt.Sprintf("%s over %s, to %s", w.forward, w.family, w.address)
	if got.failed > 0 {
		return fmt.Errorf("%s: %d requests failed, the last: %w", where, got.failed, got.why)
	}
	serving := 0
	for _, h := range d.lab.backends {
		if expected(h) {
			serving++
		}
	}
	for _, h := range d.lab.backends {
		n := got.by[h.label]
		switch {
		case !expected(h) && n > 0:
			return fmt.Errorf("%s: %s is down and answered %d requests", where, h.label, n)
		case expected(h) && n < requests/serving/3: // by chance: less than once in a billion runs
			return fmt.Errorf("%s: %s answered %d of %d requests, far from its share", where, h.label, n, requests)
		}
	}
	return nil
}

// awaitHealth waits until the checks see the named backends, or all, so.
func (d *demo) awaitHealth(ctx context.Context, want lb.Health, labels ...string) error {
	client := control.NewClient(d.lab.socket(), dialUnix)
	return d.await(ctx, func() error {
		rows, err := client.Backends(ctx)
		if err != nil {
			return err
		}
		if len(rows) != 2*backendCount { // of the two balancers
			return fmt.Errorf("%d backends are listed, %d are configured", len(rows), 2*backendCount)
		}
		for _, r := range rows {
			named := len(labels) == 0
			for _, label := range labels {
				named = named || r.Label == label
			}
			if takes := r.Slots > 0; named && (r.Health != want || takes != (want == lb.HealthUp)) {
				return fmt.Errorf("backend %s of %s is %s with %d slots: %s", r.Label, r.Balancer, r.Health, r.Slots, r.Problem)
			}
		}
		return nil
	})
}

// await tries until check returns nil, a process has died, or patience ends.
func (d *demo) await(ctx context.Context, check func() error) error {
	const pause = 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		if dead := d.alive(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up after %s: %w", patience, err)
		case <-ticker.C:
		}
	}
}

// alive says which of the processes has ended, if one has.
func (d *demo) alive() error {
	for _, p := range append([]*process{d.agent}, d.nodes...) {
		if p == nil {
			continue
		}
		if err := p.dead(); err != nil {
			return err
		}
	}
	return nil
}

// close takes down whatever was built.
func (d *demo) close(ctx context.Context) error {
	var errs []error
	if d.agent != nil {
		errs = append(errs, d.agent.stop())
		if ctx.Err() == nil {
			errs = append(errs, d.lab.balancer.run(ctx, d.options.Executable, "unload", "--pin-path", d.lab.pinPath()))
		}
	}
	for _, node := range d.nodes {
		errs = append(errs, node.stop())
	}
	for _, server := range d.servers {
		errs = append(errs, server.stop())
	}
	if d.lab != nil && ctx.Err() != nil {
		errs = append(errs, d.lab.removePins()) // of processes that were only half up
	}
	if d.lab != nil {
		errs = append(errs, d.lab.close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cleaning up: %w", err)
	}
	return nil
}

func dialUnix(ctx context.Context, socket string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", socket)
}
