/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * evidence.bpf.h - tells the classifier of each request that ended, where its pool classifies.
 *
 * The pass sees requests begin and end on connections that stay open; sockops sees the end of a
 * connection, and so the requests that came and were answered between two passes. Both take the
 * times from TCP, which notes when a socket last sent data and last received some.
 *
 *   - A request began with the newest byte of it at the first look that sees it.
 *   - It ended with its answer's newest byte: when the next request comes, the connection ends, or
 *     nothing came for ANSWER_SILENT_NS. A request without an answer is no evidence.
 *   - If an answer was coming in at the last look, and by the next one a further request has been
 *     asked and answered, the first one ended somewhere between: then it ended as the further one
 *     began, less than a period of the pass too late.
 *   - Of several requests on one connection within a period, the first few are one.
 */
#ifndef PINTLE_EVIDENCE_BPF_H
#define PINTLE_EVIDENCE_BPF_H

#include "common.bpf.h"

/* Nanoseconds in a tick of the clock that TCP's times have (jiffies), as the daemon found out. */
const volatile __u64 tick_ns __weak = 4000000;

/* Evidence without room in the ring, one count for all programs. */
__u64 evidence_lost __weak = 0;

/* The time of one of TCP's stamps. */
static __always_inline __u64 tick_time(__u32 stamp, __u64 now)
{
	__s32 age = (__u32)bpf_jiffies64() - stamp;
	__u64 ns = age > 0 ? (__u32)age * tick_ns : 0;

	return ns < now ? now - ns : 0;
}

static __always_inline bool pool_classifies(__u32 id, __u32 generation)
{
	struct pintle_pool *pool = pool_find(id, generation);

	return pool && pool->classify;
}

/* The session's connections with a request under way, without `own` of them. */
static __always_inline __u32 session_beside(const struct pintle_affinity *a, __u32 own)
{
	__s32 others = a->open - a->idle - own;

	return others > 0 ? others : 0;
}

/* Tells of the turn's request, of so many bytes, if that was not done yet. */
__weak __noinline int evidence_tell(const struct pintle_affinity_key *key,
				    const struct pintle_turn *t, __u32 bytes, __u64 ended_ns)
{
	struct pintle_affinity_key own; /* Linux 6.1 takes keys only from the stack */
	struct pintle_affinity *a;
	struct pintle_evidence *e;

	if (!key || !t)
		return 0;
	e = bpf_ringbuf_reserve(&evidence, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&evidence_lost, 1);
		return 0;
	}
	own = *key;
	a = binding_find(&own);
	e->key = own;
	e->client = a ? a->client : 0;
	e->begun_ns = t->asked_ns;
	e->ended_ns = ended_ns;
	e->request_bytes = bytes;
	e->beside = t->beside;
	e->lost = evidence_lost;
	/* The daemon looks by itself. */
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

/* Whether bytes of an answer came since the look before the last one. */
static __always_inline bool turn_flows(const struct pintle_turn *t)
{
	return t->out_ns && (__u32)(t->out_ns / 1000000) == t->looked_ms;
}

/* The end of a connection. */
struct closing {
	__u64 now;
	__u32 in; /* bytes, as in struct pintle_turn; a FIN counts as one */
	__u32 out;
	__u32 in_stamp; /* of the newest byte */
	__u32 out_stamp;
};

/* Tells of the requests on a connection that ended, of which `t` is what is known. */
static __always_inline void evidence_closed(const struct pintle_affinity_key *key,
					    struct pintle_turn *t, const struct closing *c)
{
	__s32 in = c->in - t->in, out = c->out - t->out;
	__u64 asked = tick_time(c->in_stamp, c->now), spoke = tick_time(c->out_stamp, c->now);
	bool waits = t->state == PINTLE_TURN_WAITING;
	bool further = in > 1 && !waits, answered = out > 1 && spoke >= asked;
	struct pintle_affinity *a;

	if (__sync_lock_test_and_set(&t->owed, 0)) {
		if (further && answered)
			evidence_tell(key, t, t->bytes, turn_flows(t) ? asked : t->spoke_ns);
		else if (!waits || out > 1)
			evidence_tell(key, t, t->bytes + (further || in < 2 ? 0 : in), spoke);
	}
	if (!further || !answered)
		return;
	/* A request that no pass saw. If it is the connection's first, `beside` is known. */
	if (t->in) {
		a = binding_find(key);
		t->beside = a ? session_beside(a, 0) : 0;
	}
	t->asked_ns = asked;
	evidence_tell(key, t, in, spoke);
}

#endif
