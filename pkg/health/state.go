// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import "github.com/weirlb/weir/pkg/lb"

// state is what the results so far say of a target. It changes by next alone,
// which depends on nothing but its arguments.
type state struct {
	health  lb.Health
	against int // results in a row that speak against health
}

// next returns the state after one more result. The first result of an
// unknown target decides at once; then it takes fall failures in a row to
// bring a target down, and rise successes in a row to bring it back.
func (s state) next(passed bool, fall, rise int) state {
	seen, needed := lb.HealthDown, fall
	if passed {
		seen, needed = lb.HealthUp, rise
	}
	if s.health == seen {
		return state{health: seen}
	}
	s.against++
	if s.health == lb.HealthUnknown || s.against >= needed {
		return state{health: seen}
	}
	return s
}
