/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* sockops_trace.bpf.h - what becomes of a connection whose decision was traced, on both sides. */
#ifndef PINTLE_SOCKOPS_TRACE_BPF_H
#define PINTLE_SOCKOPS_TRACE_BPF_H

#include "sockops_common.bpf.h"
#include "rule/trace.bpf.h"

/* The socket's traced decision; NULL: there is none. A follower that was killed leaves a time that
 * is past, which costs a look-up more. */
static __always_inline struct pintle_trace *trace_find(struct bpf_sock_ops *ctx)
{
	struct pintle_follows *all = follows_find();
	struct bpf_sock *sk = ctx->sk;

	if (!all || !all->until_ns || !sk)
		return NULL;
	return bpf_sk_storage_get(&traces, sk, NULL, 0);
}

/* A server's connection is established: its decision, if it is traced, is the socket's from now on.
 * Not inlined, because of its stack; static, because Linux 6.1 takes keys only from the stack. */
static __noinline void trace_adopt(struct bpf_sock_ops *ctx, const struct pintle_tuple *t)
{
	struct pintle_follows *all = follows_find();
	struct bpf_sock *sk = ctx->sk;
	struct pintle_trace *n;

	if (!all || !all->until_ns || !sk)
		return;
	n = bpf_map_lookup_elem(&decided, t);
	if (!n)
		return;
	n->cookie = bpf_get_socket_cookie(ctx);
	if (!bpf_sk_storage_get(&traces, sk, n, BPF_SK_STORAGE_GET_F_CREATE))
		note_lost(n->followers);
	bpf_map_delete_elem(&decided, t);
}

/* A client's socket has its address and port. */
static __noinline void trace_address(struct bpf_sock_ops *ctx)
{
	struct pintle_trace *n = trace_find(ctx);
	struct pintle_tuple t;

	if (!n)
		return;
	addresses_read(ctx, &t);
	n->tuple.remote_port = t.local_port;
	__builtin_memcpy(n->tuple.remote, t.local, sizeof(n->tuple.remote));
}

/* A first token came, for which the client waited so long. */
static __noinline void trace_first(struct bpf_sock_ops *ctx, __u32 waited_us)
{
	struct pintle_trace *n = trace_find(ctx);

	if (!n)
		return;
	if (!n->answers++)
		n->first_us = n->most_us = waited_us;
	else if (waited_us > n->most_us)
		n->most_us = waited_us;
}

/* The connection to that endpoint has ended. */
static __noinline void trace_end(struct bpf_sock_ops *ctx, const struct end *end,
				 const struct pintle_ref *went, __u32 failure)
{
	struct pintle_trace *n = trace_find(ctx);

	if (!n)
		return;
	n->went = *went;
	n->duration_ns = end->duration_ns;
	n->bytes_received = end->received;
	n->bytes_acknowledged = end->acknowledged;
	n->srtt_us = ctx->srtt_us >> 3; /* the kernel keeps eighths */
	n->error = end->error;
	n->cause = ending_of(end->error);
	n->failure = failure;
	trace_closed(n, end->now);
}

#endif
