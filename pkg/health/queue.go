// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"github.com/weirlb/weir/pkg/lb"
)

const (
	// firstSpread is the time over which the first checks of many new targets
	// are spread, and firstSpreadEach what one target adds until that is
	// reached: a few new backends are decided at once, ten thousand within a
	// second.
	firstSpread     = time.Second
	firstSpreadEach = time.Millisecond

	// minInterval bounds what a check without an interval costs.
	minInterval = 10 * time.Millisecond
)

// firstDelay returns how long to wait for the first check of a target that is
// one of n new ones. Checks over TLS are spread over as much as an interval: a
// handshake costs so much that thousands in a second would time each other out.
func firstDelay(c lb.Check, n int) time.Duration {
	spread := min(time.Duration(n)*firstSpreadEach, c.Interval)
	if c.Type != lb.CheckHTTPS && c.Type != lb.CheckHTTPSBody {
		spread = min(spread, firstSpread)
	}
	return rand.N(max(spread, 1))
}

// nextDelay returns the time from the start of a check to the start of the
// next one, when checks of the target have been started before.
//
// The jitter of a tenth either way keeps targets, and balancers that check the
// same backend, from marching in step. The second check comes after half an
// interval to a whole one, or else the burst of first checks would come back
// at every interval until the jitter has washed it out.
func nextDelay(interval time.Duration, checks uint64) time.Duration {
	interval = max(interval, minInterval)
	if checks == 1 {
		return interval/2 + rand.N(interval/2+1)
	}
	return interval - interval/10 + rand.N(interval/5+1)
}

// queue holds the targets that wait for their next check, the earliest first.
type queue struct{ h dueHeap }

func (q *queue) len() int { return len(q.h) }

// first returns the target that is due first, or nil.
func (q *queue) first() *entry {
	if len(q.h) == 0 {
		return nil
	}
	return q.h[0]
}

// push adds e, which is not in the queue.
func (q *queue) push(e *entry) { heap.Push(&q.h, e) }

// pop removes the first target and returns it.
func (q *queue) pop() *entry { return heap.Pop(&q.h).(*entry) }

// remove takes e out if it is in the queue.
func (q *queue) remove(e *entry) {
	if e.position != unqueued {
		heap.Remove(&q.h, e.position)
	}
}

// unqueued is the position of an entry that is not in the queue.
const unqueued = -1

// dueHeap implements heap.Interface and tells each entry its position, so that
// one can be removed from the middle.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}

func (h *dueHeap) Push(x any) {
	e := x.(*entry)
	e.position = len(*h)
	*h = append(*h, e)
}

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.position = unqueued
	return e
}
