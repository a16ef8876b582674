// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package bench measures what a packet costs in the data plane, and what a
// change costs in the agent. All of it is in its tests: `make bench` runs it
// and docs/performance.md says how to read what it prints.
//
// No other package imports it.
package bench
