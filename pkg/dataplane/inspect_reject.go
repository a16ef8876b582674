// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"time"
)

// RejectBucket is what a CPU knows of the packets that it may still answer
// instead of dropping them.
type RejectBucket struct {
	CPU     int
	Answers uint64        // left when the CPU wanted to answer last
	Filled  time.Duration // since boot: up to when answers were added
}

// RejectBuckets returns the buckets of the CPUs that have answered, in the order
// of their numbers. A CPU without one has all of its answers left.
func (t *Tables) RejectBuckets() ([]RejectBucket, error) {
	m, key := t.maps.RejectBucket, uint32(0)
	var values []weirRejectBucket
	if err := m.Lookup(&key, &values); err != nil {
		return nil, fmt.Errorf("reading %s: %w", m, err)
	}
	var buckets []RejectBucket
	for cpu, v := range values {
		if v.Filled != 0 {
			buckets = append(buckets, RejectBucket{CPU: cpu, Answers: v.Answers, Filled: time.Duration(v.Filled)})
		}
	}
	return buckets, nil
}
