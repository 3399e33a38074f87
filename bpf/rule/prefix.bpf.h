/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * prefix.bpf.h - which endpoints have cached how much of a prompt.
 *
 *   steps     A prompt has a hash at the end of each 256 bytes up to 4 KiB, and of each 1 KiB from
 *             there to 64 KiB (chunk.bpf.h). Two prompts have the same hash at a step if they are
 *             the same up to there. Later steps are longer because learning a step takes ten times
 *             as long as hashing 256 bytes.
 *   table     The caller's, by hash: at most PINTLE_PREFIX_HOLDERS endpoints that were given a
 *             prompt with this beginning last. It forgets what was used the longest ago.
 *   have(e)   bytes of this prompt that endpoint e is believed to have cached: those of the longest
 *             beginning that it holds. A hook sees only the first bytes of a long prompt. If e
 * holds all of what is seen, it is believed to have as much of the rest as such prompts have in
 * common: all of the one before while each is longer than the one before, as turns of a
 * conversation are; else as much as the shortest of them has. missing   what computing the rest at
 * e costs, for decide_consider_missing() in decide.bpf.h
 *
 *   prefix_search(); for each candidate prefix_steps(), prefix_have() and prefix_missing(), also
 * for those that prefix_search() found, and the home; decide_end(); prefix_learn() for the chosen
 * endpoint.
 *
 * No map, no helper, no clock. The same text is compiled into kernel programs, host tests and the
 * policy lab.
 */
#ifndef PINTLE_PREFIX_BPF_H
#define PINTLE_PREFIX_BPF_H

#include "decide.bpf.h"

#define PREFIX_CHUNK  256 /* bytes; a token has about four */
#define PREFIX_FINE   16  /* steps of one chunk each, up to 4 KiB */
#define PREFIX_COARSE 4   /* chunks of each later step */
#define PREFIX_CHUNKS (PREFIX_FINE + (PINTLE_PREFIX_STEPS - PREFIX_FINE) * PREFIX_COARSE)
#define PREFIX_TURNS  7 /* that a binary search of PINTLE_PREFIX_STEPS steps takes at most */
/* The step whose hash says the prompt's home. The one at 8 KiB would not be seen: with an MTU of
 * 1500, a hook sees 7.2 KiB of a long prompt. */
#define PREFIX_HOME_STEP (PREFIX_FINE - 1)

/* ---- a prompt ---------------------------------------------------------------- */

/* Bytes from the prompt's beginning to the end of so many steps. */
static __always_inline __u32 prefix_bytes(__u32 steps)
{
	__u32 coarse = steps > PREFIX_FINE ? steps - PREFIX_FINE : 0;

	return PREFIX_CHUNK * (steps + coarse * (PREFIX_COARSE - 1));
}

/* Takes in the hash at the end of a chunk. Chunks come in order, from 0 on. */
static __always_inline void prefix_note(struct pintle_prompt *p, __u32 chunk, __u64 hash)
{
	__u32 step = chunk, coarse = chunk + 1 - PREFIX_FINE;

	if (chunk >= PREFIX_FINE) {
		if (coarse % PREFIX_COARSE)
			return;
		step = PREFIX_FINE - 1 + coarse / PREFIX_COARSE;
	}
	/* Else clang bounds what `step` was made of, and the verifier does not see the bound. */
	asm volatile("" : "+r"(step));
	if (step >= PINTLE_PREFIX_STEPS)
		return;
	p->hash[step] = hash;
	p->steps = step + 1;
}

/* ---- the table --------------------------------------------------------------- */

/* In the units of pintle_holder.used, which wrap after 78 hours: then what was used that long ago
 * may seem to be young. */
static __always_inline __u16 prefix_time(__u64 ns)
{
	return ns >> 32;
}

static __always_inline __u16 prefix_age(const struct pintle_holder *h, __u64 now)
{
	return prefix_time(now) - h->used;
}

static __always_inline bool prefix_is(const struct pintle_holder *h, __u32 endpoint,
				      __u32 generation)
{
	return h->generation == generation && h->endpoint == endpoint;
}

/* Whether somebody holds the beginning, or did so less than ttl_ns ago. */
static __always_inline bool prefix_held(const struct pintle_holder *h, __u64 now, __u64 ttl_ns)
{
	return h->generation && prefix_age(h, now) <= ttl_ns >> 32;
}

/* Notes that an endpoint holds so many steps, more than were noted of anybody before. Who holds the
 * least makes room. */
DECIDE_STEP prefix_found(struct pintle_known *k, const struct pintle_holder *h, __u32 steps)
{
	__u32 i, at = 0;

	if (!k || !h)
		return 0;
	for (i = 0; i < PINTLE_PREFIX_KNOWN; i++) {
		if (k->steps[i] && prefix_is(&k->of[i], h->endpoint, h->generation)) {
			at = i;
			break;
		}
		if (k->steps[i] < k->steps[at & (PINTLE_PREFIX_KNOWN - 1)])
			at = i;
	}
	at &= PINTLE_PREFIX_KNOWN - 1;
	k->of[at] = *h;
	k->steps[at] = steps;
	return 0;
}

/* Notes who holds so many steps. Returns 0 if nobody does. */
DECIDE_STEP prefix_found_all(struct pintle_known *k, const struct pintle_prefix *v, __u32 steps,
			     __u64 now, __u64 ttl_ns)
{
	__u32 i, any = 0;

	if (!k || !v)
		return 0;
	for (i = 0; i < PINTLE_PREFIX_HOLDERS; i++)
		if (prefix_held(&v->holder[i], now, ttl_ns)) {
			prefix_found(k, &v->holder[i], steps);
			any = 1;
		}
	if (any) {
		k->longest = steps;
		k->common = v->most / 2 <= v->least ? v->least : 0;
	}
	return any;
}

/* Returns the table's entry of the hash, or NULL. */
typedef struct pintle_prefix *(*prefix_find)(void *arg, __u64 hash);

/* Fills in *k, which must be zeros. Who knows a step knows those before it, so the longest known
 * beginning is found by halving. Of endpoints that hold less, those steps are noted that the search
 * came by. */
static __always_inline void prefix_search(struct pintle_known *k, const struct pintle_prompt *p,
					  prefix_find find, void *arg, __u64 now, __u64 ttl_ns)
{
	__u32 begin = 0, end = p->steps, i, at;
	struct pintle_prefix *v;

	for (i = 0; i < PREFIX_TURNS; i++) {
		at = (begin + end) / 2;
		if (begin >= end || at >= PINTLE_PREFIX_STEPS)
			break;
		v = find(arg, p->hash[at]);
		if (v && prefix_found_all(k, v, at + 1, now, ttl_ns) > 0)
			begin = at + 1;
		else
			end = at;
	}
}

/* How many steps of the prompt the endpoint holds. `since_ns` is when its server began to listen:
 * an engine that restarts has lost its cache. Of what was used less than 4.3 s after that, nobody
 * knows whether it was before. */
static __always_inline __u32 prefix_steps(const struct pintle_known *k, __u32 endpoint,
					  __u32 generation, __u64 now, __u64 since_ns)
{
	__u32 i;

	for (i = 0; i < PINTLE_PREFIX_KNOWN; i++)
		if (k->steps[i] && prefix_is(&k->of[i], endpoint, generation))
			return prefix_age(&k->of[i], now) < (now >> 32) - (since_ns >> 32)
				       ? k->steps[i]
				       : 0;
	return 0;
}

/* have(e) of an endpoint that holds so many steps. */
static __always_inline __u32 prefix_have(const struct pintle_known *k,
					 const struct pintle_prompt *p, __u32 steps)
{
	__u32 bytes = prefix_bytes(steps);

	return steps && steps == p->steps && k->common > bytes ? k->common : bytes;
}

/* ---- a prompt's home -------------------------------------------------------------- */

/* Where other nodes place requests, too, nobody tells this node what they placed. A prompt whose
 * first 4 KiB nobody is known to hold has a home: the endpoint that the pool's Maglev table gives
 * for its hash there, on all nodes the same. It is believed to have those 4 KiB. `others` says
 * whether such nodes are at work: on one that is alone, what nobody is known to hold, nobody
 * does. Where more than a quarter is known, the prompt is a conversation that grows beyond 4 KiB,
 * and stays where it is. lab/docs/experiments/handoff.md has the evidence. */
static __always_inline bool prefix_seeks_home(const struct pintle_prompt *p,
					      const struct pintle_known *k, __u32 others)
{
	return others && p->steps > PREFIX_HOME_STEP && k->longest <= PREFIX_HOME_STEP / 4;
}

/* The index of that home in the table. */
static __always_inline __u32 prefix_home(const struct pintle_prompt *p)
{
	return decide_home(0, p->hash[PREFIX_HOME_STEP]);
}

/* have(e) of the home, which by itself would be `have`. */
static __always_inline __u32 prefix_home_have(__u32 have)
{
	__u32 bytes = prefix_bytes(PREFIX_HOME_STEP + 1);

	return have > bytes ? have : bytes;
}

/* ---- the session ------------------------------------------------------------------ */

/* Whether the prompt seems to continue the session's former one, of which so many steps were seen,
 * where the endpoint that the session is bound to holds `steps` of the new one. If not, the session
 * prefers no endpoint now. The next turn of a conversation begins with all of the former prompt; a
 * new document shares at most its instruction: half is enough. How much was answered does not
 * matter, nor what else was on the connection. */
static __always_inline bool prefix_continues(const struct pintle_prompt *p, __u32 former,
					     __u32 steps)
{
	return 2 * prefix_bytes(steps) >= prefix_bytes(p->steps < former ? p->steps : former);
}

/* The context of such a session, for decide_extra(): what of it the steps do not tell. 0: it is not
 * known. */
static __always_inline __u32 prefix_context(__u32 context_bytes, __u32 steps)
{
	__u32 bytes = prefix_bytes(steps);

	if (!context_bytes)
		return 0;
	return context_bytes > bytes ? context_bytes - bytes : 1;
}

/* What computing the prompt costs at the candidate, which has so much of it, in milli-requests.
 * `per_chunk` is what PREFIX_CHUNK bytes cost. */
static __always_inline __u32 prefix_missing(const struct pintle_prompt *p,
					    const struct decide_candidate *c, __u32 have,
					    __u32 per_chunk)
{
	__u64 bytes = p->bytes > have ? p->bytes - have : 0;

	return decide_rated(decide_cap(bytes * per_chunk / PREFIX_CHUNK, DECIDE_MAX_MISSING),
			    c->rate, DECIDE_MAX_MISSING);
}

/* ---- learning ---------------------------------------------------------------- */

/* Notes in the entry of step `at` that the endpoint is given the prompt now. An entry with zeros is
 * a new one. */
DECIDE_STEP prefix_learn(struct pintle_prefix *v, const struct pintle_prompt *p, __u32 at,
			 const struct pintle_ref *chosen, __u64 now)
{
	struct pintle_holder h = {};
	__u32 i, place = 0, age, oldest = 0;

	if (!v || !p || !chosen)
		return 0;
	/* The place that it has, or a free one, or that of whoever used it the longest ago. */
	for (i = 0; i < PINTLE_PREFIX_HOLDERS; i++) {
		age = v->holder[i].generation ? prefix_age(&v->holder[i], now) : 1U << 16;
		if (prefix_is(&v->holder[i], chosen->id, chosen->generation))
			age = 1U << 17;
		if (age > oldest) {
			oldest = age;
			place = i;
		}
	}
	h.generation = chosen->generation;
	h.endpoint = chosen->id;
	h.used = prefix_time(now);
	v->holder[place & (PINTLE_PREFIX_HOLDERS - 1)] = h;
	if (at + 1 != p->steps)
		return 0;
	if (v->least == v->most && p->bytes >= v->most)
		v->least = p->bytes;
	if (p->bytes < v->least)
		v->least = p->bytes;
	if (p->bytes > v->most)
		v->most = p->bytes;
	return 0;
}

/* ---- a source's share of the table --------------------------------------------- */

/* In each window, a source may add as many entries as there are places for each of the sources that
 * add some, in this window or in the one before. What it may not add is not known of its prompts,
 * and takes no place from others'. */

/* Returns how many further entries the source may add. */
static __always_inline __u32 prefix_share(struct pintle_learner *l, struct pintle_learners *all,
					  __u32 window, __u32 places)
{
	__u32 sources, share;

	if (all->window != window) {
		all->former = all->window + 1 == window ? all->sources : 0;
		all->sources = 0;
		all->window = window;
	}
	if (l->window != window || !l->begun) {
		l->window = window;
		l->begun = 1;
		l->added = 0;
		all->sources++;
	}
	sources = all->sources > all->former ? all->sources : all->former;
	share = sources ? places / sources : places;
	return share > l->added ? share - l->added : 0;
}

/* ---- a search, and then learning, as data, for the syscall program and the host - */

#define PREFIX_CASE_ROWS 64 /* a hash has the row of its last bits */

struct prefix_case {
	__u64 now;
	__u64 ttl_ns;
	struct pintle_ref chosen; /* id and generation 0: nothing is learned */
	struct pintle_prompt prompt;
	struct prefix_row {
		__u64 hash; /* 0: free */
		struct pintle_prefix prefix;
	} rows[PREFIX_CASE_ROWS];
	struct pintle_known known; /* out */
};

static __always_inline struct pintle_prefix *prefix_case_find(void *arg, __u64 hash)
{
	struct prefix_case *k = arg;
	struct prefix_row *row = &k->rows[hash & (PREFIX_CASE_ROWS - 1)];

	return row->hash == hash ? &row->prefix : 0;
}

DECIDE_STEP prefix_case_learn(struct prefix_case *k, __u32 at)
{
	struct prefix_row *row;

	if (!k || at >= PINTLE_PREFIX_STEPS)
		return 0;
	row = &k->rows[k->prompt.hash[at] & (PREFIX_CASE_ROWS - 1)];
	if (row->hash != k->prompt.hash[at])
		__builtin_memset(row, 0, sizeof(*row));
	row->hash = k->prompt.hash[at];
	prefix_learn(&row->prefix, &k->prompt, at, &k->chosen, k->now);
	return 0;
}

static __always_inline void prefix_case_run(struct prefix_case *k)
{
	__u32 i;

	__builtin_memset(&k->known, 0, sizeof(k->known));
	prefix_search(&k->known, &k->prompt, prefix_case_find, k, k->now, k->ttl_ns);
	for (i = 0; i < PINTLE_PREFIX_STEPS; i++) {
		if (!k->chosen.generation || i >= k->prompt.steps)
			break;
		prefix_case_learn(k, i);
	}
}

#endif
