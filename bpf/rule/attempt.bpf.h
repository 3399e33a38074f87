/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * attempt.bpf.h - decides a connection for a hook: asks one pool after the other (tiers.bpf.h), and
 * tries to place the connection where the rule says, until it is placed, or no pool takes it.
 *
 *   shadow    first the rule decides and is counted (shadow.bpf.h), then the connection goes where
 *             it would without the rule
 *   lost      another CPU took the class's last place at the same time: the placement is taken
 *             back, and the rule decides again; from the second time on the pool counts as full
 *   gone      the endpoint is no longer there: the same, and the hook has noted that
 *
 * The hook includes this behind its `struct placing`, and says how it places.
 */
#ifndef PINTLE_ATTEMPT_BPF_H
#define PINTLE_ATTEMPT_BPF_H

#include "decided.bpf.h"
#include "shadow.bpf.h"
#include "tiers.bpf.h"

/* What the hook needs to place a connection, and its steps. */
struct placing;

/* Draws a connection without a session for the canary, or not. */
static __u64 attempt_draw(const struct placing *p);
/* Returns the client's cgroup; 0: it is not known. */
static __u64 attempt_client(const struct placing *p);
/* Makes the keys of session and group anew, for another pool. */
static void attempt_keys(struct placing *p, struct terms *t);
/* The rule chose no endpoint: changes *r where the connection goes elsewhere, or cannot go where it
 * was to be diverted. */
static void attempt_otherwise(struct placing *p, struct terms *t, struct decide_result *r);
/* Counts the connection at the endpoint in *r, before the next decision is made, so that a burst
 * spreads. Returns false if it is counted nowhere. */
static bool attempt_place(struct placing *p, struct terms *t, const struct decide_result *r);
/* Takes that back. */
static void attempt_undo(struct placing *p);
/* Gives the connection to the endpoint; returns false if it is gone. */
static bool attempt_give(struct placing *p, struct terms *t, const struct decide_result *r);
/* Tells of a traced decision, and gives its note back. */
static void attempt_trace(struct placing *p, struct terms *t, const struct pintle_ref *asked,
			  const struct decide_result *r);

/* One for each pool, twice in mode shadow, and further ones for what is lost or gone. */
#define ATTEMPTS (4 + 2 * PINTLE_MAX_OTHERS)

/* Whether the connection was placed where the class had no more room. */
static __always_inline bool attempt_lost(const struct terms *t, const struct decide_result *r)
{
	return r->outcome != PINTLE_OUTCOME_NO_ENDPOINT && placed_over(t, r->endpoint);
}

/* `places` says that the hook places connections also in mode shadow. Another one leaves them to a
 * Service, which sends them to any endpoint that is ready: one is drawn for the forecast. */
static __always_inline void attempt_all(struct placing *p, struct terms *t,
					const struct pintle_ref *asked, struct decide_result *r,
					bool places)
{
	__u32 attempt, tier;
	bool again;

	for (attempt = 0; attempt < ATTEMPTS; attempt++) {
		tier = t->tier;
		again = tier_ask(t, asked, r);
		if (t->tier != tier)
			attempt_keys(p, t);
		if (again)
			continue;
		if (t->would) {
			shadow_note(t, asked, r);
			shadow_weigh(t, asked, r, 0);
			if (t->note)
				attempt_trace(p, t, asked, r);
			shadow_leave(t, asked);
			if (!places) {
				choose(t, r);
				shadow_weigh(t, asked, r, 1);
				return;
			}
			t->would = 0;
			continue;
		}
		if (!r->generation)
			attempt_otherwise(p, t, r);
		if (!r->generation)
			return;
		if (t->asked_mode == PINTLE_MODE_SHADOW)
			shadow_weigh(t, asked, r, 1);
		if (attempt_place(p, t, r) && attempt_lost(t, r)) {
			t->full = t->lost > 0;
			t->lost = 1;
		} else if (attempt_give(p, t, r)) {
			return;
		}
		attempt_undo(p);
		r->generation = 0;
		r->outcome = PINTLE_OUTCOME_NO_ENDPOINT;
	}
	/* The outcome may be that of a pool which sent the connection on. */
	r->outcome = t->lost || t->asked_full ? PINTLE_OUTCOME_REFUSED : PINTLE_OUTCOME_NO_ENDPOINT;
}

/* Decides the connection of which *t says what it is in the pool that is asked: keys, class, mode
 * and quota. Counts the decision, and tells it to those who listen. In mode shadow a hook that does
 * not place then goes on as without the rule, and *r means nothing. */
static __always_inline void decide_connection(struct placing *p, struct terms *t,
					      const struct pintle_ref *asked,
					      const struct pintle_tuple *tuple,
					      struct decide_result *r, __u32 hook, bool places)
{
	struct pintle_pool *pool = pool_of(t);

	trace_start(t, asked);
	tier_begin(t);
	if (pool && pool->canary_share && tier_canary(t, asked, attempt_draw(p)))
		attempt_keys(p, t);
	attempt_all(p, t, asked, r, places);
	if (t->asked_mode == PINTLE_MODE_SHADOW && !places)
		return;
	tier_count(t, asked, r->outcome);
	if (t->note)
		attempt_trace(p, t, asked, r);
	if (outcome_has(r->outcome, PINTLE_TURNED_AWAY))
		share_refuse(t);
	if (outcome_has(r->outcome, PINTLE_RARE))
		report_decision(tuple, t, r, hook, attempt_client(p));
}

/* Whether a connection that went nowhere is refused: as the pool that is asked says, also where *t
 * is a question to another one still. */
static __always_inline bool attempt_refuses(const struct pintle_ref *asked,
					    const struct decide_result *r)
{
	struct pintle_pool *pool = pool_find(asked->id, asked->generation);

	return pool && is_refused(pool, r);
}

#endif
