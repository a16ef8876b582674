/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* From a packet's hash to its slot and to the backend of that slot. */
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

/* The hash that decides on the slot. */
static __always_inline __u64 packet_hash(const struct packet *pkt, const struct listener *listener)
{
	if (!hashes_source(listener))
		return flow_hash(pkt);
	if (pkt->ipv6)
		return hash_source6(hash_seed, pkt->ip6->saddr.s6_addr32);
	return hash_source4(hash_seed, pkt->ip4->saddr);
}

/* The hash that an outer header varies with: the flow's, whatever decided on
 * the slot, given the one that did.
 */
static __always_inline __u64 outer_hash(const struct packet *pkt, const struct listener *listener,
					__u64 hash)
{
	return hashes_source(listener) ? flow_hash(pkt) : hash;
}

/* The backend of the slot that the hash falls into, which is the empty entry 0
 * of the pool where the listener has no usable backend. NULL if the listener
 * or the slot names what does not exist.
 */
static __always_inline struct backend *slot_backend(const struct listener *listener, __u64 hash)
{
	__u32 slot = listener->slots + hash_slot(hash, listener->table_size);
	__u32 line_index = slot / SLOTS_PER_LINE;
	struct slot_line *line = bpf_map_lookup_elem(&slots, &line_index);
	__u32 id, backend_index;

	if (!line)
		return NULL;
	id = *(volatile __u32 *)&line->slot[slot % SLOTS_PER_LINE] & SLOT_BACKEND_MASK;
	if (id >= listener->pool_size)
		return NULL;
	backend_index = listener->pool + id;
	return bpf_map_lookup_elem(&backends, &backend_index);
}

#endif
