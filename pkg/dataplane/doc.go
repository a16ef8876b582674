// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package dataplane is the Go side of the XDP programs: it loads them, attaches
// them by links, pins links and maps under a path of bpffs so that they outlive
// the agent, and reads and writes the maps.
//
// It is the only package that knows byte order and the types generated from C;
// what it takes and returns speaks net/netip and the words of package lb. It
// decides nothing: which backend stands in which slot is package reconcile's.
//
// It imports lb and github.com/cilium/ebpf, and none of config, maglev, health,
// netdev or anything above them.
package dataplane
