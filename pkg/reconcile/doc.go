// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package reconcile brings the kernel's tables in line with a desired state:
// it gives out identifiers, ranges of slots and pools, builds the tables, and
// writes only what differs, in an order in which no packet meets half a
// change.
//
// The tables are the only memory. Open reads from them what an agent before
// this one left, at whatever instant it was killed, and an Apply finishes what
// another began. What is taken out of use is held back for a grace period
// before it is used again, because a packet under way may still refer to it.
//
// It imports pkg/lb, pkg/maglev and pkg/dataplane (the types of the entries,
// never its maps), and none of the packages that use it.
package reconcile
