/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* The Ethernet header of a packet on its way to a backend, and the way out. */
#ifndef WEIR_ETHERNET_H
#define WEIR_ETHERNET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_helpers.h>

#include "types.h"

static __always_inline void write_macs(struct ethhdr *eth, const struct backend *backend)
{
	__builtin_memcpy(eth->h_dest, backend->dst_mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, backend->src_mac, ETH_ALEN);
}

/* The action that sends a rewritten packet out of an interface. */
static __always_inline int transmit(const struct xdp_md *ctx, __u32 ifindex)
{
	if (ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return bpf_redirect(ifindex, 0);
}

#endif
