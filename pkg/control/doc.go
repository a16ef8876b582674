// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package control is how a running agent is spoken to: HTTP and JSON over a
// unix socket. It holds both ends, and the rows that listings are made of,
// whether they come from an agent or from the pinned maps.
//
// It imports lb, config and dataplane, and neither agent nor cli: the agent
// is known to the server as the interface Agent.
package control
