/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* seats.bpf.h - in whose tenant a socket's connection counts, until its end. */
#ifndef PINTLE_SEATS_BPF_H
#define PINTLE_SEATS_BPF_H

#include "rule/tenants.bpf.h"

/* Counts the end of a connection that tenant_enter() counted. */
static __always_inline void tenant_leave(const struct pintle_affinity_key *tenant)
{
	struct pintle_affinity_key key = *tenant; /* Linux 6.1 takes keys only from the stack */
	struct pintle_tenant *n = bpf_map_lookup_elem(&tenants, &key);

	if (n)
		__sync_fetch_and_add(&n->closed, 1);
}

/* The socket's connection counts for the tenant until seat_leave(). Returns false without memory,
 * and then the count is taken back. */
static __always_inline bool seat_take(void *sk, const struct pintle_affinity_key *tenant)
{
	struct pintle_seat *s;

	if (!tenant->pool_generation)
		return false;
	s = bpf_sk_storage_get(&seats, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!s || s->counted) {
		tenant_leave(tenant);
		return false;
	}
	s->tenant = *tenant;
	__sync_lock_test_and_set(&s->counted, 1);
	return true;
}

/* Not inlined, because of its stack; static, because only such functions may be given sockets. */
static __noinline void seat_leave(void *sk)
{
	struct pintle_seat *s = bpf_sk_storage_get(&seats, sk, NULL, 0);

	if (s && __sync_lock_test_and_set(&s->counted, 0))
		tenant_leave(&s->tenant);
}

#endif
