// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package config reads the configuration file: it turns YAML into the values
// of package lb and the settings of the agent, fills in defaults, and finds
// every mistake, each with its line, column and key. Nothing that a file says
// is ignored: what this version does not do is refused.
//
// It imports package lb and no other package of Weir. It touches no kernel
// state and needs no privileges, so that a file can be checked anywhere.
package config
