// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
)

// ErrUnfinished is returned by Update while the tables may not be in line with
// the state last given to Apply: before the first, or after a change that
// failed. The remedy is to Apply the whole state.
var ErrUnfinished = errors.New("an earlier change was not finished: apply the whole state")

// DefaultGrace is how long what is out of use is held back before it is used
// again. A packet is under way for microseconds.
const DefaultGrace = time.Second

// Options are what a Reconciler may be told; the zero value is good.
type Options struct {
	Grace   time.Duration        // instead of DefaultGrace
	Clock   func() time.Time     // instead of time.Now
	Uptime  func() time.Duration // since boot, instead of dataplane.Uptime
	Workers int                  // instead of runtime.GOMAXPROCS: listeners written at once
}

// Reconciler brings the tables in line with desired states. It is safe for
// concurrent use; changes wait for each other.
type Reconciler struct {
	store   Store
	grace   time.Duration
	clock   func() time.Time
	uptime  func() time.Duration
	workers []*worker

	collecting sync.Mutex // held by Collect: one at a time

	mu       sync.Mutex
	model    *model
	ticked   time.Time // when the flow clock was last advanced
	nextScan time.Time // not before it are records looked at
	stale    bool      // the model has to be restored, because a write failed
	applied  bool      // the tables are in line with the state last applied
	seed     uint64    // of that state
}

// Change is a listener of the state last applied as it should be now.
type Change struct {
	Balancer string // its label
	Listener Listener
}

// Open restores from the tables what an agent left, in good order or killed at
// any instant. It writes nothing.
func Open(store Store, o Options) (*Reconciler, error) {
	r := &Reconciler{store: store, grace: o.Grace, clock: o.Clock, uptime: o.Uptime}
	if r.grace == 0 {
		r.grace = DefaultGrace
	}
	if r.clock == nil {
		r.clock = time.Now
	}
	if r.uptime == nil {
		r.uptime = dataplane.Uptime
	}
	r.ticked = r.clock()
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	for range o.Workers {
		r.workers = append(r.workers, &worker{writer: writer{store: store}})
	}
	var err error
	if r.model, err = restore(store, r.clock(), nil); err != nil {
		return nil, err
	}
	return r, nil
}

// Apply brings the tables in line with d, and finishes what an Apply or Update
// before it could not. An error that wraps ErrFull, or is about d itself,
// leaves the tables as they were. After any other error some of the change is
// made, in a state that packets can live with, and Apply should be called
// again.
func (r *Reconciler) Apply(ctx context.Context, d Desired) (Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	report, err := r.freeAll(ctx)
	if err != nil {
		return report, err
	}
	p, err := planWhole(r.store, r.model, &d)
	if err != nil {
		return report, err
	}
	written, err := r.execute(ctx, p)
	report.add(written)
	if err != nil {
		return report, err
	}
	r.applied, r.seed = true, d.Seed
	return report, nil
}

// Update changes some listeners of the state last applied, and looks at no
// others: the quick way for a backend whose health or next hop changed. Which
// listeners there are, and their balancers, only Apply changes. Errors are as
// Apply's, and ErrUnfinished.
func (r *Reconciler) Update(ctx context.Context, changes []Change) (Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.refresh(); err != nil {
		return Report{}, err
	}
	if !r.applied {
		return Report{}, ErrUnfinished
	}
	p, err := planSome(r.store, r.model, r.seed, changes)
	if err != nil {
		return Report{}, err
	}
	return r.execute(ctx, p)
}

// Plan reports whether d could be applied now, in the same words as Apply. It
// writes nothing.
func (r *Reconciler) Plan(d Desired) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.refresh(); err != nil {
		return err
	}
	_, err := planWhole(r.store, r.model, &d)
	return err
}

// Collect does what time makes due: it lets the clock of records go on, ends
// drains, settles slots that have moved, removes records that say nothing any
// more, makes slots steady, and frees what has been out of use for the grace
// period and is not referred to. An agent calls it about once a second. Changes
// need not wait for it: it holds them up for some milliseconds at most at once.
func (r *Reconciler) Collect(ctx context.Context) (Report, error) {
	r.collecting.Lock()
	defer r.collecting.Unlock()
	var report Report
	if err := r.advance(); err != nil {
		return report, err
	}
	for _, part := range []func(context.Context) (Report, error){r.settle, r.look, r.free} {
		done, err := part(ctx)
		report.add(done)
		if err != nil {
			return report, err
		}
	}
	return report, nil
}

// locked calls fn while nothing else changes.
func (r *Reconciler) locked(fn func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.refresh(); err != nil {
		return err
	}
	return fn()
}

// free frees what is out of use, one thing after the other.
func (r *Reconciler) free(ctx context.Context) (Report, error) {
	w := writer{store: r.store}
	for more := true; more; {
		r.mu.Lock()
		var err error
		more, err = r.freeOne(ctx, &w)
		r.mu.Unlock()
		if err != nil {
			return w.report, err
		}
	}
	return w.report, nil
}

// freeAll is free for who holds the lock.
func (r *Reconciler) freeAll(ctx context.Context) (Report, error) {
	w := writer{store: r.store}
	for {
		if more, err := r.freeOne(ctx, &w); !more || err != nil {
			return w.report, err
		}
	}
}

func (r *Reconciler) freeOne(ctx context.Context, w *writer) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := r.refresh(); err != nil {
		return false, err
	}
	more, err := r.model.collectOne(w, r.clock(), r.grace)
	if err != nil {
		r.stale = true
		return false, fmt.Errorf("free what is out of use: %w", err)
	}
	return more, nil
}

// refresh restores the model after a write failed.
func (r *Reconciler) refresh() error {
	if !r.stale {
		return nil
	}
	m, err := restore(r.store, r.clock(), r.model)
	if err != nil {
		return err
	}
	// How long slots have been moving, and what leaves its pool, is not known any
	// more: an Apply finds out.
	r.model, r.stale, r.applied = m, false, false
	return nil
}

// execute carries out a plan.
func (r *Reconciler) execute(ctx context.Context, p *plan) (Report, error) {
	for _, w := range r.workers {
		w.report, w.up = Report{}, r.uptime()
	}
	x := execution{plan: p, model: r.model, workers: r.workers, writer: writer{store: r.store}}
	if err := x.run(ctx); err != nil {
		r.stale, r.applied = true, false
		return x.written(), fmt.Errorf("change the tables: %w", err)
	}
	return x.finish(r.clock()), nil
}
