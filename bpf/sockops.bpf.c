/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sockops.bpf.c - what becomes of listeners and of connections.
 *
 * At the clients' side see sockops_client.bpf.h. At the servers' side:
 *
 *   listen()      registers a model server's socket, so that one which comes back is
 *                 steered to again with or without a daemon
 *   established   moves the decision into the connection's storage, counts it, and
 *                 only now binds the session: a spoofed packet gets nowhere near
 *   closed        counts the end, in flight and in the endpoint's sums; reports to who follows
 *
 * A listener carries its endpoint in `conns`; the kernel clones that into each child,
 * so a connection knows its endpoint even when its 4-tuple was forgotten.
 */
#include "common.bpf.h"
#include "listener.bpf.h"

#include <bpf/bpf_core_read.h>

/* The few kernel fields that bpf_sock_ops does not show; found by BTF at load. */
struct sock_common {
	unsigned char skc_ipv6only : 1;
} __attribute__((preserve_access_index));
struct kernfs_node {
	__u64 id;
} __attribute__((preserve_access_index));
struct cgroup {
	struct kernfs_node *kn;
} __attribute__((preserve_access_index));
struct sock_cgroup_data {
	struct cgroup *cgroup;
} __attribute__((preserve_access_index));
typedef struct {
	__u32 val;
} kuid_t;
struct sock {
	int sk_err;
	kuid_t sk_uid;
	struct sock_cgroup_data sk_cgrp_data;
} __attribute__((preserve_access_index));
struct tcp_sock {
} __attribute__((preserve_access_index));
struct mptcp_sock {
} __attribute__((preserve_access_index));

static __always_inline void addresses_read(struct bpf_sock_ops *ctx, struct pintle_tuple *t)
{
	t->scope = scope;
	t->local_port = ctx->local_port;
	t->remote_port = bpf_ntohl(ctx->remote_port);
	tuple_addresses(t, ctx);
}

static __always_inline bool in_scope(struct bpf_sock_ops *ctx)
{
	__u32 zero = 0;
	struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);

	return n && bpf_get_netns_cookie(ctx) == n->netns_cookie;
}

/* Callback flags belong to every program on the socket: add, never replace. */
static __always_inline void watch_end(struct bpf_sock_ops *ctx)
{
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* ---- ends ----------------------------------------------------------------------- */

/* How a connection ended. */
struct end {
	__u64 now;
	__u64 duration_ns;
	__u64 received;     /* bytes from the client */
	__u64 acknowledged; /* bytes by the client */
	__u32 error;        /* errno; 0: in order */
};

static __always_inline __u32 error_of(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct sock *kernel_sock = sk ? (struct sock *)bpf_skc_to_tcp_sock(sk) : NULL;

	return kernel_sock ? kernel_sock->sk_err : 0;
}

static __always_inline enum pintle_ending ending_of(__u32 error)
{
	switch (error) {
	case 0:
		return PINTLE_ENDING_CLOSED;
	case ECONNRESET:
	case EPIPE:
		return PINTLE_ENDING_RESET;
	case ETIMEDOUT:
		return PINTLE_ENDING_TIMEOUT;
	default:
		return PINTLE_ENDING_ERROR;
	}
}

/* Adds the end to the endpoint's sums, unless its id was given to another since. An endpoint that
 * was taken out of the configuration keeps its generation. */
static __always_inline void count_ended(__u32 endpoint, __u32 generation, const struct end *end)
{
	struct pintle_endpoint *e = bpf_map_lookup_elem(&endpoints, &endpoint);
	struct pintle_ends *sums = bpf_map_lookup_elem(&ends, &endpoint);
	__u32 how = ending_of(end->error);

	hide(how);
	if (!e || e->generation != generation || !sums || how >= PINTLE_ENDING_COUNT)
		return;
	__sync_fetch_and_add(&sums->count[how], 1);
	__sync_fetch_and_add(&sums->bytes_received, end->received);
	__sync_fetch_and_add(&sums->bytes_acknowledged, end->acknowledged);
	__sync_fetch_and_add(&sums->duration_ns, end->duration_ns);
}

/* Begins an event with what both hooks report alike. The caller adds the rest, then event_end(). */
static __always_inline struct pintle_event *event_closed(struct bpf_sock_ops *ctx, __u32 hook,
							 const struct end *end)
{
	struct pintle_event *e = event_begin(PINTLE_EVENT_CLOSED, hook, end->now);

	if (!e)
		return NULL;
	e->error = end->error;
	e->srtt_us = ctx->srtt_us >> 3; /* the kernel keeps eighths */
	e->duration_ns = end->duration_ns;
	e->bytes_received = end->received;
	e->bytes_acknowledged = end->acknowledged;
	return e;
}

#include "sockops_client.bpf.h"

/* ---- listeners ------------------------------------------------------------------ */

/* Families that a listener takes: v6 takes v4 as well, unless it was told not to or is
 * bound to an address that v4 cannot reach. */
static __always_inline __u32 listener_families(struct bpf_sock_ops *ctx, const __u8 *local,
					       const void *kernel_sock)
{
	const struct sock_common *sk = kernel_sock;

	if (ctx->family == AF_INET || (address_is_v4(local)))
		return PINTLE_FAMILY_V4;
	if (!address_is_any(local) || BPF_CORE_READ_BITFIELD(sk, skc_ipv6only))
		return PINTLE_FAMILY_V6;
	return PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6;
}

/* The endpoint that this listener serves: the one configured for its very address, or by
 * port alone, or (for a wildcard listener) the only one configured at that port. *elsewhere: it
 * has the port of one that is configured by port alone, whose page comes from another address. */
static __always_inline struct pintle_address *listener_endpoint(const __u8 *local, __u16 port,
								__u32 families, bool *elsewhere)
{
	struct pintle_address_key key = {.scope = scope, .port = port};
	bool any = address_is_any(local);
	struct pintle_address *a;

	if (!any) {
		__builtin_memcpy(key.address, local, sizeof(key.address));
		a = bpf_map_lookup_elem(&addresses, &key);
		if (a)
			return a;
		__builtin_memset(key.address, 0, sizeof(key.address));
	}
	a = bpf_map_lookup_elem(&addresses, &key);
	if (!a || a->flags & PINTLE_ADDRESS_ANY)
		return a;
	if (any && ((a->flags & PINTLE_ADDRESS_V4 && families & PINTLE_FAMILY_V4) ||
		    (a->flags & PINTLE_ADDRESS_V6 && families & PINTLE_FAMILY_V6)))
		return a;
	*elsewhere = true;
	return a->flags & PINTLE_ADDRESS_PORT ? a : NULL;
}

static __always_inline void listener_refuse(struct pintle_health *h, __u32 why, __u32 uid)
{
	/* A listener at another address is worth a word only while the server is missing. */
	if (why == PINTLE_UNSTEERABLE_ADDRESS && h->listening_since_ns)
		return;
	h->stranger = uid;
	h->error = 0;
	h->unsteerable = why;
}

/* The user that made the socket, and its cgroup. */
static __always_inline __u32 owner_of(const void *kernel_sock)
{
	const struct sock *sk = kernel_sock;

	return sk->sk_uid.val;
}

static __always_inline __u64 cgroup_of(const void *kernel_sock)
{
	const struct sock *sk = kernel_sock;

	/* Not where the kernel is built without CONFIG_SOCK_CGROUP_DATA. */
	return bpf_core_field_exists(sk->sk_cgrp_data) ? sk->sk_cgrp_data.cgroup->kn->id : 0;
}

static __always_inline bool in_cgroup(const struct pintle_address *a, const void *kernel_sock)
{
	struct pintle_server_cgroup key = {.pattern = a->pattern};

	if (!(a->flags & PINTLE_ADDRESS_CGROUP))
		return true;
	key.cgroup = cgroup_of(kernel_sock);
	return bpf_map_lookup_elem(&server_cgroups, &key);
}

/* Every slot is taken: the newest of n listeners takes a random slot, with the probability that
 * makes each of the n as likely to hold one. So when new workers join old ones and the old
 * ones then end, some of the new hold a slot. *ended counts a listener whose end nobody reports. */
static __always_inline void listener_push_in(struct bpf_sock_ops *ctx, __u32 endpoint,
					     struct pintle_health *h, __u32 *ended)
{
	__u32 i = bpf_get_prandom_u32() % (h->listeners + 1), slot;

	h->crowded = 1;
	if (i >= PINTLE_SOCKETS_PER_ENDPOINT)
		return;
	slot = endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;
	if (bpf_sock_map_update(ctx, &sockets, &slot, BPF_ANY) || !(h->unwatched & 1U << i))
		return;
	__sync_fetch_and_and(&h->unwatched, ~(1U << i));
	(*ended)++;
}

/* Takes the first free slot; one whose socket was closed is free. The end of a listener that
 * the daemon found is not reported, but shows here: its slot is free. *ended counts those. */
static __always_inline int listener_register(struct bpf_sock_ops *ctx, __u32 endpoint,
					     struct pintle_health *h, __u32 *ended)
{
	__u32 i, unwatched = h->unwatched;
	int err = -EEXIST;

	*ended = 0;
	for (i = 0; i < PINTLE_SOCKETS_PER_ENDPOINT; i++) {
		__u32 slot = endpoint * PINTLE_SOCKETS_PER_ENDPOINT + i;
		__u32 bit = unwatched & (1U << i);
		int taken;

		if (err != -EEXIST && !bit)
			continue;
		taken = bpf_sock_map_update(ctx, &sockets, &slot, BPF_NOEXIST);
		if (err == -EEXIST)
			err = taken;
		if (taken || !bit)
			continue;
		__sync_fetch_and_and(&h->unwatched, ~bit);
		(*ended)++;
	}
	if (err == -EEXIST)
		listener_push_in(ctx, endpoint, h, ended);
	return err;
}

static __always_inline void listeners_ended(struct pintle_health *h, __u32 n)
{
	if (n > h->listeners)
		n = h->listeners;
	if (n && __sync_fetch_and_add(&h->listeners, -n) == n) {
		h->listening_since_ns = 0;
		h->families = 0;
	}
}

static __always_inline void listener_opened(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *kernel_sock;
	struct pintle_address *a;
	struct pintle_conn *conn;
	struct pintle_health *h;
	struct pintle_tuple t;
	__u32 families, endpoint, ended, uid, strange;
	bool elsewhere = false;
	int err;

	if (!sk || !in_scope(ctx))
		return;
	kernel_sock = bpf_skc_to_tcp_sock(sk);
	if (!kernel_sock)
		return;
	addresses_read(ctx, &t);
	families = listener_families(ctx, t.local, kernel_sock);
	a = listener_endpoint(t.local, t.local_port, families, &elsewhere);
	if (!a || !endpoint_find(a->endpoint, a->generation))
		return;
	endpoint = a->endpoint;
	h = bpf_map_lookup_elem(&health, &endpoint);
	if (!h)
		return;
	uid = owner_of(kernel_sock);
	strange = elsewhere ? PINTLE_UNSTEERABLE_ADDRESS
			    : listener_strange(a, h->owner, uid, in_cgroup(a, kernel_sock));
	if (strange) {
		listener_refuse(h, strange, uid);
		return;
	}
	conn = bpf_sk_storage_get(&conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn)
		return;

	err = listener_register(ctx, endpoint, h, &ended);
	listeners_ended(h, ended);
	if (err && err != -EEXIST) {
		h->unsteerable = bpf_skc_to_mptcp_sock(sk) ? PINTLE_UNSTEERABLE_MPTCP
							   : PINTLE_UNSTEERABLE_OTHER;
		h->error = err;
		bpf_sk_storage_delete(&conns, sk);
		return;
	}
	conn->endpoint = endpoint;
	conn->generation = a->generation;
	conn->pool = a->pool;
	conn->flags = PINTLE_CONN_LISTENER | PINTLE_CONN_WATCHED;
	h->owner = listener_owner(a, h->owner, uid);
	h->unsteerable = 0;
	h->error = 0;
	__sync_fetch_and_or(&h->families, families);
	__sync_fetch_and_add(&h->listeners, 1);
	/* One that joins others changes nothing about being ready. */
	if (!h->listening_since_ns)
		h->listening_since_ns = bpf_ktime_get_ns();
	watch_end(ctx);
}

static __always_inline void listener_closed(const struct pintle_conn *conn)
{
	__u32 endpoint = conn->endpoint;
	struct pintle_health *h = bpf_map_lookup_elem(&health, &endpoint);

	if (h && endpoint_find(endpoint, conn->generation))
		listeners_ended(h, 1);
}

/* ---- connections ---------------------------------------------------------------- */

/* The client whose share a binding takes; see `shares` in abi.h. With key `source` that is a
 * network, since its hosts make a session for each address; with `destination` one host can make
 * them all. */
static __always_inline __u64 client_of(const struct pintle_tuple *t, __u32 key_kind)
{
	bool host = key_kind == PINTLE_KEY_DESTINATION;
	const __u32 *word = (const __u32 *)t->remote;
	__u64 high = bpf_ntohl(word[0]), v4 = bpf_ntohl(word[3]);

	if (address_is_v4(t->remote)) {
		if (v4 >> 24 == 127)
			v4 = 127 << 24;
		return PINTLE_CLIENT_V4 | (host ? v4 : v4 & 0xffff0000);
	}
	high = high << 32 | bpf_ntohl(word[1]);
	return host ? high : high & ~0xffffULL;
}

static __always_inline void bind_client(const struct pintle_conn *conn,
					const struct pintle_tuple *t)
{
	struct pintle_pool *pool = pool_find(conn->pool, conn->pool_generation);
	struct pintle_affinity_key key = {.pool = conn->pool,
					  .pool_generation = conn->pool_generation};
	struct pintle_ref ref;
	__u32 frontend_bits = 0;

	if (!pool || !binds(pool, conn->outcome))
		return;
	if (pool->key_kind == PINTLE_KEY_DESTINATION)
		frontend_bits = frontend_of(t, PINTLE_HOOK_LOOKUP, &ref);
	key_of_tuple(t, pool->key_kind,
		     KEY_BITS(pool->key_bits_v4, pool->key_bits_v6, frontend_bits), &key.session);
	vote(&key);
	if (key.session.kind != PINTLE_KEY_NONE)
		bind_session(&key, client_of(t, pool->key_kind), conn->endpoint, conn->generation,
			     conn->opened_ns);
}

static __always_inline void count_placed(const struct pintle_conn *conn)
{
	struct pintle_counters *n = counters_find(conn->endpoint, conn->class_id);

	if (n)
		__sync_fetch_and_add(&n->placed, 1);
}

/* Moves the decision from `pending` into the connection. One that was forgotten (the LRU
 * was full) still was steered if the client came to a frontend. */
static __always_inline void adopt_decision(struct pintle_conn *conn, const struct pintle_tuple *t)
{
	struct pintle_decision *d = bpf_map_lookup_elem(&pending, t);
	struct pintle_ref pool = {};

	conn->flags = PINTLE_CONN_DIRECT;
	conn->class_id = 0;
	conn->outcome = PINTLE_OUTCOME_COUNT;
	if (d && d->endpoint == conn->endpoint && d->generation == conn->generation) {
		conn->flags = PINTLE_CONN_STEERED;
		conn->pool = d->pool;
		conn->pool_generation = d->pool_generation;
		conn->class_id = d->class_id;
		conn->outcome = d->outcome;
		conn->decided_ns = d->decided_ns;
		/* The handshake took so long that the placement was counted as failed meanwhile. */
		if (__sync_lock_test_and_set(&d->ended, 1))
			count_placed(conn);
		bpf_map_delete_elem(&pending, t);
		return;
	}
	frontend_of(t, PINTLE_HOOK_LOOKUP, &pool);
	if (pool.generation) {
		conn->flags = PINTLE_CONN_STEERED;
		conn->pool = pool.id;
		conn->pool_generation = pool.generation;
	}
}

static __always_inline void connection_opened(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_counters *n;
	struct pintle_health *h;
	struct pintle_conn *conn;
	struct pintle_tuple t;
	__u32 endpoint;

	if (!sk)
		return;
	conn = bpf_sk_storage_get(&conns, sk, NULL, 0);
	if (!conn || !(conn->flags & PINTLE_CONN_LISTENER))
		return; /* a child of nobody's listener */
	endpoint = conn->endpoint;
	h = bpf_map_lookup_elem(&health, &endpoint);
	if (!h || !endpoint_find(endpoint, conn->generation)) {
		conn->flags = 0; /* the endpoint was taken out of the configuration */
		return;
	}
	addresses_read(ctx, &t);
	conn->opened_ns = bpf_ktime_get_ns();
	adopt_decision(conn, &t);
	n = counters_find(endpoint, conn->class_id);
	if (!n || __sync_lock_test_and_set(&conn->counted, 1))
		return;
	if (conn->flags & PINTLE_CONN_STEERED) {
		__sync_fetch_and_add(&n->opened, 1);
		bind_client(conn, &t);
	} else {
		__sync_fetch_and_add(&h->direct_opened, 1);
	}
	watch_end(ctx);
}

static __always_inline void report_closed(struct bpf_sock_ops *ctx, const struct pintle_conn *conn,
					  const struct end *end)
{
	struct pintle_event *e = event_closed(ctx, PINTLE_HOOK_LOOKUP, end);

	if (!e)
		return;
	e->pool = conn->pool;
	e->pool_generation = conn->pool_generation;
	e->endpoint = conn->endpoint;
	e->generation = conn->generation;
	e->class_id = conn->class_id;
	e->outcome = conn->outcome;
	addresses_read(ctx, &e->tuple);
	event_end(e);
}

static __always_inline void connection_closed(struct bpf_sock_ops *ctx,
					      const struct pintle_conn *conn)
{
	struct pintle_counters *n = counters_find(conn->endpoint, conn->class_id);
	struct end end = {
		.now = bpf_ktime_get_ns(),
		.error = error_of(ctx),
		.received = ctx->bytes_received,
		.acknowledged = ctx->bytes_acked,
	};

	end.duration_ns = end.now - conn->opened_ns;
	count_ended(conn->endpoint, conn->generation, &end);
	/* Last: while it is in flight, nobody else is given the endpoint's id. */
	if (n)
		__sync_fetch_and_add(&n->closed, 1);
	if (followed(end.now))
		report_closed(ctx, conn, &end);
}

static __always_inline void socket_closed(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_health *h;
	struct pintle_conn *conn;
	__u32 endpoint;

	if (!sk)
		return;
	conn = bpf_sk_storage_get(&conns, sk, NULL, 0);
	if (!conn) {
		struct pintle_connect *client = client_find(ctx);

		if (client)
			client_closed(ctx, client);
		return;
	}
	if (ctx->args[0] == BPF_TCP_LISTEN) {
		if (conn->flags & PINTLE_CONN_LISTENER)
			listener_closed(conn);
		return;
	}
	if (!__sync_lock_test_and_set(&conn->counted, 0))
		return;
	endpoint = conn->endpoint;
	if (conn->flags & PINTLE_CONN_DIRECT) {
		/* Of an endpoint that was taken out nobody counts them any more. */
		h = bpf_map_lookup_elem(&health, &endpoint);
		if (h && endpoint_find(endpoint, conn->generation))
			__sync_fetch_and_add(&h->direct_closed, 1);
		return;
	}
	connection_closed(ctx, conn);
}

SEC("sockops")
int pintle_sockops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		listener_opened(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		connection_opened(ctx);
		break;
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		client_connecting(ctx);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		client_established(ctx);
		break;
	case BPF_SOCK_OPS_RTO_CB:
		client_unanswered(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == BPF_TCP_CLOSE)
			socket_closed(ctx);
		break;
	}
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
