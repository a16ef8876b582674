// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/lb"
)

func TestDelaysStayWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval := time.Duration(rapid.Int64Range(int64(minInterval), int64(time.Hour)).Draw(t, "interval"))
		n := rapid.IntRange(1, 20_000).Draw(t, "targets")

		first := firstDelay(lb.Check{Type: lb.CheckHTTP, Interval: interval}, n)
		if first < 0 || first > min(interval, time.Second, time.Duration(n)*time.Millisecond) {
			t.Errorf("first delay %s", first)
		}
		first = firstDelay(lb.Check{Type: lb.CheckHTTPS, Interval: interval}, n)
		if first < 0 || first > min(interval, time.Duration(n)*time.Millisecond) {
			t.Errorf("first delay over TLS %s", first)
		}
		if second := nextDelay(interval, 1); second < interval/2 || second > interval {
			t.Errorf("second delay %s", second)
		}
		if later := nextDelay(interval, 2); later < interval*9/10 || later > interval*11/10+1 {
			t.Errorf("later delay %s", later)
		}
	})
}

func TestDelayOfNoInterval(t *testing.T) {
	for _, checks := range []uint64{1, 2} {
		if d := nextDelay(0, checks); d < minInterval/2 {
			t.Errorf("delay %s after %d checks would spin", d, checks)
		}
	}
	if d := firstDelay(lb.Check{}, 1); d != 0 {
		t.Errorf("first delay %s", d)
	}
}

// TestQueueOrder pushes, removes and pops at random, and compares with the
// earliest of a plain list.
func TestQueueOrder(t *testing.T) {
	epoch := time.Unix(0, 0)
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		waiting := map[*entry]bool{}
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				e := &entry{due: epoch.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "due"))), position: unqueued}
				q.push(e)
				waiting[e] = true
			case 2:
				for e := range waiting { // any
					q.remove(e)
					q.remove(e) // not there any more: nothing happens
					delete(waiting, e)
					break
				}
			case 3:
				if len(waiting) > 0 {
					delete(waiting, q.pop())
				}
			}
			if q.len() != len(waiting) {
				t.Fatalf("%d in the queue, want %d", q.len(), len(waiting))
			}
			first := q.first()
			for e := range waiting {
				if first == nil || e.due.Before(first.due) {
					t.Fatalf("first is %v, but %v waits", first, e)
				}
			}
		}
	})
}
