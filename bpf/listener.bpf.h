/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * listener.bpf.h - whether a listener is believed to be the endpoint at whose address it listens.
 * Compiled into sockops and into the daemon, which have to agree.
 *
 * While a model server is down, any local user may listen at its address. So a configured user or
 * cgroup decides. Without either, an endpoint's listeners are those of the user who made the first
 * one, and root's: root has other ways.
 */
#ifndef PINTLE_LISTENER_BPF_H
#define PINTLE_LISTENER_BPF_H

#include <pintle/abi.h>
#include <stdbool.h>

#define LISTENER_CONFIGURED (PINTLE_ADDRESS_USER | PINTLE_ADDRESS_CGROUP)

/* Returns 0, or PINTLE_UNSTEERABLE_*. `owner` is that of the endpoint's health; `in_cgroup` counts
 * with PINTLE_ADDRESS_CGROUP only. */
static inline __u32 listener_strange(const struct pintle_address *a, __u64 owner, __u32 uid,
				     bool in_cgroup)
{
	if (a->flags & PINTLE_ADDRESS_USER && uid != a->user)
		return PINTLE_UNSTEERABLE_USER;
	if (a->flags & PINTLE_ADDRESS_CGROUP && !in_cgroup)
		return PINTLE_UNSTEERABLE_CGROUP;
	if (a->flags & LISTENER_CONFIGURED || !uid || !owner || owner == 1ULL + uid)
		return 0;
	return PINTLE_UNSTEERABLE_OWNER;
}

/* Returns the owner from now on, after a listener of `uid` was believed. A configured one is
 * remembered, too: the key may be taken out again. */
static inline __u64 listener_owner(const struct pintle_address *a, __u64 owner, __u32 uid)
{
	return !owner || a->flags & LISTENER_CONFIGURED ? 1ULL + uid : owner;
}

#endif
