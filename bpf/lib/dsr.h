/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* forward: dsr. The frame goes to the backend's MAC address; the backend holds
 * the balancer's address and answers the client directly.
 */
#ifndef WEIR_DSR_H
#define WEIR_DSR_H

#include "ethernet.h"
#include "parse.h"

static __always_inline enum reason forward_dsr(struct packet *pkt, const struct backend *backend)
{
	if (pkt->l3_len > backend->mtu)
		return REASON_DROP_TOO_BIG;
	write_macs(pkt->eth, backend);
	return REASON_FORWARDED;
}

#endif
