/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* forward: dsr. The frame goes to the backend's MAC address; the backend holds
 * the balancer's address and answers the client directly.
 */
#ifndef WEIR_DSR_H
#define WEIR_DSR_H

#include "ethernet.h"
#include "parse.h"

/* Whether the frame is addressed to the backend: another balancer sent it. Two
 * that sent on each other's frames would do so for ever, as dsr has no time to
 * live.
 */
static __always_inline bool is_on_its_way(const struct packet *pkt, const struct backend *backend)
{
	const __u64 mac_bits = ~0ULL >> 16;

	return !((*(const word64 *)pkt->eth ^ *(const word64 *)backend->dst_mac) & mac_bits);
}

static __always_inline enum reason forward_dsr(struct packet *pkt, const struct backend *backend)
{
	if (pkt->l3_len > backend->mtu)
		return REASON_DROP_TOO_BIG;
	write_macs(pkt->eth, backend);
	return REASON_FORWARDED;
}

#endif
