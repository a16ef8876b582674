/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * Which backend a packet goes to whose slot is not steady, so that no flow leaves
 * a backend that is still there for it.
 *
 * The flows without a record in a slot are all on its previous backend. So the
 * first packet of a flow leaves a record if current is another, and so does the
 * next packet of a flow from before the change. What has a record goes by it.
 *
 * All but a look into the cache is called, not inlined: the path of steady slots
 * stays short. What is called is not static, so that the verifier goes through it
 * once, and not through all that follows for each way that leads out of it.
 */
#ifndef WEIR_TRACK_H
#define WEIR_TRACK_H

#include <linux/errno.h>

#include "embryonic.h"
#include "flow_cache.h"
#include "parse.h"
#include "slot.h"

/* No backend of any pool: what cannot happen has happened. */
#define BACKEND_NONE (~0U)

/* What the look-ups need to know of a packet and of its flow. */
struct trace {
	const void *key; /* of the map flows */
	__u32 key_size;
	void *flows; /* flows4 or flows6 */
	struct flow_cache *cached; /* where this CPU may have the record */
	struct tracking_counter *counter;
	__u64 embryonic; /* embryonic_hash() of the flow */
	__u32 hash; /* upper half of the hash that chose the slot */
	__u32 current; /* of the slot */
	__u32 previous; /* of the slot, or of the old table's */
	__u32 at_risk; /* not 0: flows without a record are not on current, or may not be */
	__u32 now; /* flow_clock */
	__u32 generation; /* flow_generation */
	__u8 control; /* enum tcp_control */
	bool tcp;
};

/* SYN without ACK. */
static __always_inline bool is_first(const struct trace *trace)
{
	return (trace->control & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline bool is_closing(const struct trace *trace)
{
	return !is_first(trace) && (trace->control & (TCP_FIN | TCP_RST));
}

/* Why the flows of a backend must leave it, UNUSABLE_NO if they may stay. */
static __always_inline enum unusable backend_unusable(const struct listener *listener, __u32 id)
{
	const struct backend *backend = id ? pool_entry(listener, id) : NULL;

	if (!backend || backend->forward == FORWARD_NONE)
		return UNUSABLE_REMOVED;
	return backend->unusable;
}

static __always_inline void count_decided(const struct trace *trace, enum decided decided)
{
	trace->counter->decided[decided]++;
}

/* A flow goes to current, because where it belongs is unusable. */
static __always_inline __u32 leave(const struct trace *trace)
{
	count_decided(trace, DECIDED_CURRENT);
	return trace->current;
}

/* A known flow is with another backend from now on, and its record says so. */
static __always_inline void count_broken(const struct trace *trace, enum unusable why)
{
	trace->counter->broken[why & 7]++;
}

/*
 * Read the record of a flow. It may be removed meanwhile, and another flow have
 * got its memory, before an RCU grace period ends: elements are allocated as they
 * are needed. So the record is copied, the backend before the hash, which is
 * written first; if that is not this flow's, somebody has to look again. (It may
 * be older than a change of the listener's algorithm. Then the second look finds
 * the same.)
 */
static __always_inline bool read_flow(const struct trace *trace, struct flow *flow)
{
	for (int i = 0; i < FLOW_READS; i++) {
		const volatile __u64 *words = bpf_map_lookup_elem(trace->flows, trace->key);
		__u64 *copy = (__u64 *)flow;

		if (!words)
			return false;
		copy[1] = words[1];
		copy[0] = words[0];
		if (flow->hash == trace->hash)
			break;
	}
	return true;
}

/* Write the record of a flow, as a whole: what a pointer leads to may be another
 * flow's by now. Returns 0 or an error, as an int: older kernels leave the upper
 * half of the register as it comes.
 */
static __always_inline int put_flow(const struct listener *listener, const struct trace *trace,
				    __u32 backend, bool closing, __u64 flags)
{
	struct flow flow = {
		.listener = listener->id,
		.hash = trace->hash,
		.seen = trace->now,
		.backend = backend,
		.closing = closing,
	};

	return bpf_map_update_elem(trace->flows, trace->key, &flow, flags);
}

/* Note that a flow lives, if the record does not say so: once for each step of the
 * clock. If that fails, the next packet does it.
 */
static __always_inline void refresh(const struct listener *listener, const struct flow *flow,
				    const struct trace *trace)
{
	bool closing = flow->closing || is_closing(trace);

	if (flow->seen != trace->now || flow->hash != trace->hash || flow->closing != closing)
		put_flow(listener, trace, flow->backend, closing, BPF_EXIST);
}

/* The first packet of a flow goes by the newest table; if it comes again before
 * the flow is established, to where it went. That does not make its record
 * younger: when a slot has not changed for as long as such records live, all that
 * there are of its flows name current. A SYN of a flow that lives is a late copy
 * or a forgery, and moves nothing.
 */
static __always_inline __u32 first_packet(const struct listener *listener, const struct flow *flow,
					  const struct trace *trace)
{
	__u32 id;

	if (flow && flow->listener == listener->id && !flow->closing &&
	    !backend_unusable(listener, flow->backend)) {
		refresh(listener, flow, trace);
		count_decided(trace, DECIDED_RECORD);
		return flow->backend;
	}
	if (flow) {
		/* Before Linux 6.7 this fails where it interrupts the agent's look at
		 * the same buckets. Then the embryonic record goes before that one.
		 */
		bpf_map_delete_elem(trace->flows, trace->key);
		drop_flow_caches();
	}

	count_decided(trace, DECIDED_NEW);
	id = embryonic_find(trace->embryonic);
	if (id && !backend_unusable(listener, id))
		return id;
	if (trace->current && trace->at_risk)
		embryonic_put(trace->embryonic, trace->current, trace->now);
	else if (id)
		embryonic_clear(trace->embryonic);
	return trace->current;
}

/* A packet of a flow that has a record. */
static __always_inline __u32 recorded_packet(const struct listener *listener,
					     const struct flow *flow, const struct trace *trace)
{
	__u32 id = flow->backend;
	enum unusable why = backend_unusable(listener, id);
	bool closing = flow->closing || is_closing(trace);

	if (!why) {
		refresh(listener, flow, trace);
		if (!closing)
			flow_cache_put(trace->cached, trace->key, trace->key_size, listener->id,
				       trace->hash, id, trace->generation);
		count_decided(trace, DECIDED_RECORD);
		return id;
	}
	if (!trace->current || trace->current == id) {
		refresh(listener, flow, trace);
	} else if (!put_flow(listener, trace, trace->current, closing, BPF_ANY)) {
		drop_flow_caches();
		count_broken(trace, why);
	}
	return leave(trace);
}

/* A packet of a flow that has none: it is established now, or was before the
 * slot began to move. From here on it has one. A record that is there is one of a
 * listener that is no more, or of a flow that has ended; or another CPU has just
 * written it, and that stays, as caches may have it already.
 */
static __always_inline __u32 unknown_packet(const struct listener *listener, bool stale,
					    const struct trace *trace)
{
	__u32 embryo = trace->tcp ? embryonic_find(trace->embryonic) : 0;
	__u32 from = embryo ?: trace->previous, id = from;
	enum unusable why = backend_unusable(listener, id);
	int err;

	if (why)
		id = leave(trace);
	else
		count_decided(trace, embryo ? DECIDED_RECORD : DECIDED_PREVIOUS);
	if (!id || !(embryo || trace->at_risk))
		return id;
	err = put_flow(listener, trace, id, is_closing(trace), stale ? BPF_ANY : BPF_NOEXIST);
	if (stale)
		drop_flow_caches();
	if (err == -E2BIG || err == -ENOMEM)
		trace->counter->overflow++;
	if (err && err != -EEXIST)
		return id;
	if (embryo)
		embryonic_clear(trace->embryonic);
	if (why && from && from != id)
		count_broken(trace, why);
	return id;
}

/* Where flows without a record are. While a listener has two tables that is the
 * old one's to say, whatever the slots of the new one do meanwhile.
 */
static __always_inline void find_previous(const struct listener *listener, __u32 slot,
					  __u64 flow_hash, __u64 source_hash, struct trace *trace)
{
	__u32 id = listener->id;
	struct old_table *old;
	__u32 old_slot;
	__u64 hash;

	trace->previous = slot_previous(slot);
	trace->at_risk = trace->previous ^ trace->current;
	if (!(listener->flags & LISTENER_OLD_TABLE))
		return;
	old = bpf_map_lookup_elem(&old_tables, &id);
	if (!old)
		return;
	hash = old->flags & LISTENER_HASH_SOURCE ? source_hash : flow_hash;
	if (!read_slot(old->slots + hash_slot(hash, old->table_size), &old_slot))
		return;
	trace->previous = slot_previous(old_slot);
	trace->at_risk = 1;
}

/* Find out what the look-ups need, but for what follows from the slot. false if
 * an array lacks an entry.
 */
static __always_inline bool begin_trace(struct trace *trace, __u32 listener, __u64 hash,
					__u32 ports, __u8 protocol, __u8 control)
{
	__u32 key = 0;
	__u32 *clock = bpf_map_lookup_elem(&flow_clock, &key);
	__u32 *generation = bpf_map_lookup_elem(&flow_generation, &key);

	trace->hash = hash >> 32;
	trace->control = control;
	trace->tcp = protocol == IPPROTO_TCP;
	trace->cached = flow_cache_entry(trace->hash, ports);
	trace->counter = bpf_map_lookup_elem(&tracking_counters, &listener);
	if (!clock || !generation || !trace->cached || !trace->counter)
		return false;
	trace->generation = *(volatile __u32 *)generation;
	trace->now = *(volatile __u32 *)clock;
	return true;
}

/* The backend of a flow by the tables. */
static __always_inline __u32 track(const struct listener *listener, __u32 slot, __u64 flow_hash,
				   __u64 source_hash, struct trace *trace)
{
	struct flow flow = {};
	bool found;

	trace->embryonic = embryonic_hash(flow_hash, listener->id);
	trace->current = slot_current(slot);
	find_previous(listener, slot, flow_hash, source_hash, trace);

	found = read_flow(trace, &flow);
	if (is_first(trace))
		return first_packet(listener, found ? &flow : NULL, trace);
	if (!found || flow.listener != listener->id ||
	    (flow.closing && embryonic_find(trace->embryonic)))
		return unknown_packet(listener, found, trace);
	return recorded_packet(listener, &flow, trace);
}

/* The backend of an IPv4 flow by the tables; control is that of its packet. The
 * key is copied, as older kernels want keys on the stack.
 */
__noinline __u32 track4(const struct listener *listener, const struct flow4_key *flow, __u64 hash,
			__u32 slot, __u8 control)
{
	struct flow4_key key;
	struct trace trace = { .flows = &flows4, .key = &key, .key_size = sizeof(key) };
	__u64 flow_hash = hash;

	if (!listener || !flow)
		return BACKEND_NONE;
	key = *flow;
	if (!begin_trace(&trace, listener->id, hash, key.ports, key.protocol, control))
		return BACKEND_NONE;
	if (hashes_source(listener))
		flow_hash = hash_flow4(hash_seed, key.saddr, key.daddr, key.ports, key.protocol);
	return track(listener, slot, flow_hash, hash_source4(hash_seed, key.saddr), &trace);
}

/* The same of an IPv6 flow. */
__noinline __u32 track6(const struct listener *listener, const struct flow6_key *flow, __u64 hash,
			__u32 slot, __u8 control)
{
	struct flow6_key key;
	struct trace trace = { .flows = &flows6, .key = &key, .key_size = sizeof(key) };
	__u64 flow_hash = hash;

	if (!listener || !flow)
		return BACKEND_NONE;
	key = *flow;
	if (!begin_trace(&trace, listener->id, hash, key.ports, key.protocol, control))
		return BACKEND_NONE;
	if (hashes_source(listener))
		flow_hash = hash_flow6(hash_seed, key.saddr, key.daddr, key.ports, key.protocol);
	return track(listener, slot, flow_hash, hash_source6(hash_seed, key.saddr), &trace);
}

/* The backend of a flow by the cache of this CPU. 0 if it is not there, or if the
 * packet is one for the tables: the flow begins, ends or has to leave.
 */
static __always_inline __u32 cached_backend(const struct listener *listener, const void *key,
					    __u32 key_size, __u64 hash, const struct packet *pkt)
{
	__u32 zero = 0;
	__u32 *generation = bpf_map_lookup_elem(&flow_generation, &zero);
	struct flow_cache *cached = flow_cache_entry(hash >> 32, pkt->ports);
	struct tracking_counter *counter = bpf_map_lookup_elem(&tracking_counters, &listener->id);

	if (!generation || !cached || !counter)
		return 0;
	if (pkt->control & (TCP_SYN | TCP_FIN | TCP_RST))
		return 0;
	if (!flow_cache_holds(cached, key, key_size, listener->id, hash >> 32,
			      *(volatile __u32 *)generation))
		return 0;
	if (backend_unusable(listener, cached->backend))
		return 0;
	counter->decided[DECIDED_RECORD]++;
	return cached->backend;
}

/* The backend, by its index in the pool, of a packet whose slot is not steady. */
static __always_inline __u32 tracked_backend(const struct packet *pkt,
					     const struct listener *listener, __u32 slot,
					     __u64 hash)
{
	if (pkt->ipv6) {
		struct flow6_key key = { .ports = pkt->ports, .protocol = pkt->protocol };

		__builtin_memcpy(key.saddr, &pkt->ip6->saddr, sizeof(key.saddr));
		__builtin_memcpy(key.daddr, &pkt->ip6->daddr, sizeof(key.daddr));
		return cached_backend(listener, &key, sizeof(key), hash, pkt)
			       ?: track6(listener, &key, hash, slot, pkt->control);
	} else {
		struct flow4_key key = {
			.saddr = pkt->ip4->saddr,
			.daddr = pkt->ip4->daddr,
			.ports = pkt->ports,
			.protocol = pkt->protocol,
		};

		return cached_backend(listener, &key, sizeof(key), hash, pkt)
			       ?: track4(listener, &key, hash, slot, pkt->control);
	}
}

#endif
