/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* Counters: each is per CPU, so that counting is an addition without a lock. */
#ifndef WEIR_STATS_H
#define WEIR_STATS_H

#include "maps.h"
#include "traffic.h"

static __always_inline void count_reason(enum reason reason, __u32 bytes)
{
	__u32 key = reason;
	struct traffic *traffic = bpf_map_lookup_elem(&reason_counters, &key);

	if (traffic)
		count(traffic, bytes);
}

static __always_inline void count_listener_forwarded(__u32 id, __u32 bytes)
{
	struct listener_counter *counter = bpf_map_lookup_elem(&listener_counters, &id);

	if (counter)
		count(&counter->forwarded, bytes);
}

static __always_inline void count_listener_dropped(__u32 id, __u32 bytes)
{
	struct listener_counter *counter = bpf_map_lookup_elem(&listener_counters, &id);

	if (counter)
		count(&counter->dropped, bytes);
}

static __always_inline void count_backend(__u32 id, __u32 bytes)
{
	struct traffic *traffic = bpf_map_lookup_elem(&backend_counters, &id);

	if (traffic)
		count(traffic, bytes);
}

#endif
