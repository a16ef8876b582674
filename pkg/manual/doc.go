// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package manual holds tests that keep README.md, ARCHITECTURE.md and docs
// true: the commands of the quick starts are executed as they are written, and
// tables, examples, names and links are compared with the code.
//
// There is nothing else in it, and nothing imports it.
package manual
