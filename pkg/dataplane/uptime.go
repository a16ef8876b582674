// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"time"

	"golang.org/x/sys/unix"
)

// Uptime returns how long ago the machine was started, suspension included: the
// clock of Backend.ModeSince, which no clock that somebody sets can change. The
// tables do not outlive it.
func Uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // no kernel that Weir runs on is without
	}
	return time.Duration(ts.Nano())
}
