// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package testutil

import (
	"testing"
	"time"
)

// WaitFor calls check every few milliseconds until it returns nil, and fails
// the test with its last error when that takes longer than timeout.
func WaitFor(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	if err := poll(timeout, check); err != nil {
		t.Fatalf("not within %v: %v", timeout, err)
	}
}

func poll(timeout time.Duration, check func() error) error {
	const interval = 5 * time.Millisecond
	deadline := time.Now().Add(timeout)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-ticker.C
	}
}
