/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * decide.bpf.h - the rule: which endpoint a new connection goes to, and why.
 *
 *   preferred = the session's bound endpoint, unless the session is a crowd; else the home of its
 *               group, else none
 *   best      = the least loaded of the candidates; ties are broken at random
 *   chosen    = preferred, unless load(preferred) > load(best) + extra; nor is it chosen beside
 *               fresh scores if its own has been old for long
 *   extra     = what computing the session's context anew would cost, plus load(best); the pool's
 *               max_extra_load while the context is not known, or is not to count
 *
 *   Where prompts are known, computing what of the prompt an endpoint has not cached counts beside
 *   load(e) in each of these comparisons (prefix.bpf.h).
 *
 *   load      = max(page, own) + prompts
 *   page      = published + what came since the scrape - what ended since; never below 0;
 *               for the bound endpoint, placements that are not established yet do not count
 *   own       = floor + newcomers - what closed since the pass: what this node itself has at the
 *               endpoint, whatever the page says
 *               All of it is divided by the endpoint's rate: its weight, or what counts of that
 *               while it warms up. So one with twice the weight gets twice as much
 *   prompts   = prompt bytes of this node that wait for their first token, as requests; a
 *               newcomer counts as one average request
 *   full      = load >= the limit of the connection's class, or 7/8 of it while the endpoint has
 *               been full; or closed: reserved for others, or with all connections that the class
 *               may have there; or the pool has all that the class may have. A full endpoint is
 *               chosen only where all are full, and only if the class's admission lets the
 *               connection proceed; a closed one, only where all are closed
 *   newcomers = connections that opened since the pass, by the counter of all that ever opened: in
 *               a job that runs 24 requests at a time, one opens as one closes, and their number
 *               stays
 *
 * Plain integers in, plain integers out: no map, no helper, no clock. The same text is compiled
 * into the hooks, into the syscall programs of the kernel tests and into host programs.
 * eligible.bpf.h says which endpoints are candidates, and what is known about them. The rule sees
 * the candidates one after the other, so it needs the same few bytes of stack for a pool of any
 * size:
 *
 *   decide_begin(); decide_prefer_first(), except in mode baseline; decide_consider()
 *   for each eligible endpoint that decide_sample_*() draw; decide_end().
 */
#ifndef PINTLE_DECIDE_BPF_H
#define PINTLE_DECIDE_BPF_H

#include <pintle/abi.h>
#include <stdbool.h>

#include "mix.bpf.h"

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* In the kernel the steps are functions that the verifier checks once, each by itself, for any
 * arguments. Hence they test for NULL, and return an int even without a result. */
#ifdef __bpf__
#define DECIDE_STEP __attribute__((weak, noinline)) int
#else
#define DECIDE_STEP static inline int
#endif

/* Loads have 32 bits, because a hook's stack is small. `published` and `floor` are at most
 * PINTLE_MAX_LOAD, what came since at most twice that, and prompts once that: so the sum fits. */
#define DECIDE_MAX_CORRECTION (2 * PINTLE_MAX_LOAD)
#define DECIDE_MAX_PROMPTS    PINTLE_MAX_LOAD
/* On top of these, so it is what is left of 32 bits. */
#define DECIDE_MAX_MISSING 200000000U
/* Further connections add no load, so that the product with a weight fits 64 bits. */
#define DECIDE_MAX_MORE 1000000000LL

/* A session with more busy connections than this is a crowd: a batch job, a gateway, many clients
 * behind one address. Its requests do not continue one another, so that no endpoint has more of
 * their context than another, and together they would be too much for one.
 * lab/docs/experiments/constants.md has the evidence. */
#define DECIDE_MAX_BUSY 8

#define DECIDE_MAX_EXTRA PINTLE_MAX_LOAD
/* A context of so many bytes costs twice what a short one costs for each byte. */
#define DECIDE_LONG_CONTEXT 32768ULL
#define DECIDE_MAX_CONTEXT  (1ULL << 24) /* bytes; the product in decide_extra() fits 64 bits */

/* What is known about an endpoint at the time of a decision. */
struct decide_facts {
	__s64 inflight; /* opened - closed, now */
	__s64 pending;  /* placed - opened - failed, now */
	__s64 inflight_at_scrape;
	__s64 pending_at_scrape;
	__u32 published; /* milli-requests, of the connection's class */
	__u32 arrival;   /* milli-requests for each connection that came since the scrape */
	__u16 fresh;     /* 0: the score is too old */
	__u16 lost;      /* 1: it has been so for long */
	__u32 passed;    /* 1: the newest pass is fresh; 0: the fields below say nothing */
	__s64 inflight_at_pass;
	__u64 opened; /* ever, like the next member: connections may have come and gone */
	__u64 opened_at_pass;
	__u32 idle;     /* connections without a request, at the pass */
	__u32 floor;    /* milli-requests: the requests that the pass found */
	__u32 prompt;   /* milli-requests: their prompts, without those that are answered */
	__u32 newcomer; /* milli-requests: the prompt of a connection that opened since */
	__u32 rate;     /* as in struct pintle_score */
	__u32 zero;
};

/* Numbers of connections that follow from the facts, each at most DECIDE_MAX_MORE. */
struct decide_changes {
	__u32 came, ended; /* how many more, or fewer, are in flight than at the scrape */
	__u32 placed;      /* how many more are pending than at the scrape */
	__u32 newcomers;   /* opened since the pass, and not closed: the newest in flight */
	__u32 closed;      /* of those that were in flight at the pass */
	__u32 inflight;
	__u32 busy; /* in flight, less those that were idle at the pass */
};

/* Why an endpoint is full for the connection's class, besides its present load. */
#define DECIDE_FULL_CONNECTIONS 0x1 /* the class has all connections there that it may have */
#define DECIDE_FULL_RESERVED    0x2 /* reserved for classes of higher priority */
#define DECIDE_FULL_BEFORE      0x4 /* it was full by its load, and has not had room since */
#define DECIDE_FULL_CLOSED      (DECIDE_FULL_CONNECTIONS | DECIDE_FULL_RESERVED)

/* An endpoint whose load reached the limit has room again below this part of the limit. In a class
 * whose clients come back after they were refused, the first connection that ends would else let
 * one in, and the next one is refused: each answer would be the opposite of the one before. */
#define DECIDE_ROOM(limit) ((limit) - (limit) / 8)

struct decide_candidate {
	__u32 published; /* of a fresh score, else 0 */
	__u32 load;      /* with a fresh score the load; with an old one, what came since */
	__u32 blind;     /* the load if no candidate's score is fresh */
	__u16 endpoint;
	__u16 rate; /* as in struct pintle_score, and never 0 */
	__u32 generation;
	__u8 fresh;
	__u8 lost;  /* its score has been too old for long */
	__u8 tried; /* it stands still, and the connection is to try it: the caller's */
	__u8 full;  /* DECIDE_FULL_* */
};

/* Candidates with a lower rank come first, whatever their loads. */
enum decide_rank { DECIDE_ROOMY, DECIDE_FULL, DECIDE_CLOSED };

#define DECIDE_MAX_TIES 16383 /* more than the pool has members */

/* The least loaded candidate of a kind so far. */
struct decide_least {
	__u32 load;
	__u32 generation; /* 0: no candidate yet */
	__u16 endpoint;
	__u16 ties : 14; /* the weights of the candidates with this load */
	__u16 rank : 2;  /* enum decide_rank, for the connection's class */
};

/* This must stay small: it lies on the hooks' stacks. */
struct decide_state {
	__u64 random; /* never 0 */
	struct decide_least fresh;
	struct decide_least old; /* by what came since; decide_end() adds max_published */
	struct decide_least blind;
	__u32 max_published;
	struct {
		__u32 load, blind;
		__u32 generation; /* 0: nothing is preferred */
		__u16 endpoint;
		__u8 fresh : 1;
		__u8 lost : 1;
		__u8 full : 3; /* DECIDE_FULL_* */
		__u8 outcome;  /* PINTLE_OUTCOME_STICKY or _HOME */
		__u32 missing; /* as of decide_consider_missing() */
	} preferred;
	/* milli-requests, at most PINTLE_MAX_TIE: loads so close count as equal */
	__u32 tie : 30;
	__u32 full : 1; /* the pool has no room for the connection: each endpoint is full */
	__u32 baseline : 1;
	__u32 extra; /* decide_extra() of the session */
	__u32 limit; /* of the connection's class, in milli-requests; 0: none */
};

struct decide_result {
	__u32 endpoint;
	__u32 generation; /* 0: no candidate was shown */
	__u32 outcome;    /* enum pintle_outcome */
};

static __always_inline __u64 decide_more(__s64 now, __s64 then)
{
	__s64 more = (__u64)now - (__u64)then; /* unsigned, because counters may wrap */

	if (more < 0)
		return 0;
	return more > DECIDE_MAX_MORE ? DECIDE_MAX_MORE : more;
}

static __always_inline __u32 decide_cap(__u64 load, __u32 most)
{
	return load > most ? most : load;
}

static __always_inline __u32 decide_product(__u64 more, __u32 weight)
{
	return decide_cap(more * weight, DECIDE_MAX_CORRECTION);
}

static __always_inline __u32 decide_less(__u32 load, __u64 ended, __u32 weight)
{
	__u32 less = decide_product(ended, weight);

	return load > less ? load - less : 0;
}

/* Compares the counters with what they were. */
static __always_inline void decide_compare(struct decide_changes *d, const struct decide_facts *f)
{
	__u32 opened = decide_more(f->opened, f->opened_at_pass);

	d->came = decide_more(f->inflight, f->inflight_at_scrape);
	d->ended = decide_more(f->inflight_at_scrape, f->inflight);
	d->placed = decide_more(f->pending, f->pending_at_scrape);
	d->inflight = decide_more(f->inflight, 0);
	d->newcomers = opened < d->inflight ? opened : d->inflight;
	d->closed = decide_more((__u64)f->inflight_at_pass + d->newcomers, f->inflight);
	d->busy = decide_more(f->inflight, f->idle);
}

#define DECIDE_RATE     100 /* of an endpoint of weight 1 */
#define DECIDE_MAX_RATE (DECIDE_RATE * PINTLE_MAX_WEIGHT)

/* Divides a load by the endpoint's rate. */
static __always_inline __u32 decide_rated(__u64 load, __u32 rate, __u32 most)
{
	return rate == DECIDE_RATE ? load : decide_cap(load * DECIDE_RATE / rate, most);
}

/* Computes the candidate's loads. `departure` is the pool's weight of a connection that the page
 * knew: it is taken off for each connection that ended since, and is the load of each connection in
 * flight where no score is fresh. `bound` says that the session is bound to this candidate: then
 * pending placements do not count, because anybody can forge some. 18 forged segments with a
 * client's address all go to the endpoint to which the client is bound, and would otherwise drive
 * the client away. The client's real connections count once they are established.
 *
 * Without taking them off, the first placements on an endpoint would be free. Suppose that three
 * connections ended at each of two endpoints since the scrape, and that one endpoint then got three
 * new ones. Both would have the load of their pages, because neither has more in flight than at its
 * scrape. Only a page that is believed contains the connections that ended, so nothing is taken off
 * an old score, which counts with the highest fresh load. Nor does `pending` take anything off: it
 * falls when a connection opens, before any page has seen that connection, and when SYNs are
 * given up.
 *
 * `own` is there because a page may be wrong: the page of a server whose core stands still says 0
 * for ever, and each new scrape would forget the ten requests that this node has waiting there. */
static __always_inline void decide_weigh_changed(struct decide_candidate *c,
						 const struct decide_facts *f,
						 const struct decide_changes *d, __u32 departure,
						 bool bound)
{
	__u32 prompts = 0, own = 0;

	if (f->passed) {
		own = decide_less(decide_cap(f->floor, PINTLE_MAX_LOAD) +
					  decide_product(d->newcomers, f->arrival),
				  d->closed, departure);
		prompts = decide_cap(f->prompt + (__u64)d->newcomers * f->newcomer,
				     DECIDE_MAX_PROMPTS);
	}
	c->published = f->fresh ? f->published : 0;
	if (c->published > PINTLE_MAX_LOAD)
		c->published = PINTLE_MAX_LOAD;
	c->load =
		c->published + decide_product((__u64)d->came + (bound ? 0 : d->placed), f->arrival);
	if (f->fresh) {
		c->load = decide_less(c->load, d->ended, departure);
		if (own > c->load)
			c->load = own;
	}
	c->load += prompts;
	c->blind = decide_product(f->passed ? d->busy : d->inflight, departure) + prompts;
	c->fresh = f->fresh;
	c->lost = f->lost;
	c->full = 0;
	c->rate = f->rate && f->rate <= DECIDE_MAX_RATE ? f->rate : DECIDE_RATE;
	c->published = decide_rated(c->published, c->rate, PINTLE_MAX_LOAD);
	c->load = decide_rated(c->load, c->rate, DECIDE_MAX_CORRECTION + DECIDE_MAX_PROMPTS);
	c->blind = decide_rated(c->blind, c->rate, DECIDE_MAX_CORRECTION + DECIDE_MAX_PROMPTS);
}

static __always_inline void decide_weigh(struct decide_candidate *c, const struct decide_facts *f,
					 __u32 departure, bool bound)
{
	struct decide_changes changes;

	decide_compare(&changes, f);
	decide_weigh_changed(c, f, &changes, departure, bound);
}

/* Whether the session has too many busy connections to prefer the endpoint that it is bound to.
 * `passed` says that the pass that counted the idle ones is fresh; else all count as busy. */
static __always_inline bool decide_crowded(const struct pintle_affinity *a, bool passed)
{
	return (__s64)a->open - (passed ? a->idle : 0) > DECIDE_MAX_BUSY;
}

/* Returns decide_state.extra, in milli-requests, for a session with this context: the more of it is
 * cached at an endpoint, the more a move would cost. Twice the context costs more than twice as
 * much, because each token attends to all before it and because it displaces more of what others
 * have cached. 0: the pool's max_extra_load holds. `per` is pool.context_bytes. */
static __always_inline __u32 decide_extra(__u32 context_bytes, __u32 per)
{
	__u64 bytes = context_bytes > DECIDE_MAX_CONTEXT ? DECIDE_MAX_CONTEXT : context_bytes;
	__u64 extra;

	if (!per || !bytes)
		return 0;
	extra = 1000 * bytes * (DECIDE_LONG_CONTEXT + bytes) / (DECIDE_LONG_CONTEXT * per);
	return extra > DECIDE_MAX_EXTRA ? DECIDE_MAX_EXTRA : extra ?: 1;
}

static __always_inline void decide_begin(struct decide_state *s, __u64 seed, __u32 baseline)
{
	__builtin_memset(s, 0, sizeof(*s));
	s->random = seed | 1;
	s->baseline = baseline;
}

/* xorshift64 (Marsaglia, J. Stat. Softw. 8(14), 2003), good enough for ties. */
static __always_inline __u64 decide_random(struct decide_state *s)
{
	__u64 x = s->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	s->random = x;
	return x >> 11;
}

/* Whether an endpoint with this load is full by the limit; `full` says what it was. */
static __always_inline bool decide_full_by_load(__u32 limit, __u32 load, __u32 full)
{
	return limit && load >= (full & DECIDE_FULL_BEFORE ? DECIDE_ROOM(limit) : limit);
}

static __always_inline __u32 decide_rank(const struct decide_state *s, __u32 load, __u32 full)
{
	if (full & DECIDE_FULL_CLOSED)
		return DECIDE_CLOSED;
	return s->full || decide_full_by_load(s->limit, load, full) ? DECIDE_FULL : DECIDE_ROOMY;
}

/* The chance of an endpoint with this rate among endpoints with the same load. */
static __always_inline __u32 decide_weight(__u32 rate)
{
	/* Most endpoints have this one, and a division takes as long as ten comparisons. */
	return rate == DECIDE_RATE ? 1 : rate / DECIDE_RATE ?: 1;
}

/* Keeps the candidate if it has the least load; `chance` is added to it, but not where the limit
 * counts. A reservoir of one: several candidates with the same load are kept with probabilities as
 * their weights are. */
static __always_inline void decide_keep(struct decide_state *s, struct decide_least *l, __u32 load,
					__u32 chance, const struct decide_candidate *c, __u32 full)
{
	__u32 rank = decide_rank(s, load, full), weight = decide_weight(c->rate);

	load += chance;
	if (l->generation && (rank > l->rank || (rank == l->rank && load > l->load)))
		return;
	if (l->generation && rank == l->rank && load == l->load) {
		l->ties = decide_cap(l->ties + weight, DECIDE_MAX_TIES);
		if (decide_random(s) % l->ties >= weight)
			return;
	} else {
		l->ties = weight;
	}
	l->rank = rank;
	l->load = load;
	l->endpoint = c->endpoint;
	l->generation = c->generation;
}

/* Considers a candidate where computing what it lacks of the prompt costs `missing`, at most
 * DECIDE_MAX_MISSING. That counts as load, but not towards a limit: it is not there yet. Only an
 * old score is compared with a limit together with it, in decide_end(). */
static __always_inline void decide_consider_at(struct decide_state *s,
					       const struct decide_candidate *c, __u32 missing)
{
	__u32 chance = 0;

	if (s->baseline) {
		decide_keep(s, &s->blind, 0, 0, c, 0);
		return;
	}
	if (s->tie)
		chance = decide_random(s) % s->tie;
	decide_keep(s, &s->blind, c->blind, missing, c, c->full);
	if (c->fresh) {
		decide_keep(s, &s->fresh, c->load, missing + chance, c, c->full);
		if (c->published > s->max_published)
			s->max_published = c->published;
	} else {
		decide_keep(s, &s->old, c->load + missing, chance, c, c->full & DECIDE_FULL_CLOSED);
	}
}

DECIDE_STEP decide_consider(struct decide_state *s, const struct decide_candidate *c)
{
	if (s && c)
		decide_consider_at(s, c, 0);
	return 0;
}

DECIDE_STEP decide_consider_missing(struct decide_state *s, const struct decide_candidate *c,
				    __u32 missing)
{
	if (s && c)
		decide_consider_at(s, c, missing);
	return 0;
}

static __always_inline void decide_prefer_set(struct decide_state *s,
					      const struct decide_candidate *c, __u32 outcome)
{
	s->preferred.load = c->load;
	s->preferred.blind = c->blind;
	s->preferred.generation = c->generation;
	s->preferred.endpoint = c->endpoint;
	s->preferred.fresh = c->fresh;
	s->preferred.lost = c->lost;
	s->preferred.full = c->full;
	s->preferred.outcome = outcome;
}

/* What computing the prompt's rest costs at this candidate, in milli-requests. */
typedef __u32 (*decide_missing)(const void *arg, const struct decide_candidate *c, __u32 outcome);

/* Considers the preferred endpoint, which must be eligible: it is also a candidate like the others.
 * `missing` is 0 where prompts are not known: it is a constant, so such a program has none of
 * it. */
static __always_inline void decide_prefer(struct decide_state *s, const struct decide_candidate *c,
					  __u32 outcome, decide_missing missing, const void *arg)
{
	decide_prefer_set(s, c, outcome);
	if (missing) {
		s->preferred.missing = missing(arg, c, outcome);
		decide_consider_missing(s, c, s->preferred.missing);
	} else {
		decide_consider(s, c);
	}
}

/* Fills in *c for the session's bound endpoint (outcome PINTLE_OUTCOME_STICKY) or for the home of
 * its group (PINTLE_OUTCOME_HOME); with STICKY also s->extra, whatever it returns. Returns 0 if
 * there is none, or it is not eligible, or the session is a crowd. */
typedef int (*decide_find)(struct decide_state *s, const void *arg, __u32 outcome,
			   struct decide_candidate *c);

/* The bound endpoint comes before the home: a session that had to leave its home has its context on
 * the other endpoint now, and stays there. A crowd keeps its home: its members share the group's
 * prompt, even though they share no context. *c is used for the candidate. */
static __always_inline void decide_prefer_missing(struct decide_state *s, decide_find find,
						  decide_missing missing, const void *arg,
						  struct decide_candidate *c)
{
	if (find(s, arg, PINTLE_OUTCOME_STICKY, c) > 0)
		decide_prefer(s, c, PINTLE_OUTCOME_STICKY, missing, arg);
	else if (find(s, arg, PINTLE_OUTCOME_HOME, c) > 0)
		decide_prefer(s, c, PINTLE_OUTCOME_HOME, missing, arg);
}

/* The same where prompts are not known. */
static __always_inline void decide_prefer_first(struct decide_state *s, decide_find find,
						const void *arg, struct decide_candidate *c)
{
	decide_prefer_missing(s, find, 0, arg, c);
}

/* Whether a binding that was last used at used_ns still holds. */
static __always_inline bool decide_binding_holds(__u64 used_ns, __u64 now, __u64 ttl_ns)
{
	return (__s64)(now - used_ns) < (__s64)ttl_ns;
}

/* Returns the index, below PINTLE_HOME_ENTRIES, of the home of the group with this key. */
static __always_inline __u32 decide_home(__u64 high, __u64 low)
{
	return mix(mix(high) ^ low) % PINTLE_HOME_ENTRIES;
}

/* A candidate with an old score has the highest fresh `published`, plus what came to it since. */
static __always_inline __u32 decide_load(const struct decide_state *s,
					 const struct decide_candidate *c)
{
	if (!s->fresh.generation)
		return c->blind;
	return c->fresh ? c->load : s->max_published + c->load;
}

/* Beside fresh scores, nobody knows how a load of which only a part was seen compares with one that
 * once was too high: what was full before counts for nothing there. */
static __always_inline __u32 decide_candidate_rank(const struct decide_state *s,
						   const struct decide_candidate *c)
{
	bool old = s->fresh.generation && !c->fresh;

	return decide_rank(s, decide_load(s, c), old ? c->full & DECIDE_FULL_CLOSED : c->full);
}

/* What of the preferred candidate its load and its rank follow from. */
static __always_inline struct decide_candidate decide_preferred(const struct decide_state *s)
{
	return (struct decide_candidate){.load = s->preferred.load,
					 .blind = s->preferred.blind,
					 .fresh = s->preferred.fresh,
					 .full = s->preferred.full};
}

/* Whether the preferred endpoint's load is within what is allowed. The best one's load comes on top
 * of the session's context: where all queue, a session that moves delays others besides. */
static __always_inline bool decide_within(const struct decide_state *s, __u32 best,
					  __u64 max_extra_load)
{
	const struct decide_candidate c = decide_preferred(s);
	__u32 load = decide_load(s, &c) + s->preferred.missing;
	__u64 extra = s->extra ? (__u64)s->extra + best : max_extra_load;

	return load <= best || load - best <= extra;
}

/* Whether the least loaded of the candidates with old scores is better than the least loaded one
 * with a fresh score. */
static __always_inline bool decide_old_first(struct decide_state *s, const struct decide_least *old,
					     const struct decide_least *fresh)
{
	if (old->rank != fresh->rank)
		return old->rank < fresh->rank;
	return old->load < fresh->load ||
	       (old->load == fresh->load &&
		decide_random(s) % (old->ties + fresh->ties) < old->ties);
}

/* Whether the connection goes to the preferred endpoint. If the best one is full, all are, and the
 * limit moves no session from one to another; but a session leaves an endpoint that is closed to
 * it. */
static __always_inline bool decide_holds(const struct decide_state *s,
					 const struct decide_least *best, __u64 max_extra_load)
{
	const struct decide_candidate c = decide_preferred(s);

	return decide_candidate_rank(s, &c) <= best->rank &&
	       decide_within(s, best->load, max_extra_load);
}

/* Nobody can be sent to an overload responder that is not there. */
static __always_inline __u32 decide_admission(__u32 admission, bool responder)
{
	return admission == PINTLE_ADMISSION_DIVERT && !responder ? PINTLE_ADMISSION_REFUSE
								  : admission;
}

/* The outcome where each candidate is full, and the connection does not proceed. */
static __always_inline __u32 decide_turned_away(__u32 admission)
{
	if (admission == PINTLE_ADMISSION_SPILL)
		return PINTLE_OUTCOME_SPILLED;
	return admission == PINTLE_ADMISSION_DIVERT ? PINTLE_OUTCOME_DIVERTED
						    : PINTLE_OUTCOME_REFUSED;
}

/* Chooses; r->generation is 0 when there was no candidate, or the connection is turned away. A
 * preferred endpoint whose page has not come for long holds its sessions no more, if there are
 * others whose pages come: it may be the only one that is broken. Such a session goes to an
 * endpoint with a fresh score, because it could draw its own again among the old ones. */
static __always_inline void decide_end(struct decide_state *s, __u64 max_extra_load,
				       __u32 admission, struct decide_result *r)
{
	struct decide_least best, old;
	__u32 stale, prefers;

	best = s->blind;
	stale = !s->fresh.generation;
	prefers = s->preferred.generation && (stale || !s->preferred.lost);
	r->endpoint = 0;
	r->generation = 0;
	r->outcome = PINTLE_OUTCOME_NO_ENDPOINT;
	if (!best.generation)
		return;
	if (!stale) {
		best = s->fresh;
		old = s->old;
		old.load += s->max_published;
		if (old.rank < DECIDE_CLOSED)
			old.rank = decide_rank(s, old.load, 0);
		if (old.generation && (prefers || !s->preferred.generation) &&
		    decide_old_first(s, &old, &best))
			best = old;
	}
	if (best.rank && !s->baseline && admission != PINTLE_ADMISSION_PROCEED) {
		r->outcome = decide_turned_away(admission);
		return;
	}
	if (s->baseline) {
		r->outcome = PINTLE_OUTCOME_RANDOM;
	} else if (prefers && decide_holds(s, &best, max_extra_load)) {
		best.endpoint = s->preferred.endpoint;
		best.generation = s->preferred.generation;
		r->outcome = s->preferred.outcome;
	} else {
		r->outcome = prefers ? PINTLE_OUTCOME_ESCAPED : PINTLE_OUTCOME_LEAST_LOADED;
	}
	if (stale && !s->baseline)
		r->outcome = PINTLE_OUTCOME_STALE;
	r->endpoint = best.endpoint;
	r->generation = best.generation;
}

/* ---- the sample ------------------------------------------------------------- */

/* The rule looks at all members of a pool of up to PINTLE_SAMPLE members. Members of a larger pool
 * are drawn from a random place on with a random stride, until `size` of them are eligible and have
 * room for the connection's class: first those that the daemon knows to be eligible, the first
 * `first` ones, then the others. After 2 * size draws, and after all of the first ones, one such
 * member is enough: else the search for 8 of which 2 are there would go through a pool of 1000. */
struct decide_sample {
	__u16 start;
	__u16 step;
	__u16 taken; /* eligible members among those drawn, without full ones */
	__u16 first; /* 1..members */
};

/* Primes above PINTLE_MAX_MEMBERS have no factor in common with the size of a pool. With such a
 * stride, each member is drawn once before any is drawn again. */
static const __u32 decide_strides[] = {1031, 1153, 1289, 1433, 1571, 1721, 1873, 2017,
				       2179, 2341, 2503, 2671, 2837, 3001, 3169, 3329};
#define DECIDE_STRIDES (sizeof(decide_strides) / sizeof(decide_strides[0]))

/* How many to compare, where pool.sample is `sample`. A pool of up to PINTLE_SAMPLE members is
 * never searched in part: with two of three, the best one would be missed one time in three. */
static __always_inline __u32 decide_sample_size(__u32 members, __u32 sample)
{
	return members <= PINTLE_SAMPLE || !sample ? PINTLE_SAMPLE : sample;
}

/* Whether to begin with decide_sample_draw() and two random numbers, or with decide_sample_all().
 */
static __always_inline bool decide_sample_needed(__u32 members, __u32 size)
{
	return members > size;
}

/* The step where all members are looked at, one after the other; no stride is so short. */
#define DECIDE_STEP_ALL 1

static __always_inline void decide_sample_all(struct decide_sample *s, __u32 members)
{
	s->start = 0;
	s->step = DECIDE_STEP_ALL;
	s->taken = 0;
	s->first = members;
}

/* `ready` is how many of the members, which come first, are known to be eligible; 0: not known. */
static __always_inline void decide_sample_draw(struct decide_sample *s, __u32 members, __u32 ready,
					       __u32 random_start, __u32 random_stride)
{
	__u32 first = ready && ready < members ? ready : members;

	s->start = random_start % first;
	s->step = decide_strides[random_stride % DECIDE_STRIDES];
	s->taken = 0;
	s->first = first;
}

/* Returns the index of the i-th member drawn, i from 0 to members - 1. */
static __always_inline __u32 decide_sample_member(const struct decide_sample *s, __u32 members,
						  __u32 i)
{
	__u32 first = s->first;

	if (s->step == DECIDE_STEP_ALL)
		return i;
	if (i < first)
		return (s->start + i * s->step) % first;
	return first + (s->start + (i - first) * s->step) % (members - first);
}

/* Counts a candidate that decide_consider() has seen. One that is full for the connection's class
 * is none: a class is refused only where no endpoint of the whole pool has room for it. */
static __always_inline void decide_sample_take(struct decide_sample *s,
					       const struct decide_state *rule,
					       const struct decide_candidate *c)
{
	s->taken += decide_candidate_rank(rule, c) == DECIDE_ROOMY;
}

/* Whether the members drawn so far are enough; the i-th one is the latest. */
static __always_inline bool decide_sample_done(const struct decide_sample *s, __u32 members,
					       __u32 size, __u32 i)
{
	if (!decide_sample_needed(members, size))
		return false;
	return s->taken >= size || (s->taken && (i == 2 * size - 1 || i + 1 >= s->first));
}

/* ---- one decision as data, for the syscall program and the host ------------ */

#define DECIDE_CASE_MAX 16

struct decide_case {
	__u64 seed;
	__u64 max_extra_load;
	__u32 baseline;
	__u32 count;     /* of facts, at most DECIDE_CASE_MAX; endpoint = index */
	__s32 preferred; /* index, or -1 */
	__u32 preferred_outcome;
	__u32 departure;
	__u32 extra;
	__u32 limit;
	__u32 admission;
	struct decide_facts facts[DECIDE_CASE_MAX];
	__u8 full[DECIDE_CASE_MAX];     /* DECIDE_FULL_* */
	__u32 missing[DECIDE_CASE_MAX]; /* where prompts are known */
	__u32 pool_full;
	__u32 prompts; /* 1: they are */
	struct decide_result result;
};

/* The decide_missing of a case. */
static __always_inline __u32 decide_case_missing(const void *arg, const struct decide_candidate *c,
						 __u32 outcome)
{
	const struct decide_case *k = arg;

	(void)outcome;
	return k->missing[c->endpoint & (DECIDE_CASE_MAX - 1)];
}

/* A function of its own, so that the verifier goes through it once: sixteen rounds of its branches
 * are too many for Linux 6.1. */
DECIDE_STEP decide_case_step(struct decide_state *s, const struct decide_case *k, __u32 i)
{
	struct decide_candidate c = {.endpoint = i, .generation = 1};
	bool preferred;

	if (!s || !k || i >= DECIDE_CASE_MAX)
		return 0;
	preferred = (__s32)i == k->preferred;
	decide_weigh(&c, &k->facts[i], k->departure,
		     preferred && k->preferred_outcome == PINTLE_OUTCOME_STICKY);
	c.full = k->full[i];
	if (preferred && k->prompts)
		decide_prefer(s, &c, k->preferred_outcome, decide_case_missing, k);
	else if (preferred)
		decide_prefer(s, &c, k->preferred_outcome, 0, 0);
	else if (k->prompts)
		decide_consider_missing(s, &c, decide_case_missing(k, &c, 0));
	else
		decide_consider(s, &c);
	return 0;
}

static __always_inline void decide_case_run(struct decide_case *k)
{
	struct decide_state s = {};
	__u32 i;

	decide_begin(&s, k->seed, k->baseline);
	s.extra = k->extra;
	s.limit = k->limit;
	s.full = k->pool_full;
	for (i = 0; i < DECIDE_CASE_MAX; i++) {
		if (i >= k->count)
			break;
		decide_case_step(&s, k, i);
	}
	decide_end(&s, k->max_extra_load, k->admission, &k->result);
}

#endif
