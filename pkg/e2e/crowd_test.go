// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
)

// crowd is clients whose connections stay open, and are used all the time. It
// knows which backend each connection is on, and which may end. A connection
// that ends is followed by a new one.
type crowd struct {
	t       testing.TB
	lab     *lab
	stopped chan struct{}
	workers sync.WaitGroup
	dialing chan struct{} // holds a value for each that dials: they take a thread each

	// finishing is held for reading while a connection is finished in good order,
	// so that none is while a backend goes: how many are broken is counted.
	finishing sync.RWMutex

	mu      sync.Mutex
	members []*member
	doomed  map[place]dataplane.Unusable // whose connections are about to end, and why
	why     dataplane.Unusable           // of the last of those
	spared  time.Time                    // when it was over
	closed  map[place]time.Time          // since when there are no new connections
	counts  map[place]int                // connections so far
	reset   map[flow]struct{}            // those that were broken
	result  crowdResult
}

// place is a backend of a balancer.
type place struct{ balancer, backend string }

// crowdResult is what a crowd has seen.
type crowdResult struct {
	opened   int
	finished int
	broken   map[dataplane.Unusable]uint64 // connections that were reset, as they had to be
	rounds   uint64
	repeated uint64        // segments that clients sent more than once
	longest  time.Duration // round trip
	direct   time.Duration // the longest without a balancer on the way
	through  int           // connections that lasted from the beginning to the end
	failures []error
}

// member is one client: a connection, and the next.
type member struct {
	balancer string // empty: straight to a backend
	from     netip.Addr
	to       netip.AddrPort
	turnover int // one in so many rounds is the last; 0 is none

	talk    *talk  // nil while there is none; guarded by crowd.mu as what follows
	backend string // empty: not known yet
	leaves  bool   // it is to be finished
	first   bool   // it is this member's first
}

const (
	// talkPause is about how long a connection is silent.
	talkPause = 250 * time.Millisecond

	// mostDialing is how many connections are opened at once.
	mostDialing = 24
)

func (l *lab) newCrowd() *crowd {
	w := &crowd{
		t: l.t, lab: l, stopped: make(chan struct{}), dialing: make(chan struct{}, mostDialing),
		doomed: make(map[place]dataplane.Unusable), closed: make(map[place]time.Time), counts: make(map[place]int), reset: make(map[flow]struct{}),
		result: crowdResult{broken: make(map[dataplane.Unusable]uint64)},
	}
	l.t.Cleanup(func() { w.end() })
	return w
}

// join adds n members like m, each from another of the client's addresses.
func (w *crowd) join(n int, m member) {
	sources := w.lab.sources[m.to.Addr().Is6()]
	for i := range n {
		m := m
		m.from, m.first = sources[i%len(sources)], true
		w.mu.Lock()
		w.members = append(w.members, &m)
		w.mu.Unlock()
		w.workers.Go(func() { w.run(&m) })
	}
}

func (w *crowd) run(m *member) {
	for {
		c, err := w.dial(m)
		if err != nil {
			w.fail(fmt.Errorf("opening a connection from %s to %s: %w", m.from, m.to, err))
			return
		}
		if c == nil || !w.converse(m, c) {
			return
		}
	}
}

// dial opens the next connection of a member, unless the crowd has stopped.
func (w *crowd) dial(m *member) (*talk, error) {
	select {
	case <-w.stopped:
		return nil, nil
	case w.dialing <- struct{}{}:
	}
	defer func() { <-w.dialing }()
	c, err := dialTalk(w.lab.client, m.from, m.to)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	m.talk, m.backend, m.leaves = c, "", false
	w.result.opened++
	return c, nil
}

// converse uses a connection to its end. It reports whether another is to
// follow.
func (w *crowd) converse(m *member, c *talk) bool {
	defer c.conn.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-w.stopped:
			w.finish(m, c)
			return false
		case <-timer.C:
		}
		if err := c.round(); err != nil {
			return w.lose(m, c, err)
		}
		if w.note(m, c) && w.finishing.TryRLock() {
			w.finish(m, c)
			w.finishing.RUnlock()
			return true
		}
		timer.Reset(talkPause*3/4 + rand.N(talkPause/2))
	}
}

// note takes note of a round trip, and reports whether it was to be the last.
func (w *crowd) note(m *member, c *talk) (leaves bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.backend == "" {
		m.backend = w.lab.backends[c.backend-1].Label
		at := place{m.balancer, m.backend}
		w.counts[at]++
		// A client that was reset has not said that the connection is over. If it
		// uses the port again soon, the record still says where that went.
		_, again := w.reset[c.flow()]
		if since, ok := w.closed[at]; ok && c.began.After(since) && !again {
			w.result.failures = append(w.result.failures,
				fmt.Errorf("%v got a new connection %v after it was to get no more", at, c.began.Sub(since)))
		}
	}
	w.result.rounds++
	if m.turnover > 0 && rand.N(m.turnover) == 0 {
		m.leaves = true
	}
	return m.leaves
}

// lose judges the end of a connection that did not finish.
func (w *crowd) lose(m *member, c *talk, err error) bool {
	w.mu.Lock()
	why, doomed := w.doomed[place{m.balancer, m.backend}]
	if m.backend == "" && m.balancer != "" && (len(w.doomed) > 0 || c.began.Before(w.spared)) {
		why, doomed = w.why, true // it may have been on the backend that went
	}
	doomed = doomed && errors.Is(err, syscall.ECONNRESET)
	if doomed {
		w.result.broken[why]++
		w.reset[c.flow()] = struct{}{}
	}
	w.mu.Unlock()
	if !doomed {
		w.fail(fmt.Errorf("the connection of %v by %s, on backend %q for %v, silent for %v at most: %w",
			c.flow(), m.balancer, m.backend, time.Since(c.began).Round(time.Millisecond), c.silent.Round(time.Millisecond), err))
	}
	w.leave(m, c)
	return doomed
}

// finish ends a connection in good order.
func (w *crowd) finish(m *member, c *talk) {
	repeated := c.repeated()
	if err := c.finish(); err != nil {
		w.fail(err)
	}
	w.mu.Lock()
	w.result.finished++
	w.result.repeated += uint64(repeated)
	if m.first && w.isStopped() {
		w.result.through++
	}
	w.mu.Unlock()
	w.leave(m, c)
}

// leave takes a connection that has ended out of the crowd.
func (w *crowd) leave(m *member, c *talk) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m.talk, m.backend, m.first = nil, "", false
	if m.balancer == "" {
		w.result.direct = max(w.result.direct, c.longest)
	} else {
		w.result.longest = max(w.result.longest, c.longest)
	}
}

func (w *crowd) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.failures = append(w.result.failures, err)
}

func (w *crowd) isStopped() bool {
	select {
	case <-w.stopped:
		return true
	default:
		return false
	}
}

// end has all connections finish, and returns what the crowd has seen.
func (w *crowd) end() crowdResult {
	if !w.isStopped() {
		close(w.stopped)
	}
	w.workers.Wait()
	return w.result
}

// mustBeSmooth fails the test if a round trip took more than a second, beyond
// what the machine takes without a balancer.
func (r *crowdResult) mustBeSmooth(t testing.TB) {
	t.Helper()
	if limit := time.Second + r.direct; r.longest > limit {
		t.Errorf("a connection stalled for %v, want at most %v", r.longest, limit)
	}
}

// String says what happened, for people.
func (r *crowdResult) String() string {
	return fmt.Sprintf("%d connections opened, %d finished, %d lasted throughout, broken %v; %d round trips, "+
		"the longest %v (%v straight to a backend), %d segments repeated",
		r.opened, r.finished, r.through, r.broken, r.rounds,
		r.longest.Round(time.Millisecond), r.direct.Round(time.Millisecond), r.repeated)
}
