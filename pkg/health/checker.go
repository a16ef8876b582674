// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/weirlb/weir/pkg/lb"
)

// DefaultMaxConcurrent is the number of checks at once when Options says
// nothing. It is meant for the bad day: a check of a backend that answers
// nothing lasts for its whole timeout, so with ten thousand backends, a timeout
// of 3 s and an interval of 5 s, a third of them may fall silent before the
// checks of the others start late. Each check under way holds a file
// descriptor.
const DefaultMaxConcurrent = 2048

// Status is what the checks of a target say.
type Status struct {
	Health    lb.Health
	Since     time.Time     // when Health became what it is
	LastCheck time.Time     // when the last check ended; zero before the first
	Duration  time.Duration // of the last check
	Err       string        // why the last check failed; empty if it passed
	Successes uint64        // checks that passed, since the target was set
	Failures  uint64        // checks that failed, since the target was set
}

// Options says how a Checker works. The zero value is usable.
type Options struct {
	// Logger gets each change of health, and what hinders the checks
	// themselves. Nil discards.
	Logger *slog.Logger

	// MaxConcurrent bounds the checks under way at once; 0 means
	// DefaultMaxConcurrent.
	MaxConcurrent int

	// OnChange is called once for each change of Health, within microseconds
	// of the result that decided it, with the status that the target then had.
	// Calls never overlap, and those for one target come in the order of the
	// changes; the next check of a target waits for the call to return. It may
	// call the Checker's methods other than Run and Ready.
	OnChange func(lb.Target, Status)

	// Probe makes the function that checks, for each distinct check; nil means
	// NewProbe.
	Probe func(lb.Check) Probe
}

// Checker runs the checks of a set of targets. Its methods may be called from
// any goroutine.
type Checker struct {
	options Options
	log     *slog.Logger
	late    occasion
	short   occasion
	wake    chan struct{} // the scheduler must look again; holds one signal

	setting   sync.Mutex    // held by Set: only Set changes which entries there are
	reporting chan struct{} // full while OnChange runs

	mu        sync.Mutex // guards all below, and the entries
	entries   map[lb.Target]*entry
	queue     queue
	started   bool          // Run is under way
	running   int           // checks under way
	starved   bool          // a check is due and must wait for another to end
	undecided int           // entries without a result
	decided   chan struct{} // closed when undecided becomes 0, then replaced
}

// entry is one target of the set.
type entry struct {
	target   lb.Target
	probe    Probe // nil: never checked
	state    state
	status   Status
	checks   uint64 // started so far
	decided  bool   // has a result, or needs none
	gone     bool   // no longer in the set
	due      time.Time
	position int                // in the queue, or unqueued
	cancel   context.CancelFunc // ends the check under way; nil if there is none
}

// New returns a Checker with no targets. Run makes it check.
func New(o Options) *Checker {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxConcurrent <= 0 {
		o.MaxConcurrent = DefaultMaxConcurrent
	}
	if o.OnChange == nil {
		o.OnChange = func(lb.Target, Status) {}
	}
	if o.Probe == nil {
		o.Probe = NewProbe
	}
	return &Checker{
		options: o,
		log:     o.Logger,
		wake:    make(chan struct{}, 1),
		entries: make(map[lb.Target]*entry),
		decided: make(chan struct{}),

		reporting: make(chan struct{}, 1),
	}
}

// Set replaces the set of targets; one that is named twice counts once. Those
// that stay keep their status and their schedule. New ones begin with the
// health that initial says (nil means unknown) and are checked within a
// second. The checks of those that are gone stop at once: after Set returns,
// no call of OnChange begins for them.
//
// A target whose check type is none is up from the start; that is no change,
// and OnChange is not called.
func (c *Checker) Set(targets []lb.Target, initial func(lb.Target) lb.Health) {
	c.setting.Lock()
	defer c.setting.Unlock()

	entries := make(map[lb.Target]*entry, len(targets))
	probes := make(map[lb.Check]Probe) // equal checks share what they need, such as a compiled regexp
	for _, t := range targets {
		if e, ok := c.entries[t]; ok {
			entries[t] = e
			probes[t.Check] = e.probe
		}
	}
	var added []*entry
	for _, t := range targets {
		if _, ok := entries[t]; !ok {
			e := c.newEntry(t, probes, initial)
			entries[t] = e
			added = append(added, e)
		}
	}
	c.replace(entries, added)
}

// newEntry returns the entry of a new target, with a probe from probes if its
// check is known there.
func (c *Checker) newEntry(t lb.Target, probes map[lb.Check]Probe, initial func(lb.Target) lb.Health) *entry {
	e := &entry{target: t, position: unqueued}
	e.status.Since = time.Now()
	if t.Check.Type == lb.CheckNone {
		e.state.health = lb.HealthUp
		e.decided = true
	} else {
		probe, ok := probes[t.Check]
		if !ok {
			probe = c.options.Probe(t.Check)
			probes[t.Check] = probe
		}
		e.probe = probe
		if initial != nil {
			e.state.health = initial(t)
		}
	}
	e.status.Health = e.state.health
	return e
}

// replace makes entries the set; added are those of it that are new.
func (c *Checker) replace(entries map[lb.Target]*entry, added []*entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for t, e := range c.entries {
		if entries[t] != e {
			c.drop(e)
		}
	}
	c.entries = entries
	for _, e := range added {
		if !e.decided {
			c.undecided++
		}
	}
	c.announceDecided()
	if c.started {
		c.scheduleFirst(added)
	}
}

// drop stops all that goes on for e. The caller holds c.mu.
func (c *Checker) drop(e *entry) {
	e.gone = true
	c.queue.remove(e)
	if e.cancel != nil {
		e.cancel()
	}
	if !e.decided {
		c.undecided--
	}
}

// announceDecided wakes those that wait in Ready, if all targets are decided.
// The caller holds c.mu.
func (c *Checker) announceDecided() {
	if c.undecided == 0 {
		close(c.decided)
		c.decided = make(chan struct{})
	}
}

// Status returns the status of t, and whether t is in the set.
func (c *Checker) Status(t lb.Target) (Status, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[t]
	if !ok {
		return Status{}, false
	}
	return e.status, true
}

// All returns the targets with their status, in no particular order, as they
// are at the moment of the call.
func (c *Checker) All() iter.Seq2[lb.Target, Status] {
	type row struct {
		target lb.Target
		status Status
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	rows := make([]row, 0, len(c.entries))
	for t, e := range c.entries {
		rows = append(rows, row{t, e.status})
	}
	return func(yield func(lb.Target, Status) bool) {
		for _, r := range rows {
			if !yield(r.target, r.status) {
				return
			}
		}
	}
}

// Decided returns how many targets have had at least one result (or need none,
// their check type being none), and how many targets there are.
func (c *Checker) Decided() (decided, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries) - c.undecided, len(c.entries)
}

// Ready waits until all targets of the set, which may change meanwhile, have
// had at least one result. It returns the context's error if that ends first.
func (c *Checker) Ready(ctx context.Context) error {
	for {
		c.mu.Lock()
		undecided, decided := c.undecided, c.decided
		c.mu.Unlock()
		if undecided == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-decided:
		}
	}
}
