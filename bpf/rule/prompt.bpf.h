/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * prompt.bpf.h - what the hand-off has found out about a request's prompt (learn.bpf.h), as the
 * rule wants it: what computing the prompt costs at an endpoint, and who holds a beginning of it.
 *
 * The functions are for connections with terms.prompted alone, which asking_prompt() sets.
 */
#ifndef PINTLE_PROMPT_BPF_H
#define PINTLE_PROMPT_BPF_H

#include "world.bpf.h"
#include "prefix.bpf.h"

static __always_inline struct pintle_asking *prompt_find(void)
{
	__u32 zero = 0;

	return world_find(asking, &zero);
}

/* How many steps of the prompt the endpoint holds. */
DECIDE_STEP prompt_steps(__u32 endpoint, __u32 generation, __u64 now)
{
	struct pintle_health *h = world_find(health, &endpoint);
	struct pintle_score *s = world_find(scores, &endpoint);
	struct pintle_asking *a = prompt_find();
	__u64 since;

	if (!a || !h || !s)
		return 0;
	since = h->listening_since_ns;
	if (s->generation == generation && s->engine_ns > since)
		since = s->engine_ns;
	return prefix_steps(&a->known, endpoint, generation, now, since);
}

static __always_inline bool prompt_is_home(const struct pintle_asking *a, __u32 endpoint,
					   __u32 generation)
{
	return a->home.generation == generation && a->home.id == endpoint;
}

/* have(e) of the endpoint, which holds so many steps: bytes of the prompt. */
static __always_inline __u32 prompt_have(const struct pintle_asking *a, __u32 endpoint,
					 __u32 generation, __u32 steps)
{
	__u32 have = prefix_have(&a->known, &a->prompt, steps);

	return prompt_is_home(a, endpoint, generation) ? prefix_home_have(have) : have;
}

/* The same of the candidate. */
static __always_inline __u32 prompt_have_at(const struct pintle_asking *a,
					    const struct decide_candidate *c, __u64 now)
{
	return prompt_have(a, c->endpoint, c->generation,
			   prompt_steps(c->endpoint, c->generation, now));
}

/* What computing the prompt costs at the candidate, for decide_consider_missing(). */
DECIDE_STEP prompt_missing(const struct decide_candidate *c, __u32 weight, __u64 now)
{
	struct pintle_asking *a = prompt_find();

	return a && c ? prefix_missing(&a->prompt, c, prompt_have_at(a, c, now), weight) : 0;
}

/* Bytes of the prompt that the candidate has cached. */
DECIDE_STEP prompt_cached(const struct decide_candidate *c, __u64 now)
{
	struct pintle_asking *a = prompt_find();

	return a && c ? prompt_have_at(a, c, now) : 0;
}

/* Whether the prompt does not continue what its session said before. */
#define PROMPT_IS_OTHER 0x40000000

/* Returns the context of a session that is bound to the endpoint, for decide_extra(), and
 * PROMPT_IS_OTHER. `former`: the steps of the session's former prompt. */
DECIDE_STEP prompt_context(__u32 endpoint, __u32 generation, __u64 now, __u32 context, __u32 former)
{
	struct pintle_asking *a = prompt_find();
	__u32 steps;

	if (!a)
		return 0;
	if (context > DECIDE_MAX_CONTEXT)
		context = DECIDE_MAX_CONTEXT;
	steps = prompt_steps(endpoint, generation, now);
	return prefix_context(context, steps) |
	       (prefix_continues(&a->prompt, former, steps) ? 0 : PROMPT_IS_OTHER);
}

#define PROMPT_HOLDERS (PINTLE_PREFIX_KNOWN + 1)

/* The i-th endpoint that may hold a beginning of the prompt: the last is its home. Returns 0 if
 * there is none. */
DECIDE_STEP prompt_holder(__u32 i, struct decide_candidate *c)
{
	struct pintle_asking *a = prompt_find();

	if (!a || !c)
		return 0;
	if (i == PINTLE_PREFIX_KNOWN) {
		c->endpoint = a->home.id;
		c->generation = a->home.generation;
		return c->generation != 0;
	}
	if (i >= PINTLE_PREFIX_KNOWN || !a->known.steps[i])
		return 0;
	c->endpoint = a->known.of[i].endpoint;
	c->generation = a->known.of[i].generation;
	return 1;
}

#endif
