/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tiers.bpf.h - which pool decides a connection: the pool that is asked, its canary, or one of its
 * fallbacks.
 *
 *   canary     first, for the part of the sessions that is its share; if it places none of them
 *   own        the pool that is asked; if it is full for a class that may spill, or no endpoint is
 *              ready
 *   fallbacks  in the order of the configuration; if none places it, the connection is diverted, if
 *              one of them would do that; else it is refused, or, where no endpoint of its own pool
 *              is ready, the failure mode decides
 *
 * A canary's and a fallback's own `others` are not followed, so pools may name each other.
 *
 * The hook makes the keys anew whenever *t has become a question to another pool, because each pool
 * says itself what makes a session.
 */
#ifndef PINTLE_TIERS_BPF_H
#define PINTLE_TIERS_BPF_H

#include <pintle/abi.h>

#include "mix.bpf.h"
#include "traits.bpf.h"

/* terms.tier. Tier i > 0 is pool.others[i - 1]. */
enum tier {
	TIER_OWN,
	TIER_CANARY = 1 + PINTLE_OTHER_CANARY,
	TIER_FALLBACK = 1 + PINTLE_OTHER_FALLBACK,
	TIER_COUNT = 1 + PINTLE_MAX_OTHERS,
};

/* Keeps this choice apart from that of a home, which has the same bits of the same hash. */
#define TIER_CANARY_SALT 0x63616e617279ULL

/* Whether the session belongs to the `share` that goes to the canary: those whose hash is below it,
 * so that a larger share takes some sessions from the pool and gives it none. A connection without
 * a session is drawn by `otherwise`. */
static __always_inline bool tier_canary_takes(const struct pintle_session_key *session, __u32 share,
					      __u64 otherwise)
{
	const __u64 *id = (const __u64 *)session->id;
	__u64 hash = session->kind == PINTLE_KEY_NONE ? mix(otherwise ^ TIER_CANARY_SALT)
						      : mix(mix(id[0] ^ TIER_CANARY_SALT) ^ id[1]);

	return hash % PINTLE_SHARE_WHOLE < share;
}

/* Whether a pool in this mode takes connections of others; `would`: in mode shadow of the pool that
 * is asked. */
static __always_inline bool tier_mode_takes(__u32 mode, bool would)
{
	return mode == PINTLE_MODE_ENFORCE || mode == PINTLE_MODE_BASELINE ||
	       (would && mode == PINTLE_MODE_SHADOW);
}

#if defined(__bpf__) || defined(world_find) /* the world (world.bpf.h) is there */
#include "choose.bpf.h"

/* Remembers in *t what it is in the pool that is asked, to which *t is a question. */
static __always_inline void tier_begin(struct terms *t)
{
	t->would = t->mode == PINTLE_MODE_SHADOW;
	t->asked_mode = t->mode;
	t->asked_class = t->class_id;
	t->tier = TIER_OWN;
}

static __always_inline void tier_return(struct terms *t, const struct pintle_ref *asked)
{
	struct pintle_pool *pool;

	t->key.pool = asked->id;
	t->key.pool_generation = asked->generation;
	t->mode = t->asked_mode;
	t->class_id = t->asked_class;
	t->tier = TIER_OWN;
	t->full = 0;
	pool = pool_of(t);
	t->daemonless = pool && daemon_silent(pool, t->now);
}

/* Makes *t a question to the pool of this tier. Returns 0, and leaves *t alone, if that pool takes
 * no connections of the one that is asked now. */
DECIDE_STEP tier_enter(struct terms *t, const struct pintle_ref *asked, __u32 tier)
{
	const struct pintle_other *other;
	struct pintle_pool *pool;
	__u32 id, generation, mode, class_id, at = tier - 1;

	if (!t || !asked)
		return 0;
	pool = pool_find(asked->id, asked->generation);
	if (!pool)
		return 0;
	hide(at);
	if (at >= PINTLE_MAX_OTHERS)
		return 0;
	other = &pool->others[at];
	if (!other->checked)
		return 0;
	id = other->pool.id;
	generation = other->pool.generation;
	class_id = other->class_of[t->asked_class];
	pool = pool_find(id, generation);
	if (!pool)
		return 0;
	mode = pool_mode(id, pool, t->now);
	if (!tier_mode_takes(mode, t->would))
		return 0;
	t->key.pool = id;
	t->key.pool_generation = generation;
	t->class_id = class_id;
	t->mode = mode;
	t->daemonless = daemon_silent(pool, t->now);
	t->tier = tier;
	t->full = 0;
	return 1;
}

/* Enters the canary, if the connection belongs to its share. Returns 1 if it did. */
DECIDE_STEP tier_canary(struct terms *t, const struct pintle_ref *asked, __u64 otherwise)
{
	struct pintle_pool *pool;

	if (!t || !asked)
		return 0;
	pool = pool_of(t);
	if (!pool || !pool->canary_share ||
	    !tier_canary_takes(&t->key.session, pool->canary_share, otherwise))
		return 0;
	return tier_enter(t, asked, TIER_CANARY);
}

/* The pool to which *t was a question did not place the connection. Returns 1 if *t is a question
 * to the next pool now; else 0, and *t is a question to the pool that is asked again. */
DECIDE_STEP tier_next(struct terms *t, const struct pintle_ref *asked, struct decide_result *r)
{
	__u32 tier;

	if (!t || !asked || !r)
		return 0;
	if (t->tier == TIER_CANARY) {
		tier_return(t, asked);
		return 1;
	}
	/* Mode shadow changes nothing: without the rule there is no fallback. */
	if (t->asked_mode == PINTLE_MODE_SHADOW && !t->would)
		return 0;
	if (t->tier == TIER_OWN) {
		if (!outcome_has(r->outcome, PINTLE_SPILLS))
			return 0;
		t->asked_full = r->outcome == PINTLE_OUTCOME_SPILLED;
	} else if (r->outcome == PINTLE_OUTCOME_DIVERTED) {
		t->diverts = 1;
	}
	for (tier = TIER_FALLBACK; tier < TIER_COUNT; tier++)
		if (tier > t->tier && tier_enter(t, asked, tier))
			return 1;
	if (t->diverts)
		r->outcome = PINTLE_OUTCOME_DIVERTED;
	else
		r->outcome = t->asked_full ? PINTLE_OUTCOME_REFUSED : PINTLE_OUTCOME_NO_ENDPOINT;
	tier_return(t, asked);
	return 0;
}

/* choose(), whose outcome in a fallback is that the connection was spilled. */
static __always_inline void tier_choose(struct terms *t, struct decide_result *r)
{
	share_judge(t);
	choose(t, r);
	if (r->generation && t->tier >= TIER_FALLBACK)
		r->outcome = PINTLE_OUTCOME_SPILLED;
}

/* Asks the pool to which *t is a question. Returns true if that pool does not place the connection,
 * and *t is a question to the next one now. */
static __always_inline bool tier_ask(struct terms *t, const struct pintle_ref *asked,
				     struct decide_result *r)
{
	tier_choose(t, r);
	return !r->generation && tier_next(t, asked, r);
}
#endif

#endif
