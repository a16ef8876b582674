/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * forward: ipip. An outer header in front of the packet, IPv4 (RFC 2003, RFC
 * 4213) or IPv6 (RFC 2473) as is the backend's address.
 *
 * DSCP and ECN are copied to the outer header (RFC 6040, normal mode). The
 * outer source address varies with the flow, so that the receive queues of a
 * backend spread over its CPUs; an IPv6 header has a flow label as well.
 */
#ifndef WEIR_ENCAP_IPIP_H
#define WEIR_ENCAP_IPIP_H

#include "config.h"
#include "csum.h"
#include "ethernet.h"
#include "limits.h"
#include "parse.h"

#define IPV6_FLOW_LABEL_MASK	 0xfffff
#define IPV6_TRAFFIC_CLASS_SHIFT 20

static __always_inline __u8 ipv6_traffic_class(const struct ipv6hdr *ip6)
{
	return bpf_ntohl(*(const __be32 *)ip6) >> IPV6_TRAFFIC_CLASS_SHIFT;
}

/* The outer header of an IPv4 tunnel. An IPv6 packet may not be fragmented on
 * the way, an IPv4 packet if its sender allows it; its identification then
 * serves the outer header too, as it is unique for what one sender sends.
 */
static __always_inline void outer_ipv4(struct iphdr *outer, const struct packet *pkt,
				       const struct backend *backend, __u32 hash)
{
	outer->version = 4;
	outer->ihl = sizeof(*outer) / 4;
	outer->tot_len = bpf_htons(pkt->l3_len + sizeof(*outer));
	outer->ttl = INITIAL_TTL;
	if (pkt->ipv6) {
		outer->tos = ipv6_traffic_class(pkt->ip6);
		outer->id = 0;
		outer->frag_off = bpf_htons(IPV4_DONT_FRAGMENT);
		outer->protocol = IPPROTO_IPV6;
	} else {
		outer->tos = pkt->ip4->tos;
		outer->id = pkt->ip4->id;
		outer->frag_off = pkt->ip4->frag_off & bpf_htons(IPV4_DONT_FRAGMENT);
		outer->protocol = IPPROTO_IPIP;
	}
	outer->saddr = bpf_htonl(tunnel_source4 | (hash & tunnel_host_mask4));
	outer->daddr = backend->address[3];
	outer->check = 0;
	outer->check = csum_ipv4(outer);
}

static __always_inline void outer_ipv6(struct ipv6hdr *outer, const struct packet *pkt,
				       const struct backend *backend, __u32 hash)
{
	__u32 class = pkt->ipv6 ? ipv6_traffic_class(pkt->ip6) : pkt->ip4->tos;

	*(__be32 *)outer = bpf_htonl((6U << 28) | (class << IPV6_TRAFFIC_CLASS_SHIFT) |
				     (hash & IPV6_FLOW_LABEL_MASK));
	outer->payload_len = bpf_htons(pkt->l3_len);
	outer->nexthdr = pkt->ipv6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	outer->hop_limit = INITIAL_TTL;
	outer->saddr.s6_addr32[0] = tunnel_source6[0];
	outer->saddr.s6_addr32[1] = tunnel_source6[1];
	outer->saddr.s6_addr32[2] = tunnel_source6[2];
	outer->saddr.s6_addr32[3] =
		bpf_htonl(tunnel_source6_last | (hash & tunnel_host_mask6_last));
	__builtin_memcpy(&outer->daddr, backend->address, sizeof(outer->daddr));
}

/* Make room for an outer header and write the Ethernet header before it.
 * Returns where the outer header goes, NULL if there is no room.
 */
static __always_inline void *push_header(struct xdp_md *ctx, const struct backend *backend,
					 int size, __be16 ethertype)
{
	struct ethhdr *eth;

	if (bpf_xdp_adjust_head(ctx, -size))
		return NULL;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) + size > (void *)(long)ctx->data_end)
		return NULL;
	write_macs(eth, backend);
	eth->h_proto = ethertype;
	return eth + 1;
}

static __always_inline enum reason encap_ipip4(struct xdp_md *ctx, const struct packet *pkt,
					       const struct backend *backend, __u32 hash)
{
	struct iphdr outer, *ip4;

	if (pkt->l3_len + sizeof(outer) > backend->mtu)
		return REASON_DROP_TOO_BIG;
	outer_ipv4(&outer, pkt, backend, hash);
	ip4 = push_header(ctx, backend, sizeof(outer), bpf_htons(ETH_P_IP));
	if (!ip4)
		return REASON_ABORTED_HEADROOM;
	*ip4 = outer;
	return REASON_FORWARDED;
}

static __always_inline enum reason encap_ipip6(struct xdp_md *ctx, const struct packet *pkt,
					       const struct backend *backend, __u32 hash)
{
	struct ipv6hdr outer, *ip6;

	if (pkt->l3_len + sizeof(outer) > backend->mtu)
		return REASON_DROP_TOO_BIG;
	outer_ipv6(&outer, pkt, backend, hash);
	ip6 = push_header(ctx, backend, sizeof(outer), bpf_htons(ETH_P_IPV6));
	if (!ip6)
		return REASON_ABORTED_HEADROOM;
	*ip6 = outer;
	return REASON_FORWARDED;
}

#endif
