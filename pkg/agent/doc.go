// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package agent is the running load balancer: it brings the configuration, the
// results of the health checks and the next hops of the backends together into
// one desired state, and has package reconcile make the kernel's tables follow.
//
// It decides when something happens, and as little as possible of what: which
// backend takes which slot is reconcile's, how a packet travels the data
// plane's. It imports no cli.
package agent
