/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * served.bpf.h - which connections of the hand-off a server has had.
 *
 * A cookie holds for hours, and so does a copy of the first segment: one that the network
 * was late with, or that somebody has recorded. While the connection is open, its socket takes the
 * copy; later it would begin the connection again, and the server would do all the work once more.
 * So sockops notes each connection to an endpoint when it is established, and the sweeper each that
 * was held and is given up. A note is one word, and
 * the next connection with the same place takes that: half of the notes are gone after some 45,000
 * connections.
 */
#ifndef PINTLE_SERVED_BPF_H
#define PINTLE_SERVED_BPF_H

#include "held_entry.bpf.h"

/* The client has acknowledged the handshake by `acknowledged`, and `sequence` is that of its first
 * byte: both differ from one connection of these addresses to the next. Nobody can aim at a place
 * without the node's key. */
static __always_inline __u64 served_hash(const struct pintle_node *n, const struct pintle_tuple *t,
					 __u32 acknowledged, __u32 sequence)
{
	return mix(tuple_hash(t) ^ n->hint_key[0] ^ ((__u64)sequence << 32 | acknowledged));
}

static __always_inline __u64 *served_at(__u64 hash)
{
	__u32 at = hash % PINTLE_HAND_SERVED;

	return bpf_map_lookup_elem(&hand_served, &at);
}

/* Of any connection that is steered here, while the hand-off is wanted. */
static __always_inline void served_note(const struct pintle_tuple *t, __u32 acknowledged,
					__u32 sequence)
{
	__u32 zero = 0;
	const struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);
	__u64 hash, *note;

	if (!n || !(n->handed || n->pods))
		return;
	hash = served_hash(n, t, acknowledged, sequence);
	note = served_at(hash);
	if (note)
		*note = hash;
}

static __always_inline bool served_is(const struct pintle_tuple *t, __u32 acknowledged,
				      __u32 sequence)
{
	__u32 zero = 0;
	const struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);
	__u64 hash, *note;

	if (!n)
		return false;
	hash = served_hash(n, t, acknowledged, sequence);
	note = served_at(hash);
	return note && *note == hash;
}

#endif
