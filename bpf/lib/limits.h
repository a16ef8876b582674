/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* Sizes of the maps as compiled, and the bounds of every loop. */
#ifndef WEIR_LIMITS_H
#define WEIR_LIMITS_H

/* The agent sets the sizes of these maps from agent.limits when it loads the
 * program; the numbers here are the defaults.
 */
#define LISTENERS_MAX	     4096 /* entries of listeners4, of listeners6 and of vips */
#define LISTENER_IDS_MAX     4096 /* listeners, however many addresses each has */
#define BACKENDS_MAX	     131072 /* pool entries */
#define BACKEND_COUNTERS_MAX 131072 /* backends */
#define SLOT_LINES_MAX	     (16777216 / SLOTS_PER_LINE)
#define NAMES_MAX	     135168 /* labels of backends and balancers */

/* Records of each family; the agent sets it from agent.flow_table_size. */
#define FLOWS_MAX 1048576

#define FLOW_READS 2 /* tries to read a record that another flow's may take the place of */

#define EMBRYONIC_MAX (1 << EMBRYONIC_INDEX_BITS)

/* Entries of listener_cache4 and of listener_cache6, on each CPU. */
#define LISTENER_CACHE_BITS 11
#define LISTENER_CACHE_MAX  (1 << LISTENER_CACHE_BITS)

/* Entries of flow_cache, on each CPU. */
#define FLOW_CACHE_BITS 13
#define FLOW_CACHE_MAX	(1 << FLOW_CACHE_BITS)

/* Entries of the counters by reason: room for the reasons of later versions,
 * which take over the maps of this one.
 */
#define REASONS_MAX 64

#define NODE_VIPS_MAX 1024

#define IPV6_EXT_MAX 6 /* extension headers that are walked before giving up */

#define INITIAL_TTL 64 /* time to live, or hop limit, of headers that we make */

/* Packets that are answered instead of dropped, on each CPU: so many a second,
 * and so many at once after a second without.
 */
#define REJECT_RATE  10000
#define REJECT_BURST 10000

/* Bytes of an ICMP error with its IP header: what every host takes in one piece
 * (RFC 1812, 4.3.2.3; RFC 4443, 2.4).
 */
#define ICMP4_ERROR_MAX 576
#define ICMP6_ERROR_MAX 1280

#endif
