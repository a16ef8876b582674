/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* Answers echo requests to a balancer's address (RFC 792, RFC 4443). */
#ifndef WEIR_ICMP_H
#define WEIR_ICMP_H

#include "csum.h"
#include "limits.h"
#include "parse.h"

/* The first 8 bytes of an echo request or reply, of ICMPv4 and ICMPv6 alike.
 * (linux/icmp.h would pull in the C library's headers.)
 */
struct icmp_echo {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be16 id;
	__be16 sequence;
};

enum icmp_type {
	ICMP4_ECHO_REPLY = 0,
	ICMP4_UNREACHABLE = 3,
	ICMP4_ECHO_REQUEST = 8,
	ICMP6_UNREACHABLE = 1,
	ICMP6_ECHO_REQUEST = 128,
	ICMP6_ECHO_REPLY = 129,
};

static __always_inline void reverse_ethernet(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

/* An address that an answer can be sent to (RFC 1122, 3.2.1.3). */
static __always_inline bool is_answerable4(__be32 address)
{
	__u8 first = bpf_ntohl(address) >> 24;

	return first != 0 && first != 127 && first < 224;
}

static __always_inline bool is_answerable6(const struct in6_addr *address)
{
	const __be32 *word = address->s6_addr32;

	return address->s6_addr[0] != 0xff && (word[0] | word[1] | word[2] | word[3]);
}

/* Turn an ICMPv4 echo request into its reply. An IP header with options passes
 * to the host, which knows how to reverse a source route.
 *
 * A reply may be zeros from end to end, of which only 0xffff is a right
 * checksum. An update cannot tell that from a sum that calls for 0, but then
 * 0xffff, the other zero of such sums, is right too.
 */
static __always_inline enum reason echo_reply4(struct packet *pkt)
{
	struct iphdr *ip4 = pkt->ip4;
	struct icmp_echo *icmp = pkt->l4;
	__be32 address = ip4->daddr;
	__be16 ttl_protocol;

	if ((void *)(icmp + 1) > pkt->data_end || pkt->l4_len < sizeof(*icmp) || ip4->ihl != 5 ||
	    icmp->type != ICMP4_ECHO_REQUEST || icmp->code != 0 || !is_answerable4(ip4->saddr))
		return REASON_PASS_ICMP;

	reverse_ethernet(pkt->eth);
	ip4->daddr = ip4->saddr;
	ip4->saddr = address;
	ttl_protocol = *(__be16 *)&ip4->ttl;
	ip4->ttl = INITIAL_TTL;
	ip4->check = csum_replace(ip4->check, ttl_protocol, *(__be16 *)&ip4->ttl);
	icmp->type = ICMP4_ECHO_REPLY;
	icmp->checksum = csum_replace(icmp->checksum, bpf_htons(ICMP4_ECHO_REQUEST << 8),
				      bpf_htons(ICMP4_ECHO_REPLY << 8))
				 ?: 0xffff;
	return REASON_ECHO_REPLY;
}

/* Turn an ICMPv6 echo request into its reply. Swapping the addresses does not
 * change the sum of the pseudo header.
 */
static __always_inline enum reason echo_reply6(struct packet *pkt)
{
	struct ipv6hdr *ip6 = pkt->ip6;
	struct icmp_echo *icmp = pkt->l4;
	struct in6_addr address = ip6->daddr;

	if ((void *)(icmp + 1) > pkt->data_end || pkt->l4_len < sizeof(*icmp) ||
	    ip6->nexthdr != IPPROTO_ICMPV6 || icmp->type != ICMP6_ECHO_REQUEST || icmp->code != 0 ||
	    !is_answerable6(&ip6->saddr))
		return REASON_PASS_ICMP;

	reverse_ethernet(pkt->eth);
	ip6->daddr = ip6->saddr;
	ip6->saddr = address;
	ip6->hop_limit = INITIAL_TTL;
	icmp->type = ICMP6_ECHO_REPLY;
	icmp->checksum = csum_replace(icmp->checksum, bpf_htons(ICMP6_ECHO_REQUEST << 8),
				      bpf_htons(ICMP6_ECHO_REPLY << 8));
	return REASON_ECHO_REPLY;
}

static __always_inline bool is_icmp(const struct packet *pkt)
{
	return pkt->protocol == (pkt->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

#endif
