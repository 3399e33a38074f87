/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * decided.bpf.h - what becomes of a decision: it is counted, told, traced, and taken back where two
 * CPUs placed one connection too many.
 */
#ifndef PINTLE_DECIDED_BPF_H
#define PINTLE_DECIDED_BPF_H

#include "choose.bpf.h"
#include "common.bpf.h"
#include "tiers.bpf.h"
#include "trace.bpf.h"

/* Notes that the connection is told no. */
__weak __noinline int share_refuse(const struct terms *t)
{
	struct pintle_refusal first = {}, *r;
	struct pintle_affinity_key key;
	struct pintle_bindings *n;
	struct pintle_pool *pool;
	__u32 id;

	if (!t || t->key.session.kind == PINTLE_KEY_NONE)
		return 0;
	pool = pool_of(t);
	if (!pool || !class_of(pool, t)->places)
		return 0;
	key = t->key;
	r = bpf_map_lookup_elem(&refusals, &key);
	if (!r) {
		first.told_ns = t->now;
		bpf_map_update_elem(&refusals, &key, &first, BPF_NOEXIST);
		return 0;
	}
	if ((__s64)(t->now - r->told_ns) >= (__s64)PINTLE_RETRY_NS)
		r->again = 0;
	else if (r->again < PINTLE_RETRIES)
		__sync_fetch_and_add(&r->again, 1);
	r->told_ns = t->now;
	id = t->key.pool;
	n = bpf_map_lookup_elem(&bindings, &id);
	if (n && r->again >= PINTLE_RETRIES)
		__sync_fetch_and_add(&n->retry_suspected, 1);
	return 0;
}

/* Whether, now that the connection is counted, the class has more connections at the endpoint or in
 * the pool than it may have: another CPU has placed one at the same time. The hook takes the
 * placement back, and decides again. So a class that is refused at its bounds never has more
 * connections than they say, though two that race for the last place may both not get it. */
__weak __noinline int placed_over_bounds(const struct terms *t, __u32 endpoint)
{
	struct pintle_counters *n;
	struct pintle_class *class;
	struct pintle_pool *pool;

	if (!t)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	class = class_of(pool, t);
	if (t->mode == PINTLE_MODE_BASELINE || class->admission == PINTLE_ADMISSION_PROCEED)
		return 0;
	n = counters_find(endpoint, t->class_id);
	if (n && class->connections &&
	    (__s64)eligible_in_flight(n) > (__s64)eligible_bound(class->connections, t->over))
		return 1;
	return class->pool_connections && class_over(t, 0);
}

/* The same; most classes have no such bounds. */
static __always_inline bool placed_over(const struct terms *t, __u32 endpoint)
{
	struct pintle_pool *pool = pool_of(t);

	return pool && (class_of(pool, t)->connections | class_of(pool, t)->pool_connections) &&
	       placed_over_bounds(t, endpoint);
}

static __always_inline void count_outcome(__u32 pool, __u32 outcome)
{
	__u32 at = PINTLE_STAT(pool, outcome);
	__u64 *n = bpf_map_lookup_elem(&stats, &at);

	if (n)
		__sync_fetch_and_add(n, 1); /* connect() may be interrupted by a segment */
}

/* The pool in whose `stats` the decision counts: each counts once. */
static __always_inline __u32 tier_counted(const struct terms *t, const struct pintle_ref *asked)
{
	return t->tier >= TIER_FALLBACK ? asked->id : t->key.pool;
}

/* Counts the decision in its class, if that pool has classes. */
__weak __noinline int tier_count_class(const struct terms *t, const struct pintle_ref *asked,
				       __u32 outcome)
{
	struct pintle_class_sums *sums;
	struct pintle_pool *pool;
	bool spilled;
	__u32 at;

	if (!t || !asked)
		return 0;
	spilled = t->tier >= TIER_FALLBACK;
	pool = spilled ? pool_find(asked->id, asked->generation) : pool_of(t);
	if (!pool || !pool->class_count)
		return 0;
	at = tier_counted(t, asked) * PINTLE_MAX_CLASSES +
	     (spilled ? t->asked_class : t->class_id & (PINTLE_MAX_CLASSES - 1));
	sums = bpf_map_lookup_elem(&class_sums, &at);
	hide(outcome);
	if (!sums || outcome >= PINTLE_MAX_OUTCOMES)
		return 0;
	__sync_fetch_and_add(t->would ? &sums->would[outcome] : &sums->decided[outcome], 1);
	return 0;
}

/* Counts the decision, in its pool and its class. */
static __always_inline void tier_count(const struct terms *t, const struct pintle_ref *asked,
				       __u32 outcome)
{
	struct pintle_pool *pool = pool_of(t);

	count_outcome(tier_counted(t, asked), outcome);
	if (t->tier >= TIER_FALLBACK || (pool && pool->class_count))
		tier_count_class(t, asked, outcome);
}

/* Reports a rare decision as an event; tuple->local is the frontend. `cgroup` is the client's, 0:
 * not known. */
__weak __noinline int report_decision(const struct pintle_tuple *tuple, const struct terms *t,
				      const struct decide_result *r, __u32 hook, __u64 cgroup)
{
	struct pintle_event *e;
	bool audit;
	__u32 readers;

	if (!tuple || !t || !r)
		return 0;
	audit = outcome_has(r->outcome, PINTLE_TOLD_NO);
	readers = events_readers(t->now, audit ? PINTLE_AUDIT_TOLD_NO : 0);
	e = event_begin(&readers, PINTLE_EVENT_DECIDED, hook, t->now);
	if (!e)
		return 0;
	e->pool = t->key.pool;
	e->pool_generation = t->key.pool_generation;
	e->endpoint = r->endpoint;
	e->generation = r->generation;
	e->class_id = t->class_id;
	e->outcome = r->outcome;
	e->tuple = *tuple;
	e->cgroup = cgroup;
	event_end(e, readers);
	return 0;
}

/* Takes a note for a decision about a connection to the pool `asked`, if somebody follows. */
static __always_inline void trace_start(struct terms *t, const struct pintle_ref *asked)
{
	if (is_followed(t->now))
		t->note = trace_begin(asked, t->now);
}

/* Tells of the decision that was noted; tuple->local is the frontend. Returns 1 if somebody is to
 * be told how the connection ends. */
__weak __noinline int trace_decided(const struct terms *t, const struct pintle_ref *asked,
				    const struct decide_result *r, const struct pintle_tuple *tuple,
				    __u32 hook)
{
	struct pintle_trace *n;

	if (!t || !asked || !r || !tuple)
		return 0;
	n = note_find(t->note);
	if (!n)
		return 0;
	n->asked = *asked;
	n->tuple = *tuple;
	n->hook = hook;
	n->chosen.id = r->endpoint;
	n->chosen.generation = r->generation;
	n->outcome = r->outcome;
	n->error = 0;
	n->failure = PINTLE_FAILURE_COUNT;
	n->answers = 0;
	n->duration_ns = 0;
	return note_tell_all(n, t->now);
}

/* Whether a connection without an endpoint is refused. */
static __always_inline bool is_refused(const struct pintle_pool *pool,
				       const struct decide_result *r)
{
	return outcome_has(r->outcome, PINTLE_AT_ONCE) || pool->failure_mode != PINTLE_FAIL_OPEN;
}

#endif
