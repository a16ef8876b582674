/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * The knobs that the agent turns before it loads the program. The verifier
 * knows their values, so that code behind a zero is not even loaded.
 */
#ifndef WEIR_CONFIG_H
#define WEIR_CONFIG_H

#include <linux/types.h>

/* Seed of the packet hash, the same on all balancers of the same addresses. */
const volatile __u64 hash_seed;

/* Some listener forwards by dsr, by ipip with an IPv4 or with an IPv6 header,
 * or hashes the client's address only.
 */
const volatile bool use_dsr;
const volatile bool use_ipip4;
const volatile bool use_ipip6;
const volatile bool use_source_hash;

/* Some listener answers its packets while it has no usable backend. */
const volatile bool use_reject;

/* Prefixes of the outer source addresses; a flow's hash fills the host part.
 * In host byte order, of IPv6 the last word only, host_mask its host bits.
 */
const volatile __u32 tunnel_source4;
const volatile __u32 tunnel_host_mask4;
const volatile __be32 tunnel_source6[3];
const volatile __u32 tunnel_source6_last;
const volatile __u32 tunnel_host_mask6_last;

#endif
