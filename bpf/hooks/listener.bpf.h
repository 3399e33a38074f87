/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * listener.bpf.h - whether a listener is taken for the endpoint at whose address it listens. The
 * same text is compiled into sockops and into the daemon, which must agree.
 *
 * While the model server at 127.0.0.1:8001 is down, any local user may listen there. So the
 * configured user or cgroup decides whose listener the endpoint's is. Without either, it must
 * belong to the user who made the endpoint's first listener, or to root, who could take the address
 * anyway.
 */
#ifndef PINTLE_LISTENER_BPF_H
#define PINTLE_LISTENER_BPF_H

#include <pintle/abi.h>
#include <stdbool.h>

#define LISTENER_CONFIGURED (PINTLE_ADDRESS_USER | PINTLE_ADDRESS_CGROUP)

/* Returns 0, or PINTLE_UNSTEERABLE_*. `owner` is the one in the endpoint's health; `in_cgroup` has
 * a meaning only with PINTLE_ADDRESS_CGROUP. */
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

/* Returns the endpoint's owner after a listener of `uid` was accepted. A configured owner is
 * remembered, too, because the key may be removed from the configuration later. */
static inline __u64 listener_owner(const struct pintle_address *a, __u64 owner, __u32 uid)
{
	return !owner || a->flags & LISTENER_CONFIGURED ? 1ULL + uid : owner;
}

/* What `families` of the endpoint's health says of a listener of these families. `any`: it listens
 * at any local address. */
static inline __u32 listener_covers(__u32 families, bool any)
{
	_Static_assert(PINTLE_FAMILY_ANY_V4 == PINTLE_FAMILY_V4 << 2 &&
			       PINTLE_FAMILY_ANY_V6 == PINTLE_FAMILY_V6 << 2,
		       "in the same order");
	return any ? families | families << 2 : families;
}

#endif
