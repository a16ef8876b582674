//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Copyright The Weir Authors

/*
 * The balancer: what becomes of a packet, step by step. Each step lives in the
 * header of its name below lib; a step that decides returns a reason, which
 * ends the way of the packet, or REASON_NONE.
 */
#include <stdbool.h>

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "lib/config.h"
#include "lib/dsr.h"
#include "lib/encap_ipip.h"
#include "lib/ethernet.h"
#include "lib/icmp.h"
#include "lib/listener.h"
#include "lib/maps.h"
#include "lib/parse.h"
#include "lib/reject.h"
#include "lib/slot.h"
#include "lib/stats.h"
#include "lib/track.h"

EMIT_ENUM(reason);
EMIT_ENUM(forward);
EMIT_ENUM(health);
EMIT_ENUM(vip_protocols);
EMIT_ENUM(listener_flags);
EMIT_ENUM(slot_bits);
EMIT_ENUM(name_kind);
EMIT_ENUM(mode);
EMIT_ENUM(unusable);
EMIT_ENUM(decided);
EMIT_ENUM(embryonic_bits);

static __always_inline int verdict(const struct packet *pkt, enum reason reason, int action)
{
	count_reason(reason, pkt->frame_len);
	return action;
}

/* A packet of a listener leaves for its backend. */
static __always_inline enum reason forward(struct xdp_md *ctx, struct packet *pkt,
					   const struct backend *backend, __u32 hash)
{
	if (use_dsr && backend->forward == FORWARD_DSR)
		return forward_dsr(pkt, backend);
	if (backend->forward != FORWARD_IPIP)
		return REASON_ABORTED_BAD_TABLE;
	if (use_ipip4 && !backend->ipv6)
		return encap_ipip4(ctx, pkt, backend, hash);
	if (use_ipip6 && backend->ipv6)
		return encap_ipip6(ctx, pkt, backend, hash);
	return REASON_ABORTED_BAD_TABLE;
}

static __always_inline bool is_aborted(enum reason reason)
{
	return reason == REASON_ABORTED_HEADROOM || reason == REASON_ABORTED_BAD_TABLE;
}

static __always_inline int drop(const struct packet *pkt, const struct listener *listener,
				enum reason reason)
{
	count_listener_dropped(listener->id, pkt->frame_len);
	return verdict(pkt, reason, is_aborted(reason) ? XDP_ABORTED : XDP_DROP);
}

/* A packet of a listener that has no usable backend is dropped or, if the
 * listener says so, answered. Either way the listener did not forward it.
 */
static __always_inline int no_backend(struct xdp_md *ctx, const struct packet *pkt,
				      const struct listener *listener)
{
	enum reason reason = REASON_NONE;

	if (use_reject && (listener->flags & LISTENER_REJECT_ALL_DOWN))
		reason = reject(ctx);
	if (!is_answer(reason))
		return drop(pkt, listener, reason ?: REASON_DROP_NO_BACKEND);
	count_listener_dropped(listener->id, pkt->frame_len);
	return verdict(pkt, reason, XDP_TX);
}

static __always_inline int balance(struct xdp_md *ctx, struct packet *pkt,
				   const struct listener *listener)
{
	struct backend *backend;
	enum reason reason;
	__u32 slot, id;
	__u64 hash;

	if (pkt->fragment != FRAGMENT_NONE)
		return drop(pkt, listener, REASON_DROP_FRAGMENT);

	hash = packet_hash(pkt, listener);
	if (!read_slot(listener->slots + hash_slot(hash, listener->table_size), &slot))
		return drop(pkt, listener, REASON_ABORTED_BAD_TABLE);
	id = slot_is_steady(slot) ? slot_current(slot) : tracked_backend(pkt, listener, slot, hash);
	backend = pool_entry(listener, id);
	if (!backend)
		return drop(pkt, listener, REASON_ABORTED_BAD_TABLE);
	if (backend->forward == FORWARD_NONE)
		return no_backend(ctx, pkt, listener);
	if (!backend->ifindex)
		return drop(pkt, listener, REASON_DROP_NO_NEXTHOP);

	if (use_dsr && backend->forward == FORWARD_DSR && is_on_its_way(pkt, backend))
		return verdict(pkt, REASON_PASS_ON_ITS_WAY, XDP_PASS);

	reason = forward(ctx, pkt, backend, outer_hash(pkt, listener, hash));
	if (reason != REASON_FORWARDED)
		return drop(pkt, listener, reason);
	count_listener_forwarded(listener->id, pkt->frame_len);
	count_backend(backend->counter, pkt->frame_len);
	return verdict(pkt, reason, transmit(ctx, backend->ifindex));
}

/* A packet without a listener: the host's, or for us to answer. */
static __always_inline int no_listener(struct packet *pkt)
{
	const struct vip *vip = vip_lookup(pkt);
	enum reason reason;

	if (!vip)
		return verdict(pkt, REASON_PASS_NOT_OURS, XDP_PASS);
	if (pkt->fragment == FRAGMENT_LATER && vip_has_listener(vip, pkt->protocol))
		return verdict(pkt, REASON_DROP_FRAGMENT, XDP_DROP);
	if (!is_icmp(pkt))
		return verdict(pkt, REASON_PASS_NO_LISTENER, XDP_PASS);
	if (pkt->fragment != FRAGMENT_NONE)
		return verdict(pkt, REASON_PASS_ICMP, XDP_PASS);

	reason = pkt->ipv6 ? echo_reply6(pkt) : echo_reply4(pkt);
	return verdict(pkt, reason, reason == REASON_ECHO_REPLY ? XDP_TX : XDP_PASS);
}

/* The steps for a packet of one family, which is a constant here: the program
 * has them twice, and neither branches on the family again.
 */
static __always_inline int steps(struct xdp_md *ctx, struct packet *pkt, __u16 ethertype)
{
	const struct listener *listener;
	enum reason reason;

	reason = parse_ip(pkt, ethertype);
	if (reason)
		return verdict(pkt, reason, XDP_PASS);

	if (pkt->fragment == FRAGMENT_LATER ||
	    (pkt->protocol != IPPROTO_TCP && pkt->protocol != IPPROTO_UDP))
		return no_listener(pkt);

	reason = parse_ports(pkt);
	if (reason)
		return verdict(pkt, reason, XDP_PASS);

	listener = listener_lookup(pkt);
	if (!listener)
		return no_listener(pkt);

	return balance(ctx, pkt, listener);
}

SEC("xdp")
int weir_xdp(struct xdp_md *ctx)
{
	struct packet pkt = {};

	switch (parse_ethernet(ctx, &pkt)) {
	case ETH_P_IP:
		return steps(ctx, &pkt, ETH_P_IP);
	case ETH_P_IPV6:
		return steps(ctx, &pkt, ETH_P_IPV6);
	default:
		return verdict(&pkt, REASON_PASS_NOT_IP, XDP_PASS);
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
