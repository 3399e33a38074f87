/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * learn.bpf.h - reads the prompt of the request that the hand-off has before it, looks up which
 * endpoints have a beginning of it, and notes where it went.
 *
 *   prompt_read()    before the decision: hashes what is seen of the body, and searches the table
 *   prompt_placed()  after it: the chosen endpoint has the prompt now
 *
 * A prompt begins where its value does, with "messages" or the like, if that is seen near the
 * body's beginning (request_model.bpf.h); else where the body does. So fields before it may change.
 * Where the model stands before it, prompts for another model have nothing in common with it:
 * engines cache nothing of one adapter for another.
 */
#ifndef PINTLE_LEARN_BPF_H
#define PINTLE_LEARN_BPF_H

#include "rule/chunk.bpf.h"
#include "request_model.bpf.h"
#include "rule/prompt.bpf.h"
#include "request.bpf.h"

struct prompt_scratch {
	__u64 word[CHUNK_WORDS];
	__u64 hash; /* at the end of the chunk before */
	struct pintle_prefix entry;
	__u32 share; /* entries that the client may add */
	__u32 added;
};

static __always_inline struct prompt_scratch *prompt_scratch_find(void); /* hand_work.bpf.h */

static __always_inline void prompt_count(__u32 pool, __u32 what, __u32 more)
{
	__u32 at = PINTLE_PROMPT_STAT(pool, what);
	__u64 *n = bpf_map_lookup_elem(&prompt_stats, &at);

	if (n)
		*n += more;
}

/* ---- reading ------------------------------------------------------------------------ */

/* Takes in the hash of the chunk that is in the scratch. */
__weak __noinline int prompt_chunk(__u32 chunk)
{
	struct prompt_scratch *x = prompt_scratch_find();
	struct pintle_asking *a = prompt_find();
	struct pintle_chunk_key *k;
	__u32 zero = 0;

	k = bpf_map_lookup_elem(&prefix_key, &zero);
	if (!x || !a || !k)
		return 0;
	x->hash = chunk_hash(k, x->hash, x->word);
	prefix_note(&a->prompt, chunk, x->hash);
	return 0;
}

struct prompt_reading {
	struct __sk_buff *skb;
	__u32 from, to; /* offsets in the packet */
};

static long prompt_read_chunk(__u32 i, void *arg)
{
	const struct prompt_reading *r = arg;
	struct prompt_scratch *x = prompt_scratch_find();
	__u32 at = r->from + PREFIX_CHUNK * i;

	if (!x || at + PREFIX_CHUNK > r->to ||
	    bpf_skb_load_bytes(r->skb, at, x->word, PREFIX_CHUNK))
		return 1;
	prompt_chunk(i);
	return 0;
}

static __always_inline struct pintle_prefix *prompt_entry(void *arg, __u64 hash)
{
	__u32 zero = 0;
	void *table = bpf_map_lookup_elem(&prefixes, &zero);

	(void)arg;
	return table ? bpf_map_lookup_elem(table, &hash) : NULL;
}

__weak __noinline int prompt_search(__u64 now, __u64 ttl_ns)
{
	struct pintle_asking *a = prompt_find();

	if (!a)
		return 0;
	__builtin_memset(&a->known, 0, sizeof(a->known));
	prefix_search(&a->known, &a->prompt, prompt_entry, NULL, now, ttl_ns);
	return 0;
}

/* Sets the hash from which the prompt's are chained: the same prompt is not cached where another
 * pool asked for it, nor where another model did. */
__weak __noinline int prompt_seed(__u64 seed, __u32 names)
{
	struct prompt_scratch *x = prompt_scratch_find();
	struct model_scratch *m = prompt_scan_find();
	struct pintle_chunk_key *k;
	__u32 zero = 0;

	k = bpf_map_lookup_elem(&prefix_key, &zero);
	if (!x || !m || !k)
		return 0;
	x->hash = seed;
	if (!names || !m->scan.before[0])
		return 0;
	_Static_assert(sizeof(m->scan.before) <= sizeof(x->word), "a name fits into a chunk");
	__builtin_memset(x->word, 0, sizeof(x->word));
	__builtin_memcpy(x->word, m->scan.before, sizeof(m->scan.before));
	x->hash = chunk_hash(k, seed, x->word);
	return 0;
}

/* Finds the prompt's home, if it wants one. */
__weak __noinline int prompt_find_home(const struct pintle_ref *of, __u32 others)
{
	struct pintle_asking *a = prompt_find();
	const struct pintle_ref *home = NULL;

	if (!a || !of)
		return 0;
	if (prefix_seeks_home(&a->prompt, &a->known, others))
		home = home_at(of->id, of->generation, prefix_home(&a->prompt));
	a->home.id = home ? home->id : 0;
	a->home.generation = home ? home->generation : 0;
	return 0;
}

/* Whether the body that follows the headers is as the client wrote it, and said to be so long. */
static __always_inline bool prompt_is_plain(const struct request_scan *scan)
{
	return scan->known & REQUEST_ENDED && scan->known & REQUEST_LENGTH &&
	       !(scan->known & (REQUEST_MALFORMED | REQUEST_CHUNKED));
}

/* Reads the prompt behind the headers, which are in `scan`, for the pool *of. */
__weak __noinline int prompt_read(struct __sk_buff *skb, const struct segment *s,
				  const struct request_scan *scan, const struct pintle_ref *of)
{
	struct prompt_reading r = {.skb = skb};
	struct prompt_scratch *x = prompt_scratch_find();
	struct pintle_asking *a = prompt_find();
	struct pintle_pool *pool;
	__u32 begins = 0;
	__u64 now;

	if (!s || !scan || !of || !x || !a)
		return 0;
	a->prompt_of.generation = 0;
	pool = pool_find(of->id, of->generation);
	if (!pool || !pool->prompt_weight || !prompt_is_plain(scan))
		return 0;
	r.from = s->data + scan->line;
	r.to = s->data + s->size;
	if (r.to - r.from > scan->length)
		r.to = r.from + scan->length; /* what is behind the body is another request */
	if (r.to > r.from)
		begins = model_seek_prompt(skb, r.from, r.to - r.from);
	prompt_seed(pool->prompt_seed, begins);
	r.from += begins;
	a->prompt.steps = 0;
	a->prompt.bytes = scan->length > begins ? scan->length - begins : 0;
	bpf_loop(PREFIX_CHUNKS, prompt_read_chunk, &r, 0);
	if (!a->prompt.steps)
		return 0;
	now = bpf_ktime_get_ns();
	prompt_search(now, pool->ttl_ns);
	prompt_find_home(of, pool->tie);
	a->prompt_of = *of;
	return 0;
}

/* ---- learning ------------------------------------------------------------------------ */

static __noinline struct pintle_learner *prompt_learner(const struct pintle_tuple *t,
							const struct pintle_ref *pool)
{
	struct pintle_learner_key key = {.pool = *pool, .client = client_of(t, PINTLE_KEY_REQUEST)};
	struct pintle_learner *l = bpf_map_lookup_elem(&learners, &key), none = {};

	if (l)
		return l;
	bpf_map_update_elem(&learners, &key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&learners, &key);
}

/* Notes in the entry of step `at` that the endpoint is given the prompt. Returns 1 if that entry is
 * not there, and may not be added. */
__weak __noinline int prompt_learn(__u32 at, const struct pintle_ref *chosen, __u64 now)
{
	struct prompt_scratch *x = prompt_scratch_find();
	struct pintle_asking *a = prompt_find();
	struct pintle_prefix *v;
	__u32 zero = 0;
	__u64 hash;
	void *table;

	if (!chosen || !x || !a || at >= PINTLE_PREFIX_STEPS)
		return 1;
	hash = a->prompt.hash[at];
	v = prompt_entry(NULL, hash);
	if (v) {
		prefix_learn(v, &a->prompt, at, chosen, now);
		return 0;
	}
	table = bpf_map_lookup_elem(&prefixes, &zero);
	if (!table || x->added >= x->share)
		return 1;
	__builtin_memset(&x->entry, 0, sizeof(x->entry));
	prefix_learn(&x->entry, &a->prompt, at, chosen, now);
	x->added++;
	bpf_map_update_elem(table, &hash, &x->entry, BPF_ANY);
	return 0;
}

struct prompt_learning {
	const struct pintle_asking *asking;
	struct pintle_ref chosen;
	__u64 now;
};

/* Notes beginnings that are known already, too: so the table forgets last what is used most. */
static long prompt_learn_step(__u32 i, void *arg)
{
	const struct prompt_learning *l = arg;

	return i >= l->asking->prompt.steps || prompt_learn(i, &l->chosen, l->now);
}

/* Counts what was known of the prompt, of which the chosen endpoint holds so many steps. */
static __always_inline void prompt_count_known(const struct pintle_asking *a, __u32 steps,
					       bool home)
{
	__u32 pool = a->prompt_of.id;

	prompt_count(pool, PINTLE_PROMPTED_SEEN, 1);
	if (a->known.longest)
		prompt_count(pool, PINTLE_PROMPTED_KNOWN, 1);
	if (steps)
		prompt_count(pool, PINTLE_PROMPTED_MET, 1);
	if (home)
		prompt_count(pool, PINTLE_PROMPTED_HOME, 1);
}

/* How many steps were seen of the prompt. A connection that went to another pool's teaches nothing.
 */
static __always_inline __u32 prompt_seen(const struct pintle_asking *a,
					 const struct pintle_decision *d)
{
	return a->prompt_of.generation && d->pool == a->prompt_of.id &&
			       d->pool_generation == a->prompt_of.generation
		       ? a->prompt.steps
		       : 0;
}

/* The request went to an endpoint. Returns what that endpoint has of it, in bytes. */
__weak __noinline int prompt_placed(const struct pintle_tuple *t, const struct pintle_decision *d)
{
	struct prompt_learning l = {.now = bpf_ktime_get_ns()};
	struct prompt_scratch *x = prompt_scratch_find();
	struct pintle_asking *a = prompt_find();
	struct pintle_learner *learner;
	struct pintle_learners *all;
	__u32 zero = 0, have, steps;

	if (!t || !d || !x || !a || !prompt_seen(a, d))
		return 0;
	l.asking = a;
	l.chosen.id = d->endpoint;
	l.chosen.generation = d->generation;
	steps = prompt_steps(d->endpoint, d->generation, l.now);
	have = prompt_have(a, d->endpoint, d->generation, steps);
	prompt_count_known(a, steps, prompt_is_home(a, d->endpoint, d->generation));
	x->added = 0;
	all = bpf_map_lookup_elem(&learning, &zero);
	learner = prompt_learner(t, &a->prompt_of);
	if (!all || !learner)
		return have;
	x->share = prefix_share(learner, all, l.now >> PINTLE_LEARN_SHIFT, PINTLE_MAX_PREFIXES);
	bpf_loop(PINTLE_PREFIX_STEPS, prompt_learn_step, &l, 0);
	learner->added += x->added;
	prompt_count(a->prompt_of.id, PINTLE_PROMPTED_ADDED, x->added);
	if (x->added >= x->share)
		prompt_count(a->prompt_of.id, PINTLE_PROMPTED_LEFT_OUT, 1);
	a->prompt_of.generation = 0;
	return have;
}

#endif
