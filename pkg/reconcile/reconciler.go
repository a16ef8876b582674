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
	Grace   time.Duration    // instead of DefaultGrace
	Clock   func() time.Time // instead of time.Now
	Workers int              // instead of runtime.GOMAXPROCS: listeners written at once
}

// Reconciler brings the tables in line with desired states. It is safe for
// concurrent use; changes wait for each other.
type Reconciler struct {
	store   Store
	grace   time.Duration
	clock   func() time.Time
	workers []*worker

	mu      sync.Mutex
	model   *model
	stale   bool   // the model has to be restored, because a write failed
	applied bool   // the tables are in line with the state last applied
	seed    uint64 // of that state
}

// Change is a listener of the state last applied as it should be now.
type Change struct {
	Balancer string // its label
	Listener Listener
}

// Open restores from the tables what an agent left, in good order or killed at
// any instant. It writes nothing.
func Open(store Store, o Options) (*Reconciler, error) {
	r := &Reconciler{store: store, grace: o.Grace, clock: o.Clock}
	if r.grace == 0 {
		r.grace = DefaultGrace
	}
	if r.clock == nil {
		r.clock = time.Now
	}
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
	report, err := r.collectAll(ctx)
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
	if !r.applied {
		return Report{}, ErrUnfinished
	}
	if err := r.refresh(); err != nil {
		return Report{}, err
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

// Collect empties and frees what has been out of use for the grace period. An
// agent calls it every now and then; Apply does so too.
func (r *Reconciler) Collect(ctx context.Context) (Report, error) {
	w := writer{store: r.store}
	until := r.clock().Add(-r.grace)
	for {
		// Changes may come between one collected thing and the next.
		r.mu.Lock()
		more, err := r.collectOne(ctx, &w, until)
		r.mu.Unlock()
		if !more || err != nil {
			return w.report, err
		}
	}
}

func (r *Reconciler) collectAll(ctx context.Context) (Report, error) {
	w := writer{store: r.store}
	until := r.clock().Add(-r.grace)
	for {
		if more, err := r.collectOne(ctx, &w, until); !more || err != nil {
			return w.report, err
		}
	}
}

func (r *Reconciler) collectOne(ctx context.Context, w *writer, until time.Time) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := r.refresh(); err != nil {
		return false, err
	}
	more, err := r.model.collectOne(w, until)
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
	r.model, r.stale = m, false
	return nil
}

// execute carries out a plan.
func (r *Reconciler) execute(ctx context.Context, p *plan) (Report, error) {
	for _, w := range r.workers {
		w.report = Report{}
	}
	x := execution{plan: p, model: r.model, workers: r.workers, writer: writer{store: r.store}}
	if err := x.run(ctx); err != nil {
		r.stale, r.applied = true, false
		return x.written(), fmt.Errorf("change the tables: %w", err)
	}
	return x.finish(r.clock()), nil
}
