/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * shadow.bpf.h - mode shadow: the rule decides, is counted, and places nothing.
 *
 * The hook sets terms.would and calls choose(). That decision reads the loads and states that there
 * are, prefers the endpoint of its session by `shadow_bindings`, and changes nothing: it tries no
 * endpoint that stands still. shadow_note() counts it. Then the hook delivers the connection as it
 * would be without the rule.
 */
#ifndef PINTLE_SHADOW_BPF_H
#define PINTLE_SHADOW_BPF_H

#include "decided.bpf.h"

/* Counts the decision that was made with t->would, and remembers the binding that it would leave.
 * The real hooks bind once the connection is established; here nobody learns whether one would have
 * been. So forged segments may evict bindings from `shadow_bindings`, and from there only. */
__weak __noinline int shadow_note(const struct terms *t, const struct pintle_ref *asked,
				  const struct decide_result *r)
{
	struct pintle_affinity_key key;
	struct pintle_affinity a = {}, *old;
	struct pintle_pool *pool;
	__u64 *n;
	__u32 at;

	if (!t || !asked || !r)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	at = PINTLE_STAT(tier_counted(t, asked), r->outcome);
	n = bpf_map_lookup_elem(&shadow_stats, &at);
	if (n)
		__sync_fetch_and_add(n, 1);
	tier_count_class(t, asked, r->outcome);
	if (!r->generation)
		return 0;
	at = r->endpoint;
	n = bpf_map_lookup_elem(&shadow_placed, &at);
	if (n)
		__sync_fetch_and_add(n, 1);
	if (t->key.session.kind == PINTLE_KEY_NONE || !outcome_binds(pool, r->outcome))
		return 0;
	key = t->key; /* Linux 6.1 takes keys only from the stack */
	old = bpf_map_lookup_elem(&shadow_bindings, &key);
	if (old && old->endpoint == r->endpoint && old->generation == r->generation) {
		old->used_ns = t->now;
		return 0;
	}
	a.endpoint = r->endpoint;
	a.generation = r->generation;
	a.bound_ns = t->now;
	a.used_ns = t->now;
	bpf_map_update_elem(&shadow_bindings, &key, &a, BPF_ANY);
	return 0;
}

/* Makes *t a question again to the pool that is asked, to be answered as without the rule. */
__weak __noinline int shadow_leave(struct terms *t, const struct pintle_ref *asked)
{
	if (!t || !asked)
		return 0;
	tier_return(t, asked);
	t->forbidden = 0;
	t->mode = PINTLE_MODE_BASELINE;
	return 0;
}

/* Adds the load of the endpoint in *r, as it is before the connection comes, to the forecast.
 * `went` says that the connection goes there, else it would by the rule. A score that is not fresh
 * says nothing. */
__weak __noinline int shadow_weigh(const struct terms *t, const struct pintle_ref *asked,
				   const struct decide_result *r, __u32 went)
{
	struct decide_candidate c = {};
	struct pintle_forecast *f;
	__u32 at;

	if (!t || !asked || !r || !r->generation)
		return 0;
	c.endpoint = r->endpoint;
	c.generation = r->generation;
	if (!endpoint_load(t, &c, 0, endpoint_asked(t, &c)) || !c.fresh)
		return 0;
	at = tier_counted(t, asked);
	f = bpf_map_lookup_elem(&forecasts, &at);
	if (!f)
		return 0;
	__sync_fetch_and_add(went ? &f->went : &f->would, 1);
	__sync_fetch_and_add(went ? &f->went_load : &f->would_load, (__u64)c.load);
	return 0;
}

#endif
