/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* Whom a packet is for: the listener of its address and port, or the balancer
 * that holds its address.
 */
#ifndef WEIR_LISTENER_H
#define WEIR_LISTENER_H

#include "maps.h"
#include "parse.h"

static __always_inline struct listener *listener_lookup(const struct packet *pkt)
{
	if (pkt->ipv6) {
		struct listener6_key key = {
			.port = destination_port(pkt),
			.protocol = pkt->protocol,
		};

		__builtin_memcpy(key.address, &pkt->ip6->daddr, sizeof(key.address));
		return bpf_map_lookup_elem(&listeners6, &key);
	} else {
		struct listener4_key key = {
			.address = pkt->ip4->daddr,
			.port = destination_port(pkt),
			.protocol = pkt->protocol,
		};

		return bpf_map_lookup_elem(&listeners4, &key);
	}
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
