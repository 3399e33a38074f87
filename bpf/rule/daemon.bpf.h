/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* daemon.bpf.h - what programs do without a daemon depends on for how long it has been away. */
#ifndef PINTLE_DAEMON_BPF_H
#define PINTLE_DAEMON_BPF_H

#include "world.bpf.h"

#include "eligible.bpf.h"

/* Whether no daemon reads metrics pages. */
static __always_inline bool daemon_silent(const struct pintle_pool *pool, __u64 now)
{
	__u32 zero = 0;
	struct pintle_node *n = world_find(node, &zero);

	return !n || eligible_daemonless(pool, n->heartbeat_ns, now);
}

/* Whether the pool's connections are left as they came. */
static __always_inline bool daemon_left(const struct pintle_pool *pool, __u64 now)
{
	__u32 zero = 0;
	struct pintle_node *n = world_find(node, &zero);

	return !n || eligible_left(pool, n, now);
}

#endif
