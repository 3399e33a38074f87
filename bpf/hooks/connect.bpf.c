/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * connect.bpf.c - the connect hook (cgroup/connect4,6): rewrites the destination of a connect() to
 * a frontend to the address of the endpoint that the rule chooses. getpeername() then returns the
 * frontend, and sock_release sees the last close().
 *
 * Here a decision only counts as placed. sockops sees whether a SYN is sent, and follows the
 * connection to its end.
 */
#include "rule/access.bpf.h"
#include "rule/classes.bpf.h"
#include "client.bpf.h"
#include "rule/decided.bpf.h"
#include "handoff/splice_flow.bpf.h"

#include <linux/in6.h>

/* What is known of the caller of connect(), besides addresses and hints. */
struct caller {
	__u64 netns;
	__u64 cgroup;
	__u32 mark;
	__u32 apart; /* 1: see is_apart() */
};

struct placing {
	struct bpf_sock_addr *ctx;
	const struct pintle_tuple *tuple;
	const struct caller *caller;
	struct pintle_connect *connect;
};

#include "rule/attempt.bpf.h"

/* The few kernel fields that no helper returns; BTF gives their offsets at load. */
struct user_namespace {
	int level;
} __attribute__((preserve_access_index));
struct net {
	struct user_namespace *user_ns;
} __attribute__((preserve_access_index));
struct sock_common {
	struct {
		struct net *net;
	} skc_net;
} __attribute__((preserve_access_index));
struct sock {
	struct sock_common __sk_common;
} __attribute__((preserve_access_index));
struct inet_sock {
	__u8 tos;
} __attribute__((preserve_access_index));

/*
 * Whether the socket's network namespace belongs to a user namespace other than the first. Any user
 * can make both kinds of namespaces, and is root inside. There the user can take an endpoint's
 * address, 10.0.3.17 say, and answer or refuse connections to it. So connections from there are
 * steered, but are counted nowhere and prove nothing about the endpoint.
 */
static __always_inline bool is_apart(struct bpf_sock *sk)
{
	struct sock *kernel_sock = (struct sock *)bpf_skc_to_tcp_sock(sk);

	return kernel_sock && kernel_sock->__sk_common.skc_net.net->user_ns->level > 0;
}

/* ---- keys --------------------------------------------------------------------------- */

static __always_inline void key_is(struct pintle_session_key *key, __u32 kind, __u64 high,
				   __u64 low)
{
	__u64 *id = (__u64 *)key->id;

	key->kind = kind;
	key->prefix_bits = 128;
	id[0] = high;
	id[1] = low;
}

/* The key is the client's id if the daemon knows the cgroup's client, so that all containers of a
 * pod are one session; else it is the cgroup's own id. */
static __always_inline void key_of_cgroup(struct pintle_session_key *key, __u64 cgroup)
{
	/* A copy of its own: of two values in memory clang 19 picks the address first, and the
	 * verifier refuses to calculate with that of `c`. */
	__u64 id = cgroup;
	struct pintle_client *c = bpf_map_lookup_elem(&clients, &id);

	if (c)
		key_is(key, PINTLE_KEY_CGROUP, 1, c->id);
	else
		key_is(key, PINTLE_KEY_CGROUP, 0, cgroup);
}

/* Returns the client's pod; NULL: it is not known, or the client is none. */
static __always_inline struct pintle_pod *pod_of_client(const struct pintle_client *c)
{
	__u64 id = c->id; /* Linux 6.1 takes keys only from the stack */

	return bpf_map_lookup_elem(&pods, &id);
}

/* Returns the pod whose cgroup that is; NULL: it is not known, or none. */
static __always_inline struct pintle_pod *pod_of(__u64 cgroup)
{
	__u64 key = cgroup; /* Linux 6.1 takes keys only from the stack */
	struct pintle_client *c = bpf_map_lookup_elem(&clients, &key);

	return c ? pod_of_client(c) : NULL;
}

/* The keys of a client whose pod is not known, or that is no pod, are its network namespace's:
 * a pod may connect before the API server has told the daemon of it. */
static __always_inline void key_of_pod(struct pintle_session_key *key, __u32 kind,
				       const struct caller *caller)
{
	__u64 id = caller->cgroup;
	struct pintle_client *c = bpf_map_lookup_elem(&clients, &id);
	struct pintle_pod *p;

	key_is(key, kind, 0, caller->netns);
	if (!c)
		return;
	id = c->id;
	if (kind == PINTLE_KEY_POD) {
		key_is(key, kind, 1, id);
		return;
	}
	p = bpf_map_lookup_elem(&pods, &id);
	if (p)
		key_is(key, kind, 1, kind == PINTLE_KEY_NAMESPACE ? p->space : p->account);
}

/* Makes the caller's key of one kind; PINTLE_KEY_NONE if the caller has none, such as no mark. */
__noinline int key_of_caller(__u32 kind, const struct caller *caller,
			     const struct pintle_hint *hint, __u32 hinted,
			     struct pintle_session_key *key)
{
	const __u64 *hash;

	if (!caller || !hint || !key)
		return 0;
	__builtin_memset(key, 0, sizeof(*key));
	switch (kind) {
	case PINTLE_KEY_CLIENT:
		key_is(key, kind, 0, caller->netns);
		break;
	case PINTLE_KEY_CGROUP:
		key_of_cgroup(key, caller->cgroup);
		break;
	case PINTLE_KEY_POD:
	case PINTLE_KEY_NAMESPACE:
	case PINTLE_KEY_ACCOUNT:
		key_of_pod(key, kind, caller);
		break;
	case PINTLE_KEY_MARK:
		if (caller->mark)
			key_is(key, kind, 0, caller->mark);
		break;
	case PINTLE_KEY_HINT:
		if (!(hint->flags & hinted))
			break;
		hash = (const __u64 *)(hinted == PINTLE_HINTED_SESSION ? hint->session
								       : hint->group);
		key_is(key, kind, hash[0], hash[1]);
		break;
	}
	return 0;
}

/* Makes a hinted session belong to its client: another client that learns the text can neither find
 * nor move the session. The hash is keyed, so a client cannot search for a text whose hash differs
 * from another's just as the two netns cookies do. The first half stays the same, because `pintle
 * unbind` finds a text by it. */
static __always_inline void of_client(struct pintle_session_key *key, __u64 netns)
{
	__u64 *id = (__u64 *)key->id;

	if (key->kind == PINTLE_KEY_HINT)
		id[1] ^= netns;
}

static __always_inline bool is_of_address(__u32 kind)
{
	return kind == PINTLE_KEY_SOURCE || kind == PINTLE_KEY_DESTINATION;
}

/* Whether no other client can have such a session. A kind of key that is not named here may be
 * another's, too, as a mark, a hint or a namespace is. */
static __always_inline bool is_its_own(__u32 kind)
{
	return kind == PINTLE_KEY_NONE || kind == PINTLE_KEY_CLIENT || kind == PINTLE_KEY_CGROUP ||
	       kind == PINTLE_KEY_POD;
}

/* A socket that is apart may claim any mark and any address, and can make any connection
 * established. So it must not bind a session that another client may have, too: another pod of its
 * namespace, say. */
static __always_inline void keep_apart(struct pintle_session_key *key, __u64 netns)
{
	if (is_of_address(key->kind))
		__builtin_memset(key, 0, sizeof(*key));
	else if (!is_its_own(key->kind))
		*(__u64 *)key->id ^= netns;
}

__noinline int connect_keys(struct terms *t, const struct pintle_tuple *tuple,
			    const struct caller *caller, const struct pintle_connect *c)
{
	struct pintle_session_key group;
	struct pintle_pool *pool;

	if (!t || !tuple || !caller || !c)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	if (is_of_address(pool->key_kind))
		key_of_tuple(tuple, pool->key_kind,
			     KEY_BITS(pool->key_bits_v4, pool->key_bits_v6, t->frontend_bits),
			     &t->key.session);
	else
		key_of_caller(pool->key_kind, caller, &c->hint, PINTLE_HINTED_SESSION,
			      &t->key.session);
	if (caller->apart)
		keep_apart(&t->key.session, caller->netns);
	else if (!pool->hints_shared)
		of_client(&t->key.session, caller->netns);
	if (pool->group_kind == PINTLE_KEY_NONE)
		return 0;
	if (is_of_address(pool->group_kind))
		key_of_tuple(tuple, pool->group_kind,
			     KEY_BITS(pool->group_bits_v4, pool->group_bits_v6, t->frontend_bits),
			     &group);
	else
		key_of_caller(pool->group_kind, caller, &c->hint, PINTLE_HINTED_GROUP, &group);
	t->home = home_of(&group);
	return 0;
}

/* ---- the decision ------------------------------------------------------------------- */

/* Return values of the programs. */
#define GO_ON  1
#define REFUSE 0 /* connect() fails with the error given to bpf_set_retval() */

static __always_inline int refuse(void)
{
	bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

/* Returns 1 + the DSCP that the socket's packets will have; 0: not known. To a v4-mapped
 * destination they carry IP_TOS, which bpf_getsockopt() does not read of an AF_INET6 socket. */
static __always_inline __u32 dscp_of(struct bpf_sock_addr *ctx, __u32 family)
{
	bool v6 = ctx->family == AF_INET6;
	struct inet_sock *inet;
	int tos;

	if (v6 && family == PINTLE_FAMILY_V4) {
		inet = ctx->sk ? (struct inet_sock *)bpf_skc_to_tcp_sock(ctx->sk) : NULL;
		return inet ? 1 + (inet->tos >> 2) : 0;
	}
	if (bpf_getsockopt(ctx, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, &tos,
			   sizeof(tos)))
		return 0;
	return 1 + ((tos & 0xff) >> 2);
}

/*
 * A pod of this node has an address of its own, whatever its socket is bound to. With IP_FREEBIND
 * any process may bind to the address of another host: one of the pod 10.0.0.7 binds to 10.0.0.8,
 * and its connect() would take a place of the class of the pod 10.0.0.8, for as long as the socket
 * is open, though it gets no answer.
 */
static __always_inline void class_know_pod(struct class_client *c, __u32 family)
{
	struct pintle_pod *p = pod_of(c->cgroup);

	if (p)
		class_take_pod(c, p, family);
}

/* Fills in who the caller is. One that is apart may claim any address, so its address and its pod
 * count as not known. */
static __always_inline void class_know(struct class_client *c, const struct pintle_tuple *tuple,
				       const struct caller *caller, __u32 family)
{
	c->cgroup = caller->cgroup;
	if (caller->apart)
		return;
	__builtin_memcpy(c->address, tuple->remote, sizeof(c->address));
	class_know_pod(c, family);
}

/* Finds the connection's class. */
static __noinline int connect_class(struct bpf_sock_addr *ctx, struct terms *t,
				    const struct pintle_tuple *tuple, const struct caller *caller,
				    const struct pintle_hint *hint)
{
	struct class_client c = {};
	struct class_found f = {};

	if (hint->flags & PINTLE_HINTED_CLASS && hint->class_id < PINTLE_MAX_CLASSES)
		f.asked = 1 + hint->class_id;
	class_know(&c, tuple, caller, t->family);
	c.dscp = dscp_of(ctx, t->family);
	class_find(t, &c, &f, tuple->local_port);
	return 0;
}

static __always_inline bool is_spared(const struct caller *caller, const struct pintle_ref *pool)
{
	__u64 cgroup = caller->cgroup; /* Linux 6.1 takes keys only from the stack */
	struct pintle_client *c = bpf_map_lookup_elem(&clients, &cgroup);
	struct pintle_spared_key key = {.pool = pool->id, .pool_generation = pool->generation};

	if (!c)
		return false;
	key.client = c->id;
	return bpf_map_lookup_elem(&spared, &key);
}

/*
 * A pod connects to 10.0.3.17:8000, which is a member of a pool, instead of to the pool's frontend:
 * a gateway that knows the pods, say. Sets *pool if the pool intercepts such connections; else
 * counts the connection, so that `pintle status` can tell. Left alone in any case is whoever is in
 * the node's own network namespace: the kubelet, whose probes ask about that one pod, and pintled.
 * So are the clients that are spared, such as the members themselves, who work together.
 */
__noinline int member_of(const struct pintle_tuple *t, const struct caller *caller,
			 struct pintle_ref *pool)
{
	struct pintle_address_key key = {};
	struct pintle_member *m;
	struct pintle_health *h;
	struct pintle_node *n;
	struct pintle_pool *p;
	__u32 zero = 0, id;

	if (!t || !caller || !pool)
		return 0;
	key.scope = t->scope;
	key.port = t->local_port;
	__builtin_memcpy(key.address, t->local, sizeof(key.address));
	m = bpf_map_lookup_elem(&members, &key);
	n = bpf_map_lookup_elem(&node, &zero);
	if (!m || !n || caller->netns == n->netns_cookie)
		return 0;
	p = pool_find(m->pool, m->pool_generation);
	if (!p)
		return 0;
	pool->id = m->pool;
	pool->generation = m->pool_generation;
	if (p->intercept && !is_spared(caller, pool))
		return 0;
	pool->generation = 0;
	id = m->endpoint;
	h = bpf_map_lookup_elem(&health, &id);
	if (!p->intercept && h && endpoint_find(id, m->generation))
		__sync_fetch_and_add(&h->direct_opened, 1);
	return 0;
}

/* Whether the caller's connections go on as they came: where a proxy takes them in a pod's own
 * network, say, and has to see the Service that they are for. Not inlined, because of its stack. */
static __noinline int is_left_alone(const struct caller *caller)
{
	__u64 cgroup = caller->cgroup; /* Linux 6.1 takes keys only from the stack */
	struct pintle_client *c = bpf_map_lookup_elem(&clients, &cgroup);
	struct pintle_pod *p;

	if (!c || c->left_alone)
		return !!c;
	p = pod_of_client(c);
	return p && p->left_alone;
}

/* Judges the caller by the pool's access. Returns 1 if connect() fails, and has counted that. */
__noinline int connect_forbidden(struct terms *t, const struct pintle_tuple *tuple,
				 const struct caller *caller)
{
	struct decide_result r = {.outcome = PINTLE_OUTCOME_FORBIDDEN};
	struct class_client c = {};

	if (!t || !tuple || !caller)
		return 0;
	class_know(&c, tuple, caller, t->family);
	access_judge(t, &c, tuple->local_port);
	if (!t->forbidden || t->mode == PINTLE_MODE_SHADOW)
		return 0;
	count_outcome(t->key.pool, r.outcome);
	report_decision(tuple, t, &r, PINTLE_HOOK_CONNECT, caller->cgroup);
	return 1;
}

static __always_inline bool pool_counts(const struct pintle_pool *pool)
{
	__u32 i;

	for (i = 0; i < PINTLE_MAX_CLASSES; i++)
		if (pool->class_of[i].connections || pool->class_of[i].pool_connections ||
		    pool->class_of[i].limit)
			return true;
	return pool->tenant_key;
}

/* The socket has no memory for what would count its connection. Any user can bring that about: the
 * memory is that of the socket's options. So where connections are bounded, or tenants have quotas,
 * such a one is refused, with EPERM; else it goes where it would without Pintle. Returns 1 if it is
 * refused. */
__noinline int connect_uncounted(struct terms *t, const struct pintle_tuple *tuple,
				 const struct caller *caller)
{
	struct decide_result r = {.outcome = PINTLE_OUTCOME_REFUSED};
	struct pintle_pool *pool;

	if (!t || !tuple || !caller)
		return 0;
	pool = pool_of(t);
	if (!pool || t->mode != PINTLE_MODE_ENFORCE || !pool_counts(pool)) {
		count_outcome(t->key.pool, PINTLE_OUTCOME_PASSED);
		return 0;
	}
	count_outcome(t->key.pool, r.outcome);
	report_decision(tuple, t, &r, PINTLE_HOOK_CONNECT, caller->cgroup);
	return 1;
}

/* Enters into the socket's record that it goes to the overload responder; false: there is none. Not
 * inlined, because of its stack. */
static __noinline bool connect_divert(struct pintle_connect *c, const struct terms *t,
				      const struct pintle_tuple *tuple)
{
	struct pintle_responder *r = responder_of(t);

	if (!r)
		return false;
	c->pool = t->key.pool;
	c->pool_generation = t->key.pool_generation;
	c->outcome = PINTLE_OUTCOME_DIVERTED;
	c->class_id = t->class_id;
	c->port = r->port;
	c->frontend_port = tuple->local_port;
	__builtin_memcpy(c->address, r->address, sizeof(c->address));
	__builtin_memcpy(c->frontend, tuple->local, sizeof(c->frontend));
	c->flags = (c->flags & PINTLE_CONNECT_SEAT) | PINTLE_CONNECT_DIVERTED;
	return true;
}

/* Makes the key of the caller's tenant. All callers that are apart are one tenant, except by
 * cgroup: any user can make some, and may claim any address. The address to which a socket is bound
 * makes no tenant: see class_know_pod(). */
__noinline int tenant_of_caller(struct pintle_session_key *key, const struct terms *t,
				const struct pintle_tuple *tuple, const struct caller *caller)
{
	struct pintle_hint none = {};
	struct class_client c = {};
	struct pintle_tuple from;
	struct pintle_pool *pool;
	__u32 kind;

	if (!key || !t || !tuple || !caller)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	kind = TENANT_KIND(pool->tenant_key);
	if (caller->apart && kind != PINTLE_KEY_CGROUP) {
		key_is(key, kind, 0, PINTLE_CLIENT_APART);
		return 0;
	}
	if (!is_of_address(kind)) {
		key_of_caller(kind, caller, &none, 0, key);
		return 0;
	}
	from = *tuple;
	c.cgroup = caller->cgroup;
	class_know_pod(&c, t->family);
	__builtin_memcpy(from.remote, c.address, sizeof(from.remote));
	key_of_tuple(&from, kind, TENANT_BITS(pool->tenant_key), key);
	return 0;
}

/* Takes a placement back. */
static __noinline void connect_undo(struct pintle_connect *c)
{
	disown(c);
}

/* Ends what the socket's record is from, an earlier connect() that the kernel has given up. Not
 * inlined, because of its stack. */
static __noinline void connect_forget(struct bpf_sock *sk)
{
	struct pintle_connect *c = connect_find(sk);

	if (!c)
		return;
	disown(c);
	seat_end(sk, c);
	__sync_fetch_and_and(&c->flags, ~(PINTLE_CONNECT_SEAT | PINTLE_CONNECT_SPLICED));
	if (is_followed(bpf_ktime_get_ns()))
		bpf_sk_storage_delete(&traces, sk);
}

/* Counts the connection for the caller's tenant, or, where quotas hold, sets t->over_quota. Returns
 * whether it did. */
static __noinline bool connect_seat(struct bpf_sock *sk, struct pintle_connect *c, struct terms *t,
				    const struct pintle_tuple *tuple, const struct caller *caller)
{
	struct pintle_affinity_key key = {.pool = t->key.pool,
					  .pool_generation = t->key.pool_generation};

	tenant_of_caller(&key.session, t, tuple, caller);
	t->over_quota = tenant_enter(&key, t->now, t->mode == PINTLE_MODE_ENFORCE) > 0;
	if (t->over_quota || !key.pool_generation)
		return true;
	if (!seat_take(sk, &key))
		return key.session.kind == PINTLE_KEY_NONE; /* shared, and so without a quota */
	__sync_fetch_and_or(&c->flags, PINTLE_CONNECT_SEAT);
	return true;
}

/* Whether the connection is left to the program at its pod's device, which decides it by its first
 * request (handoff/splice.bpf.h): where that program sees what the pod sends and gets, and the
 * client may have a further one there. */
__noinline int connect_waits(const struct terms *t, const struct pintle_tuple *tuple,
			     const struct caller *caller)
{
	struct pintle_pool *pool;
	struct pintle_ref asked = {};
	struct pintle_space *s;
	__u64 space;

	if (!t || !tuple || !caller)
		return 0;
	pool = pool_of(t);
	if (!pool || pool->decide != PINTLE_DECIDE_REQUEST || t->mode != PINTLE_MODE_ENFORCE ||
	    t->over_quota || caller->apart)
		return 0;
	/* Not so the address of an endpoint, which the pool intercepts. */
	frontend_of(tuple, PINTLE_HOOK_CONNECT, &asked);
	if (!asked.generation)
		return 0;
	space = caller->netns; /* Linux 6.1 takes keys only from the stack */
	s = bpf_map_lookup_elem(&splice_spaces, &space);
	return s && splice_room(space);
}

/* Enters into the socket's record what the program at the device needs. Not inlined, because of its
 * stack. */
static __noinline void connect_leave(struct pintle_connect *c, const struct terms *t,
				     const struct pintle_tuple *tuple)
{
	c->generation = 0;
	c->class_id = t->class_id;
	connect_begin(c, t, tuple, PINTLE_CONNECT_SPLICED);
}

/* Tells of a traced decision, and keeps it with the socket. Not inlined, because of its stack. */
static __noinline void connect_trace(struct bpf_sock_addr *ctx, struct terms *t,
				     const struct pintle_ref *asked, const struct decide_result *r,
				     const struct pintle_tuple *tuple)
{
	struct pintle_trace *n = note_find(t->note);
	struct bpf_sock *sk = ctx->sk;

	if (!n || !sk)
		return;
	n->cookie = bpf_get_socket_cookie(ctx);
	n->cgroup = bpf_get_current_cgroup_id();
	bpf_sk_storage_delete(&traces, sk);
	if (trace_decided(t, asked, r, tuple, PINTLE_HOOK_CONNECT) > 0 && !t->would &&
	    !bpf_sk_storage_get(&traces, sk, n, BPF_SK_STORAGE_GET_F_CREATE))
		note_lost(n->followers);
	note_free(t->note);
	t->note = 0;
}

/* The same of a caller that may not connect. */
static __noinline void connect_trace_forbidden(struct bpf_sock_addr *ctx, struct terms *t,
					       const struct pintle_ref *asked,
					       const struct pintle_tuple *tuple)
{
	struct decide_result r = {.outcome = PINTLE_OUTCOME_FORBIDDEN};

	trace_start(t, asked);
	if (!t->note)
		return;
	choose_note(t, 0);
	connect_trace(ctx, t, asked, &r, tuple);
}

/* ---- attempts (attempt.bpf.h) ----------------------------------------------------- */

static __always_inline __u64 attempt_draw(const struct placing *p)
{
	(void)p;
	return bpf_get_prandom_u32();
}

static __always_inline __u64 attempt_client(const struct placing *p)
{
	return p->caller->cgroup;
}

static __always_inline void attempt_keys(struct placing *p, struct terms *t)
{
	connect_keys(t, p->tuple, p->caller, p->connect);
}

/* In its own network, a caller that is apart may have the responder's address, and answer there. */
static __always_inline void attempt_otherwise(struct placing *p, struct terms *t,
					      struct decide_result *r)
{
	if (r->outcome == PINTLE_OUTCOME_DIVERTED &&
	    (p->caller->apart || !connect_divert(p->connect, t, p->tuple)))
		r->outcome = PINTLE_OUTCOME_REFUSED;
}

static __always_inline bool attempt_place(struct placing *p, struct terms *t,
					  const struct decide_result *r)
{
	p->connect->class_id = t->class_id;
	connect_place(p->connect, t, r, p->tuple, p->caller->apart);
	return p->connect->placed;
}

static __always_inline void attempt_undo(struct placing *p)
{
	connect_undo(p->connect);
}

/* The client finds out whether a server is there. */
static __always_inline bool attempt_give(struct placing *p, struct terms *t,
					 const struct decide_result *r)
{
	(void)p;
	(void)t;
	(void)r;
	return true;
}

static __always_inline void attempt_trace(struct placing *p, struct terms *t,
					  const struct pintle_ref *asked,
					  const struct decide_result *r)
{
	connect_trace(p->ctx, t, asked, r, p->tuple);
}

/* tuple->remote is the address to which the socket is bound, tuple->local the destination that the
 * client asked for. Returns the socket's record, whose address becomes the destination; or NULL,
 * with the program's return value in *verdict. */
static __always_inline struct pintle_connect *connect_decide(struct bpf_sock_addr *ctx,
							     const struct pintle_tuple *tuple,
							     __u32 family, struct bpf_sock *sk,
							     struct caller *caller, int *verdict)
{
	struct decide_result r = {.outcome = PINTLE_OUTCOME_NO_ENDPOINT};
	struct pintle_connect *c;
	struct terms t = {.family = family};
	struct placing p = {.ctx = ctx, .tuple = tuple, .caller = caller};
	struct pintle_ref ref = {};
	struct pintle_pool *pool;

	*verdict = GO_ON;
	connect_forget(sk);
	t.frontend_bits = frontend_of(tuple, PINTLE_HOOK_CONNECT, &ref);
	if (!ref.generation) {
		t.frontend_bits = 128;
		member_of(tuple, caller, &ref);
	}
	pool = pool_find(ref.id, ref.generation);
	if (!pool)
		return NULL;
	t.key.pool = ref.id;
	t.key.pool_generation = ref.generation;
	t.now = bpf_ktime_get_ns();
	t.daemonless = daemon_silent(pool, t.now);
	t.mode = pool_mode(ref.id, pool, t.now);
	caller->apart = is_apart(sk);
	c = NULL;
	if (t.mode != PINTLE_MODE_OFF && !daemon_left(pool, t.now)) {
		/* Before the record: a client could use up its memory for one, and pass. */
		if (pool->allow_count && connect_forbidden(&t, tuple, caller)) {
			connect_trace_forbidden(ctx, &t, &ref, tuple);
			*verdict = refuse();
			return NULL;
		}
		if (is_left_alone(caller))
			t.mode = PINTLE_MODE_OFF;
		else
			c = bpf_sk_storage_get(&connects, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	}
	if (!c) {
		if (t.mode == PINTLE_MODE_OFF || daemon_left(pool, t.now))
			count_outcome(ref.id, PINTLE_OUTCOME_PASSED);
		else if (connect_uncounted(&t, tuple, caller))
			*verdict = REFUSE; /* EPERM */
		return NULL;
	}
	c->client = caller->netns;
	c->cgroup = caller->cgroup;
	connect_keys(&t, tuple, caller, c);
	if (pool->class_count > 1)
		connect_class(ctx, &t, tuple, caller, &c->hint);
	if (pool->tenant_key && t.mode != PINTLE_MODE_SHADOW &&
	    !connect_seat(sk, c, &t, tuple, caller) && connect_uncounted(&t, tuple, caller)) {
		*verdict = REFUSE;
		return NULL;
	}
	/* The forecast is of connections that count. */
	if (t.mode == PINTLE_MODE_SHADOW && caller->apart) {
		count_outcome(ref.id, PINTLE_OUTCOME_PASSED);
		return NULL;
	}
	if (connect_waits(&t, tuple, caller) > 0) {
		connect_leave(c, &t, tuple);
		return NULL;
	}
	p.connect = c;
	decide_connection(&p, &t, &ref, tuple, &r, PINTLE_HOOK_CONNECT, false);
	if (t.asked_mode == PINTLE_MODE_SHADOW) {
		count_outcome(ref.id, PINTLE_OUTCOME_PASSED);
		return NULL;
	}
	sk = ctx->sk; /* anew, because of the stack */
	if (!r.generation && sk)
		seat_end(sk, c);
	if (r.outcome == PINTLE_OUTCOME_DIVERTED)
		return c;
	if (!r.generation) {
		if (attempt_refuses(&ref, &r))
			*verdict = refuse();
		return NULL;
	}
	return c->generation ? c : NULL;
}

static __always_inline void caller_read(struct bpf_sock_addr *ctx, struct bpf_sock *sk,
					struct caller *caller)
{
	caller->netns = bpf_get_netns_cookie(ctx);
	caller->cgroup = bpf_get_current_cgroup_id();
	caller->mark = sk->mark;
}

#define user_port(ctx) bpf_ntohs(context_read((ctx)->user_port))

SEC("cgroup/connect4")
int pintle_connect4(struct bpf_sock_addr *ctx)
{
	struct pintle_tuple tuple = {.scope = scope};
	struct bpf_sock *sk = ctx->sk;
	struct pintle_connect *c;
	struct caller caller = {};
	int verdict;

	if (ctx->protocol != IPPROTO_TCP || !sk)
		return GO_ON;
	tuple.local_port = user_port(ctx);
	address_v4(tuple.local, ctx->user_ip4);
	address_v4(tuple.remote, sk->src_ip4);
	caller_read(ctx, sk, &caller);
	c = connect_decide(ctx, &tuple, PINTLE_FAMILY_V4, sk, &caller, &verdict);
	if (!c)
		return verdict;
	ctx->user_ip4 = ((__u32 *)c->address)[3];
	ctx->user_port = bpf_htons(c->port);
	return GO_ON;
}

SEC("cgroup/connect6")
int pintle_connect6(struct bpf_sock_addr *ctx)
{
	struct pintle_tuple tuple = {.scope = scope};
	struct bpf_sock *sk = ctx->sk;
	struct pintle_connect *c;
	struct caller caller = {};
	int verdict;
	__u32 *to;

	if (ctx->protocol != IPPROTO_TCP || !sk)
		return GO_ON;
	tuple.local_port = user_port(ctx);
	to = (__u32 *)tuple.local;
	to[0] = ctx->user_ip6[0];
	to[1] = ctx->user_ip6[1];
	to[2] = ctx->user_ip6[2];
	to[3] = ctx->user_ip6[3];
	to = (__u32 *)tuple.remote;
	to[0] = sk->src_ip6[0];
	to[1] = sk->src_ip6[1];
	to[2] = sk->src_ip6[2];
	to[3] = sk->src_ip6[3];
	caller_read(ctx, sk, &caller);
	/* The kernel sends IPv4 to a v4-mapped destination. */
	c = connect_decide(ctx, &tuple,
			   address_is_v4(tuple.local) ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6, sk,
			   &caller, &verdict);
	if (!c)
		return verdict;
	to = (__u32 *)c->address;
	ctx->user_ip6[0] = to[0];
	ctx->user_ip6[1] = to[1];
	ctx->user_ip6[2] = to[2];
	ctx->user_ip6[3] = to[3];
	ctx->user_port = bpf_htons(c->port);
	return GO_ON;
}

/* ---- afterwards --------------------------------------------------------------------- */

/* Returns the record if the socket's peer has the record's port. Also called for servers' sockets,
 * in accept(), which have no record. */
static __always_inline struct pintle_connect *connect_of_peer(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_connect *c;

	if (!sk)
		return NULL;
	c = connect_find(sk);
	return c && (c->generation || c->flags & PINTLE_CONNECT_DIVERTED) &&
			       c->port == user_port(ctx)
		       ? c
		       : NULL;
}

SEC("cgroup/getpeername4")
int pintle_getpeername4(struct bpf_sock_addr *ctx)
{
	struct pintle_connect *c = connect_of_peer(ctx);

	if (!c || ((__u32 *)c->address)[3] != ctx->user_ip4)
		return 1;
	ctx->user_ip4 = ((__u32 *)c->frontend)[3];
	ctx->user_port = bpf_htons(c->frontend_port);
	return 1;
}

SEC("cgroup/getpeername6")
int pintle_getpeername6(struct bpf_sock_addr *ctx)
{
	struct pintle_connect *c = connect_of_peer(ctx);
	__u32 *address, *frontend;

	if (!c)
		return 1;
	address = (__u32 *)c->address;
	frontend = (__u32 *)c->frontend;
	if (address[0] != ctx->user_ip6[0] || address[1] != ctx->user_ip6[1] ||
	    address[2] != ctx->user_ip6[2] || address[3] != ctx->user_ip6[3])
		return 1;
	ctx->user_ip6[0] = frontend[0];
	ctx->user_ip6[1] = frontend[1];
	ctx->user_ip6[2] = frontend[2];
	ctx->user_ip6[3] = frontend[3];
	ctx->user_port = bpf_htons(c->frontend_port);
	return 1;
}

/* The last close(): the client no longer uses the connection, even if data are still under way. */
SEC("cgroup/sock_release")
int pintle_release(struct bpf_sock *sk)
{
	struct pintle_connect *c = connect_find(sk);

	if (!c || !(c->generation || c->flags & PINTLE_CONNECT_SPLICED))
		return 1;
	__sync_fetch_and_or(&c->flags, PINTLE_CONNECT_RELEASED);
	count_end(c);
	seat_end(sk, c);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
