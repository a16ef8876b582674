// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package plan is what the host tells the guest of a virtual machine to do, and
// what the guest reports back, both as JSON.
package plan

import "time"

// Path is where the guest finds its plan.
const Path = "/plan.json"

// Reports is the device that the guest writes one Report a line to. It is not
// the console, where the kernel may write between any two bytes.
const Reports = "/dev/ttyS1"

// Plan is the tests to run, one after the other.
type Plan struct {
	Env   []string
	Tests []Test
}

// Test is the test binary of one package.
type Test struct {
	Package string   // import path
	Dir     string   // where the binary runs, as go test would have it
	Command []string // the binary and its arguments
}

// Report says how a test ended.
type Report struct {
	Package string
	Passed  bool
	Message string // how it ended, if not well
	Took    time.Duration
}
