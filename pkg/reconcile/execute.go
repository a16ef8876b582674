// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirlb/weir/pkg/dataplane"
)

// execution carries out a plan. What is needed comes before what refers to it,
// and goes after it.
type execution struct {
	*plan
	model   *model
	workers []*worker
	writer  writer
}

// run writes the plan to the tables. The model knows of it after finish only.
func (x *execution) run(ctx context.Context) error {
	x.growCounters()
	if err := x.writeBalancerNames(); err != nil {
		return err
	}
	if err := x.each(ctx, x.bringIn); err != nil {
		return err
	}
	if err := x.changeAddresses(); err != nil {
		return err
	}
	// Only now do tables change that packets read, when every address leads to
	// the place where its listener has them from now on.
	if err := x.each(ctx, x.settle); err != nil {
		return err
	}
	return x.removeBalancerNames()
}

// growCounters makes room for the counters of the plan, which the workers
// then use side by side.
func (x *execution) growCounters() {
	for _, l := range x.listeners {
		for _, id := range l.counters {
			x.model.counter(id)
		}
	}
}

func (x *execution) writeBalancerNames() error {
	for _, b := range x.balancers {
		if b.was != nil && b.was.label == b.want.Label {
			continue
		}
		if err := x.writer.putName(dataplane.NameBalancer, b.id, b.want.Label); err != nil {
			return fmt.Errorf("balancer %s: %w", b.want.Label, err)
		}
	}
	return nil
}

// each calls fn for every listener, on all workers.
func (x *execution) each(ctx context.Context, fn func(*worker, *listenerPlan) error) error {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range x.workers[:min(len(x.workers), len(x.listeners))] {
		group.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(x.listeners); i = int(next.Add(1)) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := fn(w, x.listeners[i]); err != nil {
					return fmt.Errorf("listener %s: %w", x.listeners[i].key, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// bringIn makes all ready that l needs and lets packets see it.
func (x *execution) bringIn(w *worker, l *listenerPlan) error {
	written := w.report.Writes()
	if l.was == nil {
		if err := w.resetListenerCounter(l.entry.ID); err != nil {
			return err
		}
	}
	if err := w.writePool(x.model, l); err != nil {
		return err
	}
	if l.slotsAside() {
		if err := w.writeTable(x.seed, l); err != nil {
			return err
		}
	}
	if l.slotsAside() && l.was != nil && !l.was.entry.OldTable {
		old := dataplane.OldTable{
			Slots: l.was.entry.Slots, TableSize: l.was.entry.TableSize, Algorithm: l.was.entry.Algorithm,
		}
		if err := w.putOldTable(l.entry.ID, old); err != nil {
			return err
		}
	}
	for _, addr := range l.addresses {
		if l.was != nil && l.was.entries[addr] == l.entry {
			continue
		}
		if err := w.putListener(l.entryKey(addr), l.entry); err != nil {
			return err
		}
	}
	l.changed = w.report.Writes() > written
	return nil
}

// settle changes what packets see of l already.
func (x *execution) settle(w *worker, l *listenerPlan) error {
	written := w.report.Writes()
	if !l.slotsAside() {
		if err := w.writeTable(x.seed, l); err != nil {
			return err
		}
	}
	if err := w.writeLate(l); err != nil {
		return err
	}
	l.changed = l.changed || w.report.Writes() > written
	return nil
}

// changeAddresses brings the addresses in line with the listeners that are
// brought in, and takes away what is not wanted under an address any more.
func (x *execution) changeAddresses() error {
	if !x.whole {
		return nil
	}
	if err := x.addVIPs(); err != nil {
		return err
	}
	for _, key := range x.surplus {
		if err := x.writer.deleteListener(key); err != nil {
			return err
		}
	}
	return x.settleVIPs()
}

// addVIPs writes the addresses that are new or say more than before.
func (x *execution) addVIPs() error {
	for _, addr := range slices.SortedFunc(maps.Keys(x.vips), netip.Addr.Compare) {
		want, have := x.vips[addr], x.model.vips[addr]
		want.TCP = want.TCP || have.TCP
		want.UDP = want.UDP || have.UDP
		if err := x.writeVIP(addr, want); err != nil {
			return err
		}
	}
	return nil
}

func (x *execution) writeVIP(addr netip.Addr, want dataplane.VIP) error {
	if have, ok := x.model.vips[addr]; ok && have == want {
		return nil
	}
	if err := x.writer.putVIP(addr, want); err != nil {
		return err
	}
	x.model.vips[addr] = want
	return nil
}

// settleVIPs takes away addresses, and protocols of addresses, that have no
// listener any more.
func (x *execution) settleVIPs() error {
	for _, addr := range slices.SortedFunc(maps.Keys(x.model.vips), netip.Addr.Compare) {
		want, ok := x.vips[addr]
		if ok {
			if err := x.writeVIP(addr, want); err != nil {
				return err
			}
			continue
		}
		if err := x.writer.deleteVIP(addr); err != nil {
			return err
		}
		delete(x.model.vips, addr)
	}
	return nil
}

func (x *execution) removeBalancerNames() error {
	for _, b := range x.removedBalancers {
		if b.label == "" {
			continue
		}
		if err := x.writer.deleteName(dataplane.NameBalancer, b.id); err != nil {
			return fmt.Errorf("balancer %s: %w", b.label, err)
		}
	}
	return nil
}

// written returns what was written so far.
func (x *execution) written() Report {
	report := x.writer.report
	for _, w := range x.workers {
		report.add(w.report)
	}
	return report
}

// finish takes the plan over into the model, holds back what it put out of
// use, and returns what was written.
func (x *execution) finish(now time.Time) Report {
	report := x.written()
	x.model.alloc = x.alloc
	for _, l := range x.listeners {
		switch {
		case l.was == nil:
			report.ListenersAdded++
		case l.changed:
			report.ListenersChanged++
		}
		x.model.adopt(l, now)
	}
	report.ListenersRemoved = len(x.removed)
	for _, l := range x.removed {
		x.model.remove(l, now)
	}
	if x.whole {
		x.finishBalancers(now)
	}
	return report
}

func (x *execution) finishBalancers(now time.Time) {
	for _, b := range x.balancers {
		x.model.balancers[b.id] = &balancer{id: b.id, label: b.want.Label, addresses: b.addresses}
	}
	for _, b := range x.removedBalancers {
		delete(x.model.balancers, b.id)
		x.model.hold(heldBalancer, b.id, 1, now)
	}
}
