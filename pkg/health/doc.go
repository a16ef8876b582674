// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package health finds out which targets are up. A Checker is given a set of
// targets (an address and how to check it), runs their checks at their
// intervals, and reports each change of health.
//
// The parts, each in its own file: the rule by which results become health
// (state.go), when checks run (queue.go, checker.go, run.go), and what a check
// is (probe.go, with one file for each kind).
//
// It imports pkg/lb and no other package of Weir: what a change means for
// slots and maps is decided above.
package health
