/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* Internet checksums (RFC 1071) and their incremental update (RFC 1624). */
#ifndef WEIR_CSUM_H
#define WEIR_CSUM_H

#include <linux/ip.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

static __always_inline __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* The checksum after a 16-bit word went from one value to another, all three
 * as they stand in the packet (RFC 1624, equation 3).
 */
static __always_inline __u16 csum_replace(__u16 csum, __u16 from, __u16 to)
{
	return csum_fold((__u16)~csum + (__u16)~from + to);
}

/* The checksum of an IPv4 header of 20 bytes whose check field is zero. */
static __always_inline __u16 csum_ipv4(const struct iphdr *ip)
{
	const __u32 *word = (const __u32 *)ip;
	__u64 sum = (__u64)word[0] + word[1] + word[2] + word[3] + word[4];

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return csum_fold((__u32)sum);
}

#endif
