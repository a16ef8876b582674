// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
)

const (
	// partFlows is how many records a scan looks at while changes wait. To remove
	// as many takes the kernel most of a millisecond.
	partFlows = 1024

	// removalPace is how much time a scan takes for each record that it removes.
	// The kernel frees what was removed a few tenths of a second later, all that
	// has come together at once and with interrupts off: a million took it 50 ms,
	// in which that CPU saw no packet. At this pace it is 3 ms.
	removalPace = 20 * time.Microsecond
)

// pacer makes pauses in a scan that removes many records.
type pacer struct {
	removed int           // since the last pause
	rested  time.Duration // in all pauses
}

// lookAt judges some records, and pauses if too many were removed.
func (s *scanner) lookAt(ctx context.Context, flows []dataplane.Flow) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.judge(flows); err != nil || s.pacer.removed < partFlows {
		return err
	}
	return s.rest(ctx)
}

// rest waits for as long as the records that were removed since the last time
// should have taken. Packets stamp records meanwhile, so their clock goes on.
func (s *scanner) rest(ctx context.Context) error {
	began := s.clock()
	timer := time.NewTimer(time.Duration(s.pacer.removed) * removalPace)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	s.pacer.removed = 0
	s.pacer.rested += s.clock().Sub(began)
	return s.advance()
}
