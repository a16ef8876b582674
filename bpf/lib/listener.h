/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* Whom a packet is for: the listener of its address and port, or the balancer
 * that holds its address.
 */
#ifndef WEIR_LISTENER_H
#define WEIR_LISTENER_H

#include "maps.h"
#include "parse.h"

/*
 * A look-up in a hash map is a function call, and costs a third of all that
 * happens to a packet (docs/performance.md); one in an array is inlined. So
 * each CPU keeps the listeners that it found in an array of its own.
 *
 * The agent changes a hash map first and listener_generation after it. What is
 * kept here has the generation from before its look-up: if that is still the
 * present one, the hash map says the same.
 */

/* 2^64 divided by the golden ratio, which is odd. */
#define CACHE_MULTIPLIER 0x9e3779b97f4a7c15ULL

static __always_inline __u32 cache_index(__u64 key)
{
	return key * CACHE_MULTIPLIER >> (64 - LISTENER_CACHE_BITS);
}

static __always_inline __u32 listener_generation_now(void)
{
	__u32 key = 0;
	__u32 *generation = bpf_map_lookup_elem(&listener_generation, &key);

	return generation ? *(volatile __u32 *)generation : 0;
}

static __always_inline struct listener *listener_lookup4(const struct packet *pkt)
{
	struct listener4_key key = {
		.address = pkt->ip4->daddr,
		.port = destination_port(pkt),
		.protocol = pkt->protocol,
	};
	__u64 words = (__u64)key.address << 32 | (__u32)key.port << 8 | key.protocol;
	__u32 generation = listener_generation_now();
	__u32 index = cache_index(words);
	struct listener_cache4 *cached = bpf_map_lookup_elem(&listener_cache4, &index);
	struct listener *listener;

	if (cached && cached->generation == generation && cached->key.address == key.address &&
	    cached->key.port == key.port && cached->key.protocol == key.protocol)
		return &cached->listener;
	listener = bpf_map_lookup_elem(&listeners4, &key);
	if (listener && cached) {
		cached->generation = 0; /* not valid while half written */
		barrier();
		cached->key = key;
		cached->listener = *listener;
		barrier();
		cached->generation = generation;
	}
	return listener;
}

static __always_inline struct listener *listener_lookup6(const struct packet *pkt)
{
	struct listener6_key key = {
		.port = destination_port(pkt),
		.protocol = pkt->protocol,
	};
	__u32 generation = listener_generation_now();
	struct listener_cache6 *cached;
	struct listener *listener;
	__u32 index;
	__u64 words;

	__builtin_memcpy(key.address, &pkt->ip6->daddr, sizeof(key.address));
	words = (__u64)(key.address[0] ^ key.address[2]) << 32 | (key.address[1] ^ key.address[3]);
	index = cache_index(words + ((__u32)key.port << 8 | key.protocol));
	cached = bpf_map_lookup_elem(&listener_cache6, &index);
	if (cached && cached->generation == generation &&
	    cached->key.address[0] == key.address[0] && cached->key.address[1] == key.address[1] &&
	    cached->key.address[2] == key.address[2] && cached->key.address[3] == key.address[3] &&
	    cached->key.port == key.port && cached->key.protocol == key.protocol)
		return &cached->listener;
	listener = bpf_map_lookup_elem(&listeners6, &key);
	if (listener && cached) {
		cached->generation = 0; /* not valid while half written */
		barrier();
		cached->key = key;
		cached->listener = *listener;
		barrier();
		cached->generation = generation;
	}
	return listener;
}

static __always_inline struct listener *listener_lookup(const struct packet *pkt)
{
	return pkt->ipv6 ? listener_lookup6(pkt) : listener_lookup4(pkt);
}

/* In the map an IPv4 address stands as ::ffff:a.b.c.d. No packet has such an
 * address (RFC 4291, 2.5.5.2); if one does, it is not the IPv4 address.
 */
static __always_inline bool is_ipv4_mapped(const __be32 address[4])
{
	return !(address[0] | address[1]) && address[2] == bpf_htonl(0xffff);
}

static __always_inline struct vip *vip_lookup(const struct packet *pkt)
{
	struct vip_key key = {};

	if (pkt->ipv6) {
		__builtin_memcpy(key.address, &pkt->ip6->daddr, sizeof(key.address));
		if (is_ipv4_mapped(key.address))
			return NULL;
	} else {
		key.address[2] = bpf_htonl(0xffff);
		key.address[3] = pkt->ip4->daddr;
	}
	return bpf_map_lookup_elem(&vips, &key);
}

static __always_inline bool vip_has_listener(const struct vip *vip, __u8 protocol)
{
	return (protocol == IPPROTO_TCP && (vip->protocols & VIP_TCP)) ||
	       (protocol == IPPROTO_UDP && (vip->protocols & VIP_UDP));
}

#endif
