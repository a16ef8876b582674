/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * Why a packet left the program of a node as it did. Append-only, as are the
 * balancer's in verdict_reasons.h.
 */
#ifndef WEIR_NODE_REASONS_H
#define WEIR_NODE_REASONS_H

enum node_reason {
	NODE_REASON_NONE = 0,

	/* Not IP inside of IP. */
	NODE_REASON_PASS_NOT_TUNNELLED = 1,
	/* IP inside of IP, for an address that is not one of the node's VIPs. */
	NODE_REASON_PASS_NOT_OURS = 2,
	/* A fragment of an outer packet. */
	NODE_REASON_PASS_FRAGMENT = 3,

	/* Taken out of its tunnel and passed to the host. */
	NODE_REASON_DECAPSULATED = 4,

	/* The inner packet is cut off or contradicts itself. */
	NODE_REASON_PASS_MALFORMED = 5,
	/* Congestion on the way, and a sender that does not understand the mark
	 * (RFC 6040, section 4.2): a drop is what it understands.
	 */
	NODE_REASON_DROP_CONGESTION = 6,

	/* The outer header could not be taken off. */
	NODE_REASON_ABORTED_HEADROOM = 7,

	NODE_REASON_MAX = 8,
};

#endif
