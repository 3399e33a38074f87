/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * held_entry.bpf.h - the entry of a connection whose request the hand-off holds; see `held` in
 * abi.h.
 *
 * The entry's memory may become another connection's as soon as the entry is deleted. So a program
 * that has found an entry locks it, and looks again whose it is.
 */
#ifndef PINTLE_HELD_ENTRY_BPF_H
#define PINTLE_HELD_ENTRY_BPF_H

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

/* The places that a connection may be in. */
struct held_places {
	__u64 network;
	__u64 host; /* a hash */
	__u64 hash; /* of the connection */
};

/* The client's network, which whoever has it shares with nobody: of IPv6 a /48, of IPv4 a /24. */
static __always_inline __u64 held_network(__u64 host)
{
	return host >> 48 == PINTLE_CLIENT_V4 >> 48 ? host & ~0xffULL : host & ~0xffffULL;
}

static __always_inline void held_places(const struct pintle_tuple *t, struct held_places *p)
{
	__u64 host = client_of(t, PINTLE_KEY_REQUEST);

	p->network = held_network(host);
	p->host = mix(host);
	p->hash = tuple_hash(t);
}

/* The key of the place `way`, which is below PINTLE_HELD_WAYS. The places of a network are in
 * pairs, and a host has one of each pair, which its hash says: so one that takes all of its own
 * leaves another host of the network half of that one's. */
static __always_inline void held_key(const struct held_places *p, __u32 way,
				     struct pintle_held_key *k)
{
	__u32 pair = (p->hash >> 8 * way) % (PINTLE_HELD_PLACES / 2);

	k->client = p->network;
	k->place = 2 * pair + (p->host >> (pair & 63) & 1);
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

/* The connection's entry at another place than `but`, and its key; NULL if there is none. */
static __always_inline struct pintle_held *held_find_but(const struct pintle_tuple *t, __u32 but,
							 struct pintle_held_key *k)
{
	struct held_places places;
	struct pintle_held *e;
	__u32 way;

	held_places(t, &places);
#pragma unroll
	for (way = 0; way < PINTLE_HELD_WAYS; way++) {
		held_key(&places, way, k);
		e = k->place == but ? NULL : bpf_map_lookup_elem(&held, k);
		if (e && held_is(e, t))
			return e;
	}
	return NULL;
}

/* The connection's entry and its key; NULL if there is none. */
static __always_inline struct pintle_held *held_find(const struct pintle_tuple *t,
						     struct pintle_held_key *k)
{
	return held_find_but(t, PINTLE_HELD_PLACES, k);
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

	e = held_find(t, &k);
	if (!e || !held_lock(e))
		return;
	if (held_is(e, t))
		bpf_map_delete_elem(&held, &k);
	else
		held_unlock(e);
}

#endif
