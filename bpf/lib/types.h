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

/* What a backend gets, by configuration or command; the values of lb.Mode in
 * Go. The programs do not read it: they read what follows from it.
 */
enum mode {
	MODE_ACCEPT = 0,
	MODE_DRAIN = 1,
	MODE_REJECT = 2,
	MODE_BACKUP = 3,
};

/* Why the flows of a backend have to leave it. Append-only: metrics have them. */
enum unusable {
	UNUSABLE_NO = 0, /* they may stay, also where new ones do not come */
	UNUSABLE_REMOVED = 1, /* it is no longer in the pool */
	UNUSABLE_DOWN = 2, /* its checks fail, and on_down is rebalance */
	UNUSABLE_DRAINED = 3, /* drain_timeout is over */
	UNUSABLE_REJECTED = 4, /* mode: reject */
	UNUSABLE_UNREACHABLE = 5, /* its next hop is not known */
	UNUSABLE_MAX = 6,
};

/* What decided on the backend of a packet whose slot was not steady. */
enum decided {
	DECIDED_NEW = 0, /* the first packet of a flow: the newest table */
	DECIDED_RECORD = 1, /* the record of its flow */
	DECIDED_PREVIOUS = 2, /* no record: where the slot led before */
	DECIDED_CURRENT = 3, /* where it led before, or the record says, is unusable */
	DECIDED_MAX = 4,
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
	LISTENER_OLD_TABLE = 8, /* flows without a record go by its old table */
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
	__u8 unusable; /* enum unusable: why recorded flows leave it */
	__u8 mode; /* enum mode, as it is in force */
	__u8 configured_mode; /* enum mode, of the configuration */
	__u8 pad0;
	__u32 mode_since; /* seconds since boot */
	__u8 pad[12];
};

_Static_assert(sizeof(struct backend) == 64, "one cache line");

/*
 * Value of the array old_tables, by listener.id: the table that a listener had
 * before its size or its algorithm changed, while flows may still be without a
 * record. Valid if the listener has LISTENER_OLD_TABLE.
 */
struct old_table {
	__u32 slots; /* index of its first slot */
	__u32 table_size;
	__u32 flags; /* LISTENER_HASH_SOURCE, as it was */
	__u32 pad;
};

/* Key of the map flows4: a flow, as it stands in its packets. */
struct flow4_key {
	__be32 saddr;
	__be32 daddr;
	__u32 ports; /* both, as one load from the header */
	__u8 protocol;
	__u8 pad[3];
};

_Static_assert(sizeof(struct flow4_key) == 16, "no padding of the compiler's");

/* Key of the map flows6. */
struct flow6_key {
	__be32 saddr[4];
	__be32 daddr[4];
	__u32 ports;
	__u8 protocol;
	__u8 pad[3];
};

_Static_assert(sizeof(struct flow6_key) == 40, "no padding of the compiler's");

/* Value of flows4 and flows6: the record of a flow. */
struct flow {
	__u32 listener; /* listener.id, whose pool the backend is of */
	__u32 hash; /* upper half of the hash that chooses the slot */
	__u32 seen; /* flow_clock at its last packet, in milliseconds */
	__u16 backend; /* its index in the pool */
	__u8 closing; /* 1: FIN or RST of the client was seen */
	__u8 pad;
};

_Static_assert(sizeof(struct flow) == 16, "two words");

/* Value of flow_cache: a record that was looked up, valid as long as generation
 * is the present one.
 */
struct flow_cache {
	struct flow6_key key; /* of an IPv4 flow, a flow4_key is at its beginning */
	__u32 generation;
	__u32 listener;
	__u32 hash;
	__u16 backend;
	__u16 key_size; /* bytes of key; 0: nothing is kept here */
	__u64 pad;
};

_Static_assert(sizeof(struct flow_cache) == 64, "one cache line");

/*
 * An embryonic record: a flow of which only SYNs were seen, and its backend. It
 * is one word, so that it is written at once, and a hash of the flow is all that
 * it says of the flow: the lower bits are the index in the array, the upper the
 * tag. 0 is no record.
 *
 *    63              24 23      16  15  14          0
 *   +------------------+----------+---+-------------+
 *   |       tag        |  stamp   | 0 |   backend   |
 *   +------------------+----------+---+-------------+
 */
enum embryonic_bits {
	EMBRYONIC_INDEX_BITS = 18,
	EMBRYONIC_STAMP_SHIFT = 16, /* flow_clock in units of 2^12 ms, modulo 256 */
	EMBRYONIC_STAMP_UNIT_BITS = 12,
	EMBRYONIC_TAG_SHIFT = 24,
};

/* Value of tracking_counters, one per CPU: packets of a listener's slots that
 * were not steady.
 */
struct tracking_counter {
	__u64 decided[DECIDED_MAX];
	__u64 broken[8]; /* by enum unusable: known flows that had to change backends */
	__u64 overflow; /* records that found no room */
};

_Static_assert(UNUSABLE_MAX <= 8, "one counter each");

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
