/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/*
 * Every struct and enum that the programs share with Go. The Go types are
 * generated from these (bpf2go -type); nothing is written twice.
 *
 * Layout rules: fixed width, explicit padding, size asserted. An IPv4 address
 * in an address[4] stands as IPv4-mapped IPv6, ::ffff:a.b.c.d.
 */
#ifndef WEIR_TYPES_H
#define WEIR_TYPES_H

#include <linux/types.h>

/* BTF has the types of variables only. This makes one of an enum, which Go
 * reads by its name; nobody reads the variable.
 */
#define EMIT_ENUM(name) const volatile enum name emit_##name

/* Ways of forwarding a packet to a backend; the values of lb.Forward in Go. */
enum forward {
	FORWARD_NONE = 0, /* not a backend: the empty entry 0 of every pool */
	FORWARD_DSR = 1, /* rewrite the MAC addresses, nothing else */
	FORWARD_IPIP = 2, /* put an outer IPv4 or IPv6 header in front */
};

/* What the checks say of a backend; the values of lb.Health in Go. The
 * programs do not read it: a backend that is down has no slots.
 */
enum health {
	HEALTH_UNKNOWN = 0,
	HEALTH_UP = 1,
	HEALTH_DOWN = 2,
};

/* Bits of vip.protocols: the balancer has a listener of that protocol. */
enum vip_protocols {
	VIP_TCP = 1,
	VIP_UDP = 2,
};

/* Bits of listener.flags. */
enum listener_flags {
	LISTENER_HASH_SOURCE = 1, /* algorithm: source, else the 5-tuple */
	LISTENER_DROP_ALL_DOWN = 2, /* on_all_down: drop */
	LISTENER_REJECT_ALL_DOWN = 4, /* on_all_down: reject; with neither, open */
};

/* Key of the map listeners4. */
struct listener4_key {
	__be32 address;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

_Static_assert(sizeof(struct listener4_key) == 8, "hashed as two words");

/* Key of the map listeners6. */
struct listener6_key {
	__be32 address[4];
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

_Static_assert(sizeof(struct listener6_key) == 20, "hashed as five words");

/*
 * Value of listeners4 and listeners6. A listener has one entry for each
 * address of its balancer; their values are the same.
 */
struct listener {
	__u32 id; /* index in listener_counters, and of its name */
	__u32 balancer; /* identifier of its balancer */
	__u32 slots; /* index of its first slot, a multiple of SLOTS_PER_LINE */
	__u32 table_size; /* number of slots */
	__u32 pool; /* index in backends of the entry 0 of its pool */
	__u32 pool_size; /* number of entries of its pool, entry 0 included */
	__u32 flags; /* enum listener_flags */
	__u32 pad;
};

_Static_assert(sizeof(struct listener) == 32, "two to a cache line");

/* Values of listener_cache4 and listener_cache6: a listener that was looked up,
 * valid as long as generation is the present one.
 */
struct listener_cache4 {
	struct listener4_key key;
	__u32 generation;
	__u32 pad;
	struct listener listener;
};

struct listener_cache6 {
	struct listener6_key key;
	__u32 generation;
	__u32 pad[2];
	struct listener listener;
};

_Static_assert(sizeof(struct listener_cache6) == 64, "one cache line");

/*
 * A slot is a 32-bit word, read and written atomically. Backends are named by
 * their index in the pool of the listener, 1 to 32767; 0 means none.
 *
 *    31      30        29        15 14          0
 *   +---+---------+---------------+-------------+
 *   | 0 | tracked |   previous    |   current   |
 *   +---+---------+---------------+-------------+
 */
enum slot_bits {
	SLOT_BACKEND_BITS = 15,
	SLOT_BACKEND_MASK = 0x7fff,
	SLOT_PREVIOUS_SHIFT = 15,
	SLOT_TRACKED = 1 << 30,
	SLOTS_PER_LINE = 16,
};

/* Value of the array slots: one cache line of slots. */
struct slot_line {
	__u32 slot[SLOTS_PER_LINE];
};

_Static_assert(sizeof(struct slot_line) == 64, "one cache line");

/*
 * Value of the array backends. Address, port and forward stay as long as a
 * slot may refer to the entry. The rest follows the network: each aligned
 * 64-bit word is written at once, so that no packet sees half the MAC address
 * of a next hop. (src_mac lies in two of them; it is for the eye of a switch.)
 */
struct backend {
	__be32 address[4];
	__u8 dst_mac[6]; /* of the next hop; with src_mac as they stand in a frame */
	__u8 src_mac[6]; /* of the interface ifindex */
	__u16 mtu; /* bytes of an IP packet that fit on the way to the next hop */
	__be16 port;
	__u32 ifindex; /* interface of the next hop; 0 while that is unknown */
	__u32 counter; /* index in backend_counters, and of its name */
	__u8 forward; /* enum forward */
	__u8 ipv6; /* 1: address is IPv6 */
	__u8 weight;
	__u8 health; /* enum health */
	__u8 pad[20];
};

_Static_assert(sizeof(struct backend) == 64, "one cache line");

/* Key of the map vips: an address of a balancer. */
struct vip_key {
	__be32 address[4];
};

/* Value of the map vips. */
struct vip {
	__u32 balancer; /* identifier of the balancer */
	__u32 protocols; /* enum vip_protocols */
};

/* Packets and bytes (from the Ethernet header on, as received). */
struct traffic {
	__u64 packets;
	__u64 bytes;
};

/* Value of listener_counters, one per CPU. */
struct listener_counter {
	struct traffic forwarded;
	struct traffic dropped;
};

/* Value of reject_bucket, one per CPU: how many packets may be answered. */
struct reject_bucket {
	__u64 answers; /* left when it was looked at last */
	__u64 filled; /* up to when answers were added: nanoseconds since boot */
};

/* What the map names has labels for. */
enum name_kind {
	NAME_BALANCER = 1,
	NAME_BACKEND = 2, /* by backend.counter */
};

/* Key of the map names. */
struct name_key {
	__u32 kind; /* enum name_kind */
	__u32 id;
};

/* Value of the map names: a label from the configuration, zero-terminated. */
struct name {
	__u8 text[64];
};

#endif
