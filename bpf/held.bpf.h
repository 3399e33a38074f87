/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * held.bpf.h - the entry of a connection whose request the hand-off holds; see `held` in abi.h.
 *
 * The entry's memory may become another connection's as soon as the entry is deleted. So a program
 * that has found an entry locks it, and looks again whose it is.
 */
#ifndef PINTLE_HELD_BPF_H
#define PINTLE_HELD_BPF_H

#include "common.bpf.h"
#include "mix.bpf.h"

/* An attacker can find tuples with the same hash. The tuple may be at any multiple of four. */
static __always_inline __u64 tuple_hash(const struct pintle_tuple *t)
{
	const __u32 *a = (const __u32 *)t->remote, *b = (const __u32 *)t->local;
	__u64 hash = (__u64)t->remote_port << 16 | t->local_port;
	__u32 i;

#pragma unroll
	for (i = 0; i < 4; i++)
		hash = mix(hash ^ ((__u64)a[i] << 32 | b[i]));
	return hash;
}

static __always_inline void held_key(const struct pintle_tuple *t, struct pintle_held_key *k)
{
	k->client = client_of(t, PINTLE_KEY_REQUEST);
	k->place = tuple_hash(t) % PINTLE_HELD_PLACES;
	k->zero = 0;
}

/* The tuples may be at any multiple of four. */
static __always_inline bool tuple_is(const struct pintle_tuple *one, const struct pintle_tuple *t)
{
	const __u32 *a = (const __u32 *)one, *b = (const __u32 *)t;
	__u32 i, differ = 0;

#pragma unroll
	for (i = 0; i < sizeof(*t) / sizeof(*a); i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

static __always_inline bool held_is(const struct pintle_held *e, const struct pintle_tuple *t)
{
	return tuple_is(&e->tuple, t);
}

static __always_inline bool held_lock(struct pintle_held *e)
{
	return !__sync_val_compare_and_swap(&e->busy, 0, 1);
}

static __always_inline void held_unlock(struct pintle_held *e)
{
	__sync_lock_test_and_set(&e->busy, 0);
}

/* Whether any connection may be held: the sweeper runs while there are such. */
static __always_inline bool held_any(void)
{
	__u32 zero = 0;
	const struct sweeper_value *s = bpf_map_lookup_elem(&sweeper, &zero);

	return s && s->runs;
}

/* Deletes the connection's entry, if there is one. Where another CPU has it locked, the sweeper
 * will. */
static __always_inline void held_forget(const struct pintle_tuple *t)
{
	struct pintle_held_key k;
	struct pintle_held *e;

	held_key(t, &k);
	e = bpf_map_lookup_elem(&held, &k);
	if (!e || !held_is(e, t) || !held_lock(e))
		return;
	if (held_is(e, t))
		bpf_map_delete_elem(&held, &k);
	else
		held_unlock(e);
}

#endif
