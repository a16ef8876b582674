// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package maglev decides which backend a packet goes to: a consistent-hash
// table after Maglev (Eisenbud et al., NSDI 2016, section 3.4), and the hash
// that finds the slot of a packet in it. Both are pure functions of their
// arguments, so that every balancer with the same configuration decides alike.
//
// The hash exists twice, here and in bpf/lib/hash.h; testdata/hash_vectors.json
// holds values that both must give.
//
// It imports the standard library only, and no other package of Weir.
package maglev
