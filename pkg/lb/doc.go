// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package lb holds the words of Weir as values: balancer, listener, backend,
// health check. They are plain data on net/netip that every other package
// shares; nothing here reads a file, opens a socket or knows a BPF map.
//
// It imports the standard library only, and no other package of Weir.
package lb
