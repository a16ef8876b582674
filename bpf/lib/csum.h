/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* Internet checksums (RFC 1071) and their incremental update (RFC 1624). */
#ifndef WEIR_CSUM_H
#define WEIR_CSUM_H

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

/* The checksum of 32-bit words, given their sum. */
static __always_inline __u16 csum_words(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return csum_fold((__u32)sum);
}

#endif
