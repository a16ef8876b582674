// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestRemovalPace removes records of a listener that is not there. Many of them
// take their time, in which changes and the clock of the records go on.
func TestRemovalPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newTrackRun(t, newFakeStore(t, benchLimits), server(1))
		for i := range 3*partFlows - 1 {
			run.putOf(99, fmt.Sprintf("198.51.100.%d:%d", i%256, 1024+i/256), 0, 1)
		}
		before, err := run.store.FlowClock()
		if err != nil {
			t.Fatal(err)
		}
		began, done := time.Now(), make(chan error)
		go func() {
			report, err := run.rec.Collect(t.Context())
			if want := 3*partFlows - 1; err == nil && report.Flows != want {
				err = fmt.Errorf("%d records were removed, want %d", report.Flows, want)
			}
			done <- err
		}()
		synctest.Wait() // for the first pause
		run.clock.advance(time.Second)
		run.apply(servers(1, 2)...)
		if took := time.Since(began); took != 0 {
			t.Errorf("a change has waited for %s", took)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got, want := time.Since(began), 2*partFlows*removalPace; got != want {
			t.Errorf("the scan was over after %s, want %s", got, want)
		}
		after, err := run.store.FlowClock()
		if err != nil || after-before != 1000 {
			t.Errorf("the clock of the records went on by %d ms, want 1000 (%v)", after-before, err)
		}
		if scan := run.rec.Tracking().Scan; scan != 0 {
			t.Errorf("the scan says that it took %s, want nothing by a clock that went on in a pause", scan)
		}
	})
}

// TestRemovalEnds: whoever stops the agent does not wait for a pause.
func TestRemovalEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newTrackRun(t, newFakeStore(t, benchLimits), server(1))
		for i := range partFlows {
			run.putOf(99, fmt.Sprintf("198.51.100.%d:%d", i%256, 1024+i/256), 0, 1)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := run.rec.Collect(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Millisecond {
			t.Errorf("Collect has ended after %s with %v", time.Since(began), err)
		}
	})
}
