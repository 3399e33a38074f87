/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * guess.bpf.h - a brake on guesses of cookies.
 *
 * Somebody who does not see the answers sends requests from 10.0.0.7, which alone may connect, and
 * guesses the cookie: 280,000 times a second, say. While so many segments that no cookie explains
 * come from a network to a pool, a first segment from there is taken only when it comes again a
 * second later, with none between of its addresses and ports that no cookie explains. So one guess
 * a second counts for each port. A client whose segment was dropped sends it again by itself, and
 * is served; nobody is shut out by forging his address.
 *
 * It concerns only those that have no more to show than the cookie: not clients with timestamps,
 * which have to be guessed besides, nor those whose SYN was seen a moment ago (`hand_begun`).
 */
#ifndef PINTLE_GUESS_BPF_H
#define PINTLE_GUESS_BPF_H

#include "handshake.bpf.h"

#define GUESS_SLOTS    4096
#define GUESS_MANY     1000 /* in a second: more are no ends of connections that are over */
#define GUESS_SPAN_NS  1000000000ULL
#define GUESS_BRAKE_NS 10000000000ULL
#define GUESS_AGAIN_NS 1000000000ULL

/* Counts a network's segments to a pool that no cookie explains. */
struct guesses {
	__u64 since_ns;
	__u64 until_ns; /* of the brake */
	__u32 count;    /* since then */
	__u32 zero;
};

/* A first segment whose cookie holds, and which is to come again. */
struct guess_again {
	__u64 connection; /* a hash */
	__u64 segment;    /* a hash */
	__u64 since_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GUESS_SLOTS);
	__type(key, __u32);
	__type(value, struct guesses);
} MAP(hand_guesses);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GUESS_SLOTS);
	__type(key, __u32);
	__type(value, struct guess_again);
} MAP(hand_again);

/* Nobody can aim at a slot without the node's key. */
static __always_inline __u64 guess_hash(__u64 what)
{
	const struct hand_secret *secret = secret_find();

	return mix(mix(what) ^ (secret ? secret->key[0] : 0));
}

static __always_inline struct guesses *guesses_of(const struct hand *h)
{
	__u64 network = held_network(client_of(&h->s.tuple, PINTLE_KEY_REQUEST));
	__u32 at = guess_hash(network ^ (__u64)h->pool.id << 52) % GUESS_SLOTS;

	return bpf_map_lookup_elem(&hand_guesses, &at);
}

static __always_inline struct guess_again *again_at(__u64 connection)
{
	__u32 at = connection % GUESS_SLOTS;

	return bpf_map_lookup_elem(&hand_again, &at);
}

/* Notes a segment that no cookie explains. */
__noinline int guess_note(const struct hand *h)
{
	struct guess_again *again;
	struct guesses *g;
	__u64 connection;

	if (!h)
		return 0;
	connection = guess_hash(tuple_hash(&h->s.tuple));
	again = again_at(connection);
	if (again && again->connection == connection)
		again->connection = 0;
	g = guesses_of(h);
	if (!g)
		return 0;
	if (h->now - g->since_ns >= GUESS_SPAN_NS) {
		g->since_ns = h->now;
		g->count = 0;
	}
	if (__sync_fetch_and_add(&g->count, 1) >= GUESS_MANY)
		g->until_ns = h->now + GUESS_BRAKE_NS;
	return 0;
}

/* Whether the first segment, whose cookie holds, is to come again. */
__noinline int guess_brakes(const struct hand *h)
{
	__u64 connection, segment;
	struct guess_again *again;
	struct guesses *g;

	if (!h || h->timed)
		return 0;
	g = guesses_of(h);
	if (!g || h->now >= g->until_ns)
		return 0;
	connection = guess_hash(tuple_hash(&h->s.tuple));
	segment = mix(connection ^ ((__u64)h->s.sequence << 32 | h->acknowledged));
	again = again_at(connection);
	if (!again)
		return 0;
	if (again->connection == connection && again->segment == segment)
		return h->now - again->since_ns < GUESS_AGAIN_NS;
	again->connection = connection;
	again->segment = segment;
	again->since_ns = h->now;
	return 1;
}

#endif
