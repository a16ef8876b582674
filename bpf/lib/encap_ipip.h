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

static __always_inline __u8 traffic_class(const struct packet *pkt)
{
	if (!pkt->ipv6)
		return pkt->ip4->tos;
	return bpf_ntohl(*(const word32 *)pkt->ip6) >> IPV6_TRAFFIC_CLASS_SHIFT;
}

/* An outer header, as the words it is made of: put together in registers and
 * stored once. A struct iphdr on the stack would be written in bytes and read
 * back in words, and such a load waits for the stores.
 */
struct outer_ipv4 {
	__u32 version_tos_len;
	__u32 id_fragment;
	__u32 ttl_protocol; /* the checksum above them */
	__be32 saddr;
	__be32 daddr;
};

struct outer_ipv6 {
	__be32 version_class_label;
	__u32 len_next_hops;
	__be32 saddr_last;
};

/* Half a word in network byte order, as the later half of a word. */
static __always_inline __u32 later_half(__u16 value)
{
	return (__u32)bpf_htons(value) << 16;
}

/* An IPv6 packet may not be fragmented on the way, an IPv4 packet if its sender
 * allows it. Its identification then serves the outer header too: unique for
 * what one sender sends, and senders share an outer source only by chance.
 */
static __always_inline struct outer_ipv4 outer_ipv4(const struct packet *pkt,
						    const struct backend *backend, __u32 hash)
{
	__u8 protocol = pkt->ipv6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	struct outer_ipv4 outer = {
		.version_tos_len = 0x45 | (__u32)traffic_class(pkt) << 8 |
				   later_half(pkt->l3_len + sizeof(struct iphdr)),
		.id_fragment = later_half(IPV4_DONT_FRAGMENT),
		.ttl_protocol = INITIAL_TTL | (__u32)protocol << 8,
		.saddr = bpf_htonl(tunnel_source4 | (hash & tunnel_host_mask4)),
		.daddr = backend->address[3],
	};

	if (!pkt->ipv6)
		outer.id_fragment =
			*(const word32 *)&pkt->ip4->id & (0xffff | later_half(IPV4_DONT_FRAGMENT));
	return outer;
}

static __always_inline struct outer_ipv6 outer_ipv6(const struct packet *pkt, __u32 hash)
{
	__u8 next = pkt->ipv6 ? IPPROTO_IPV6 : IPPROTO_IPIP;

	return (struct outer_ipv6){
		.version_class_label =
			bpf_htonl(6U << 28 | (__u32)traffic_class(pkt) << IPV6_TRAFFIC_CLASS_SHIFT |
				  (hash & IPV6_FLOW_LABEL_MASK)),
		.len_next_hops = bpf_htons(pkt->l3_len) | (__u32)next << 16 | INITIAL_TTL << 24,
		.saddr_last = bpf_htonl(tunnel_source6_last | (hash & tunnel_host_mask6_last)),
	};
}

/* Make room for an outer header and write the Ethernet header before it.
 * Returns where the outer header goes, NULL if there is no room.
 */
static __always_inline word32 *push_header(struct xdp_md *ctx, const struct backend *backend,
					   int size, __be16 ethertype)
{
	struct ethhdr *eth;

	if (bpf_xdp_adjust_head(ctx, -size))
		return NULL;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) + size > (void *)(long)ctx->data_end)
		return NULL;
	write_macs(eth, backend);
	*(__be16 *)((void *)eth + 2 * ETH_ALEN) = ethertype;
	return (word32 *)(eth + 1);
}

static __always_inline enum reason encap_ipip4(struct xdp_md *ctx, const struct packet *pkt,
					       const struct backend *backend, __u32 hash)
{
	struct outer_ipv4 outer;
	word32 *header;
	__u64 sum;

	if (pkt->l3_len + sizeof(struct iphdr) > backend->mtu)
		return REASON_DROP_TOO_BIG;
	outer = outer_ipv4(pkt, backend, hash);
	header = push_header(ctx, backend, sizeof(struct iphdr), bpf_htons(ETH_P_IP));
	if (!header)
		return REASON_ABORTED_HEADROOM;
	sum = (__u64)outer.version_tos_len + outer.id_fragment + outer.ttl_protocol + outer.saddr +
	      outer.daddr;
	header[0] = outer.version_tos_len;
	header[1] = outer.id_fragment;
	header[2] = outer.ttl_protocol | (__u32)csum_words(sum) << 16;
	header[3] = outer.saddr;
	header[4] = outer.daddr;
	return REASON_FORWARDED;
}

static __always_inline enum reason encap_ipip6(struct xdp_md *ctx, const struct packet *pkt,
					       const struct backend *backend, __u32 hash)
{
	struct outer_ipv6 outer;
	word32 *header;

	if (pkt->l3_len + sizeof(struct ipv6hdr) > backend->mtu)
		return REASON_DROP_TOO_BIG;
	outer = outer_ipv6(pkt, hash);
	header = push_header(ctx, backend, sizeof(struct ipv6hdr), bpf_htons(ETH_P_IPV6));
	if (!header)
		return REASON_ABORTED_HEADROOM;
	header[0] = outer.version_class_label;
	header[1] = outer.len_next_hops;
	header[2] = tunnel_source6[0];
	header[3] = tunnel_source6[1];
	header[4] = tunnel_source6[2];
	header[5] = outer.saddr_last;
	for (int i = 0; i < 4; i++)
		header[6 + i] = backend->address[i];
	return REASON_FORWARDED;
}

#endif
