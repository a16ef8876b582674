// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/lb"
)

func TestFirstChecksComeSoonAndSpread(t *testing.T) {
	for _, tt := range []struct {
		targets int
		within  time.Duration
	}{{10, 10 * time.Millisecond}, {5000, time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{})
			w.checker.Set(targets(tt.targets), nil)
			pass(time.Hour) // the time counts from Run, not from Set
			begin := time.Now()
			w.run()
			pass(tt.within)
			if decided, total := w.checker.Decided(); decided != total {
				t.Errorf("%d of %d targets decided after %s", decided, total, tt.within)
			}
			buckets := make([]int, 10)
			for _, starts := range w.starts {
				at := starts[0].Sub(begin)
				buckets[min(9, at*10/tt.within)]++
			}
			for i, n := range buckets {
				if tt.targets >= 1000 && n > tt.targets/10*13/10 {
					t.Errorf("%d first checks in tenth %d of the time: %v", n, i, buckets)
				}
			}
		})
	}
}

func TestIntervalsAreJittered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.set(func(context.Context, lb.Target) error { // the interval counts from start to start
			<-time.After(time.Second)
			return nil
		})
		w.checker.Set(targets(50), nil)
		w.run()
		pass(10 * time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		distinct := map[time.Duration]bool{}
		for tg, starts := range w.starts {
			for i := 1; i < len(starts); i++ {
				gap, least, most := starts[i].Sub(starts[i-1]), 9*time.Second-slack(10*time.Second), 11*time.Second
				if i == 1 {
					least, most = 5*time.Second-slack(10*time.Second), 10*time.Second
				}
				if gap < least || gap > most {
					t.Errorf("%s: check %d came %s after the one before, want %s to %s", tg.Address, i, gap, least, most)
				}
				distinct[gap.Round(100*time.Millisecond)] = true
			}
			if n := len(starts); n < 54 || n > 68 {
				t.Errorf("%s: %d checks in 10 minutes", tg.Address, n)
			}
		}
		if len(distinct) < 20 {
			t.Errorf("only %d distinct intervals", len(distinct))
		}
	})
}

func TestTimeoutBoundsTheCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.set(silent)
		w.checker.Set(targets(1), nil)
		w.run()
		pass(5 * time.Second)
		w.wantChanges("192.0.2.0:1 down context deadline exceeded")
		if s, _ := w.checker.Status(target(0)); s.Duration != 3*time.Second {
			t.Errorf("lasted %s, want the timeout", s.Duration)
		}
	})
}

func TestNeverTwoChecksOfATargetAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.set(func(context.Context, lb.Target) error {
			<-time.After(25 * time.Second) // longer than the interval, and deaf to its context
			return nil
		})
		w.checker.Set(append(targets(1), targets(1)...), nil)
		w.run()
		pass(101 * time.Second)
		if n := w.count(target(0)); n != 5 { // probe fails the test if two overlap
			t.Errorf("%d checks in 101 s, want one right after the other", n)
		}
		pass(25 * time.Second)
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newWorld(t, Options{MaxConcurrent: 3, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		w.set(silent)
		w.checker.Set(targets(30), nil)
		w.run()
		pass(31 * time.Second)
		for _, tg := range targets(30) {
			if w.count(tg) == 0 {
				t.Errorf("%s was not checked", tg.Address)
			}
		}
		pass(29 * time.Second)
		if w.most != 3 {
			t.Errorf("%d checks at once, want 3", w.most)
		}
		if n := strings.Count(log.String(), "health checks start late"); n != 1 {
			t.Errorf("lateness was logged %d times in a minute:\n%s", n, log.String())
		}
	})
}

func TestSetKeepsWhatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.checker.Set(targets(2), nil)
		w.run()
		pass(time.Second)
		w.wantChanges("192.0.2.0:1 up", "192.0.2.1:1 up")
		before, _ := w.checker.Status(target(0))
		for i := range 600 { // a reload every 100 ms must not keep checks from coming
			w.checker.Set([]lb.Target{target(0), target(2 + i%2)}, func(tg lb.Target) lb.Health {
				if tg == target(0) {
					t.Error("asked for the health of a target that stays")
				}
				return lb.HealthUp
			})
			if s, _ := w.checker.Status(target(0)); s.Since != before.Since {
				t.Fatalf("status began anew: %+v", s)
			}
			pass(100 * time.Millisecond)
		}
		if n := w.count(target(0)); n < 6 || n > 8 {
			t.Errorf("%d checks in 61 s", n)
		}
		w.wantChanges()
		if _, ok := w.checker.Status(target(1)); ok {
			t.Error("a removed target has a status")
		}
	})
}

func TestRemovedTargetStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.set(silent)
		w.checker.Set(targets(1), nil)
		w.run()
		pass(time.Second)
		if n := w.running[target(0)]; n != 1 {
			t.Fatalf("%d checks under way", n)
		}
		w.checker.Set(nil, nil)
		synctest.Wait()
		if n := w.running[target(0)]; n != 0 {
			t.Errorf("%d checks under way after the target has left", n)
		}
		pass(time.Minute)
		w.wantChanges()
		if n := w.count(target(0)); n != 1 {
			t.Errorf("%d checks", n)
		}

		// Back again, it begins like a new one.
		w.set(nil)
		w.checker.Set(targets(1), nil)
		pass(time.Second)
		w.wantChanges("192.0.2.0:1 up")
		if s, _ := w.checker.Status(target(0)); s.Successes != 1 || s.Failures != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestOnChangeMayUseTheChecker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		inside := 0
		w.onEvent = func(tg lb.Target, s Status) {
			if inside++; inside > 1 {
				t.Error("two calls at once")
			}
			if got, _ := w.checker.Status(tg); got.Health != s.Health {
				t.Errorf("status says %s during the report of %s", got.Health, s.Health)
			}
			<-time.After(time.Millisecond)
			// The rest leave before their turn comes: nothing is said of them.
			w.checker.Set([]lb.Target{tg}, nil)
			inside--
		}
		w.checker.Set(targets(100), nil)
		w.run()
		pass(time.Minute)
		w.mu.Lock()
		n := len(w.changes)
		w.mu.Unlock()
		if n != 1 {
			t.Errorf("%d changes were reported, want that of the one that stayed", n)
		}
	})
}

func TestRunStopsAndMayBeginAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.set(silent)
		w.checker.Set(targets(20), nil)
		for range 2 {
			// A parent's deadline is not a target's: nothing may fail by it.
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			done := make(chan error, 1)
			go func() { done <- w.checker.Run(ctx) }()
			pass(time.Second)
			if err := w.checker.Run(t.Context()); !errors.Is(err, ErrRunning) {
				t.Errorf("second Run: %v, want ErrRunning", err)
			}
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			cancel()
		}
		w.wantChanges()
		for tg, s := range w.checker.All() {
			if s.Failures != 0 || s.Err != "" || w.count(tg) != 2 {
				t.Errorf("%s: %+v after %d checks that were cut short", tg.Address, s, w.count(tg))
			}
		}
		w.set(nil)
		w.run()
		w.checker.Set(targets(21), nil)
		if err := w.checker.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestAnyHistory drives a checker through random sets and outcomes. Whatever
// happens: no two checks of a target at once (the probe sees to that), changes
// alternate, and in the end the reports and the statuses say the same.
func TestAnyHistory(t *testing.T) {
	type step struct {
		members, failing uint8 // a bit for each of eight targets
		pause            time.Duration
	}
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				members: rapid.Uint8().Draw(rt, "members"),
				failing: rapid.Uint8().Draw(rt, "failing"),
				pause:   time.Duration(rapid.Int64Range(0, int64(30*time.Second)).Draw(rt, "pause")),
			}
		}), 1, 20).Draw(rt, "steps")
		most := rapid.IntRange(1, 10).Draw(rt, "most")
		lasts := time.Duration(rapid.Int64Range(0, int64(4*time.Second)).Draw(rt, "lasts"))

		var wrong string
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{MaxConcurrent: most})
			known := map[lb.Target]lb.Health{}
			w.onEvent = func(tg lb.Target, s Status) {
				if known[tg] == s.Health {
					wrong = "the same health twice in a row"
				}
				known[tg] = s.Health
			}
			var members uint8
			w.run()
			for _, s := range steps {
				w.set(func(ctx context.Context, tg lb.Target) error {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(lasts):
					}
					if s.failing&(1<<(tg.Address.Addr().As4()[3])) != 0 {
						return errDown
					}
					return nil
				})
				var set []lb.Target
				for i := range 8 {
					if s.members&(1<<i) != 0 {
						set = append(set, target(i))
					} else if members&(1<<i) != 0 {
						delete(known, target(i))
					}
				}
				members = s.members
				w.checker.Set(set, nil)
				pass(s.pause)
			}
			if w.most > most {
				wrong = "more checks at once than allowed"
			}
			for tg, s := range w.checker.All() {
				if known[tg] != s.Health {
					wrong = "status says " + s.Health.String() + ", reports said " + known[tg].String()
				}
			}
		})
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}
