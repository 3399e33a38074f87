/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * answered.bpf.h - the shape of an answer that ended, and which client got it: small and at once,
 * as a server's errors are, large, slow, or none at all.
 *
 * No program reads answers. What is noted here follows from TCP's own sums and times at the end of
 * an answer: for the last one of a connection in sockops, for those before it in the pass. Whether
 * such answers are errors only the daemon judges (userspace/policy/failing.h): an embedding is
 * small, too.
 */
#ifndef PINTLE_ANSWERED_BPF_H
#define PINTLE_ANSWERED_BPF_H

#include "common.bpf.h"

struct answered {
	__u32 endpoint, generation;
	__u32 bytes; /* 0: none came */
	__u32 took_ms;
	__u64 client;
};

/* The client of a server's socket: its whole IPv4 address, or its /64. */
static __always_inline __u64 answered_client(const struct pintle_tuple *t)
{
	const __u64 *half = (const __u64 *)t->remote;

	return address_is_v4(t->remote) ? half[1] : half[0];
}

/* The client has its own place, or takes the one that is unused for the longest. Programs may do
 * this at the same time; then one of two clients is not noted. */
static __always_inline void answered_note_client(struct pintle_answers *s, __u64 client, bool brief,
						 __u64 now)
{
	struct pintle_answered *own;
	__u64 oldest = ~0ULL, used;
	__u32 at = 0, i;

#pragma unroll
	for (i = 0; i < PINTLE_ANSWERED; i++) {
		own = &s->clients[i];
		used = own->brief_ns > own->other_ns ? own->brief_ns : own->other_ns;
		if (own->client == client) {
			at = i;
			break;
		}
		if (used < oldest) {
			oldest = used;
			at = i;
		}
	}
	hide(at);
	own = &s->clients[at & (PINTLE_ANSWERED - 1)];
	if (own->client != client) {
		own->client = client;
		own->brief_ns = 0;
		own->other_ns = 0;
	}
	if (brief)
		own->brief_ns = now;
	else
		own->other_ns = now;
}

/* Notes the end of an answer. A function of its own, because of the stack. */
__weak __noinline int answered_note(const struct answered *a)
{
	struct pintle_answers *s;
	bool brief;
	__u32 key;

	if (!a)
		return 0;
	key = a->endpoint;
	s = endpoint_kept(key, a->generation) ? bpf_map_lookup_elem(&answers, &key) : NULL;
	if (!s)
		return 0;
	brief = a->bytes <= PINTLE_BRIEF_BYTES && a->took_ms <= PINTLE_BRIEF_MS;
	if (!a->bytes)
		__sync_fetch_and_add(&s->none, 1);
	else if (brief)
		__sync_fetch_and_add(&s->brief, 1);
	else if (a->bytes > PINTLE_BRIEF_BYTES)
		__sync_fetch_and_add(&s->large, 1);
	else
		__sync_fetch_and_add(&s->slow, 1);
	answered_note_client(s, a->client, brief || !a->bytes, bpf_ktime_get_ns());
	return 0;
}

#endif
