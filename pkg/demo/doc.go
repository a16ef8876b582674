// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package demo shows Weir at work on one machine: a client, a balancer and
// backends, each a network namespace, on one switch. Everything in it is real:
// the agent and the nodes are processes of the weir binary, packets pass
// through native XDP, and the client speaks HTTP.
//
// It imports netdev and control, and is called by cli.
package demo
