/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * The records that each CPU found lately. A look-up in flows4 or flows6 costs
 * more than all else that becomes of a packet (docs/performance.md); one here is
 * inlined.
 *
 * What is kept has the flow_generation from before its look-up. After each change
 * that may send a flow elsewhere than its record said, or that wants records
 * written again, that goes up: a packet removes a record or changes its backend,
 * the agent removes records, changes a listener or lets the clock go on. So what
 * has the present one says what the record says, which is as fresh as the clock.
 */
#ifndef WEIR_FLOW_CACHE_H
#define WEIR_FLOW_CACHE_H

#include "hash.h"
#include "maps.h"

/* A flow's key, or the part of a packet that becomes one, as words. */
typedef __u64 __attribute__((may_alias)) key_word;

/* Make all CPUs look their records up again. It comes after the change. */
static __always_inline void drop_flow_caches(void)
{
	__u32 key = 0;
	__u32 *generation = bpf_map_lookup_elem(&flow_generation, &key);

	if (generation)
		__sync_fetch_and_add(generation, 1);
}

/* The entry of a flow, which may hold another. The hash alone would put all
 * flows of a client into one, where that is what slots are chosen by.
 */
static __always_inline struct flow_cache *flow_cache_entry(__u32 hash, __u32 ports)
{
	__u32 index = ((__u64)hash << 32 | ports) * HASH_MULTIPLIER >> (64 - FLOW_CACHE_BITS);

	return bpf_map_lookup_elem(&flow_cache, &index);
}

/* Compared without a branch each: the verifier follows every one of them. */
static __always_inline bool flow_cache_holds(const struct flow_cache *cached, const void *key,
					     __u32 size, __u32 listener, __u32 hash,
					     __u32 generation)
{
	const key_word *have = (const key_word *)&cached->key;
	const key_word *want = key;
	__u64 differ = (cached->key_size ^ size) | (cached->generation ^ generation) |
		       (cached->listener ^ listener) | (cached->hash ^ hash);

	for (__u32 i = 0; i < size / 8; i++)
		differ |= have[i] ^ want[i];
	return !differ;
}

static __always_inline void flow_cache_put(struct flow_cache *cached, const void *key, __u32 size,
					   __u32 listener, __u32 hash, __u16 backend,
					   __u32 generation)
{
	key_word *have = (key_word *)&cached->key;
	const key_word *want = key;

	cached->key_size = 0; /* not valid while half written */
	barrier();
	for (__u32 i = 0; i < size / 8; i++)
		have[i] = want[i];
	cached->generation = generation;
	cached->listener = listener;
	cached->hash = hash;
	cached->backend = backend;
	barrier();
	cached->key_size = size;
}

#endif
