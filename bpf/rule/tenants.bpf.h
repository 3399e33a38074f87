/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tenants.bpf.h - quotas: how many connections a tenant of a pool has, and may have.
 *
 *   connect hook  a connection counts from connect() on, so that a burst never gets more
 *   lookup hook   a connection counts when it is established, since anybody can forge a SYN: so a
 *                 burst may get as many more as are in their handshakes
 *
 * A tenant without an entry, because there was no room for one, is not held to a quota, but counts
 * with the others. The end is counted once, by the socket's entry in `seats`.
 */
#ifndef PINTLE_TENANTS_BPF_H
#define PINTLE_TENANTS_BPF_H

#include "common.bpf.h"
#include "quota.bpf.h"

#define TENANT_KIND(key) ((key)&0xff)
#define TENANT_BITS(key) KEY_BITS((key) >> 8 & 0xff, (key) >> 16 & 0xff, 0)
#define TENANT_TRIES     8

static __always_inline struct pintle_quota *quota_find(const struct pintle_affinity_key *tenant)
{
	struct pintle_affinity_key key = *tenant; /* Linux 6.1 takes keys only from the stack */
	struct pintle_quota *q = bpf_map_lookup_elem(&quotas, &key);

	if (q)
		return q;
	__builtin_memset(&key.session, 0, sizeof(key.session));
	return bpf_map_lookup_elem(&quotas, &key);
}

/* Whether the tenant, whose entry stays as it is, may have no further connection. */
__weak __noinline int tenant_over(const struct pintle_affinity_key *tenant, __u64 now)
{
	struct pintle_affinity_key key;
	struct pintle_tenant *n;
	struct pintle_quota *q;

	if (!tenant || tenant->session.kind == PINTLE_KEY_NONE)
		return 0;
	key = *tenant;
	q = quota_find(tenant);
	n = bpf_map_lookup_elem(&tenants, &key);
	if (!q || !n)
		return 0;
	if (!quota_full(n->opened, n->closed, q->connections) && !quota_early(q, n->due_ns, now))
		return 0;
	__sync_fetch_and_add(&n->refused, 1);
	return 1;
}

/* The tenant's entry, which is made if there is room; else that of the others, and *key is theirs.
 */
static __always_inline struct pintle_tenant *tenant_make(struct pintle_affinity_key *key)
{
	struct pintle_tenant *n = bpf_map_lookup_elem(&tenants, key), none = {};

	if (n)
		return n;
	if (key->session.kind != PINTLE_KEY_NONE) {
		bpf_map_update_elem(&tenants, key, &none, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&tenants, key);
	}
	if (n)
		return n;
	__builtin_memset(&key->session, 0, sizeof(key->session));
	return bpf_map_lookup_elem(&tenants, key);
}

/* Takes the time of one more connection. Returns false, and changes nothing, if that comes too
 * early. */
static __always_inline bool tenant_charge(struct pintle_tenant *n, const struct pintle_quota *q,
					  __u64 now, bool judge)
{
	__u64 due;
	__u32 i;

	if (!q->interval_ns)
		return true;
#pragma unroll /* Linux 6.1 refuses a loop whose end is not a conditional jump */
	for (i = 0; i < TENANT_TRIES; i++) {
		due = n->due_ns;
		if (judge && quota_early(q, due, now))
			return false;
		if (__sync_val_compare_and_swap(&n->due_ns, due, quota_next(q, due, now)) == due)
			return true;
	}
	return !judge;
}

/* Counts one more connection of the tenant; with `judge` not one over its quota, and returns 1 for
 * that. *tenant becomes the entry's key in which it counts; without a pool it counts nowhere. */
__weak __noinline int tenant_enter(struct pintle_affinity_key *tenant, __u64 now, __u32 judge)
{
	struct pintle_affinity_key key;
	struct pintle_tenant *n;
	struct pintle_quota *q;
	__u64 before;

	if (!tenant)
		return 0;
	key = *tenant;
	q = quota_find(tenant);
	n = q ? tenant_make(&key) : NULL;
	*tenant = key;
	if (!q || !n) {
		tenant->pool_generation = 0;
		return 0;
	}
	judge = judge && key.session.kind != PINTLE_KEY_NONE;
	before = __sync_fetch_and_add(&n->opened, 1);
	if ((judge && quota_full(before, n->closed, q->connections)) ||
	    !tenant_charge(n, q, now, judge)) {
		__sync_fetch_and_sub(&n->opened, 1);
		__sync_fetch_and_add(&n->refused, 1);
		return 1;
	}
	n->used_ns = now;
	return 0;
}

#endif
