/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* From a packet's hash to its slot, and what a slot says. */
#ifndef WEIR_SLOT_H
#define WEIR_SLOT_H

#include "config.h"
#include "hash.h"
#include "maps.h"
#include "parse.h"

static __always_inline bool hashes_source(const struct listener *listener)
{
	return use_source_hash && (listener->flags & LISTENER_HASH_SOURCE);
}

static __always_inline __u64 flow_hash(const struct packet *pkt)
{
	if (pkt->ipv6)
		return hash_flow6(hash_seed, pkt->ip6->saddr.s6_addr32, pkt->ip6->daddr.s6_addr32,
				  pkt->ports, pkt->protocol);
	return hash_flow4(hash_seed, pkt->ip4->saddr, pkt->ip4->daddr, pkt->ports, pkt->protocol);
}

static __always_inline __u64 source_hash(const struct packet *pkt)
{
	if (pkt->ipv6)
		return hash_source6(hash_seed, pkt->ip6->saddr.s6_addr32);
	return hash_source4(hash_seed, pkt->ip4->saddr);
}

/* The hash that decides on the slot. */
static __always_inline __u64 packet_hash(const struct packet *pkt, const struct listener *listener)
{
	return hashes_source(listener) ? source_hash(pkt) : flow_hash(pkt);
}

/* The hash that an outer header varies with: the flow's, whatever decided on
 * the slot, given the one that did.
 */
static __always_inline __u64 outer_hash(const struct packet *pkt, const struct listener *listener,
					__u64 hash)
{
	return hashes_source(listener) ? flow_hash(pkt) : hash;
}

/* Slot number index of all tables, at once. false if there is no such slot. */
static __always_inline bool read_slot(__u32 index, __u32 *slot)
{
	__u32 line_index = index / SLOTS_PER_LINE;
	struct slot_line *line = bpf_map_lookup_elem(&slots, &line_index);

	if (!line)
		return false;
	*slot = *(volatile __u32 *)&line->slot[index % SLOTS_PER_LINE];
	return true;
}

static __always_inline __u32 slot_current(__u32 slot)
{
	return slot & SLOT_BACKEND_MASK;
}

static __always_inline __u32 slot_previous(__u32 slot)
{
	return slot >> SLOT_PREVIOUS_SHIFT & SLOT_BACKEND_MASK;
}

/* Steady: previous is current and the slot is not tracked. Its flows are all on
 * current, and nothing needs to be known of them. (The tracked bit, shifted, is
 * above all that current can be.)
 */
static __always_inline bool slot_is_steady(__u32 slot)
{
	return slot >> SLOT_PREVIOUS_SHIFT == slot_current(slot);
}

/* Entry id of the pool of a listener: empty if id is 0, which is where slots
 * without a usable backend lead. NULL if it does not exist.
 */
static __always_inline struct backend *pool_entry(const struct listener *listener, __u32 id)
{
	__u32 index = listener->pool + id;

	if (id >= listener->pool_size)
		return NULL;
	return bpf_map_lookup_elem(&backends, &index);
}

#endif
