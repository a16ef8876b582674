// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/netdev"
)

// Options say how a node runs.
type Options struct {
	Interface string         // that tunnelled packets arrive on
	VIPs      []netip.Addr   // the balancers' addresses that this host serves
	Mode      dataplane.Mode // of attaching
	PinPath   string
	StateDir  string // holds the file that says how to undo what was changed
	Metrics   string // address to serve metrics at; empty: nowhere
	Version   string
	Logger    *slog.Logger
}

// Run has this host, in the current network namespace, serve the VIPs until
// the context ends, and then undoes what it changed. A process that was killed
// leaves everything in place; the next one takes over and can still undo it.
func Run(ctx context.Context, o Options) error {
	if _, err := netdev.Interface(o.Interface); err != nil {
		return err
	}
	server, err := listen(ctx, o.Metrics)
	if err != nil {
		return err
	}
	program, err := dataplane.OpenNode(o.PinPath, o.VIPs)
	if err != nil {
		server.close()
		return err
	}
	defer program.Close()
	defer server.close()
	n := &node{options: o, log: o.Logger, program: program}
	if err := n.start(); err != nil {
		if !program.New() {
			// What a killed process left goes on working; the next start
			// that succeeds can undo it.
			return err
		}
		return errors.Join(err, n.stop())
	}
	server.serve(n)
	n.follow(ctx)
	<-ctx.Done()
	n.summarize()
	return n.stop()
}

// node is a running node.
type node struct {
	options  Options
	log      *slog.Logger
	program  *dataplane.Node
	settings *netdev.NodeSettings
	watching sync.WaitGroup

	mu       sync.Mutex // guards what follows, and attaching
	attached int        // index of the interface that has the program, or 0
	problem  string     // why 0
}

// start makes the host ready for the packets, and then lets them in.
func (n *node) start() error {
	state := filepath.Join(n.options.StateDir, "node-"+n.options.Interface+".json")
	settings, err := netdev.ApplyNode(n.options.Interface, n.options.VIPs, state, n.log)
	if err != nil {
		return err
	}
	n.settings = settings
	link, err := netdev.Interface(n.options.Interface)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attach(link.Index)
}

// attach puts the program on the interface. The caller holds mu.
func (n *node) attach(index int) error {
	iface := dataplane.Interface{Name: n.options.Interface, Index: index}
	a, err := n.program.Attach(iface, n.options.Mode)
	if err != nil {
		n.attached, n.problem = 0, err.Error()
		return err
	}
	n.attached, n.problem = index, ""
	if n.options.Mode == dataplane.Auto && a.Mode == dataplane.Generic {
		why := "an earlier process attached it so"
		if a.Fallback != nil {
			why = a.Fallback.Error()
		}
		n.log.Warn("GENERIC XDP: packets take the slow way through the network stack",
			"interface", a.Name, "reason", why)
	}
	n.log.Info("attached", "interface", a.Name, "index", index, "mode", string(a.Mode), "vips", n.options.VIPs)
	return nil
}

// follow attaches to the interface again whenever it went away and came back,
// until the context ends.
func (n *node) follow(ctx context.Context) {
	n.watching.Go(func() {
		if err := netdev.WatchLinks(ctx, []string{n.options.Interface}, n.changed); err != nil {
			n.log.Error("the interface is no longer watched: if it goes away and comes back it stays without program",
				"interface", n.options.Interface, "err", err)
		}
	})
}

func (n *node) changed(e netdev.LinkEvent) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !e.Exists:
		n.log.Warn("interface is gone; waiting for it to come back", "interface", e.Name)
		n.attached, n.problem = 0, fmt.Sprintf("interface %s does not exist", e.Name)
	case e.Index != n.attached:
		if err := errors.Join(n.settings.Reapply(), n.attach(e.Index)); err != nil {
			n.log.Error("the interface came back, and not all is as it was", "interface", e.Name, "err", err)
		}
	}
}

// stop undoes what start did: the program goes first, so that no packet comes
// out of its tunnel on a host that does not hold its address.
func (n *node) stop() error {
	n.watching.Wait()
	err := n.program.Remove()
	if n.settings != nil {
		err = errors.Join(err, n.settings.Undo())
	}
	return err
}

// summarize logs what became of the packets.
func (n *node) summarize() {
	names, err := dataplane.NodeReasons()
	if err != nil {
		n.log.Error("counters not read", "err", err)
		return
	}
	traffic, err := n.Counters()
	if err != nil {
		n.log.Error("counters not read", "err", err)
		return
	}
	var attrs []any
	for i, t := range traffic {
		if t.Packets > 0 && i < len(names) {
			attrs = append(attrs, names[i], t.Packets)
		}
	}
	n.log.Info("stopping", slog.Group("packets", attrs...))
}

// Version returns that of this binary.
func (n *node) Version() string { return n.options.Version }

// Ready says whether packets are taken out of their tunnel, or why not.
func (n *node) Ready() (ok bool, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attached != 0, n.problem
}

// Counters returns the traffic of each reason, by the reason's number.
func (n *node) Counters() ([]dataplane.Traffic, error) { return n.program.Counters() }
