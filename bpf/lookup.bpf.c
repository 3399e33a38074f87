/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * lookup.bpf.c - the lookup hook (sk_lookup): a TCP segment for a frontend that no
 * socket wants is given to the LISTEN socket of the endpoint that the rule chooses.
 *
 * It runs for a SYN, but as well for a stray ACK or RST and for the ACK of a SYN
 * cookie, and sees no flags. So a decision is remembered by 4-tuple, binds nothing
 * and is only counted as placed; what follows from it is sockops' business, once
 * the connection is established.
 */
#include "common.bpf.h"
#include "decide.bpf.h"

/* Endpoints whose listener went away a moment ago, that a decision may run into. */
#define MAX_ATTEMPTS 4

/* What a connection asks of an endpoint. */
struct terms {
	__u64 now;
	__u32 pool;
	__u32 pool_generation;
	__u32 family;     /* PINTLE_FAMILY_* that the listener must take */
	__u32 daemonless; /* nobody scrapes, so nobody reports readiness */
};

static __always_inline bool drained(__u32 endpoint, __u32 generation)
{
	__u32 slot = PINTLE_ENDPOINT_SLOT(endpoint);
	struct pintle_override *o = bpf_map_lookup_elem(&overrides, &slot);

	return o && o->generation == generation && (o->flags & PINTLE_OVERRIDE_DRAIN);
}

/* Weakly ordered processors need the fields read between the two reads of `sequence`;
 * BPF's one full barrier is an atomic that returns a value. */
static __always_inline void read_barrier(void)
{
#if defined(__TARGET_ARCH_x86) || defined(__TARGET_ARCH_s390)
	barrier();
#else
	__u64 dummy = 0;

	__sync_fetch_and_add(&dummy, 1);
	barrier();
#endif
}

/* Facts out of the score, as far as it can be believed. Returns when it was scraped. */
static __always_inline __u64 score_read(const struct terms *t, const struct pintle_pool *pool,
					__u32 id, __u32 generation, struct decide_facts *f)
{
	struct pintle_score *score = bpf_map_lookup_elem(&scores, &id);
	__u64 scraped_ns;
	__u32 sequence;

	if (!score)
		return 0;
	sequence = *(volatile __u32 *)&score->sequence;
	read_barrier();
	scraped_ns = score->generation == generation ? score->scraped_ns : 0;
	f->published = score->model[0].published;
	f->running = score->model[0].running;
	f->inflight_at_scrape = score->inflight;
	f->pending_at_scrape = score->pending;
	read_barrier();
	f->fresh = !(sequence & 1) && sequence == *(volatile __u32 *)&score->sequence &&
		   scraped_ns && (__s64)(t->now - scraped_ns) <= (__s64)pool->staleness_ns;
	if (!scraped_ns) {
		/* Never scraped: all it has in flight came since. */
		f->inflight_at_scrape = 0;
		f->pending_at_scrape = 0;
		f->running = pool->running_weight;
	}
	return scraped_ns;
}

/* c->endpoint and c->generation in. Returns 1 if that endpoint may be chosen for this
 * connection, and then *c has its loads. */
__noinline int endpoint_weigh(const struct terms *t, struct decide_candidate *c)
{
	struct decide_facts f = {};
	struct pintle_inflight *counts;
	struct pintle_endpoint *e;
	struct pintle_health *h;
	struct pintle_pool *pool;
	__u64 scraped_ns;
	__u32 id, class_id;

	if (!t || !c)
		return 0;
	id = c->endpoint;
	pool = pool_find(t->pool, t->pool_generation);
	e = endpoint_find(id, c->generation);
	h = bpf_map_lookup_elem(&health, &id);
	counts = bpf_map_lookup_elem(&inflight, &id);
	if (!pool || !e || !h || !counts || e->pool != t->pool ||
	    e->pool_generation != t->pool_generation || !h->listening_since_ns ||
	    !(h->families & t->family) || drained(id, c->generation))
		return 0;
	scraped_ns = score_read(t, pool, id, c->generation, &f);
	if (scraped_ns < h->listening_since_ns && !t->daemonless)
		return 0; /* it listens, but has not been heard of since */

	for (class_id = 0; class_id < PINTLE_MAX_CLASSES && class_id < pool->classes; class_id++) {
		struct pintle_counters *n = &counts->by_class[class_id];
		__u64 opened = n->opened;

		f.inflight += opened - n->closed;
		f.pending += n->placed - opened - n->failed;
	}
	decide_weigh(c, &f, pool->running_weight);
	return 1;
}

struct sample {
	struct decide_state rule;
	__u32 start, step, taken, zero;
};

/* Primes beyond PINTLE_MAX_ENDPOINTS have no factor in common with the size of a pool: with
 * one as the stride each member comes once before any comes again. */
static const __u32 strides[16] = {1031, 1153, 1289, 1433, 1571, 1721, 1873, 2017,
				  2179, 2341, 2503, 2671, 2837, 3001, 3169, 3329};

struct sample_loop {
	struct sample *sample;
	const struct terms *terms;
};

/* The i-th member of the sample. Returns 1 when there are enough. */
static long sample_member(__u32 i, void *arg)
{
	const struct sample_loop *l = arg;
	const struct terms *t = l->terms;
	struct decide_candidate c = {};
	struct sample *s = l->sample;
	struct pintle_pool *pool;
	__u32 n, at;

	pool = pool_find(t->pool, t->pool_generation);
	if (!pool)
		return 1;
	n = pool->member_count;
	if (!n || i >= n)
		return 1;
	at = (s->start + i * s->step) % n;
	hide(at);
	if (at >= PINTLE_MAX_ENDPOINTS)
		return 1;
	c.endpoint = pool->members[at].id;
	c.generation = pool->members[at].generation;
	if (endpoint_weigh(t, &c)) {
		decide_consider(&s->rule, &c);
		s->taken++;
	}
	if (n <= PINTLE_SAMPLE)
		return 0;
	return s->taken >= PINTLE_SAMPLE || (s->taken && i == 2 * PINTLE_SAMPLE - 1);
}

/* A small pool is looked at as a whole. In a large one members are drawn with a random stride
 * from a random place on, until enough are eligible; some will do if they are among the first
 * draws. */
__noinline int sample_members(struct sample *s, const struct terms *t, __u32 n)
{
	struct sample_loop l = {.sample = s, .terms = t};

	if (!s || !t)
		return 0;
	s->step = 1;
	if (n > PINTLE_SAMPLE) {
		s->start = bpf_get_prandom_u32() % n;
		s->step = strides[bpf_get_prandom_u32() % (sizeof(strides) / sizeof(strides[0]))];
	}
	bpf_loop(PINTLE_MAX_ENDPOINTS, sample_member, &l, 0);
	return 0;
}

/* The session's bound endpoint, unless the binding is too old or its endpoint is not eligible. */
static __always_inline bool prefer_bound(struct decide_state *rule, const struct terms *t,
					 const struct pintle_pool *pool,
					 const struct pintle_tuple *tuple)
{
	struct pintle_affinity_key key = {};
	struct decide_candidate c = {};
	struct pintle_affinity *a;

	if (pool->key_kind != PINTLE_KEY_SOURCE)
		return false;
	affinity_key(&key, t->pool, pool, tuple);
	a = bpf_map_lookup_elem(&affinity, &key);
	if (!a || (__s64)(t->now - a->used_ns) >= (__s64)pool->ttl_ns)
		return false;
	c.endpoint = a->endpoint;
	c.generation = a->generation;
	if (!endpoint_weigh(t, &c))
		return false;
	decide_prefer(rule, &c, PINTLE_OUTCOME_STICKY);
	return true;
}

/* splitmix64's finalizer (Steele, Lea and Flood, OOPSLA '14). */
static __always_inline __u64 mix(__u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static __always_inline void prefer_home(struct decide_state *rule, const struct terms *t,
					const struct pintle_pool *pool,
					const struct pintle_tuple *tuple)
{
	struct pintle_session_key group = {};
	struct decide_candidate c = {};
	__u32 zero = 0, at, pool_id = t->pool;
	struct pintle_homes *table;
	const __u64 *id = (const __u64 *)group.id;
	void *inner;

	if (pool->group_kind != PINTLE_KEY_SOURCE)
		return;
	inner = bpf_map_lookup_elem(&homes, &pool_id);
	if (!inner)
		return;
	table = bpf_map_lookup_elem(inner, &zero);
	if (!table || table->pool_generation != t->pool_generation)
		return;
	session_of(tuple, pool->group_bits_v4, pool->group_bits_v6, &group);
	at = mix(mix(id[0]) ^ id[1]) % PINTLE_HOME_ENTRIES;
	hide(at);
	if (at >= PINTLE_HOME_ENTRIES)
		return;
	c.endpoint = table->home[at].id;
	c.generation = table->home[at].generation;
	if (endpoint_weigh(t, &c))
		decide_prefer(rule, &c, PINTLE_OUTCOME_HOME);
}

__noinline int rule_prefer(struct decide_state *rule, const struct terms *t,
			   const struct pintle_tuple *tuple)
{
	struct pintle_pool *pool;

	if (!rule || !t || !tuple)
		return 0;
	pool = pool_find(t->pool, t->pool_generation);
	if (pool && !prefer_bound(rule, t, pool, tuple))
		prefer_home(rule, t, pool, tuple);
	return 0;
}

/* Nobody is ready. Failing open, whoever listens is tried, from a place on that hangs on
 * the client, so that a cookie's ACK finds the same one without help. */
struct anyone {
	struct decide_result *result;
	const struct terms *terms;
	__u32 start;
};

/* Returns 1 when it is found. */
__noinline int anyone_member(struct decide_result *r, const struct terms *t, __u32 i)
{
	struct pintle_health *h;
	struct pintle_pool *pool;
	__u32 n, at, id;

	if (!t || !r)
		return 1;
	pool = pool_find(t->pool, t->pool_generation);
	n = pool ? pool->member_count : 0;
	if (!n)
		return 1;
	at = i % n;
	hide(at);
	if (at >= PINTLE_MAX_ENDPOINTS)
		return 1;
	id = pool->members[at].id;
	h = bpf_map_lookup_elem(&health, &id);
	if (!h || !h->listening_since_ns || !(h->families & t->family) ||
	    !endpoint_find(id, pool->members[at].generation) ||
	    drained(id, pool->members[at].generation))
		return 0;
	r->endpoint = id;
	r->generation = pool->members[at].generation;
	return 1;
}

static long anyone_step(__u32 i, void *arg)
{
	struct anyone *a = arg;

	return !!anyone_member(a->result, a->terms, a->start + i);
}

__noinline int anyone(const struct terms *t, const struct pintle_tuple *tuple,
		      struct decide_result *r)
{
	struct anyone a = {.result = r, .terms = t};
	const __u64 *client;
	struct pintle_pool *pool;
	__u32 n;

	if (!t || !tuple || !r)
		return 0;
	pool = pool_find(t->pool, t->pool_generation);
	if (!pool || pool->failure_mode != PINTLE_FAIL_OPEN)
		return 0;
	client = (const __u64 *)tuple->remote;
	a.start = mix(mix(client[0]) ^ client[1] ^ (__u64)tuple->remote_port << 32) >> 33;
	n = pool->member_count;
	bpf_loop(n > PINTLE_MAX_ENDPOINTS ? PINTLE_MAX_ENDPOINTS : n, anyone_step, &a, 0);
	return 0;
}

/* One decision. r->generation is 0 when there is nobody to go to. */
__noinline int choose(const struct terms *t, const struct pintle_tuple *tuple, __u32 mode,
		      struct decide_result *r)
{
	struct sample s = {};
	struct pintle_pool *pool;

	if (!t || !tuple || !r)
		return 0;
	pool = pool_find(t->pool, t->pool_generation);
	if (!pool)
		return 0;
	decide_begin(&s.rule, (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32(),
		     mode == PINTLE_MODE_BASELINE);
	if (mode == PINTLE_MODE_ENFORCE)
		rule_prefer(&s.rule, t, tuple);
	sample_members(&s, t, pool->member_count);
	decide_end(&s.rule, pool->max_extra_load, r);
	if (!r->generation)
		anyone(t, tuple, r);
	return 0;
}

/* 0; -EAFNOSUPPORT: somebody listens, but not for this family; -ENOENT: nobody does. */
__noinline int endpoint_assign(struct bpf_sk_lookup *ctx, __u32 endpoint)
{
	int result = -ENOENT;
	__u32 i;

	for (i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		__u32 slot = endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;
		struct bpf_sock *sk = bpf_map_lookup_elem(&sockets, &slot);
		long err;

		if (!sk)
			continue;
		err = bpf_sk_assign(ctx, sk, 0);
		bpf_sk_release(sk);
		if (!err)
			return 0;
		result = -EAFNOSUPPORT;
	}
	return result;
}

__noinline int endpoint_has_socket(__u32 endpoint)
{
	__u32 i;

	for (i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		__u32 slot = endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;
		struct bpf_sock *sk = bpf_map_lookup_elem(&sockets, &slot);

		if (sk) {
			bpf_sk_release(sk);
			return 1;
		}
	}
	return 0;
}

/* What `health` says was not so: put it right, so that the next decision knows. A
 * listen() on another CPU may come between; whoever sees its socket puts it back. */
static __always_inline void endpoint_not_there(__u32 endpoint, int why, __u32 family, __u64 now)
{
	struct pintle_health *h = bpf_map_lookup_elem(&health, &endpoint);

	if (!h)
		return;
	if (why == -EAFNOSUPPORT) {
		__sync_fetch_and_and(&h->families, ~family);
		return;
	}
	h->listening_since_ns = 0;
	h->listeners = 0;
	barrier();
	if (endpoint_has_socket(endpoint))
		h->listening_since_ns = now;
}

static __always_inline void count_outcome(__u32 pool, __u32 outcome)
{
	__u32 at = PINTLE_STAT(pool, outcome);
	__u64 *n = bpf_map_lookup_elem(&stats, &at);

	if (n)
		(*n)++;
}

static __always_inline void count_failed(const struct pintle_decision *d)
{
	struct pintle_counters *n = counters_find(d->endpoint, d->class_id);

	if (n)
		__sync_fetch_and_add(&n->failed, 1);
}

static __always_inline void remember(const struct pintle_tuple *tuple, struct pintle_decision *d,
				     const struct decide_result *r)
{
	d->endpoint = r->endpoint;
	d->generation = r->generation;
	d->outcome = r->outcome;
	bpf_map_update_elem(&pending, tuple, d, BPF_ANY);
	count_outcome(d->pool, r->outcome);
}

/* The outcomes that a person who looks for trouble wants to see one by one. */
static __always_inline bool rare(__u32 outcome)
{
	return outcome == PINTLE_OUTCOME_ESCAPED || outcome == PINTLE_OUTCOME_NO_ENDPOINT ||
	       outcome == PINTLE_OUTCOME_STALE;
}

static __noinline void report_decision(const struct pintle_tuple *tuple,
				       const struct pintle_decision *d)
{
	struct pintle_event e = {
		.time_ns = d->decided_ns,
		.type = PINTLE_EVENT_DECIDED,
		.pool = d->pool,
		.pool_generation = d->pool_generation,
		.endpoint = d->endpoint,
		.generation = d->generation,
		.class_id = d->class_id,
		.outcome = d->outcome,
		.tuple = *tuple,
	};

	event_report(&e);
}

static __always_inline void tuple_read(struct pintle_tuple *t, struct bpf_sk_lookup *ctx)
{
	t->scope = scope;
	t->local_port = ctx->local_port;
	t->remote_port = bpf_ntohs(ctx->remote_port);
	tuple_addresses(t, ctx);
}

static __always_inline __u32 pool_mode(__u32 id, const struct pintle_pool *pool)
{
	struct pintle_override *o = bpf_map_lookup_elem(&overrides, &id);

	return o && o->generation == pool->generation && (o->flags & PINTLE_OVERRIDE_MODE)
		       ? o->mode
		       : pool->mode;
}

static __always_inline bool daemon_silent(const struct pintle_pool *pool, __u64 now)
{
	__u32 zero = 0;
	struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);

	return !n || (__s64)(now - n->heartbeat_ns) > (__s64)pool->staleness_ns;
}

/* SK_PASS with a socket assigned, SK_PASS without (fail open), or SK_DROP (the client is
 * refused at once). */
static __always_inline int decide_anew(struct bpf_sk_lookup *ctx, const struct pintle_tuple *tuple,
				       struct pintle_decision *d, struct pintle_pool *pool,
				       __u32 mode)
{
	struct decide_result r = {};
	struct pintle_counters *n;
	struct terms t = {
		.now = d->decided_ns,
		.pool = d->pool,
		.pool_generation = d->pool_generation,
		.family = ctx->family == AF_INET ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6,
		.daemonless = daemon_silent(pool, d->decided_ns),
	};
	__u32 attempt;
	int err;

	for (attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
		choose(&t, tuple, mode, &r);
		if (!r.generation)
			break;
		/* Counted before the next decision is taken, so that a burst spreads. */
		n = counters_find(r.endpoint, d->class_id);
		if (n)
			__sync_fetch_and_add(&n->placed, 1);
		err = endpoint_assign(ctx, r.endpoint);
		if (!err)
			break;
		if (n)
			__sync_fetch_and_add(&n->failed, 1);
		endpoint_not_there(r.endpoint, err, t.family, t.now);
		r.generation = 0;
		r.outcome = PINTLE_OUTCOME_NO_ENDPOINT;
	}
	remember(tuple, d, &r);
	if (rare(r.outcome))
		report_decision(tuple, d);
	if (r.generation)
		return SK_PASS;
	return pool->failure_mode == PINTLE_FAIL_OPEN ? SK_PASS : SK_DROP;
}

/* A decision that still stands answers for this segment too, and counts nothing. */
static __always_inline bool decided_before(struct bpf_sk_lookup *ctx,
					   const struct pintle_tuple *tuple, __u32 mode, __u64 now)
{
	struct pintle_decision *d = bpf_map_lookup_elem(&pending, tuple);
	int err;

	/* Another CPU may have decided a moment after this one read the clock. */
	if (!d || (__s64)(now - d->decided_ns) > (__s64)PINTLE_PENDING_NS)
		return false;
	if (d->outcome == PINTLE_OUTCOME_PASSED)
		return mode == PINTLE_MODE_OFF;
	if (mode == PINTLE_MODE_OFF || !d->generation || !endpoint_find(d->endpoint, d->generation))
		return false;
	err = endpoint_assign(ctx, d->endpoint);
	if (!err)
		return true;
	count_failed(d);
	endpoint_not_there(d->endpoint, err,
			   ctx->family == AF_INET ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6, now);
	return false;
}

SEC("sk_lookup")
int pintle_lookup(struct bpf_sk_lookup *ctx)
{
	struct pintle_decision d = {};
	struct pintle_ref ref = {};
	struct pintle_tuple tuple;
	struct pintle_pool *pool;
	__u32 mode;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	tuple_read(&tuple, ctx);
	frontend_of(&tuple, &ref);
	pool = pool_find(ref.id, ref.generation);
	if (!pool)
		return SK_PASS;

	d.decided_ns = bpf_ktime_get_ns();
	d.pool = ref.id;
	d.pool_generation = ref.generation;
	mode = pool_mode(d.pool, pool);
	if (decided_before(ctx, &tuple, mode, d.decided_ns))
		return SK_PASS;
	if (mode == PINTLE_MODE_OFF) {
		struct decide_result passed = {.outcome = PINTLE_OUTCOME_PASSED};

		remember(&tuple, &d, &passed);
		return SK_PASS;
	}
	return decide_anew(ctx, &tuple, &d, pool, mode);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
