/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * Takes the outer header off a packet that a balancer sent by forward: ipip,
 * and carries a congestion mark inwards (RFC 6040, section 4.2).
 */
#ifndef WEIR_DECAP_IPIP_H
#define WEIR_DECAP_IPIP_H

#include "csum.h"
#include "node_reasons.h"
#include "parse.h"
#include "types.h"

/* Codepoints of the ECN field (RFC 3168). */
enum ecn {
	ECN_NOT_ECT = 0,
	ECN_ECT1 = 1,
	ECN_ECT0 = 2,
	ECN_CE = 3,
	ECN_MASK = 3,
};

#define IPV6_ECN_SHIFT 4

/* The packet inside of the tunnel. */
struct inner {
	__u8 *header; /* 20 bytes of IPv4 or 40 of IPv6 can be read */
	bool ipv6;
	struct vip_key destination;
};

static __always_inline bool is_tunnel(const struct packet *pkt)
{
	return pkt->protocol == IPPROTO_IPIP || pkt->protocol == IPPROTO_IPV6;
}

/* Read the headers of the inner packet, which must fit into the outer one. */
static __always_inline enum node_reason parse_inner(const struct packet *pkt, struct inner *inner)
{
	inner->header = pkt->l4;
	inner->ipv6 = pkt->protocol == IPPROTO_IPV6;
	if (!inner->ipv6) {
		struct iphdr *ip4 = pkt->l4;

		if ((void *)(ip4 + 1) > pkt->data_end || ip4->version != 4 || ip4->ihl < 5 ||
		    bpf_ntohs(ip4->tot_len) < ip4->ihl * 4 || bpf_ntohs(ip4->tot_len) > pkt->l4_len)
			return NODE_REASON_PASS_MALFORMED;
		inner->destination.address[2] = bpf_htonl(0xffff);
		inner->destination.address[3] = ip4->daddr;
	} else {
		struct ipv6hdr *ip6 = pkt->l4;

		if ((void *)(ip6 + 1) > pkt->data_end || ip6->version != 6 ||
		    sizeof(*ip6) + bpf_ntohs(ip6->payload_len) > pkt->l4_len)
			return NODE_REASON_PASS_MALFORMED;
		__builtin_memcpy(inner->destination.address, &ip6->daddr,
				 sizeof(inner->destination.address));
	}
	return NODE_REASON_NONE;
}

/* The ECN field stands in the second byte of both headers: in the low bits of
 * IPv4's, in the middle of IPv6's. (Written on bytes, because the compiler
 * would merge branches on two header types into one the verifier refuses.)
 */
static __always_inline __u8 ecn_shift(bool ipv6)
{
	return ipv6 ? IPV6_ECN_SHIFT : 0;
}

static __always_inline void set_ecn(struct inner *inner, __u8 ecn)
{
	__u8 shift = ecn_shift(inner->ipv6);
	__u16 before = *(__u16 *)inner->header;

	inner->header[1] = (inner->header[1] & ~(ECN_MASK << shift)) | (ecn << shift);
	if (!inner->ipv6) {
		struct iphdr *ip4 = (struct iphdr *)inner->header;

		ip4->check = csum_replace(ip4->check, before, *(__u16 *)ip4);
	}
}

/* Combine the marks of both headers in the inner one. */
static __always_inline enum node_reason propagate_ecn(const struct packet *pkt, struct inner *inner)
{
	const __u8 *header = (void *)(pkt->eth + 1);
	__u8 outer = (header[1] >> ecn_shift(pkt->ipv6)) & ECN_MASK;
	__u8 ecn = (inner->header[1] >> ecn_shift(inner->ipv6)) & ECN_MASK;

	if (outer == ECN_CE && ecn == ECN_NOT_ECT)
		return NODE_REASON_DROP_CONGESTION;
	if ((outer == ECN_CE && ecn != ECN_CE) || (outer == ECN_ECT1 && ecn == ECN_ECT0))
		set_ecn(inner, outer);
	return NODE_REASON_NONE;
}

/* Remove what stands between the Ethernet header and the inner packet. */
static __always_inline enum node_reason pop_header(struct xdp_md *ctx, const struct packet *pkt)
{
	__be16 ethertype =
		pkt->protocol == IPPROTO_IPIP ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	struct ethhdr *eth, macs = *pkt->eth;
	int size = (pkt->frame_len - ETH_HLEN) - (pkt->data_end - pkt->l4);

	if (bpf_xdp_adjust_head(ctx, size))
		return NODE_REASON_ABORTED_HEADROOM;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return NODE_REASON_ABORTED_HEADROOM;
	*eth = macs;
	eth->h_proto = ethertype;
	return NODE_REASON_DECAPSULATED;
}

#endif
