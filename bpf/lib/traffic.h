/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright The Weir Authors */

/* Adding to a counter. It is one CPU's own, so no lock and no atomic is due. */
#ifndef WEIR_TRAFFIC_H
#define WEIR_TRAFFIC_H

#include <bpf/bpf_helpers.h>

#include "types.h"

static __always_inline void count(struct traffic *traffic, __u32 bytes)
{
	traffic->packets++;
	traffic->bytes += bytes;
}

#endif
