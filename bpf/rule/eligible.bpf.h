/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * eligible.bpf.h - whether an endpoint may be chosen for a connection, or why not; and the facts
 * about the endpoint for the rule (decide.bpf.h).
 *
 *   eligible = a member of the pool, reachable, not drained, not ejected, not standing still; and,
 *              unless no daemon runs, fit by its word, and its metrics page was read since it
 * listens
 *
 * Values of the maps in, plain integers out: no map, no helper, no clock. The same text is compiled
 * into the hooks, the CLI and the policy lab. The caller passes pointers to the values, or to
 * copies of them; struct eligible_score says how a score must be read.
 */
#ifndef PINTLE_ELIGIBLE_BPF_H
#define PINTLE_ELIGIBLE_BPF_H

#include "address.bpf.h"
#include "decide.bpf.h"
#include "health.bpf.h"
#include "traits.bpf.h"

/* Why an endpoint may not be chosen: the first reason that applies. */
enum ineligible {
	INELIGIBLE_NOT,       /* the endpoint is eligible */
	INELIGIBLE_DOWN,      /* nothing listens */
	INELIGIBLE_FAMILY,    /* nothing listens for the connection's address family */
	INELIGIBLE_DRAINED,   /* `pintle drain`, the file, or a pod that terminates */
	INELIGIBLE_EJECTED,   /* the endpoint failed its clients, or answers with errors */
	INELIGIBLE_STARTING,  /* no health check has succeeded since it appeared */
	INELIGIBLE_UNHEALTHY, /* its health check fails */
	INELIGIBLE_FAULTY,    /* its GPU is broken */
	INELIGIBLE_ASLEEP,    /* it sleeps, by its own word */
	INELIGIBLE_STOPPED,   /* the server reads and accepts nothing */
	INELIGIBLE_STALLED,   /* the server answers nothing */
	INELIGIBLE_UNHEARD,   /* no good metrics page came since the endpoint listens */
	INELIGIBLE_COUNT,
};

/* A score that has been too old for so many times the pool's staleness_ns is lost: its page will
 * not come soon, and its endpoint holds no sessions beside endpoints with fresh scores. */
#define ELIGIBLE_LOST 5

/* The question whether a connection may go to an endpoint. */
struct eligible_query {
	const struct pintle_pool *pool;
	const struct pintle_endpoint *endpoint; /* a member of the pool: eligible_member() */
	const struct pintle_health *health;
	const struct pintle_override *override; /* of the endpoint's slot, or NULL */
	__u64 now;
	__u32 family; /* PINTLE_FAMILY_*: the endpoint must take one of these */
};

/* What the rule needs of a score. The caller reads `sequence`, takes the score, reads `sequence`
 * again, and sets `whole` if the number was even and is the same. */
struct eligible_score {
	__u64 scraped_ns; /* 0: never, or the score is that of another endpoint */
	__s64 inflight;   /* at scraped_ns, like `pending` */
	__s64 pending;
	__u32 published;
	__u32 arrival;
	__u32 whole; /* 1: the score was not written to while it was read */
	__u32 idle;  /* of the newest pass, like what follows */
	__s64 passed_inflight;
	__u64 passed_opened;
	__u32 floor;
	__u32 prompt;
	__u32 newcomer;
	__u32 passed; /* 1: the pass is fresh */
	__u32 rate;
	__u32 idle_ms; /* by so much it may be older than others: pages are not wanted more often */
};

/* Whether the id with this generation is still this endpoint's, and the endpoint belongs to the
 * pool. pool_generation is that of a pool that exists, so not 0. */
static __always_inline bool eligible_member(const struct pintle_endpoint *e, __u32 generation,
					    __u32 pool, __u32 pool_generation)
{
	return generation && e->generation == generation && e->pool == pool &&
	       e->pool_generation == pool_generation;
}

/* Whether the pool's endpoints are listeners of this node, which the kernel knows. Other endpoints
 * are addresses, and only clients' failures show whether a server is there. */
static __always_inline bool eligible_listens(const struct pintle_pool *pool)
{
	return pool_reach(pool) == PINTLE_REACH_LISTENER;
}

/* Returns the PINTLE_FAMILY_* that the endpoint's listeners take, or the one of its address. */
static __always_inline __u32 eligible_families(const struct pintle_pool *pool,
					       const struct pintle_endpoint *e,
					       const struct pintle_health *h)
{
	if (eligible_listens(pool))
		return h->families & (PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6);
	return address_is_v4(e->address) ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6;
}

static __always_inline bool eligible_ejected(const struct pintle_pool *pool,
					     const struct pintle_health *h, __u64 now)
{
	return hook_has(pool->decided_by, PINTLE_TRAIT_EJECTS) &&
	       health_ejected(h->ejected_until_ns, h->answered_ns, h->failed_ns, now);
}

/* Returns 0, INELIGIBLE_STOPPED or INELIGIBLE_STALLED. The daemon's word lapses with the daemon. */
static __always_inline __u32 ineligible_standing(const struct pintle_health *h, __u64 now)
{
	if ((__s64)(h->stands_until_ns - now) <= 0)
		return INELIGIBLE_NOT;
	return h->standing == PINTLE_STANDING_STOPPED ? INELIGIBLE_STOPPED : INELIGIBLE_STALLED;
}

static __always_inline bool stands_still(__u32 ineligible)
{
	return ineligible == INELIGIBLE_STOPPED || ineligible == INELIGIBLE_STALLED;
}

/* Whether an endpoint that stands still is due to be tried with a connection. */
static __always_inline bool eligible_due(const struct pintle_health *h, __u64 now)
{
	return ineligible_standing(h, now) && h->try_ns && (__s64)(now - h->try_ns) >= 0;
}

/* By the daemon, or by `pintle drain`. An override with another generation was set for the former
 * endpoint with this id. */
static __always_inline bool eligible_drained(const struct pintle_endpoint *e,
					     const struct pintle_override *o)
{
	return e->flags & PINTLE_ENDPOINT_DRAINED ||
	       (o && o->generation == e->generation && o->flags & PINTLE_OVERRIDE_DRAIN);
}

/* Returns 0, or an INELIGIBLE_* that the kernel knows by itself, or was told by the CLI. */
static __always_inline __u32 ineligible_shut(const struct eligible_query *q)
{
	if (eligible_listens(q->pool) && !q->health->listening_since_ns)
		return INELIGIBLE_DOWN;
	if (!(eligible_families(q->pool, q->endpoint, q->health) & q->family))
		return INELIGIBLE_FAMILY;
	if (eligible_drained(q->endpoint, q->override))
		return INELIGIBLE_DRAINED;
	if (eligible_ejected(q->pool, q->health, q->now))
		return INELIGIBLE_EJECTED;
	return INELIGIBLE_NOT;
}

/* Returns 0, or an INELIGIBLE_* that holds also for a connection that finds no eligible endpoint.
 */
static __always_inline __u32 ineligible_barred(const struct eligible_query *q)
{
	return ineligible_shut(q) ?: ineligible_standing(q->health, q->now);
}

/* Returns 0, or the INELIGIBLE_* of the daemon's word, which is void without a daemon. */
static __always_inline __u32 ineligible_unfit(const struct pintle_health *h, bool daemonless)
{
	if (daemonless)
		return INELIGIBLE_NOT;
	switch (h->unfit) {
	case PINTLE_UNFIT_STARTING:
		return INELIGIBLE_STARTING;
	case PINTLE_UNFIT_UNHEALTHY:
		return INELIGIBLE_UNHEALTHY;
	case PINTLE_UNFIT_FAULTY:
		return INELIGIBLE_FAULTY;
	case PINTLE_UNFIT_ASLEEP:
		return INELIGIBLE_ASLEEP;
	case PINTLE_UNFIT_FAILING:
		return INELIGIBLE_EJECTED;
	}
	return INELIGIBLE_NOT;
}

/* Returns 0 or INELIGIBLE_UNHEARD. The page of 12:00:04 says nothing about a server that listens
 * since 12:00:05: the process before it served that page. With `daemonless` no daemon reads pages,
 * and a listener is enough. */
static __always_inline __u32 ineligible_unheard(const struct pintle_health *h,
						const struct eligible_score *s, bool daemonless)
{
	if (daemonless || (s->scraped_ns && s->scraped_ns >= h->listening_since_ns))
		return INELIGIBLE_NOT;
	return INELIGIBLE_UNHEARD;
}

/* Returns 0 if the endpoint may be chosen, else INELIGIBLE_*. An unfit endpoint that also stands
 * still is not tried with connections: the daemon finds out whether it serves. */
static __always_inline __u32 ineligible(const struct eligible_query *q,
					const struct eligible_score *s, bool daemonless)
{
	return ineligible_shut(q)
		       ?: ineligible_unfit(q->health, daemonless)
			       ?: ineligible_standing(q->health, q->now)
				       ?: ineligible_unheard(q->health, s, daemonless);
}

/* Whether no daemon reads metrics pages: the last heartbeat is older than a fresh score may be. */
static __always_inline bool eligible_daemonless(const struct pintle_pool *pool, __u64 heartbeat_ns,
						__u64 now)
{
	return (__s64)(now - heartbeat_ns) > (__s64)pool->staleness_ns;
}

/* Whether the pool's connections are left as they came: no daemon has been there for long, or none
 * since every endpoint failed its clients. For hooks with PINTLE_TRAIT_DAEMONLESS. */
static __always_inline bool eligible_left(const struct pintle_pool *pool,
					  const struct pintle_node *n, __u64 now)
{
	__u64 after = pool->daemonless_ns ?: n->daemonless_ns;

	return (after && (__s64)(now - n->heartbeat_ns) > (__s64)after) ||
	       (pool->left_ns && (__s64)(pool->left_ns - n->heartbeat_ns) > 0);
}

/* Whether what a pass found is believed. Without a daemon no more passes come, and what the last
 * one found would count for ever: from then on only the kernel's own counts do. */
static __always_inline bool eligible_passed(const struct pintle_pool *pool, __u64 passed_ns,
					    __u64 now)
{
	return passed_ns && (__s64)(now - passed_ns) <= (__s64)pool->staleness_ns;
}

/* When the endpoint with this generation was scraped; 0: never. */
static __always_inline __u64 eligible_scraped_ns(const struct pintle_score *score, __u32 generation)
{
	return score->generation == generation ? score->scraped_ns : 0;
}

/* Copies what the rule needs of the score of the endpoint with this generation. Leaves s->whole
 * alone. */
static __always_inline void eligible_score_take(struct eligible_score *s,
						const struct pintle_score *from, __u32 generation,
						const struct pintle_pool *pool, __u64 now)
{
	s->scraped_ns = eligible_scraped_ns(from, generation);
	s->passed = from->generation == generation && eligible_passed(pool, from->passed_ns, now);
	s->published = from->model[0].published;
	s->arrival = from->model[0].arrival;
	s->inflight = from->inflight;
	s->pending = from->pending;
	s->passed_inflight = from->passed_inflight;
	s->passed_opened = from->passed_opened;
	s->idle = from->passed_idle;
	s->floor = from->floor;
	s->prompt = from->prompt;
	s->newcomer = from->newcomer;
	s->rate = from->generation == generation ? from->rate : 0;
	s->idle_ms = from->flags & PINTLE_SCORE_IDLE ? pool->idle_ms : 0;
}

/* Fills in *f, except for the present counts, f->inflight, f->pending and f->opened. */
static __always_inline void eligible_facts(struct decide_facts *f, const struct pintle_pool *pool,
					   const struct eligible_score *s, __u64 now)
{
	__s64 age = now - s->scraped_ns - (__u64)s->idle_ms * 1000000;

	f->published = s->published;
	f->fresh = s->whole && s->scraped_ns && age <= (__s64)pool->staleness_ns;
	/* Most scores are fresh, and so need no division. */
	f->lost = !f->fresh && s->whole && s->scraped_ns && age > 0 &&
		  (__u64)age / ELIGIBLE_LOST > pool->staleness_ns;
	/* Without a scrape, all connections in flight count as new. */
	f->arrival = s->scraped_ns ? s->arrival : pool->departure;
	f->inflight_at_scrape = s->scraped_ns ? s->inflight : 0;
	f->pending_at_scrape = s->scraped_ns ? s->pending : 0;
	f->passed = s->whole && s->passed;
	f->inflight_at_pass = s->passed_inflight;
	f->opened_at_pass = s->passed_opened;
	f->idle = s->idle;
	f->floor = s->floor;
	/* A limit in requests is too little for long prompts: every session would leave. */
	f->prompt = pool->context_bytes ? s->prompt : 0;
	f->newcomer = pool->context_bytes ? s->newcomer : 0;
	f->rate = s->rate;
}

/* In a pool that is decided by request, the sizes of newcomers' prompts are known. Returns, in
 * milli-requests, what came since the pass: `asked` is pintle_ends.asked_bytes now, and `at_pass`
 * what it was. */
static __always_inline __u32 eligible_asked(const struct pintle_pool *pool, __u64 asked,
					    __u64 at_pass)
{
	__u64 bytes = decide_more(asked, at_pass);

	return pool->context_bytes
		       ? decide_cap(1000 * bytes / PINTLE_REQUEST_BYTES, DECIDE_MAX_PROMPTS)
		       : 0;
}

/* Takes that in. */
static __always_inline void eligible_facts_asked(struct decide_facts *f, __u32 asked)
{
	f->newcomer = 0;
	f->prompt = decide_cap((__u64)f->prompt + asked, DECIDE_MAX_PROMPTS);
}

/* Adds the present counts of the classes that the pool uses to f->inflight, f->pending and
 * f->opened. */
static __always_inline void eligible_count(struct decide_facts *f, const struct pintle_pool *pool,
					   const struct pintle_inflight *counts)
{
	__u32 i;

	for (i = 0; i < PINTLE_MAX_CLASSES && i < pool->classes; i++) {
		const struct pintle_counters *n = &counts->by_class[i];
		__u64 opened = n->opened;

		f->opened += opened;
		f->inflight += opened - n->closed;
		f->pending += n->placed - opened - n->failed;
	}
}

/* Connections of one class that were placed and have neither failed nor ended. The ends are read
 * first, so that what ends meanwhile still counts, and the difference is never below 0. */
static __always_inline __u64 eligible_in_flight(const struct pintle_counters *n)
{
	__u64 ended = *(const volatile __u64 *)&n->closed + *(const volatile __u64 *)&n->failed;

	return *(const volatile __u64 *)&n->placed - ended;
}

/* Whether so many in flight are all that there may be. Corrections may leave more ended than ever
 * began. */
static __always_inline bool eligible_all(__u64 in_flight, __u32 most)
{
	return most && (__s64)in_flight >= (__s64)most;
}

/* What a bound of the class's connections, or the limit, is for a session that is `over` its share:
 * an eighth of it is left for those that are not, but never nothing for the one. */
static __always_inline __u32 eligible_bound(__u32 bound, bool over)
{
	if (!over || bound < 2)
		return bound;
	return bound < 8 ? bound - 1 : DECIDE_ROOM(bound);
}

/* Whether a session with so many open connections has more than its share of the places, if so many
 * sessions share them. */
static __always_inline bool eligible_over(__u32 places, __u32 open, __u64 sessions)
{
	return places && open > 1 && sessions > 1 && open * sessions > places;
}

/* Whether a session is suspected of coming back without a pause. */
static __always_inline bool eligible_suspected(const struct pintle_refusal *r, __u64 now)
{
	return r->again >= PINTLE_RETRIES && (__s64)(now - r->told_ns) < (__s64)PINTLE_RETRY_NS;
}

/* Returns DECIDE_FULL_*: why the endpoint is full for a class, besides its present load. For a
 * session over its share the limit is where the endpoint has room, so that it does not matter what
 * was. */
static __always_inline __u32 eligible_full(const struct pintle_class *class, __u32 class_id,
					   const struct pintle_inflight *counts,
					   const struct pintle_health *h, bool over)
{
	__u32 at = class_id & (PINTLE_MAX_CLASSES - 1), full = 0;

	if (eligible_all(eligible_in_flight(&counts->by_class[at]),
			 eligible_bound(class->connections, over)))
		full |= DECIDE_FULL_CONNECTIONS;
	if (h->closed_classes >> at & 1)
		full |= DECIDE_FULL_RESERVED;
	if (!over && h->full_classes >> at & 1)
		full |= DECIDE_FULL_BEFORE;
	return full;
}

/* ---- endpoints as data, for the syscall program of the tests ----------------- */

#define WEIGH_CASE_MAX 64

/* An endpoint, and the connection for which it is weighed. */
struct weigh_one {
	__u32 endpoint;
	__u32 generation;
	__u16 family; /* PINTLE_FAMILY_* */
	__u16 daemonless;
	__u32 bound;
	__u32 eligible;                    /* out: 1 or 0 */
	struct decide_candidate candidate; /* out: the loads, if the endpoint is eligible */
};

struct weigh_case {
	__u64 now;
	__u32 pool;
	__u32 pool_generation;
	struct weigh_one of[WEIGH_CASE_MAX];
};

#define CHOOSE_CASE_MAX 64

/* A connection for which an endpoint is chosen out of the maps, several times. */
struct choose_case {
	__u64 now;
	struct pintle_affinity_key key;
	__u32 family; /* PINTLE_FAMILY_* */
	__u32 daemonless;
	__u32 mode;  /* enum pintle_mode */
	__u32 home;  /* 1 + the index of its group's home; 0: none */
	__u32 count; /* of results, at most CHOOSE_CASE_MAX */
	__u32 class_id;
	__u32 over_quota;
	__u32 note;     /* of the decision, as in struct terms; 0: none */
	__u32 adapter;  /* that its request names; 0: none */
	__u32 prompted; /* 1: the next three are of its prompt */
	struct pintle_ref prompt_home;
	struct pintle_prompt prompt;
	struct pintle_known known;
	struct decide_result result[CHOOSE_CASE_MAX]; /* out */
};

#endif
