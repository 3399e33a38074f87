/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * earlier.bpf.c - gives a record to each connection that an endpoint's server accepted before
 * sockops was attached, so that the pass sees whether the server reads from it. Such a connection
 * is not counted: nobody decided it, and its end is not reported. The daemon runs this iterator
 * once after attaching, in the steered network namespace.
 *
 * Clients' sockets from before are not looked for: their peer is the frontend, and which server
 * answers there is known to whatever serves the frontend without Pintle.
 */
#include "iterator.bpf.h"

struct tcp_sock {
} __attribute__((preserve_access_index));
struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

/* The endpoint at whose address the server accepted the connection. The address of a frontend says
 * nothing: an earlier Pintle may have steered that connection to any endpoint. */
static __always_inline struct pintle_address *endpoint_at(const struct pintle_tuple *t)
{
	struct pintle_address_key key = {.scope = scope, .port = t->local_port};
	struct pintle_address *a;
	struct pintle_ref pool = {};

	frontend_of(t, PINTLE_HOOK_LOOKUP, &pool);
	if (pool.generation)
		return NULL;
	__builtin_memcpy(key.address, t->local, sizeof(key.address));
	a = bpf_map_lookup_elem(&addresses, &key);
	if (a)
		return a;
	__builtin_memset(key.address, 0, sizeof(key.address));
	a = bpf_map_lookup_elem(&addresses, &key);
	return a && a->flags & PINTLE_ADDRESS_ANY ? a : NULL;
}

SEC("iter/tcp")
int pintle_earlier(struct bpf_iter__tcp *ctx)
{
	struct sock_common *c = ctx->sk_common;
	struct pintle_tuple t = {.scope = scope};
	struct pintle_address *a;
	struct pintle_conn *conn;
	struct tcp_sock *tp;

	if (!c || c->skc_state == BPF_TCP_LISTEN || c->skc_state == BPF_TCP_SYN_SENT)
		return 0;
	tp = bpf_skc_to_tcp_sock(c);
	if (!tp)
		return 0; /* of a handshake, or in TIME_WAIT */
	tuple_of(&t, c);
	a = endpoint_at(&t);
	if (!a || !endpoint_find(a->endpoint, a->generation))
		return 0;
	conn = bpf_sk_storage_get(&conns, tp, NULL, 0);
	if (conn && (conn->counted || endpoint_kept(conn->endpoint, conn->generation)))
		return 0;
	if (!conn)
		conn = bpf_sk_storage_get(&conns, tp, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn)
		return 0;
	conn->flags = PINTLE_CONN_EARLIER;
	conn->opened_ns = bpf_ktime_get_ns();
	conn->pool = a->pool;
	conn->endpoint = a->endpoint;
	conn->generation = a->generation;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
