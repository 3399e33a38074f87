/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * note.bpf.h - the note of a decision: what the rule looked at, filled in while it runs. `pintle
 * trace` prints the kernel's, `pintle explain` its own.
 */
#ifndef PINTLE_NOTE_BPF_H
#define PINTLE_NOTE_BPF_H

#include "world.bpf.h"

#include "asked_adapter.bpf.h"
#include "eligible.bpf.h"
#include "rule/prompt.bpf.h"

_Static_assert(__builtin_offsetof(struct decide_state, random) == 0, "pintle_trace.rule[0]");
_Static_assert(sizeof(struct decide_facts) == sizeof(((struct pintle_trace_candidate *)0)->facts) &&
		       sizeof(struct decide_candidate) ==
			       sizeof(((struct pintle_trace_candidate *)0)->candidate) &&
		       sizeof(struct decide_state) == sizeof(((struct pintle_trace *)0)->rule),
	       "struct pintle_trace");

static __always_inline struct pintle_trace *note_find(__u32 note)
{
	__u32 at = note - 1;

	return note ? world_find(notes, &at) : NULL;
}

/* What the rule is about to look at: a pool's members, for the connection's session. */
DECIDE_STEP note_pool(__u32 note, const struct pintle_affinity_key *of, __u64 now, __u32 would)
{
	struct pintle_trace *n = note_find(note);
	struct pintle_affinity_key key;
	struct pintle_affinity *a;

	if (!n || !of)
		return 0;
	key = *of; /* Linux 6.1 takes keys only from the stack */
	n->key = key;
	n->decided_ns = now;
	n->count = 0;
	n->compared = 0;
	__builtin_memset(n->rule, 0, sizeof(n->rule));
	n->home.generation = 0;
	n->bound.generation = 0;
	if (key.session.kind == PINTLE_KEY_NONE)
		return 0;
	a = would ? world_find(shadow_bindings, &key) : binding_find(&key);
	if (a)
		n->bound = *a;
	return 0;
}

/* Where the endpoint has its place in the note: whoever is preferred, or holds something of the
 * request, comes once more as a member. n->count: it has none yet. */
static __always_inline __u32 note_place(const struct pintle_trace *n, __u32 endpoint)
{
	const struct decide_candidate *c;
	__u32 i;

#pragma unroll
	for (i = 0; i < PINTLE_TRACED; i++) {
		c = (const struct decide_candidate *)n->of[i].candidate;
		if (i < n->count && c->endpoint == endpoint)
			return i;
	}
	return n->count;
}

/* Notes an endpoint at which the rule looked: `ineligible`, or with these loads. */
static __always_inline void
note_endpoint(struct pintle_trace_candidate *to, const struct pintle_pool *pool,
	      const struct pintle_score *score, const struct pintle_inflight *counts,
	      const struct decide_candidate *c, __u32 ineligible, __u64 now)
{
	struct eligible_score s = {.whole = !(score->sequence & 1)};
	struct decide_facts *f = (struct decide_facts *)to->facts;
	__u32 id = c->endpoint;
	struct pintle_ends *sums;

	to->ineligible = ineligible;
	to->adapter = 0;
	to->missing = 0;
	to->have = 0;
	*(struct decide_candidate *)to->candidate = *c;
	to->scraped_ns = eligible_scraped_ns(score, c->generation);
	to->flags = score->flags;
	to->waiting = score->waiting;
	to->running = score->running;
	to->kv_cache = score->kv_cache;
	to->gpu = score->gpu;
	__builtin_memset(f, 0, sizeof(*f));
	eligible_count(f, pool, counts);
	eligible_score_take(&s, score, c->generation, pool, now);
	eligible_facts(f, pool, &s, now);
	sums = world_find(ends, &id);
	if (sums && pool->decide == PINTLE_DECIDE_REQUEST)
		eligible_facts_asked(f,
				     eligible_asked(pool, sums->asked_bytes, score->passed_asked));
}

/* All members of a small pool have room in a note; of a larger one those that may be chosen. The
 * facts are read once more, just after the rule read them, because in its own function they would
 * take stack in each decision. */
DECIDE_STEP note_candidate(__u32 note, const struct decide_candidate *c, __u32 ineligible)
{
	struct pintle_trace *n = note_find(note);
	struct pintle_inflight *counts;
	struct pintle_score *score;
	struct pintle_pool *pool;
	__u32 id, at;

	if (!n || !c)
		return 0;
	id = c->endpoint;
	at = note_place(n, id);
	if (at == n->count)
		n->compared++;
	pool = pool_find(n->key.pool, n->key.pool_generation);
	score = world_find(scores, &id);
	counts = world_find(inflight, &id);
	if (!pool || !score || !counts || at >= PINTLE_TRACED ||
	    (ineligible && pool->member_count > PINTLE_SAMPLE))
		return 0;
	if (at == n->count)
		n->count = at + 1;
	note_endpoint(&n->of[at], pool, score, counts, c, ineligible, n->decided_ns);
	return 0;
}

/* What the rule found that the request lacks at the endpoint, which is noted. */
DECIDE_STEP note_missing(__u32 note, const struct decide_candidate *c, __u32 missing)
{
	struct pintle_trace *n = note_find(note);
	struct pintle_trace_candidate *to;
	__u32 at;

	if (!n || !c)
		return 0;
	at = note_place(n, c->endpoint);
	if (at >= n->count || at >= PINTLE_TRACED)
		return 0;
	to = &n->of[at];
	to->missing = missing;
	if (n->adapter)
		to->adapter = adapter_state(c);
	if (n->prompt_bytes)
		to->have = prompt_cached(c, n->decided_ns);
	return 0;
}

/* What the rule knew when it chose, and the random number that it began with. */
DECIDE_STEP note_rule(__u32 note, const struct decide_state *rule)
{
	struct pintle_trace *n = note_find(note);
	__u64 random;

	if (!n || !rule)
		return 0;
	random = n->rule[0];
	*(struct decide_state *)n->rule = *rule;
	n->rule[0] = random;
	return 0;
}

#endif
