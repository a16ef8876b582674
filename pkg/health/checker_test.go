// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
)

var errDown = errors.New("connection refused")

// target returns the i-th target, checked every 10 s.
func target(i int) lb.Target {
	addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	return lb.Target{
		Address: netip.AddrPortFrom(addr, uint16(1+i>>8)),
		Check: lb.Check{
			Type: lb.CheckConnection, Interval: 10 * time.Second, Timeout: 3 * time.Second, Fall: 2, Rise: 2,
		},
	}
}

func targets(n int) []lb.Target {
	all := make([]lb.Target, n)
	for i := range all {
		all[i] = target(i)
	}
	return all
}

// world plays the targets to a checker: it says how each check ends, and keeps
// what was asked and reported.
type world struct {
	t       *testing.T
	checker *Checker

	mu      sync.Mutex
	answer  func(context.Context, lb.Target) error // nil: passes at once
	starts  map[lb.Target][]time.Time
	running map[lb.Target]int
	most    int // checks that ran at once
	changes []string
	onEvent func(lb.Target, Status)
}

// newWorld returns a world with a running checker. It must be called in a
// synctest bubble; the checker stops at the end of the test.
func newWorld(t *testing.T, o Options) *world {
	w := &world{t: t, starts: map[lb.Target][]time.Time{}, running: map[lb.Target]int{}}
	o.Probe = func(lb.Check) Probe { return w.probe }
	o.OnChange = w.change
	w.checker = New(o)
	return w
}

// run starts the checker, which stops at the end of the test.
func (w *world) run() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.checker.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for t, n := range w.running {
			if n != 0 {
				w.t.Errorf("%d checks of %s outlived Run", n, t.Address)
			}
		}
	})
}

func (w *world) probe(ctx context.Context, t lb.Target) error {
	w.mu.Lock()
	w.starts[t] = append(w.starts[t], time.Now())
	w.running[t]++
	total := 0
	for _, n := range w.running {
		total += n
	}
	w.most = max(w.most, total)
	if w.running[t] > 1 {
		w.t.Errorf("%d checks of %s at once", w.running[t], t.Address)
	}
	answer := w.answer
	w.mu.Unlock()

	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.running[t]--
	}()
	if answer == nil {
		return nil
	}
	return answer(ctx, t)
}

func (w *world) change(t lb.Target, s Status) {
	if !s.Since.Equal(time.Now()) || !s.LastCheck.Equal(time.Now()) {
		w.t.Errorf("%s was reported %s after the result that decided it", t.Address, time.Since(s.LastCheck))
	}
	w.mu.Lock()
	w.changes = append(w.changes, strings.TrimSpace(fmt.Sprintf("%s %s %s", t.Address, s.Health, s.Err)))
	onEvent := w.onEvent
	w.mu.Unlock()
	if onEvent != nil {
		onEvent(t, s)
	}
}

// set makes answer how checks end from now on.
func (w *world) set(answer func(context.Context, lb.Target) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

// wantChanges compares all that was reported since the last call, target by
// target.
func (w *world) wantChanges(want ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.changes, func(a, b string) int {
		return strings.Compare(strings.Fields(a)[0], strings.Fields(b)[0])
	})
	if diff := cmp.Diff(want, w.changes); diff != "" {
		w.t.Errorf("reported changes (-want +got):\n%s", diff)
	}
	w.changes = nil
}

// count returns how many checks of t were started.
func (w *world) count(t lb.Target) int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.starts[t])
}

func failing(context.Context, lb.Target) error { return errDown }

// silent answers nothing until the check's time is up.
func silent(ctx context.Context, _ lb.Target) error {
	<-ctx.Done()
	return ctx.Err()
}

// pass lets time pass. The bubble's clock stands still while anything runs.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestChangesAreReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.checker.Set(targets(1), nil)
		w.run()
		pass(time.Second)
		w.wantChanges("192.0.2.0:1 up")
		pass(time.Minute)
		w.wantChanges()

		w.set(failing)
		pass(time.Minute)
		w.wantChanges("192.0.2.0:1 down connection refused")
		s, ok := w.checker.Status(target(0))
		if !ok || s.Health != lb.HealthDown || s.Err != "connection refused" || s.Failures < 4 || s.Successes < 4 {
			t.Errorf("status %+v, %t", s, ok)
		}

		w.set(nil)
		pass(time.Minute)
		w.wantChanges("192.0.2.0:1 up")
		if s, _ := w.checker.Status(target(0)); s.Err != "" {
			t.Errorf("up, but still says %q", s.Err)
		}
	})
}

func TestFallAndRiseCountResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		var results []error
		w.set(func(context.Context, lb.Target) error {
			if len(results) == 0 {
				return nil
			}
			r := results[0]
			results = results[1:]
			return r
		})
		tg := target(0)
		tg.Check.Fall, tg.Check.Rise = 3, 2
		results = []error{nil, errDown, errDown, nil, errDown, errDown, errDown, nil, errDown, nil, nil}
		w.checker.Set([]lb.Target{tg}, nil)
		w.run()
		pass(11*11*time.Second + time.Second)
		w.wantChanges("192.0.2.0:1 up", "192.0.2.0:1 down connection refused", "192.0.2.0:1 up")
	})
}

func TestInitialHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.set(failing)
		w.checker.Set(targets(3), func(t lb.Target) lb.Health {
			switch t {
			case target(0):
				return lb.HealthUp
			case target(1):
				return lb.HealthDown
			}
			return lb.HealthUnknown
		})
		if s, _ := w.checker.Status(target(0)); s.Health != lb.HealthUp || !s.Since.Equal(time.Now()) {
			t.Errorf("status before the first check: %+v", s)
		}
		w.run()
		pass(time.Second)
		w.wantChanges("192.0.2.2:1 down connection refused")
		pass(11 * time.Second)
		w.wantChanges("192.0.2.0:1 down connection refused")
	})
}

func TestTypeNoneIsUpWithoutChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		tg := target(0)
		tg.Check.Type = lb.CheckNone
		w.checker.Set([]lb.Target{tg}, func(lb.Target) lb.Health { return lb.HealthDown })
		if s, ok := w.checker.Status(tg); !ok || s.Health != lb.HealthUp {
			t.Errorf("status %+v, %t", s, ok)
		}
		if decided, total := w.checker.Decided(); decided != 1 || total != 1 {
			t.Errorf("%d of %d decided", decided, total)
		}
		w.run()
		pass(time.Hour)
		w.wantChanges()
		if n := w.count(tg); n != 0 {
			t.Errorf("%d checks", n)
		}
	})
}

func TestInconclusiveChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newWorld(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		w.checker.Set(targets(2), nil)
		w.run()
		pass(time.Second)
		w.wantChanges("192.0.2.0:1 up", "192.0.2.1:1 up")
		before, _ := w.checker.Status(target(0))

		w.set(func(context.Context, lb.Target) error {
			return fmt.Errorf("%w: too many open files", ErrInconclusive)
		})
		pass(time.Minute - time.Second)
		w.wantChanges()
		s, _ := w.checker.Status(target(0))
		want := before
		want.LastCheck = s.LastCheck
		want.Err = "no verdict, this host is short of resources: too many open files"
		if diff := cmp.Diff(want, s); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		if n := strings.Count(log.String(), "without a verdict"); n != 1 {
			t.Errorf("logged %d times in a minute:\n%s", n, log.String())
		}
	})
}

func TestStatusOfUnknownTarget(t *testing.T) {
	c := New(Options{})
	if s, ok := c.Status(target(0)); ok || s != (Status{}) {
		t.Errorf("status %+v, %t", s, ok)
	}
	for range c.All() {
		t.Error("a target in an empty set")
	}
}

func TestAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		w.set(func(_ context.Context, tg lb.Target) error {
			if tg == target(1) {
				return errDown
			}
			return nil
		})
		w.checker.Set(targets(3), nil)
		w.run()
		pass(time.Second)
		got := map[lb.Target]lb.Health{}
		for tg, s := range w.checker.All() {
			got[tg] = s.Health
			w.checker.Status(tg) // the lock is not held meanwhile
		}
		want := map[lb.Target]lb.Health{target(0): lb.HealthUp, target(1): lb.HealthDown, target(2): lb.HealthUp}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for range w.checker.All() {
			break
		}
	})
}

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		if err := w.checker.Ready(t.Context()); err != nil {
			t.Errorf("empty set: %v", err)
		}
		w.set(func(ctx context.Context, tg lb.Target) error {
			if tg == target(2) {
				return silent(ctx, tg)
			}
			return nil
		})
		w.checker.Set(targets(3), func(lb.Target) lb.Health { return lb.HealthUp })
		w.run()
		pass(time.Second)
		if decided, total := w.checker.Decided(); decided != 2 || total != 3 {
			t.Errorf("%d of %d decided, want 2 of 3", decided, total)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.checker.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Ready: %v, want the context's error", err)
		}
		start := time.Now()
		if err := w.checker.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		if waited := time.Since(start); waited > 2*time.Second {
			t.Errorf("ready after %s, want the silent target's timeout", waited)
		}

		// A target that leaves undecided is waited for no longer.
		w.checker.Set(append(targets(2), target(9)), nil)
		w.set(silent)
		ready := make(chan error, 1)
		go func() { ready <- w.checker.Ready(t.Context()) }()
		synctest.Wait()
		w.checker.Set(targets(2), nil)
		synctest.Wait()
		select {
		case err := <-ready:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("still waits for a target that left")
		}
	})
}
