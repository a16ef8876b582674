// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line: one file for each command. Nouns read,
// verbs write; what a command does is in the packages below, what it says and
// how is here.
//
// It is the only package that imports github.com/urfave/cli. Everything that a
// command touches of the process it runs in comes in an Environment.
package cli
