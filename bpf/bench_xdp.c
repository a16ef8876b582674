//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Copyright The Weir Authors

/*
 * What `make bench` measures with: a generator that makes a packet and calls
 * the program under test, and the two programs that the others are compared to.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Flows come from 65,536 clients, over IPv4 from CLIENTS4 on; if there are more
 * of them, from several ports of each. They go to ports from FIRST_PORT on.
 */
#define CLIENTS4	  0xc6120000U /* 198.18.0.0, for benchmarks (RFC 2544) */
#define FIRST_CLIENT_PORT 1024
#define FIRST_PORT	  1024

/* 2^64 divided by the golden ratio, which is odd. */
#define MULTIPLIER 0x9e3779b97f4a7c15ULL

/* The run: how many flows to how many ports, in frames of what length. */
const volatile __u32 flows = 1;
const volatile __u32 ports = 1;
const volatile __u32 frame_len;
const volatile bool ipv6;

/* Flows come one after the other, else at random; and their first number. */
const volatile bool in_turn;
const volatile __u32 first_flow;

/* Packets made so far. A run that a signal interrupts starts again, so that
 * this alone says how many there were.
 */
__u64 packets;

/* The program under test. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} subject SEC(".maps");

/* Headers are written in words as large as what programs read of them: a load
 * that needs bytes of two stores would wait for both, which no packet from a
 * network card makes it do. The packet need not be aligned.
 */
typedef __u64 __attribute__((may_alias)) word64;
typedef __u32 __attribute__((may_alias)) word32;
typedef __u16 __attribute__((may_alias)) word16;

static __always_inline void write_ethernet(void *data, __u64 macs, __u32 source, __be16 protocol)
{
	*(word64 *)data = macs; /* the destination and 2 bytes of the source */
	*(word32 *)(data + 8) = source;
	*(word16 *)(data + 12) = protocol;
}

static __always_inline __be16 ethertype(const void *data)
{
	return *(const word16 *)(data + 12);
}

static __always_inline void write_ports(void *l4, __u32 flow)
{
	__u16 source = FIRST_CLIENT_PORT + (flow >> 16);
	__u16 dest = FIRST_PORT + (ports > 1 ? flow % ports : 0);

	*(word32 *)l4 = bpf_htonl((__u32)source << 16 | dest);
}

/* The number of the next flow: the next one, or in an order that no cache
 * foresees.
 */
static __always_inline __u32 next_flow(void)
{
	__u64 random = ++packets * MULTIPLIER;

	if (in_turn)
		return packets % flows;
	random = (random ^ random >> 32) * MULTIPLIER;
	return (random >> 32) * flows >> 32;
}

/* Take off what the previous run put in front, write the headers that it
 * changed and those that make the flow, and go to the program under test. The
 * head moves in every run, if only by 0, so that each pays for it.
 */
SEC("xdp")
int bench_generate(struct xdp_md *ctx)
{
	__u32 flow = first_flow + next_flow();
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	long len = data_end - data;

	/* Subtract pointers in 64 bits, which is all that the verifier allows. */
	asm volatile("" : "+r"(len));
	if (bpf_xdp_adjust_head(ctx, len - frame_len))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	if (ipv6) {
		struct ipv6hdr *ip6 = data + ETH_HLEN;
		struct tcphdr *tcp = (void *)(ip6 + 1);

		if ((void *)(tcp + 1) > data_end)
			return XDP_ABORTED;
		write_ethernet(data, 0x0002020000000002, 0x03000000, bpf_htons(ETH_P_IPV6));
		ip6->saddr.s6_addr32[3] = bpf_htonl(flow & 0xffff);
		write_ports(tcp, flow);
	} else {
		struct iphdr *ip4 = data + ETH_HLEN;
		struct tcphdr *tcp = (void *)(ip4 + 1);

		if ((void *)(tcp + 1) > data_end)
			return XDP_ABORTED;
		write_ethernet(data, 0x0002020000000002, 0x03000000, bpf_htons(ETH_P_IP));
		ip4->saddr = bpf_htonl(CLIENTS4 | (flow & 0xffff));
		write_ports(tcp, flow);
	}
	bpf_tail_call_static(ctx, &subject, 0);
	return XDP_ABORTED;
}

/* The baseline: what is left when the program under test does nothing. */
SEC("xdp")
int bench_baseline(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_TX;
}

/* The floor of IPv4 in IPv4: look at the three headers of the packet and put a
 * constant one in front. No map, no counter.
 */
SEC("xdp")
int bench_floor4(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip4 = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip4 + 1);
	struct iphdr *outer;

	if ((void *)(tcp + 1) > data_end || ethertype(eth) != bpf_htons(ETH_P_IP) ||
	    ip4->version != 4 || ip4->ihl != 5 || ip4->protocol != IPPROTO_TCP)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct iphdr)))
		return XDP_ABORTED;
	eth = (void *)(long)ctx->data;
	outer = (void *)(eth + 1);
	if ((void *)(outer + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	write_ethernet(eth, 0x0002030000000002, 0x02000000, bpf_htons(ETH_P_IP));
	*outer = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(60),
		.ttl = 64,
		.protocol = IPPROTO_IPIP,
		.saddr = bpf_htonl(0xac100001),
		.daddr = bpf_htonl(0xc0000201),
	};
	return XDP_TX;
}

/* The floor of IPv6 in IPv6. */
SEC("xdp")
int bench_floor6(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip6 + 1);
	struct ipv6hdr *outer;

	if ((void *)(tcp + 1) > data_end || ethertype(eth) != bpf_htons(ETH_P_IPV6) ||
	    ip6->version != 6 || ip6->nexthdr != IPPROTO_TCP)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct ipv6hdr)))
		return XDP_ABORTED;
	eth = (void *)(long)ctx->data;
	outer = (void *)(eth + 1);
	if ((void *)(outer + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	write_ethernet(eth, 0x0002030000000002, 0x02000000, bpf_htons(ETH_P_IPV6));
	*outer = (struct ipv6hdr){
		.version = 6,
		.payload_len = bpf_htons(60),
		.nexthdr = IPPROTO_IPV6,
		.hop_limit = 64,
		.saddr.s6_addr32 = { bpf_htonl(0x20010db8), 0, 0, bpf_htonl(1) },
		.daddr.s6_addr32 = { bpf_htonl(0x20010db8), 0, 0, bpf_htonl(2) },
	};
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";
