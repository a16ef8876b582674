/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * Why a packet left as it did. The list is append-only: a reason that is no
 * longer used keeps its number and is marked as retired. Go reads the names
 * from the BTF of the loaded program, metrics and listings show them in lower
 * case without REASON_. The prefix of a name is the XDP action: PASS, DROP and
 * ABORTED; all others send the packet out (TX or redirect).
 */
#ifndef WEIR_VERDICT_REASONS_H
#define WEIR_VERDICT_REASONS_H

enum reason {
	/* Not decided yet: the next step goes on. Never counted. */
	REASON_NONE = 0,

	/* Neither IPv4 nor IPv6, or a multicast or broadcast frame. */
	REASON_PASS_NOT_IP = 1,
	/* Cut off or contradicting lengths; the host says what it thinks of it. */
	REASON_PASS_MALFORMED = 2,
	/* The destination is no address of a balancer. */
	REASON_PASS_NOT_OURS = 3,
	/* A balancer's address, but no listener on that port or protocol. */
	REASON_PASS_NO_LISTENER = 4,
	/* ICMP to a balancer's address other than an echo request. */
	REASON_PASS_ICMP = 5,

	/* An echo request to a balancer's address, answered. */
	REASON_ECHO_REPLY = 6,
	/* Sent to the backend of its slot. */
	REASON_FORWARDED = 7,

	/* A fragment of a packet to a listener. */
	REASON_DROP_FRAGMENT = 8,
	/* The listener has no usable backend. */
	REASON_DROP_NO_BACKEND = 9,
	/* The way to the backend is not known (yet, or no longer). */
	REASON_DROP_NO_NEXTHOP = 10,
	/* Larger, with the outer header, than the way to the backend takes. */
	REASON_DROP_TOO_BIG = 11,

	/* The driver left no room in front of the packet for an outer header or
	 * an ICMP error.
	 */
	REASON_ABORTED_HEADROOM = 12,
	/* A listener names slots or backends outside of their maps. */
	REASON_ABORTED_BAD_TABLE = 13,

	/* For a listener by dsr, in a frame that is on its way to the backend
	 * already: a switch floods it, and it is not for us to send on again.
	 */
	REASON_PASS_ON_ITS_WAY = 14,

	/* Answered with a TCP reset: nobody serves it. */
	REASON_RESET = 15,
	/* Answered with an ICMP error, port unreachable: the same for UDP. */
	REASON_UNREACHABLE = 16,
	/* Not answered, because this CPU has just answered very many. */
	REASON_DROP_REJECT_LIMIT = 17,

	REASON_MAX = 18,
};

#endif
