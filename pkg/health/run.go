// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/weirlb/weir/pkg/lb"
)

// ErrRunning is returned by Run while another Run of the same Checker is under
// way.
var ErrRunning = errors.New("the checker runs already")

// slack returns how much before its time a check may start, so that one wake-up
// of the process serves several: with ten thousand targets, 20 ms instead of 5
// save a seventh of what the checks cost.
func slack(interval time.Duration) time.Duration {
	return min(interval/100, 20*time.Millisecond)
}

// batch is how many checks are started before those under way get the
// processor. Without it, thousands that are due at once would stand in line
// before the results of those that ended.
const batch = 16

// Run checks the targets until ctx ends. It returns nil then, after all checks
// have stopped; what they found stays readable.
func (c *Checker) Run(ctx context.Context) error {
	if err := c.begin(); err != nil {
		return err
	}
	var checks sync.WaitGroup
	defer c.end()
	defer checks.Wait()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.wake:
		}
		wait, ok := c.startDue(ctx, &checks)
		for ok && wait <= 0 && ctx.Err() == nil {
			runtime.Gosched()
			wait, ok = c.startDue(ctx, &checks)
		}
		if ok {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
	}
}

// begin schedules all targets afresh.
func (c *Checker) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started {
		return ErrRunning
	}
	c.started = true
	all := make([]*entry, 0, len(c.entries))
	for _, e := range c.entries {
		all = append(all, e)
	}
	c.scheduleFirst(all)
	return nil
}

// end forgets the schedule.
func (c *Checker) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = false
	c.queue = queue{}
	for _, e := range c.entries {
		e.position = unqueued
	}
}

// scheduleFirst queues those of entries that are checked at all, spread over a
// short time. The caller holds c.mu.
func (c *Checker) scheduleFirst(entries []*entry) {
	now := time.Now()
	for _, e := range entries {
		if e.probe != nil {
			e.due = now.Add(firstDelay(e.target.Check, len(entries)))
			c.queue.push(e)
		}
	}
	c.signal()
}

// signal makes the scheduler look at the queue again.
func (c *Checker) signal() {
	select {
	case c.wake <- struct{}{}:
	default: // it is about to look
	}
}

// startDue starts a batch of the checks that are due, as far as the bound
// allows. It returns how long to wait until the next one, 0 if more are due, and
// false if there is nothing to wait for but a signal.
func (c *Checker) startDue(ctx context.Context, checks *sync.WaitGroup) (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starved = false
	now := time.Now()
	for range batch {
		e := c.queue.first()
		if e == nil {
			return 0, false
		}
		if wait := e.due.Sub(now); wait > slack(e.target.Check.Interval) {
			return wait, true
		}
		if c.running >= c.options.MaxConcurrent {
			c.starved = true
			return 0, false
		}
		c.warnIfLate(e, now)
		c.start(ctx, c.queue.pop(), checks)
	}
	return 0, true
}

// start starts one check of e. The caller holds c.mu.
func (c *Checker) start(ctx context.Context, e *entry, checks *sync.WaitGroup) {
	var checkCtx context.Context
	checkCtx, e.cancel = context.WithTimeout(ctx, e.target.Check.Timeout)
	e.checks++
	c.running++
	checks.Go(func() { c.check(ctx, checkCtx, e) })
}

// check runs one check of e in checkCtx, reports what changed, and queues the
// next one unless ctx, that of Run, has ended.
func (c *Checker) check(ctx, checkCtx context.Context, e *entry) {
	start := time.Now()
	err := e.probe(checkCtx, e.target)
	end := time.Now()

	c.mu.Lock()
	c.running--
	if c.starved {
		c.signal()
	}
	e.cancel()
	e.cancel = nil
	if e.gone || ctx.Err() != nil {
		c.mu.Unlock()
		return // cut short, which says nothing about the target
	}
	before := e.status.Health
	c.record(e, start, end, err)
	status := e.status
	c.mu.Unlock()

	if status.Health != before {
		c.report(e, before, status)
	}
	c.scheduleNext(e, start)
}

// record enters the result of a check. The caller holds c.mu.
func (c *Checker) record(e *entry, start, end time.Time, err error) {
	e.status.LastCheck, e.status.Duration, e.status.Err = end, end.Sub(start), ""
	if err != nil {
		e.status.Err = err.Error()
	}
	switch {
	case errors.Is(err, ErrInconclusive):
		c.warnInconclusive(e, err, end)
		return
	case err != nil:
		e.status.Failures++
	default:
		e.status.Successes++
	}
	if !e.decided {
		e.decided = true
		c.undecided--
		c.announceDecided()
	}
	e.state = e.state.next(err == nil, e.target.Check.Fall, e.target.Check.Rise)
	if e.state.health != e.status.Health {
		e.status.Health, e.status.Since = e.state.health, end
	}
}

// report tells of a change from before to what status says, unless the target
// has left the set meanwhile.
func (c *Checker) report(e *entry, before lb.Health, status Status) {
	c.reporting <- struct{}{}
	defer func() { <-c.reporting }()
	c.mu.Lock()
	gone := e.gone
	c.mu.Unlock()
	if gone {
		return
	}
	c.options.OnChange(e.target, status)

	log := c.log.With("address", e.target.Address, "check", e.target.Check.Type)
	switch {
	case status.Health == lb.HealthDown:
		log.Warn("target is down", "reason", status.Err)
	case before == lb.HealthDown:
		log.Info("target is up again")
	default:
		log.Debug("target is up") // at the start, once for each
	}
}

// scheduleNext queues the check of e that follows the one started at start.
func (c *Checker) scheduleNext(e *entry, start time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.gone || !c.started {
		return
	}
	// A check that lasted longer than the interval is followed at once.
	e.due = start.Add(nextDelay(e.target.Check.Interval, e.checks))
	c.queue.push(e)
	if c.queue.first() == e {
		c.signal()
	}
}

// warnIfLate says, now and then, that checks cannot keep their intervals.
// The caller holds c.mu.
func (c *Checker) warnIfLate(e *entry, now time.Time) {
	late := now.Sub(e.due)
	if late > max(e.target.Check.Interval/2, time.Second) && c.late.now(now) {
		c.log.Warn("health checks start late: too many wait for an answer; lengthen the interval or shorten the timeout",
			"late", late, "running", c.running, "waiting", c.queue.len())
	}
}

// warnInconclusive says, now and then, that this host hinders the checks. The
// caller holds c.mu.
func (c *Checker) warnInconclusive(e *entry, err error, now time.Time) {
	if c.short.now(now) {
		c.log.Warn("health check without a verdict; health stays what it was",
			"address", e.target.Address, "check", e.target.Check.Type, "reason", err)
	}
}

// occasion limits a message to one a minute.
type occasion struct{ last time.Time }

func (o *occasion) now(t time.Time) bool {
	if !o.last.IsZero() && t.Sub(o.last) < time.Minute {
		return false
	}
	o.last = t
	return true
}
