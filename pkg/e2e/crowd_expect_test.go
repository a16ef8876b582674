// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/testutil"
)

// check fails the test if a connection ended that should not have.
func (w *crowd) check() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	const most = 10
	for i, err := range w.result.failures {
		if i == most {
			w.t.Errorf("and %d more", len(w.result.failures)-most)
			break
		}
		w.t.Error(err)
	}
	if len(w.result.failures) > 0 {
		w.t.FailNow()
	}
}

// awaitTalking waits until every member has a connection and knows its backend.
func (w *crowd) awaitTalking() {
	w.t.Helper()
	testutil.WaitFor(w.t, patience, func() error {
		w.check()
		w.mu.Lock()
		defer w.mu.Unlock()
		missing := 0
		for _, m := range w.members {
			if m.backend == "" {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d clients have no connection", missing, len(w.members))
		}
		return nil
	})
}

// count returns how many connections are on a backend of a balancer.
func (w *crowd) count(at place) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.members {
		if m.balancer == at.balancer && m.backend == at.backend {
			n++
		}
	}
	return n
}

// staying returns how many of them are of members that stay.
func (w *crowd) staying(at place) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.members {
		if m.balancer == at.balancer && m.backend == at.backend && m.turnover == 0 {
			n++
		}
	}
	return n
}

// born returns how many connections a backend of a balancer has had so far.
func (w *crowd) born(at place) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[at]
}

// awaitEmpty waits until no connection is left on a backend of a balancer.
func (w *crowd) awaitEmpty(at place) {
	w.t.Helper()
	testutil.WaitFor(w.t, patience, func() error {
		w.check()
		if n := w.count(at); n > 0 {
			return fmt.Errorf("%d connections are still on %v", n, at)
		}
		return nil
	})
}

// doom expects the connections on a backend of a balancer to end until it is
// spared, for that reason.
func (w *crowd) doom(at place, why dataplane.Unusable) {
	w.finishing.Lock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doomed[at], w.why = why, why
}

func (w *crowd) spare(at place) {
	w.mu.Lock()
	delete(w.doomed, at)
	w.spared = time.Now()
	w.mu.Unlock()
	w.finishing.Unlock()
}

// close expects no new connections to a backend of a balancer, until it opens.
func (w *crowd) close(at place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.closed[at]; !ok {
		w.closed[at] = time.Now()
	}
}

func (w *crowd) open(at place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.closed, at)
}

// sendAway has the clients of a backend of a balancer finish.
func (w *crowd) sendAway(at place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.members {
		if m.balancer == at.balancer && m.backend == at.backend {
			m.leaves = true
		}
	}
}

// awaitRounds waits until the crowd has gone on for a moment.
func (w *crowd) awaitRounds() {
	w.t.Helper()
	w.mu.Lock()
	before := w.result.rounds
	w.mu.Unlock()
	testutil.WaitFor(w.t, patience, func() error {
		w.check()
		w.mu.Lock()
		defer w.mu.Unlock()
		if n, want := int(w.result.rounds-before), len(w.members); n < want {
			return fmt.Errorf("only %d more messages were answered, want %d", n, want)
		}
		return nil
	})
}
