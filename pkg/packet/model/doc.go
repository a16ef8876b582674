// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package model says in plain Go what the data plane must do with a packet. It
// is written from the rules, not from the C, and is slow and clear where that
// is fast: tests send the same frames through both and compare.
//
// As the data plane, a model remembers flows in slots that are not steady. What
// it remembers is in its Config, open to tests, which play the agent's part.
// A Config is for one goroutine at a time.
//
// It is for tests and for nothing else. It imports the standard library,
// pkg/lb, pkg/maglev and pkg/packet.
package model
