//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Copyright The Weir Authors

/*
 * The node: takes packets for its VIPs out of the tunnel in which a balancer
 * sent them, and hands them to the host. All else passes untouched.
 */
#include <stdbool.h>

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "lib/decap_ipip.h"
#include "lib/limits.h"
#include "lib/node_reasons.h"
#include "lib/parse.h"
#include "lib/traffic.h"
#include "lib/types.h"

EMIT_ENUM(node_reason);

/* The balancers' addresses that this node serves; the value is not used. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NODE_VIPS_MAX);
	__type(key, struct vip_key);
	__type(value, __u32);
} node_vips SEC(".maps");

/* Packets and bytes by reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS_MAX);
	__type(key, __u32); /* enum node_reason */
	__type(value, struct traffic);
} node_counters SEC(".maps");

static __always_inline int verdict(const struct packet *pkt, enum node_reason reason, int action)
{
	__u32 key = reason;
	struct traffic *traffic = bpf_map_lookup_elem(&node_counters, &key);

	if (traffic)
		count(traffic, pkt->frame_len);
	return action;
}

SEC("xdp")
int weir_node(struct xdp_md *ctx)
{
	struct inner inner = {};
	struct packet pkt = {};
	enum node_reason reason;
	__u16 ethertype;

	ethertype = parse_ethernet(ctx, &pkt);
	if (!ethertype || parse_ip(&pkt, ethertype) != REASON_NONE || !is_tunnel(&pkt))
		return verdict(&pkt, NODE_REASON_PASS_NOT_TUNNELLED, XDP_PASS);
	if (pkt.fragment != FRAGMENT_NONE)
		return verdict(&pkt, NODE_REASON_PASS_FRAGMENT, XDP_PASS);

	reason = parse_inner(&pkt, &inner);
	if (reason)
		return verdict(&pkt, reason, XDP_PASS);
	if (!bpf_map_lookup_elem(&node_vips, &inner.destination))
		return verdict(&pkt, NODE_REASON_PASS_NOT_OURS, XDP_PASS);

	reason = propagate_ecn(&pkt, &inner);
	if (reason)
		return verdict(&pkt, reason, XDP_DROP);
	reason = pop_header(ctx, &pkt);
	if (reason != NODE_REASON_DECAPSULATED)
		return verdict(&pkt, reason, XDP_ABORTED);
	return verdict(&pkt, reason, XDP_PASS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
