/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * Embryonic records: flows in slots on the move of which only SYNs were seen. A
 * new record takes the place of whatever shares its index, so that a flood costs
 * neither memory nor time, and established flows lie elsewhere.
 */
#ifndef WEIR_EMBRYONIC_H
#define WEIR_EMBRYONIC_H

#include "hash.h"
#include "maps.h"

#define EMBRYONIC_TAG_MASK (~0ULL << EMBRYONIC_TAG_SHIFT)

/* The hash that names a flow here. The listener is in it, because the backend
 * of a record is one of that listener's pool.
 */
static __always_inline __u64 embryonic_hash(__u64 flow_hash, __u32 listener)
{
	return hash_fold(flow_hash, listener);
}

static __always_inline volatile __u64 *embryonic_word(__u64 hash)
{
	__u32 index = hash & (EMBRYONIC_MAX - 1);

	return bpf_map_lookup_elem(&embryonic, &index);
}

/* The backend of the record of a flow, 0 if there is none. */
static __always_inline __u32 embryonic_find(__u64 hash)
{
	volatile __u64 *word = embryonic_word(hash);
	__u64 value = word ? *word : 0;

	if ((value ^ hash) & EMBRYONIC_TAG_MASK)
		return 0;
	return value & SLOT_BACKEND_MASK;
}

static __always_inline void embryonic_put(__u64 hash, __u32 backend, __u32 now)
{
	volatile __u64 *word = embryonic_word(hash);
	__u8 stamp = now >> EMBRYONIC_STAMP_UNIT_BITS;

	if (word)
		*word = (hash & EMBRYONIC_TAG_MASK) | (__u64)stamp << EMBRYONIC_STAMP_SHIFT |
			backend;
}

/* Remove a record that was found. */
static __always_inline void embryonic_clear(__u64 hash)
{
	volatile __u64 *word = embryonic_word(hash);

	if (word)
		*word = 0;
}

#endif
