/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * Every map of the balancer. A packet of a steady slot reads arrays only; the
 * first to a listener on a CPU pays one hash look-up (listeners4 or listeners6).
 */
#ifndef WEIR_MAPS_H
#define WEIR_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "limits.h"
#include "types.h"
#include "verdict_reasons.h"

/* Listeners by address, port and protocol. Two maps, because hashing and
 * comparing 8 bytes is cheaper than 20.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LISTENERS_MAX);
	__type(key, struct listener4_key);
	__type(value, struct listener);
} listeners4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LISTENERS_MAX);
	__type(key, struct listener6_key);
	__type(value, struct listener);
} listeners6 SEC(".maps");

/* Listeners that were looked up lately on this CPU: see lib/listener.h. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LISTENER_CACHE_MAX);
	__type(key, __u32);
	__type(value, struct listener_cache4);
} listener_cache4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LISTENER_CACHE_MAX);
	__type(key, __u32);
	__type(value, struct listener_cache6);
} listener_cache6 SEC(".maps");

/* Goes up after each change of listeners4 or listeners6. It is never 0, so that
 * an empty entry of the caches is valid at no time.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} listener_generation SEC(".maps");

/* The balancers' addresses: looked at only where no listener was found. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LISTENERS_MAX);
	__type(key, struct vip_key);
	__type(value, struct vip);
} vips SEC(".maps");

/* The consistent-hash tables of all listeners, one after the other. The agent
 * maps this array into its memory and writes words of it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOT_LINES_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct slot_line);
} slots SEC(".maps");

/* The pools of all listeners, one after the other. Entry 0 of each pool stays
 * empty: the slots of a listener without usable backends lead there.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BACKENDS_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

/* Tables that listeners had before, by listener.id: see lib/track.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LISTENER_IDS_MAX);
	__type(key, __u32);
	__type(value, struct old_table);
} old_tables SEC(".maps");

/* Records of flows that a change puts at risk. Two maps, and memory for what is
 * in them only: whoever has no such flows pays for none.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOWS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow4_key);
	__type(value, struct flow);
} flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOWS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow6_key);
	__type(value, struct flow);
} flows6 SEC(".maps");

/* Records that were looked up lately on this CPU: see lib/flow_cache.h. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FLOW_CACHE_MAX);
	__type(key, __u32);
	__type(value, struct flow_cache);
} flow_cache SEC(".maps");

/* Goes up after each change of a record, and of flow_clock. Packets and the agent
 * count it up side by side, so it is mapped into the agent's memory.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u32);
} flow_generation SEC(".maps");

/* Embryonic records: see enum embryonic_bits. A flood of SYNs fills this array
 * over and over, and nothing else.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EMBRYONIC_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} embryonic SEC(".maps");

/* Milliseconds of tracking: the time during which an agent was there. It stands
 * still without one, so that no record ages while nobody could settle slots.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} flow_clock SEC(".maps");

/* What became of the packets of slots that were not steady, by listener.id. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LISTENER_IDS_MAX);
	__type(key, __u32);
	__type(value, struct tracking_counter);
} tracking_counters SEC(".maps");

/* Packets and bytes by reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS_MAX);
	__type(key, __u32); /* enum reason */
	__type(value, struct traffic);
} reason_counters SEC(".maps");

/* Packets and bytes by listener.id. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LISTENER_IDS_MAX);
	__type(key, __u32);
	__type(value, struct listener_counter);
} listener_counters SEC(".maps");

/* Packets and bytes by backend.counter. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BACKEND_COUNTERS_MAX);
	__type(key, __u32);
	__type(value, struct traffic);
} backend_counters SEC(".maps");

/* How many packets this CPU may still answer: see lib/reject.h. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct reject_bucket);
} reject_bucket SEC(".maps");

/* Labels, so that whoever reads the maps reads names. No program uses it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NAMES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct name_key);
	__type(value, struct name);
} names SEC(".maps");

#endif
