// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
)

// ErrFull is wrapped by errors about a state that does not fit the tables.
var ErrFull = errors.New("table full")

// FullError says which table is too small for a state, and by how much. What a
// change replaces stays beside what it brings until no packet uses it, so that
// a change can need more than the state does at rest.
type FullError struct {
	Table  string // what is full
	Needed uint64 // entries that the change needs, with what it replaces
	Limit  uint64 // entries that fit
	Held   uint64 // of Needed, entries out of use that are free after the grace period
	Run    uint64 // if not 0: Needed would fit, but nowhere are so many free in one piece
	Key    string // configuration key that raises the limit; empty if nothing does
}

// Error names the table, the figures and the remedy.
func (e *FullError) Error() string {
	msg := fmt.Sprintf("%s: %d needed, %d fit", e.Table, e.Needed, e.Limit)
	if e.Run != 0 {
		msg = fmt.Sprintf("%s: %d needed in one piece, the %d of %d that are free are scattered",
			e.Table, e.Run, e.Limit+e.Run-e.Needed, e.Limit)
	}
	if e.Held != 0 {
		msg += fmt.Sprintf(" (%d of them are free in a moment)", e.Held)
	}
	if e.Key == "" {
		return msg
	}
	return fmt.Sprintf("%s: raise %s", msg, e.Key)
}

// Unwrap returns ErrFull.
func (e *FullError) Unwrap() error { return ErrFull }

// Configuration keys of the limits.
const (
	keyListeners = "agent.limits.listeners"
	keyBackends  = "agent.limits.backends"
	keySlots     = "agent.limits.slots"
)
