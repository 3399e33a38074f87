/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * lookup.bpf.c - the lookup hook (sk_lookup): gives a TCP segment for a frontend, if it belongs to
 * no connection, to the LISTEN socket of the endpoint that the rule chooses.
 *
 * The hook runs for a SYN, but also for a stray ACK or RST and for the ACK of a SYN cookie, and
 * does not see the flags. So it remembers a decision by 4-tuple, only counts it as placed, and
 * binds no session. sockops does the rest when the connection is established.
 */
#include "rule/access.bpf.h"
#include "handoff/asking.bpf.h"
#include "rule/classes.bpf.h"
#include "rule/decided.bpf.h"
#include "handoff/hand_flow.bpf.h"
#include "handoff/held_entry.bpf.h"
#include "handoff/oneshot_pool.bpf.h"
#include "question.bpf.h"
#include "handoff/rest.bpf.h"
#include "rule/tenants.bpf.h"

struct placing {
	struct bpf_sk_lookup *ctx;
	const struct pintle_tuple *tuple;
	struct pintle_counters *counters;
};

#include "rule/attempt.bpf.h"

/* The same for each segment of a connection: the ACK of a SYN cookie has nothing else in common
 * with its SYN. */
static __always_inline __u64 client_hash(const struct pintle_tuple *t)
{
	const __u64 *client = (const __u64 *)t->remote;

	return mix(mix(client[0]) ^ client[1] ^ (__u64)t->remote_port << 32);
}

/* With FailOpen and no ready endpoint, any endpoint that listens is tried. The search begins at a
 * place that follows from the client's address and port. */
struct anyone {
	struct decide_result *result;
	const struct terms *terms;
	__u32 start;
};

/* Returns 1 when the search is over. */
__noinline int anyone_member(struct decide_result *r, const struct terms *t, __u32 i)
{
	struct eligible_query q;
	struct pintle_pool *pool;
	struct pintle_ref *ref;
	__u32 n, at;

	if (!t || !r)
		return 1;
	pool = pool_of(t);
	n = pool ? pool->member_count : 0;
	if (!n)
		return 1;
	at = i % n;
	hide(at);
	if (at >= PINTLE_MAX_MEMBERS)
		return 1;
	ref = &pool->members[at];
	if (!endpoint_query(&q, t, pool, ref->id, ref->generation) || ineligible_barred(&q))
		return 0;
	r->endpoint = ref->id;
	r->generation = ref->generation;
	return 1;
}

static long anyone_step(__u32 i, void *arg)
{
	struct anyone *a = arg;
	int found = anyone_member(a->result, a->terms, a->start + i);

	/* The verifier must see that a callback returns 0 or 1. */
	hide(found);
	return !!found;
}

__noinline int anyone(const struct terms *t, const struct pintle_tuple *tuple,
		      struct decide_result *r)
{
	struct anyone a = {.result = r, .terms = t};
	struct pintle_pool *pool;
	__u32 n;

	if (!t || !tuple || !r)
		return 0;
	pool = pool_of(t);
	if (!pool || pool->failure_mode != PINTLE_FAIL_OPEN)
		return 0;
	a.start = client_hash(tuple) >> 33;
	n = pool->member_count;
	bpf_loop(n > PINTLE_MAX_MEMBERS ? PINTLE_MAX_MEMBERS : n, anyone_step, &a, 0);
	return 0;
}

/* Assigns one of the endpoint's LISTEN sockets to the segment: any, of which the kernel makes one
 * of its SO_REUSEPORT group. Where one of the group's workers stands still, it is one that accepts,
 * and the kernel changes nothing: which one follows from the client's port, of which connect()
 * draws only even numbers. Returns 0; -EAFNOSUPPORT if none of them takes this family; -ENOENT if
 * there is none. */
__noinline int endpoint_assign(struct bpf_sk_lookup *ctx, __u32 endpoint)
{
	struct pintle_health *h = bpf_map_lookup_elem(&health, &endpoint);
	__u32 i, deaf = h ? h->deaf : 0, first = deaf ? bpf_ntohs(ctx->remote_port) >> 1 : 0;
	int result = -ENOENT;

	/* Those that are left out come last, for the case that the others have gone meanwhile. */
	for (i = 0; i < 2 * PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		__u32 at = (first + i) % PINTLE_SOCKETS_PER_ENDPOINT;
		__u32 slot = endpoint * PINTLE_SOCKETS_PER_ENDPOINT + at;
		struct bpf_sock *sk;
		long err;

		if ((deaf >> at & 1) != (i >= PINTLE_SOCKETS_PER_ENDPOINT))
			continue;
		sk = bpf_map_lookup_elem(&sockets, &slot);
		if (!sk)
			continue;
		err = bpf_sk_assign(ctx, sk, deaf ? BPF_SK_LOOKUP_F_NO_REUSEPORT : 0);
		bpf_sk_release(sk);
		if (!err)
			return 0;
		result = -EAFNOSUPPORT;
	}
	return result;
}

/* Assigns the overload responder's listener to the segment. Returns 0 or -errno. */
__noinline int responder_assign(struct bpf_sk_lookup *ctx)
{
	__u32 slot = PINTLE_RESPONDER_SLOT(ctx->family != AF_INET);
	struct bpf_sock *sk = bpf_map_lookup_elem(&sockets, &slot);
	long err;

	if (!sk)
		return -ENOENT;
	err = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return err;
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

/* Corrects `health`, which promised a listener that is not there, so that the next decision avoids
 * the endpoint. If a listen() on another CPU comes in between, endpoint_has_socket() finds its
 * socket, and the endpoint counts as listening again. */
__noinline int endpoint_not_there(__u32 endpoint, int why, __u32 family, __u64 now)
{
	struct pintle_health *h = bpf_map_lookup_elem(&health, &endpoint);

	if (!h)
		return 0;
	if (why == -EAFNOSUPPORT) {
		__sync_fetch_and_and(&h->families, ~family);
		return 0;
	}
	h->listening_since_ns = 0;
	h->listeners = 0;
	barrier();
	if (endpoint_has_socket(endpoint))
		h->listening_since_ns = now;
	return 0;
}

/* A record with nothing but a decision. Not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pintle_hand_flow);
} MAP(hand_flow_new);

/* Makes the record of a connection that the hand-off gives to a listener of this node. Returns
 * false if the decision is no such, or without room. What is left of a connection whose end was
 * missed, or has not been seen yet, stays: its socket may be there. */
static __always_inline bool hand_flow_begin(const struct pintle_tuple *tuple,
					    const struct pintle_decision *d,
					    const struct pintle_session_key *session)
{
	const struct pintle_endpoint *e = endpoint_find(d->endpoint, d->generation);
	struct pintle_hand_flow *f;
	__u32 zero = 0;

	f = e && e->scope == scope ? bpf_map_lookup_elem(&hand_flow_new, &zero) : NULL;
	if (!f)
		return false;
	f->decision = *d;
	f->turn.session = *session;
	return !bpf_map_update_elem(&hand_flows, tuple, f, BPF_NOEXIST);
}

/* Forgets a decision that was replaced, or will be. A function of its own, like
 * decision_remember(). */
static __noinline void decision_forget(const struct pintle_tuple *tuple)
{
	if (hand_flow_decided(tuple))
		bpf_map_delete_elem(&hand_flows, tuple);
	bpf_map_delete_elem(&pending, tuple);
}

/* Not inlined, because of its stack; static, because Linux 6.1 takes keys only from the stack. */
static __noinline void decision_remember(const struct pintle_tuple *tuple, const struct terms *t,
					 const struct decide_result *r)
{
	struct pintle_decision d = {
		.decided_ns = t->now,
		.endpoint = r->endpoint,
		.generation = r->generation,
		.pool = t->key.pool,
		.pool_generation = t->key.pool_generation,
		.class_id = t->class_id,
		.outcome = r->outcome,
		.handed = t->handed ? asking_connection() : 0,
	};

	if (!t->handed || !hand_flow_begin(tuple, &d, &t->key.session)) {
		bpf_map_update_elem(&pending, tuple, &d, BPF_ANY);
		asking_remember(tuple, pool_of(t), &t->key.session);
	}
}

static __always_inline void tuple_read(struct pintle_tuple *t, struct bpf_sk_lookup *ctx)
{
	t->scope = scope;
	t->local_port = ctx->local_port;
	t->remote_port = bpf_ntohs(ctx->remote_port);
	tuple_addresses(t, ctx);
}

/* Makes the keys of session and group from the addresses, but for a session that the request has
 * named. */
__noinline int lookup_keys(struct terms *t, const struct pintle_tuple *tuple)
{
	struct pintle_session_key group;
	struct pintle_pool *pool;

	if (!t || !tuple)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	key_of_tuple(tuple, pool->key_kind,
		     KEY_BITS(pool->key_bits_v4, pool->key_bits_v6, t->frontend_bits),
		     &t->key.session);
	asking_session(pool, &t->key.session);
	t->prompted = asking_prompt(pool, &t->key);
	t->adapted = asking_adapter(pool, &t->key);
	t->home = 0;
	if (pool->group_kind == PINTLE_KEY_NONE)
		return 0;
	key_of_tuple(tuple, pool->group_kind,
		     KEY_BITS(pool->group_bits_v4, pool->group_bits_v6, t->frontend_bits), &group);
	t->home = home_of(&group);
	return 0;
}

/* Finds whether the client may connect, and the connection's class. Of the client only the address
 * is known here. */
__noinline int lookup_class(struct terms *t, const struct pintle_tuple *tuple)
{
	struct class_client c = {};
	struct class_found f = {};

	if (!t || !tuple)
		return 0;
	__builtin_memcpy(c.address, tuple->remote, sizeof(c.address));
	access_judge(t, &c, tuple->local_port);
	class_find(t, &c, &f, tuple->local_port);
	return 0;
}

/* Finds whether the client's tenant has all connections that it may have. */
__noinline int lookup_tenant(struct terms *t, const struct pintle_tuple *tuple)
{
	struct pintle_affinity_key key = {};
	struct pintle_pool *pool;

	if (!t || !tuple)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	key.pool = t->key.pool;
	key.pool_generation = t->key.pool_generation;
	key_of_tuple(tuple, TENANT_KIND(pool->tenant_key), TENANT_BITS(pool->tenant_key),
		     &key.session);
	t->over_quota = tenant_over(&key, t->now) > 0;
	return 0;
}

/* Tells of a traced decision, and keeps it until the connection is established. Not inlined,
 * because of its stack; static, because Linux 6.1 takes keys only from the stack. */
static __noinline void decision_trace(const struct pintle_tuple *tuple, struct terms *t,
				      const struct pintle_ref *asked, const struct decide_result *r)
{
	struct pintle_trace *n = note_find(t->note);

	if (n && trace_decided(t, asked, r, tuple, PINTLE_HOOK_LOOKUP) > 0 &&
	    bpf_map_update_elem(&decided, tuple, n, BPF_ANY))
		note_lost(n->followers);
	note_free(t->note);
	t->note = 0;
}

/* One-shot would have noted the SYN of a connection that it sees (oneshot_pool.bpf.h). A function
 * of its own, like decision_remember(). */
static __noinline void oneshot_expect(const struct pintle_tuple *t, const struct pintle_ref *asked)
{
	struct pintle_pool *pool = pool_find(asked->id, asked->generation);
	struct pintle_flow unseen = {.counted = PINTLE_FLOW_UNSEEN};

	if (pool && oneshot_wanted(pool, asked->id))
		bpf_map_update_elem(&oneshot_flows, t, &unseen, BPF_NOEXIST);
}

/* ---- attempts (attempt.bpf.h) ----------------------------------------------------- */

static __always_inline __u64 attempt_draw(const struct placing *p)
{
	return client_hash(p->tuple);
}

static __always_inline __u64 attempt_client(const struct placing *p)
{
	(void)p;
	return 0;
}

static __always_inline void attempt_keys(struct placing *p, struct terms *t)
{
	lookup_keys(t, p->tuple);
}

static __always_inline void attempt_otherwise(struct placing *p, struct terms *t,
					      struct decide_result *r)
{
	if (r->outcome == PINTLE_OUTCOME_DIVERTED && responder_assign(p->ctx))
		r->outcome = PINTLE_OUTCOME_REFUSED;
	if (r->outcome == PINTLE_OUTCOME_NO_ENDPOINT)
		anyone(t, p->tuple, r);
}

static __always_inline bool attempt_place(struct placing *p, struct terms *t,
					  const struct decide_result *r)
{
	p->counters = counters_find(r->endpoint, t->class_id);
	if (p->counters)
		__sync_fetch_and_add(&p->counters->placed, 1);
	return p->counters;
}

static __always_inline void attempt_undo(struct placing *p)
{
	if (p->counters)
		__sync_fetch_and_add(&p->counters->failed, 1);
}

static __always_inline bool attempt_give(struct placing *p, struct terms *t,
					 const struct decide_result *r)
{
	int err = endpoint_assign(p->ctx, r->endpoint);

	if (err)
		endpoint_not_there(r->endpoint, err, t->family, t->now);
	return !err;
}

static __always_inline void attempt_trace(struct placing *p, struct terms *t,
					  const struct pintle_ref *asked,
					  const struct decide_result *r)
{
	decision_trace(p->tuple, t, asked, r);
}

/* Returns SK_PASS with a socket assigned; SK_PASS without one (FailOpen); or SK_DROP, which refuses
 * the client at once. */
static __always_inline int decide_anew(struct bpf_sk_lookup *ctx, const struct pintle_tuple *tuple,
				       struct terms *t, const struct pintle_ref *asked,
				       struct pintle_pool *pool)
{
	struct placing p = {.ctx = ctx, .tuple = tuple};
	struct decide_result r = {};

	t->family = ctx->family == AF_INET ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6;
	t->daemonless = daemon_silent(pool, t->now);
	lookup_keys(t, tuple);
	if (pool->class_count > 1 || pool->allow_count)
		lookup_class(t, tuple);
	if (pool->tenant_key && t->mode == PINTLE_MODE_ENFORCE)
		lookup_tenant(t, tuple);
	decide_connection(&p, t, asked, tuple, &r, PINTLE_HOOK_LOOKUP, true);
	decision_remember(tuple, t, &r);
	if (!t->handed && r.generation)
		oneshot_expect(tuple, asked);
	if (r.generation || r.outcome == PINTLE_OUTCOME_DIVERTED)
		return SK_PASS;
	return attempt_refuses(asked, &r) ? SK_DROP : SK_PASS;
}

/* Gives this segment to where an earlier decision sent the connection; false if that is not
 * possible. */
static __always_inline bool assign_again(struct bpf_sk_lookup *ctx, const struct pintle_decision *d,
					 __u64 now)
{
	int err;

	if (d->outcome == PINTLE_OUTCOME_DIVERTED)
		return !d->no_model && !responder_assign(ctx);
	if (!d->generation || !endpoint_find(d->endpoint, d->generation))
		return false;
	err = endpoint_assign(ctx, d->endpoint);
	if (!err)
		return true;
	endpoint_not_there(d->endpoint, err,
			   ctx->family == AF_INET ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6, now);
	return false;
}

/* Whether the hand-off has made the decision for the connection that it asks for now. The client
 * may use its port again, for another model, say, before the former connection's decision expires.
 */
static __always_inline bool is_of_this(const struct pintle_decision *d)
{
	return d->handed && d->handed == asking_connection();
}

/* Whether an earlier decision for this 4-tuple still holds and has been applied to this segment,
 * which counts nothing. A decision that no longer holds will be replaced, and its placement has
 * failed. `begun`: the mode does not matter. A function of its own, like decision_remember(). */
static __noinline bool decided_before(struct bpf_sk_lookup *ctx, struct pintle_decision *d,
				      const struct terms *t, bool begun)
{
	bool off = t->mode == PINTLE_MODE_OFF;

	if (!decision_expired(d, t->now) && (!t->handed || is_of_this(d))) {
		if (d->outcome == PINTLE_OUTCOME_PASSED) {
			if (off || begun)
				return true;
		} else if ((!off || (begun && !d->handed)) && assign_again(ctx, d, t->now)) {
			return true;
		}
	}
	placement_failed(d);
	return false;
}

/* Finds the pool for which the connection's request was decided before. It may come again with
 * fewer bytes, in which its model is not seen. */
static __always_inline bool pool_decided(const struct pintle_tuple *tuple, __u64 now,
					 struct pintle_ref *pool)
{
	const struct pintle_decision *d = decision_find(tuple);

	if (!d || d->no_model || !is_of_this(d) || decision_expired(d, now))
		return false;
	pool->id = d->pool;
	pool->generation = d->pool_generation;
	return true;
}

/* Gives a connection whose request names no model that there is to the overload responder, or
 * refuses it. No pool decides it. A function of its own, like decision_remember(). */
static __noinline int model_refuse(struct bpf_sk_lookup *ctx, const struct pintle_tuple *tuple,
				   const struct pintle_ref *asked)
{
	struct pintle_decision d = {
		.decided_ns = bpf_ktime_get_ns(),
		.pool = asked->id,
		.pool_generation = asked->generation,
		.outcome = PINTLE_OUTCOME_DIVERTED,
		.no_model = 1,
		.handed = asking_where() ? asking_connection() : 0,
	};
	struct pintle_decision *former = decision_find(tuple);

	if (responder_assign(ctx))
		return SK_DROP;
	if (former && former->no_model && is_of_this(former) &&
	    !decision_expired(former, d.decided_ns))
		return SK_PASS;
	if (former) {
		placement_failed(former);
		decision_forget(tuple);
	}
	bpf_map_update_elem(&pending, tuple, &d, BPF_ANY);
	return SK_PASS;
}

/* TCP asks for the socket of a segment to which the hand-off has given one: nat has taken that off,
 * so there is none, and the client is reset. Where the hand-off rests, it is another connection's
 * SYN, with the addresses and ports of one that failed. A function of its own, because of its
 * stack. */
static __noinline int hand_lost(const struct pintle_tuple *tuple, const struct pintle_ref *asked,
				__u64 now)
{
	struct pintle_decision *d = decision_find(tuple);
	struct rest_failure f = {.now = now, .weight = REST_ORPHAN};

	if (!d || !d->handed)
		return 0;
	f.handed_ns = d->decided_ns;
	f.hash = tuple_hash(tuple);
	if (rest_holds(asked, tuple, f.hash, 0) > 0) {
		placement_failed(d);
		decision_forget(tuple);
		return 0;
	}
	if (d->ended || decision_expired(d, now))
		return 0;
	placement_failed(d);
	rest_failed(asked, tuple, &f);
	return 0;
}

SEC("sk_lookup")
int pintle_lookup(struct bpf_sk_lookup *ctx)
{
	struct terms t = {};
	struct pintle_ref ref = {};
	struct pintle_decision *d;
	struct pintle_tuple tuple;
	struct pintle_pool *pool;
	bool begun = false;

	/* The hand-off asks so of each SYN. */
	if (ctx->protocol != IPPROTO_TCP || asking_whether())
		return SK_PASS;
	tuple_read(&tuple, ctx);
	t.frontend_bits = frontend_of(&tuple, PINTLE_HOOK_LOOKUP, &ref);
	pool = pool_find(ref.id, ref.generation);
	if (!pool || !is_packet())
		return SK_PASS;

	t.now = bpf_ktime_get_ns();
	if (pool->decide != PINTLE_DECIDE_CONNECTION) {
		t.handed = asking_where();
		/* While such a pool is off, or rests, the kernel may answer a SYN with a cookie of
		 * its own. Only the listener that the SYN went to takes the rest of that handshake,
		 * also when the hand-off, which keeps further SYNs from here, is on again. */
		begun = !t.handed;
	}
	if (pool->decide == PINTLE_DECIDE_REQUEST) {
		/* A listener of another namespace would never answer. */
		if (pool->in_pods && begun && pool_mode(ref.id, pool, t.now) != PINTLE_MODE_OFF)
			return SK_PASS;
		if (begun)
			hand_lost(&tuple, &ref, t.now);
		if (asking_pool(&ref, t.now) && !pool_decided(&tuple, t.now, &ref))
			return model_refuse(ctx, &tuple, &ref);
		pool = pool_find(ref.id, ref.generation);
		if (!pool)
			return SK_PASS;
	}
	t.key.pool = ref.id;
	t.key.pool_generation = ref.generation;
	t.mode = pool_mode(t.key.pool, pool, t.now);
	d = decision_find(&tuple);
	if (d && decided_before(ctx, d, &t, begun))
		return SK_PASS;
	if (d)
		decision_forget(&tuple);
	if (t.mode == PINTLE_MODE_OFF) {
		struct decide_result passed = {.outcome = PINTLE_OUTCOME_PASSED};

		decision_remember(&tuple, &t, &passed);
		tier_count(&t, &ref, passed.outcome);
		return SK_PASS;
	}
	return decide_anew(ctx, &tuple, &t, &ref, pool);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
