/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* The Ethernet header of a packet on its way to a backend, and the way out. */
#ifndef WEIR_ETHERNET_H
#define WEIR_ETHERNET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_helpers.h>

#include "types.h"

/* Words of a header. Packets need not be aligned, and a compiler that does not
 * know better copies them byte by byte: 12 loads and stores for two addresses.
 */
typedef __u64 __attribute__((may_alias)) word64;
typedef __u32 __attribute__((may_alias)) word32;

static __always_inline void write_macs(struct ethhdr *eth, const struct backend *backend)
{
	const void *macs = backend->dst_mac; /* src_mac follows */

	*(word64 *)eth = *(const word64 *)macs;
	*(word32 *)((void *)eth + 8) = *(const word32 *)(macs + 8);
}

/* The action that sends a rewritten packet out of an interface. */
static __always_inline int transmit(const struct xdp_md *ctx, __u32 ifindex)
{
	if (ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return bpf_redirect(ifindex, 0);
}

#endif
