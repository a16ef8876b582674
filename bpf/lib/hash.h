/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * The seeded hash of a flow or of a client, and the slot it falls into.
 *
 * pkg/maglev/hash.go computes the same values. Words are taken as they lie in
 * the packet, so hashes agree among little-endian machines. No map access.
 */
#ifndef WEIR_HASH_H
#define WEIR_HASH_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* 2^64 divided by the golden ratio, which is odd. */
#define HASH_MULTIPLIER 0x9e3779b97f4a7c15ULL

/* Half an IPv6 address, loaded at once. The address must lie in the packet:
 * on the stack such a load would have to be aligned to 8 bytes.
 */
typedef __u64 __attribute__((may_alias, aligned(8))) hash_word;

/* Takes word into the hash h; with either held, a bijection of the other. */
static __always_inline __u64 hash_fold(__u64 h, __u64 word)
{
	h = (h ^ word) * HASH_MULTIPLIER;
	return h ^ h >> 32;
}

/* Takes in ports and protocol, which ends the hash of a flow. */
static __always_inline __u64 hash_l4(__u64 h, __u32 ports, __u8 protocol)
{
	h = hash_fold(h, (__u64)protocol << 32 | ports);
	return hash_fold(h, 0);
}

/* The hash of an IPv4 flow. ports are both ports as one 32-bit load from the
 * start of the L4 header gives them.
 */
static __always_inline __u64 hash_flow4(__u64 seed, __be32 saddr, __be32 daddr, __u32 ports,
					__u8 protocol)
{
	__u64 h = hash_fold(seed, (__u64)saddr << 32 | daddr);

	return hash_l4(h, ports, protocol);
}

/* The hash of an IPv6 flow. saddr and daddr point into the packet. */
static __always_inline __u64 hash_flow6(__u64 seed, const __be32 saddr[4], const __be32 daddr[4],
					__u32 ports, __u8 protocol)
{
	const hash_word *s = (const hash_word *)saddr;
	const hash_word *d = (const hash_word *)daddr;
	__u64 h = hash_fold(hash_fold(seed, s[0]), s[1]);

	/* Beside, not after, the fold of the source: both run at once. */
	h ^= hash_fold(d[0] * HASH_MULTIPLIER, d[1]);
	return hash_l4(h, ports, protocol);
}

/* The hash of an IPv4 client. */
static __always_inline __u64 hash_source4(__u64 seed, __be32 saddr)
{
	return hash_fold(hash_fold(hash_fold(seed, saddr), 0), 0);
}

/* The hash of an IPv6 client. saddr points into the packet. */
static __always_inline __u64 hash_source6(__u64 seed, const __be32 saddr[4])
{
	const hash_word *s = (const hash_word *)saddr;
	__u64 h = hash_fold(hash_fold(seed, s[0]), s[1]);

	return hash_fold(hash_fold(h, 0), 0);
}

/* The slot of a hash in a table of table_size slots; reads the upper half. */
static __always_inline __u32 hash_slot(__u64 hash, __u32 table_size)
{
	return (hash >> 32) * table_size >> 32;
}

#endif
