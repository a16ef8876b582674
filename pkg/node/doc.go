// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package node is what runs on a backend host: it has the host hold the VIPs
// and take packets for them out of the tunnel in which balancers send them. It
// undoes all of it when it stops.
//
// It stands beside package agent, imports dataplane, netdev and metrics, and
// neither agent nor cli.
package node
