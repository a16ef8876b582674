// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e is the test of the whole: the weir binary as people run it, in
// hosts made of network namespaces, with native XDP, real sockets and HTTP.
//
// It has tests only. They start the binary that the environment variable
// WEIR_BINARY names, else one that they build, and speak to it as its users do:
// by its command line, its socket, signals and packets.
//
// Each test makes a lab: a client, a balancer and backends on one switch. The
// balancers' addresses are on no host of that network but, once weir node runs
// there, on the loopback interfaces of the backends; the client has a route to
// the balancer's host for them.
package e2e
