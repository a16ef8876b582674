/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * From the frame to a struct packet: where its headers are and what they say.
 * One bounded function per header; no map is read and nothing is written.
 *
 * Contract: a function looks at its header only after it has compared it with
 * data_end, and the IP packet lies in the frame as a whole once parse_ip
 * returned REASON_NONE. A frame may be longer (Ethernet padding).
 */
#ifndef WEIR_PARSE_H
#define WEIR_PARSE_H

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "limits.h"
#include "verdict_reasons.h"

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_DONT_FRAGMENT  0x4000
#define IPV4_OFFSET_MASK    0x1fff

#define IPV6_OFFSET_MASK    0xfff8
#define IPV6_MORE_FRAGMENTS 0x0001

#define TCP_CONTROL 13 /* byte of a TCP header */

/* Control bits of a TCP header. */
enum tcp_control {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

enum fragment {
	FRAGMENT_NONE, /* the whole packet */
	FRAGMENT_FIRST, /* has the transport header */
	FRAGMENT_LATER, /* has not */
};

/* A frame and what is known of it so far. */
struct packet {
	void *data_end;
	struct ethhdr *eth;
	struct iphdr *ip4; /* valid if !ipv6 */
	struct ipv6hdr *ip6; /* valid if ipv6 */
	void *l4; /* after the IP header and its options or extension headers */
	__u32 frame_len; /* bytes, as received */
	__u32 l3_len; /* bytes of the IP packet */
	__u32 l4_len; /* bytes of it from l4 on */
	__u32 ports; /* source and destination port as one load from the header */
	__u8 protocol; /* of the transport header, IPPROTO_* */
	__u8 control; /* enum tcp_control; 0 if it is not TCP */
	bool ipv6;
	enum fragment fragment;
};

struct ipv6_extension {
	__u8 next_header;
	__u8 length; /* in 8 bytes after the first 8; of an AH in 4 bytes minus 2 */
	__u8 rest[6];
};

struct ipv6_fragment {
	__u8 next_header;
	__u8 reserved;
	__be16 offset_flags;
	__be32 id;
};

static __always_inline bool is_ipv6_extension(__u8 next_header)
{
	return next_header == IPPROTO_HOPOPTS || next_header == IPPROTO_ROUTING ||
	       next_header == IPPROTO_DSTOPTS || next_header == IPPROTO_FRAGMENT ||
	       next_header == IPPROTO_AH;
}

/* Walk the extension headers from pkt->l4 on, so that pkt->l4 and
 * pkt->protocol become those of the transport header. Behind the header of a
 * later fragment nothing can be read, the walk ends there.
 */
static __always_inline enum reason parse_ipv6_extensions(struct packet *pkt)
{
	for (int i = 0; i < IPV6_EXT_MAX; i++) {
		struct ipv6_extension *ext = pkt->l4;
		__u32 len;

		if ((void *)(ext + 1) > pkt->data_end || pkt->l4_len < sizeof(*ext))
			return REASON_PASS_MALFORMED;
		if (pkt->protocol == IPPROTO_FRAGMENT) {
			struct ipv6_fragment *frag = pkt->l4;
			__u16 offset_flags = bpf_ntohs(frag->offset_flags);

			/* An atomic fragment (RFC 6946) is a whole packet. */
			len = sizeof(*frag);
			if (offset_flags & IPV6_OFFSET_MASK)
				pkt->fragment = FRAGMENT_LATER;
			else if (offset_flags & IPV6_MORE_FRAGMENTS)
				pkt->fragment = FRAGMENT_FIRST;
		} else if (pkt->protocol == IPPROTO_AH) {
			len = (ext->length + 2) * 4;
		} else {
			len = (ext->length + 1) * 8;
		}
		if (len > pkt->l4_len)
			return REASON_PASS_MALFORMED;
		pkt->protocol = ext->next_header;
		pkt->l4 += len;
		pkt->l4_len -= len;
		if (!is_ipv6_extension(pkt->protocol) || pkt->fragment != FRAGMENT_NONE)
			return REASON_NONE;
	}
	return REASON_PASS_MALFORMED;
}

static __always_inline enum reason parse_ipv6(struct packet *pkt)
{
	struct ipv6hdr *ip6 = (void *)(pkt->eth + 1);

	if ((void *)(ip6 + 1) > pkt->data_end || ip6->version != 6)
		return REASON_PASS_MALFORMED;
	pkt->ipv6 = true;
	pkt->ip6 = ip6;
	pkt->l4 = ip6 + 1;
	pkt->l4_len = bpf_ntohs(ip6->payload_len);
	pkt->l3_len = pkt->l4_len + sizeof(*ip6);
	pkt->protocol = ip6->nexthdr;
	if (pkt->l3_len > pkt->frame_len - ETH_HLEN)
		return REASON_PASS_MALFORMED;
	if (is_ipv6_extension(pkt->protocol))
		return parse_ipv6_extensions(pkt);
	return REASON_NONE;
}

static __always_inline enum reason parse_ipv4(struct packet *pkt)
{
	struct iphdr *ip4 = (void *)(pkt->eth + 1);
	__u16 fragment;
	__u32 len;

	if ((void *)(ip4 + 1) > pkt->data_end || ip4->version != 4 || ip4->ihl < 5)
		return REASON_PASS_MALFORMED;
	len = ip4->ihl * 4;
	pkt->ip4 = ip4;
	pkt->l4 = (void *)ip4 + len;
	pkt->l3_len = bpf_ntohs(ip4->tot_len);
	pkt->protocol = ip4->protocol;
	if (pkt->l3_len < len || pkt->l3_len > pkt->frame_len - ETH_HLEN)
		return REASON_PASS_MALFORMED;
	pkt->l4_len = pkt->l3_len - len;
	fragment = bpf_ntohs(ip4->frag_off);
	if (fragment & IPV4_OFFSET_MASK)
		pkt->fragment = FRAGMENT_LATER;
	else if (fragment & IPV4_MORE_FRAGMENTS)
		pkt->fragment = FRAGMENT_FIRST;
	return REASON_NONE;
}

/* Read the Ethernet header and return what follows: ETH_P_IP, ETH_P_IPV6, or 0
 * for what is neither or is for many hosts.
 */
static __always_inline __u16 parse_ethernet(struct xdp_md *ctx, struct packet *pkt)
{
	void *data = (void *)(long)ctx->data;

	pkt->data_end = (void *)(long)ctx->data_end;
	pkt->eth = data;
	pkt->frame_len = pkt->data_end - data;
	if ((void *)(pkt->eth + 1) > pkt->data_end)
		return 0;
	if (pkt->eth->h_dest[0] & 1) /* multicast and broadcast */
		return 0;
	if (pkt->eth->h_proto == bpf_htons(ETH_P_IP))
		return ETH_P_IP;
	if (pkt->eth->h_proto == bpf_htons(ETH_P_IPV6))
		return ETH_P_IPV6;
	return 0;
}

/* Read the IP header, given what parse_ethernet returned. Called with a
 * constant, it leaves pkt->ipv6 constant as well, and all that depends on it.
 */
static __always_inline enum reason parse_ip(struct packet *pkt, __u16 ethertype)
{
	return ethertype == ETH_P_IPV6 ? parse_ipv6(pkt) : parse_ipv4(pkt);
}

/* Read the ports of a packet that has its transport header. */
static __always_inline enum reason parse_ports(struct packet *pkt)
{
	if (pkt->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = pkt->l4;

		if ((void *)(tcp + 1) > pkt->data_end || tcp->doff < 5 ||
		    tcp->doff * 4 > pkt->l4_len)
			return REASON_PASS_MALFORMED;
		pkt->control = ((__u8 *)tcp)[TCP_CONTROL];
	} else {
		struct udphdr *udp = pkt->l4;
		__u32 len;

		if ((void *)(udp + 1) > pkt->data_end)
			return REASON_PASS_MALFORMED;
		/* The datagram of a first fragment goes on in later ones. */
		len = bpf_ntohs(udp->len);
		if (len < sizeof(*udp) || pkt->l4_len < sizeof(*udp) ||
		    (len > pkt->l4_len && pkt->fragment == FRAGMENT_NONE))
			return REASON_PASS_MALFORMED;
	}
	pkt->ports = *(__u32 *)pkt->l4;
	return REASON_NONE;
}

static __always_inline __be16 destination_port(const struct packet *pkt)
{
	return ((const union {
			__u32 ports;
			__be16 port[2];
		} *)&pkt->ports)
		->port[1];
}

#endif
