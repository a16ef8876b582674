/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * Answers what would be dropped, in the name of the address it was sent to: a
 * TCP segment with a reset (RFC 9293, 3.10.7.1), a UDP datagram with an ICMP
 * error (RFC 792, RFC 4443). The sender then knows at once that nobody serves
 * it, and does not try until it runs into a timeout.
 *
 * Checksums of the packet are not verified: that would cost more than the
 * answer, which whoever sent nothing ignores.
 */
#ifndef WEIR_REJECT_H
#define WEIR_REJECT_H

#include "config.h"
#include "csum.h"
#include "ethernet.h"
#include "icmp.h"
#include "limits.h"
#include "maps.h"
#include "parse.h"

#define NSEC_PER_SEC	   1000000000ULL
#define REJECT_INTERVAL_NS (NSEC_PER_SEC / REJECT_RATE)

#define IPV4_VERSION_LEN 0x45 /* version and length of a header without options */
#define ICMP_ERROR_LEN	 8 /* bytes of the header of an ICMP error */
#define TCP_FIXED_LEN	 20 /* bytes of a TCP header without options */

/* Codes of ICMP4_UNREACHABLE and ICMP6_UNREACHABLE. */
enum icmp_code {
	ICMP4_PORT_UNREACHABLE = 3,
	ICMP6_PORT_UNREACHABLE = 4,
};

static __always_inline bool is_answer(enum reason reason)
{
	return reason == REASON_RESET || reason == REASON_UNREACHABLE;
}

static __always_inline bool is_answerable(const struct packet *pkt)
{
	if (pkt->ipv6)
		return is_answerable6(&pkt->ip6->saddr);
	return is_answerable4(pkt->ip4->saddr);
}

/* Take a token from this CPU's bucket, so that a flood is not answered packet
 * by packet. The clock goes in steps of some milliseconds and costs next to
 * nothing.
 */
static __always_inline bool may_answer(void)
{
	__u32 key = 0;
	struct reject_bucket *bucket = bpf_map_lookup_elem(&reject_bucket, &key);
	__u64 now, earned;

	if (!bucket)
		return false;
	now = bpf_ktime_get_coarse_ns();
	earned = (now - bucket->filled) / REJECT_INTERVAL_NS;
	if (earned) {
		bucket->filled += earned * REJECT_INTERVAL_NS;
		bucket->answers += earned;
		if (bucket->answers > REJECT_BURST)
			bucket->answers = REJECT_BURST;
	}
	if (!bucket->answers)
		return false;
	bucket->answers--;
	return true;
}

/* Write the IP header of an answer of len bytes to the packet whose own header
 * is at from, which may be the same place. Service class and flow label are the
 * usual ones (RFC 1122, 3.2.2). Returns the sum of the pseudo header.
 */
static __always_inline __u64 answer_ipv4(word32 *to, const word32 *from, __u8 protocol, __u32 len)
{
	__be32 version_len = bpf_htonl(IPV4_VERSION_LEN << 24 | (len + sizeof(struct iphdr)));
	__be32 fragment = bpf_htonl(IPV4_DONT_FRAGMENT);
	__be32 ttl_protocol = bpf_htonl(INITIAL_TTL << 24 | protocol << 16);
	__be32 client = from[3], vip = from[4];
	__u64 addresses = (__u64)client + vip;
	__u64 sum = addresses + version_len + fragment + ttl_protocol;

	to[0] = version_len;
	to[1] = fragment;
	to[2] = ttl_protocol | (__u32)csum_words(sum) << 16;
	to[3] = vip;
	to[4] = client;
	return addresses + bpf_htonl(protocol << 16 | len);
}

static __always_inline __u64 answer_ipv6(word32 *to, const word32 *from, __u8 protocol, __u32 len)
{
	__u64 sum = (__u64)bpf_htonl(len) + bpf_htonl(protocol);

	to[0] = bpf_htonl(6U << 28);
	to[1] = bpf_htonl(len << 16 | protocol << 8 | INITIAL_TTL);
	for (int i = 0; i < 4; i++) {
		__be32 client = from[2 + i], vip = from[6 + i];

		to[2 + i] = vip;
		to[6 + i] = client;
		sum += (__u64)client + vip;
	}
	return sum;
}

static __always_inline __u64 answer_ip(word32 *to, const word32 *from, bool ipv6, __u8 protocol,
				       __u32 len)
{
	return ipv6 ? answer_ipv6(to, from, protocol, len) : answer_ipv4(to, from, protocol, len);
}

static __always_inline int ip_header_len(bool ipv6)
{
	return ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

/* Turn a segment into the reset that answers it: in its place, without options
 * and extension headers, and cut off behind the TCP header.
 */
static __always_inline enum reason send_reset(struct xdp_md *ctx, struct packet *pkt)
{
	const struct tcphdr *tcp = pkt->l4;
	const int ip_len = ip_header_len(pkt->ipv6);
	const int frame_len = ETH_HLEN + ip_len + TCP_FIXED_LEN;
	word32 *ip = (word32 *)(pkt->eth + 1);
	word32 *reset = (void *)ip + ip_len;
	__be32 ports, seq, ack, offset_control;
	__u32 control;
	__u64 sum;

	if ((void *)reset + TCP_FIXED_LEN > pkt->data_end || (void *)(tcp + 1) > pkt->data_end)
		return REASON_ABORTED_HEADROOM;
	if (tcp->ack) {
		seq = tcp->ack_seq;
		ack = 0;
		control = TCP_RST;
	} else {
		seq = 0;
		ack = bpf_htonl(bpf_ntohl(tcp->seq) + pkt->l4_len - tcp->doff * 4 + tcp->syn +
				tcp->fin);
		control = TCP_RST | TCP_ACK;
	}
	ports = pkt->ports << 16 | pkt->ports >> 16;
	offset_control = bpf_htonl(TCP_FIXED_LEN / 4 << 28 | control << 16);

	reverse_ethernet(pkt->eth);
	sum = answer_ip(ip, ip, pkt->ipv6, IPPROTO_TCP, TCP_FIXED_LEN);
	sum += (__u64)ports + seq + ack + offset_control;
	reset[0] = ports;
	reset[1] = seq;
	reset[2] = ack;
	reset[3] = offset_control;
	reset[4] = csum_words(sum); /* and no urgent pointer */
	if (bpf_xdp_adjust_tail(ctx, frame_len - (int)pkt->frame_len))
		return REASON_ABORTED_HEADROOM;
	return REASON_RESET;
}

/* The sum of what lies from at to the end of the frame, of max bytes at most,
 * which is a multiple of 4. The verifier goes through this word by word.
 */
static __always_inline __u64 sum_to_end(const void *at, const void *data_end, int max)
{
	__u64 sum = 0;

	for (int i = 0; i < max / 4 && at + 4 <= data_end; i++) {
		sum += *(const word32 *)at;
		at += 4;
	}
	if (at + 2 <= data_end) {
		sum += *(const __u16 *)at;
		at += 2;
	}
	if (at + 1 <= data_end)
		sum += *(const __u8 *)at;
	return sum;
}

/* Put in front of a datagram the ICMP error that quotes it: as much of it as
 * the RFCs ask for, and as reaches every host in one piece.
 */
static __always_inline enum reason send_unreachable(struct xdp_md *ctx, struct packet *pkt)
{
	const __u8 protocol = pkt->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	const __u8 type = pkt->ipv6 ? ICMP6_UNREACHABLE : ICMP4_UNREACHABLE;
	const __u8 code = pkt->ipv6 ? ICMP6_PORT_UNREACHABLE : ICMP4_PORT_UNREACHABLE;
	const int ip_len = ip_header_len(pkt->ipv6), headers = ip_len + ICMP_ERROR_LEN;
	const int quote_max = (pkt->ipv6 ? ICMP6_ERROR_MAX : ICMP4_ERROR_MAX) - headers;
	int quote_len = pkt->l3_len < (__u32)quote_max ? (int)pkt->l3_len : quote_max;
	struct ethhdr *eth, macs = *pkt->eth;
	word32 *ip, *icmp, *quote;
	void *data_end;
	__u64 sum;

	if (bpf_xdp_adjust_head(ctx, -headers) ||
	    bpf_xdp_adjust_tail(ctx, ETH_HLEN + quote_len - (int)pkt->frame_len))
		return REASON_ABORTED_HEADROOM;
	eth = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	ip = (word32 *)(eth + 1);
	icmp = (void *)ip + ip_len;
	quote = (void *)icmp + ICMP_ERROR_LEN;
	if ((void *)quote + ip_len > data_end)
		return REASON_ABORTED_HEADROOM;

	*eth = macs;
	reverse_ethernet(eth);
	sum = answer_ip(ip, quote, pkt->ipv6, protocol, ICMP_ERROR_LEN + quote_len);
	if (!pkt->ipv6)
		sum = 0; /* only ICMPv6 has a pseudo header */
	icmp[0] = bpf_htonl(type << 24 | code << 16);
	icmp[1] = 0;
	sum += sum_to_end(icmp, data_end, ICMP_ERROR_LEN + quote_max);
	icmp[0] |= (__u32)csum_words(sum) << 16;
	return REASON_UNREACHABLE;
}

/* The answer to a frame of one family, which is a constant here. */
static __always_inline enum reason answer(struct xdp_md *ctx, struct packet *pkt, __u16 ethertype)
{
	const struct tcphdr *tcp;
	bool is_tcp;

	if (parse_ip(pkt, ethertype) || pkt->fragment != FRAGMENT_NONE)
		return REASON_NONE;
	is_tcp = pkt->protocol == IPPROTO_TCP;
	if ((!is_tcp && pkt->protocol != IPPROTO_UDP) || parse_ports(pkt) || !is_answerable(pkt))
		return REASON_NONE;
	tcp = pkt->l4;
	if (is_tcp && tcp->rst)
		return REASON_NONE;
	if (!may_answer())
		return REASON_DROP_REJECT_LIMIT;
	return is_tcp ? send_reset(ctx, pkt) : send_unreachable(ctx, pkt);
}

/*
 * Turn a frame into its answer, which is to leave as the frame came in (XDP_TX),
 * and return the reason, for which is_answer() holds. If that is REASON_NONE,
 * there is no answer to the frame, and it is as it was.
 *
 * This is a function of its own, which reads the frame anew, so that the
 * verifier goes through it once and not again on every way that leads here, and
 * so that the compiler keeps nothing for it in what all packets go through.
 */
__noinline enum reason reject(struct xdp_md *ctx)
{
	struct packet pkt = {};

	if (!use_reject)
		return REASON_NONE;
	switch (parse_ethernet(ctx, &pkt)) {
	case ETH_P_IP:
		return answer(ctx, &pkt, ETH_P_IP);
	case ETH_P_IPV6:
		return answer(ctx, &pkt, ETH_P_IPV6);
	default:
		return REASON_NONE;
	}
}

#endif
