/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * rest.bpf.h - the hand-off rests where no sockets become of what it hands over: behind the
 * hand-off, nat drops the socket that the kernel has given to the segment, or a firewall drops the
 * segment, since it never saw the SYN.
 *
 *   a failure   the segment comes again, and there is still no socket; or TCP gets it without the
 *               socket that it had, and asks the lookup hook for one; or neither: a firewall has
 *               reset the client, so one hand-over of the pool at a time is watched
 *   a client    rests after failures that none of its connections has disproved: 10.0.0.7's next
 *               SYNs are the kernel's, so only those who fail are kept from the hand-off
 *   a pool      rests after failures, if nobody's connection has become a socket for 0.3 s:
 *               then nobody needs to fail first
 *   a family    of addresses rests by itself, since a firewall may keep the segments of one alone;
 *               with it the other, unless that was served meanwhile
 *   nat         that stands is seen by pintled, which lets the pool rest before anybody fails
 *   the end     of a rest is one connection that tries. If a socket becomes of it, all is as
 *               before, otherwise the next rest is twice as long; and it is none of the client that
 *               failed last, if others come within a second
 *
 * A client that lets its own hand-overs fail (a segment with another checksum is not counted, but a
 * firewall may drop what this client sends) keeps itself from the hand-off, and others only while
 * nobody is served.
 */
#ifndef PINTLE_REST_BPF_H
#define PINTLE_REST_BPF_H

#include "hand_flow.bpf.h"
#include "held_entry.bpf.h"

/* A segment may be lost behind the hand-off, and its retransmission, too: where hand-overs have
 * become sockets within the last minute, more failures are waited for. */
#define REST_FAILURES        2
#define REST_FAILURES_SERVED 4
#define REST_SERVED_S        60
#define REST_QUIET_NS        300000000ULL
#define REST_MIN_NS          4000000000ULL /* 4 s; the longest is 4.5 h */
#define REST_DOUBLINGS       12
#define REST_MAX_NS          (REST_MIN_NS << REST_DOUBLINGS)
#define REST_TRIAL_NS        5000000000ULL
#define REST_OTHERS_NS       1000000000ULL
#define REST_SAME_NS         20000000ULL /* 20 ms: two copies of a segment are no failure of the first */
#define REST_ORPHAN          REST_FAILURES_SERVED /* it is certain: the client is being reset */
#define REST_WATCH_NS        100000000ULL /* by then there is a socket, however busy the CPU is */

/* The hand-over to each pool's frontends of a family that is watched. Not pinned. */
struct rest_watched {
	__u64 since_ns; /* 0: none is */
	struct pintle_tuple tuple;
	__u32 noted; /* 1: for the pool, that it has no socket */
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PINTLE_REST_NEWEST);
	__type(key, __u32);
	__type(value, struct rest_watched);
} MAP(hand_watched);

static __always_inline void rest_count(__u32 pool)
{
	__u32 at = PINTLE_HAND_STAT(pool, PINTLE_HAND_NO_SOCKET);
	__u64 *n = bpf_map_lookup_elem(&hand_stats, &at);

	if (n)
		(*n)++;
}

/* The key of the pool, and of the connection's family, in `resting`. */
static __always_inline __u32 rest_id(__u32 pool, const struct pintle_tuple *t)
{
	return PINTLE_REST(pool, !address_is_v4(t->local));
}

/* Returns the rest of the frontend's pool; NULL if no hand-over of the pool has failed. */
static __always_inline struct pintle_rest *rest_of(const struct pintle_ref *pool,
						   const struct pintle_tuple *t)
{
	__u32 id = rest_id(pool->id, t);
	struct pintle_rest *r = bpf_map_lookup_elem(&resting, &id);

	return r && pool->generation && r->generation == pool->generation ? r : NULL;
}

/* When anybody's hand-over failed last. */
static __always_inline struct pintle_rest *rest_newest(void)
{
	__u32 at = PINTLE_REST_NEWEST;

	return bpf_map_lookup_elem(&resting, &at);
}

static __always_inline void rest_key(struct pintle_learner_key *k, const struct pintle_ref *pool,
				     const struct pintle_tuple *t)
{
	k->pool = *pool;
	k->client = client_of(t, PINTLE_KEY_REQUEST);
}

/* ---- whether it rests ------------------------------------------------------------------ */

/* Whether it rests, for a segment of the connection with that hash. After the rest, one SYN of all
 * is the one that tries. */
static __always_inline bool rest_goes_on(struct pintle_rest *r, __u32 hash, bool syn, __u64 now)
{
	__u64 until = r->until_ns;

	if (!until || r->trial == (hash | 1))
		return false;
	if (now < until || !syn)
		return true;
	if (__sync_val_compare_and_swap(&r->until_ns, until, now + REST_TRIAL_NS) != until)
		return true;
	r->trial = hash | 1;
	return false;
}

/* Whether the try is still others': 10.0.0.7, whose hand-overs alone fail, would be first at the
 * end of each rest, by many SYNs, and keep all from the hand-off. Where there is nobody else, it
 * tries a second later. */
static __always_inline bool rest_is_others(const struct pintle_rest *pool,
					   const struct pintle_rest *client, __u32 hash, __u64 now)
{
	return client && client->newest_ns == pool->newest_ns && pool->trial != (hash | 1) &&
	       now - pool->until_ns < REST_OTHERS_NS;
}

/* Whether the hand-off rests for the segment's client, or for all of the pool's. */
__weak __noinline int rest_holds(const struct pintle_ref *pool, const struct pintle_tuple *t,
				 __u32 hash, __u32 syn)
{
	struct pintle_learner_key k = {};
	struct pintle_rest *r, *client;
	__u64 now;

	if (!pool || !t)
		return 0;
	r = rest_of(pool, t);
	if (!r)
		return 0;
	now = bpf_ktime_get_ns();
	if (!r->until_ns && now - r->newest_ns > 2 * REST_MAX_NS)
		return 0;
	rest_key(&k, pool, t);
	client = bpf_map_lookup_elem(&rest_clients, &k);
	if (r->until_ns)
		return rest_is_others(r, client, hash, now) || rest_goes_on(r, hash, syn, now);
	return client && rest_goes_on(client, hash, syn, now);
}

/* ---- failures ---------------------------------------------------------------------------- */

struct rest_failure {
	__u64 now;
	__u64 handed_ns; /* when it was first handed over */
	__u32 hash;      /* of its 4-tuple */
	__u16 weight;
	__u16 enough; /* so many failures begin a rest */
};

static __always_inline void rest_add(struct pintle_rest *r, const struct rest_failure *f,
				     __u64 quiet_ns)
{
	bool tries = r->trial == (f->hash | 1);
	__u32 times = r->times;

	r->newest_ns = f->now;
	if (r->until_ns > f->now && !tries)
		return;
	if (!r->since_ns)
		r->since_ns = f->handed_ns;
	r->failures += f->weight;
	if (!tries && (r->failures < f->enough || f->now - r->since_ns < quiet_ns))
		return;
	r->until_ns = f->now + (REST_MIN_NS << (times > REST_DOUBLINGS ? REST_DOUBLINGS : times));
	r->times = times + 1;
	r->by_nat = f->weight == REST_ORPHAN;
	r->since_ns = 0;
	r->failures = 0;
	r->trial = 0;
}

/* No failure. Not on the stack, of which the hand-off has none to spare. */
static const struct pintle_rest rest_none;

static __always_inline void rest_of_client(const struct pintle_learner_key *k,
					   const struct rest_failure *f)
{
	struct pintle_rest *r = bpf_map_lookup_elem(&rest_clients, k);

	if (!r) {
		bpf_map_update_elem(&rest_clients, k, &rest_none, BPF_NOEXIST);
		r = bpf_map_lookup_elem(&rest_clients, k);
	}
	if (r)
		rest_add(r, f, 0);
}

static __always_inline __u32 rest_seconds(__u64 ns)
{
	return ns / 1000000000ULL;
}

/* Notes that a connection which the hand-off gave to the pool has its socket. */
static __always_inline void rest_served(__u32 pool, const struct pintle_tuple *t, __u64 now)
{
	__u32 id = rest_id(pool, t);
	struct pintle_rest *r = bpf_map_lookup_elem(&resting, &id);
	__u32 seconds = rest_seconds(now);

	if (r && r->served_s != seconds)
		r->served_s = seconds;
}

static __always_inline __u32 rest_enough(const struct pintle_rest *r, __u64 now)
{
	return r->served_s && rest_seconds(now) - r->served_s <= REST_SERVED_S
		       ? REST_FAILURES_SERVED
		       : REST_FAILURES;
}

static __always_inline __u32 rest_pool_enough(const struct pintle_ref *pool,
					      const struct pintle_tuple *t, __u64 now)
{
	__u32 id = rest_id(pool->id, t);
	struct pintle_rest *r = bpf_map_lookup_elem(&resting, &id);

	return r ? rest_enough(r, now) : REST_FAILURES_SERVED;
}

/* Forgets what was of a former pool. */
static __always_inline void rest_be_of(struct pintle_rest *r, __u32 generation)
{
	__u32 served_s = r->served_s;

	if (r->generation == generation)
		return;
	__builtin_memset(r, 0, sizeof(*r));
	r->generation = generation;
	r->served_s = served_s;
}

static __always_inline struct pintle_rest *rest_of_others(__u32 pool, const struct pintle_tuple *t)
{
	__u32 id = PINTLE_REST(pool, address_is_v4(t->local));

	return bpf_map_lookup_elem(&resting, &id);
}

/* Lets the other family rest, too, which has not failed: times is 0. */
static __always_inline void rest_with(const struct pintle_ref *pool, const struct pintle_tuple *t,
				      const struct rest_failure *f)
{
	struct pintle_rest *r = rest_of_others(pool->id, t);

	if (!r || r->served_s >= rest_seconds(f->handed_ns))
		return;
	rest_be_of(r, pool->generation);
	if (!r->until_ns)
		r->until_ns = f->now + REST_MIN_NS;
}

/* Ends such a rest. */
static __always_inline void rest_end_with(const struct pintle_ref *pool,
					  const struct pintle_tuple *t)
{
	struct pintle_rest *r = rest_of_others(pool->id, t);

	if (r && r->generation == pool->generation && !r->times && !r->by_nat) {
		r->until_ns = 0;
		r->trial = 0;
	}
}

/* Notes it for the pool. Sets f->enough. Returns false where there is no such pool. */
static __always_inline bool rest_note(const struct pintle_ref *pool, const struct pintle_tuple *t,
				      struct rest_failure *f)
{
	struct pintle_rest *newest = rest_newest(), *r;
	__u32 id = rest_id(pool->id, t);
	__u64 until;

	r = bpf_map_lookup_elem(&resting, &id);
	if (!r || !newest)
		return false;
	newest->newest_ns = f->now;
	f->enough = rest_enough(r, f->now);
	rest_be_of(r, pool->generation);
	until = r->until_ns;
	rest_add(r, f, REST_QUIET_NS);
	if (r->times == 1 && r->until_ns != until)
		rest_with(pool, t, f);
	return true;
}

/* Counts that no socket has become of what was handed over, of a connection to the pool. Sets
 * f->enough. */
__weak __noinline int rest_failed(const struct pintle_ref *pool, const struct pintle_tuple *t,
				  struct rest_failure *f)
{
	struct pintle_learner_key k = {};

	if (!pool || !t || !f)
		return 0;
	rest_count(pool->id);
	if (!rest_note(pool, t, f))
		return 0;
	rest_key(&k, pool, t);
	rest_of_client(&k, f);
	return 0;
}

/* ---- what does not come again ------------------------------------------------------------- */

static __always_inline struct rest_watched *rest_watched(const struct pintle_ref *pool,
							 const struct pintle_tuple *t)
{
	__u32 id = rest_id(pool->id, t);

	return bpf_map_lookup_elem(&hand_watched, &id);
}

/* Watches what is handed over, unless another one is watched; the one that tries, in any case. */
__weak __noinline int rest_watch(const struct pintle_ref *pool, const struct pintle_tuple *t,
				 __u32 hash)
{
	struct rest_watched *w;
	struct pintle_rest *r;

	if (!pool || !t)
		return 0;
	w = rest_watched(pool, t);
	r = rest_of(pool, t);
	if (!w || (w->since_ns && !w->noted && !(r && r->trial == (hash | 1))))
		return 0;
	w->tuple = *t;
	w->noted = 0;
	w->since_ns = bpf_ktime_get_ns();
	return 0;
}

/* Looks what became of the one that is watched, at a SYN. That it has no socket yet is noted for
 * the pool; for its client if that begins another connection meanwhile, since it may still send the
 * segment again. The failure is counted when it does, or when the decision expires. */
__weak __noinline int rest_look(const struct pintle_ref *pool, const struct pintle_tuple *syn)
{
	struct rest_failure f = {.weight = 1};
	struct pintle_learner_key k = {};
	struct pintle_decision *d;
	struct rest_watched *w;
	struct pintle_tuple t;

	w = pool && syn ? rest_watched(pool, syn) : NULL;
	if (!w || !w->since_ns)
		return 0;
	f.now = bpf_ktime_get_ns();
	f.handed_ns = w->since_ns;
	if (f.now - f.handed_ns < REST_WATCH_NS)
		return 0;
	t = w->tuple; /* Linux 6.1 takes keys only from the stack */
	d = decision_find(&t);
	if (!d || !d->handed || d->ended) {
		w->since_ns = 0;
		if (!d && f.now - f.handed_ns < PINTLE_PENDING_NS)
			rest_served(pool->id, &t, f.now);
		return 0;
	}
	f.hash = tuple_hash(&t);
	if (!__sync_lock_test_and_set(&w->noted, 1))
		rest_note(pool, &t, &f);
	rest_key(&k, pool, syn);
	if (k.client != client_of(&t, PINTLE_KEY_REQUEST))
		return 0;
	w->since_ns = 0;
	f.enough = rest_pool_enough(pool, &t, f.now);
	rest_of_client(&k, &f);
	return 0;
}

/* A hand-over's decision has expired: there is no socket, and the segment did not come again. It
 * says nothing of the pool where a socket became of a later one. */
__weak __noinline int rest_expired(const struct pintle_ref *pool, const struct pintle_tuple *t,
				   __u64 handed_ns)
{
	struct rest_failure f = {.weight = 1, .handed_ns = handed_ns};
	struct pintle_rest *r;
	__u32 id;

	if (!pool || !t)
		return 0;
	rest_count(pool->id);
	id = rest_id(pool->id, t);
	r = bpf_map_lookup_elem(&resting, &id);
	if (!r || r->served_s >= rest_seconds(handed_ns))
		return 0;
	f.now = bpf_ktime_get_ns();
	f.hash = tuple_hash(t);
	rest_note(pool, t, &f);
	return 0;
}

/* ---- sockets ------------------------------------------------------------------------------ */

/* A steered connection has its socket: if it was handed over, what failed before is disproved.
 * `flow`: it has a record in `hand_flows`. */
__weak __noinline int rest_over(const struct pintle_tuple *t, __u32 flow)
{
	struct pintle_rest *newest = rest_newest(), *r;
	struct pintle_learner_key k = {};
	struct pintle_ref pool = {};
	struct pintle_decision *d;
	struct pintle_tuple key;

	if (!t || !newest || !newest->newest_ns)
		return 0;
	key = *t; /* Linux 6.1 takes keys only from the stack */
	d = flow ? NULL : bpf_map_lookup_elem(&pending, &key);
	if (!flow && (!d || !d->handed))
		return 0;
	frontend_of(t, PINTLE_HOOK_LOOKUP, &pool);
	r = rest_of(&pool, t);
	if (!r)
		return 0;
	/* Nat leaves clients on this node alone: 127.0.0.1's socket says nothing of 10.0.0.7's. */
	if (r->until_ns && r->by_nat && r->trial != ((__u32)tuple_hash(t) | 1))
		return 0;
	r->since_ns = 0;
	r->failures = 0;
	r->until_ns = 0;
	r->times = 0;
	r->trial = 0;
	rest_end_with(&pool, t);
	rest_key(&k, &pool, t);
	bpf_map_delete_elem(&rest_clients, &k);
	return 0;
}

#endif
