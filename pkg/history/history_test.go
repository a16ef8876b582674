// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/testutil"
)

// perListener is how many clients there are of each listener and family.
const perListener = 40

// TestHistory lives through random histories.
func TestHistory(t *testing.T) { testHistories(t, 1024) }

// TestHistoryOverflow does so with a flow table that is too small. Flows that
// find no room may be moved; the others may not.
func TestHistoryOverflow(t *testing.T) { testHistories(t, 24) }

func testHistories(t *testing.T, flowLimit uint32) {
	p, twin, clients := openPlane(t, flowLimit), openPlane(t, flowLimit), clientsOf(perListener)
	check := func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			if wrong := caught(func(f failer) { live(f, rt, p, twin, flowLimit, clients) }); wrong != "" {
				rt.Fatalf("%s", wrong)
			}
		})
	}
	check(t)
	for end := time.Now().Add(testutil.Soak(t)); time.Now().Before(end) && !t.Failed(); {
		t.Run("more", check)
	}
}

// live lives through one history.
func live(f failer, rt *rapid.T, p, twin *plane, flowLimit uint32, clients []*client) {
	// The clock of the flows may wrap.
	clock := rapid.SampledFrom([]uint32{0, ^uint32(0) - 20_000}).Draw(rt, "flow clock")
	w := newWorld(f, p, flowLimit, clock, clients)
	w.start()
	for _, s := range drawSteps(len(clients)).Draw(rt, "history") {
		w.step(s)
	}
	w.finish(twin)
}

// caught returns how fn fails, "" if it does not. However it does, its caller
// then fails in one place, and so rapid takes two failures for the same: it
// looks for the shortest history that is wrong in any way.
func caught(fn func(failer)) (wrong string) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			wrong = string(r)
		default:
			panic(r)
		}
	}()
	fn(catcher{})
	return ""
}

// failure is how something fails.
type failure string

// catcher makes failures.
type catcher struct{}

func (catcher) Helper() {}

func (catcher) Fatalf(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }
