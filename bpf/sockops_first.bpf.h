/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sockops_first.bpf.h - when the first token of an answer comes, by callbacks that end with it.
 *
 * At a client's socket, for each request:
 *   RTT_CB        a segment of the request was acknowledged. A client sends nothing but requests,
 * so the callback comes once or twice for a request, and never for a token. It arms HDR_OPT_LEN an
 * acknowledgement is being sent: data has come. The first data is the answer's head, the second its
 * first token, which disarms the callback.
 *
 * At a server's socket, for the first request of a connection:
 *   HDR_OPT_LEN   a segment is being sent: an acknowledgement of the request, the head, or the
 * first token, which disarms the callback. No callback could arm it for the next request: RTT_CB
 * would come for each token.
 *
 * An answer that has one segment of data has its first token in it. HDR_OPT_LEN reserves no room,
 * so no packet changes. The pass follows requests by itself: if another program takes the callbacks
 * away, only first tokens are missed.
 */
#ifndef PINTLE_SOCKOPS_FIRST_BPF_H
#define PINTLE_SOCKOPS_FIRST_BPF_H

#include "sockops.bpf.h"

#define SOCK_DONE 1 /* a bit of skc_flags: the peer's FIN has come */

static __always_inline struct pintle_turn *turn_find(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? bpf_sk_storage_get(&turns, sk, NULL, 0) : NULL;
}

static __always_inline void callback_arm(struct bpf_sock_ops *ctx, __u32 flag)
{
	if (!(ctx->bpf_sock_ops_cb_flags & flag))
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | flag);
}

static __always_inline void callback_disarm(struct bpf_sock_ops *ctx, __u32 flag)
{
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags & ~flag);
}

/* Begins with a connection that is being established, if its pool's requests are followed; `flag`
 * is the first callback to come. */
static __always_inline void first_begin(struct bpf_sock_ops *ctx, __u32 pool, __u32 pool_generation,
					__u64 opened_ns, __u32 flag)
{
	struct pintle_pool *followed = pool_find(pool, pool_generation);
	struct bpf_sock *sk = ctx->sk;
	struct pintle_turn *t;

	if (!sk || !followed || !followed->follow)
		return;
	t = bpf_sk_storage_get(&turns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!t)
		return;
	/* A client's socket may have had a connection before. */
	__builtin_memset(t, 0, sizeof(*t));
	t->opened_ns = opened_ns;
	callback_arm(ctx, flag);
}

/* Adds the answer's first token, which came at `ns`, to the endpoint's sums. */
static __always_inline void first_end(struct pintle_turn *t, __u32 endpoint, __u32 generation,
				      __u64 ns)
{
	struct pintle_firsts *sums = bpf_map_lookup_elem(&firsts, &endpoint);
	__s64 waited = ns - t->first.asked_ns;

	t->first.step = PINTLE_FIRST_NONE;
	if (!t->first.asked_ns || !sums || !endpoint_kept(endpoint, generation))
		return;
	__sync_fetch_and_add(&sums->answers, 1);
	__sync_fetch_and_add(&sums->waited_ns, waited > 0 ? waited : 0);
}

/* The connection has ended: an answer's only segment was its first token too. */
static __always_inline void first_closed(struct pintle_turn *t, __u32 endpoint, __u32 generation)
{
	if (t && t->first.step == PINTLE_FIRST_HEADED)
		first_end(t, endpoint, generation, t->first.headed_ns);
}

/* ---- at a client's socket --------------------------------------------------------- */

/* Whether data came since the last look. Returns true with the first token. A client that answers
 * at once delays its acknowledgements, so that one may be for the head and the first token: then
 * the look at the head sees two segments. */
static __always_inline bool client_told(struct bpf_sock_ops *ctx, struct pintle_turn *t,
					__u32 endpoint, __u32 generation)
{
	struct bpf_sock *sk = ctx->sk;
	struct sock_common *kernel_sock = sk ? (struct sock_common *)bpf_skc_to_tcp_sock(sk) : NULL;
	__u64 now = bpf_ktime_get_ns();
	__u32 out = ctx->bytes_received;

	if (!kernel_sock)
		return true;
	/* The server's FIN counts as a byte. */
	out -= !!(kernel_sock->skc_flags & 1UL << SOCK_DONE);
	if (t->first.out == out)
		return false;
	t->first.out = out;
	if (t->first.step == PINTLE_FIRST_ASKED && ctx->data_segs_in - t->first.segments < 2) {
		t->first.step = PINTLE_FIRST_HEADED;
		t->first.headed_ns = now;
		return false;
	}
	if (t->first.step != PINTLE_FIRST_NONE)
		first_end(t, endpoint, generation, now);
	return true;
}

/* All that was written counts, not only what was acknowledged: the callback comes once for a round
 * trip, so only the beginning of a large request is acknowledged when it comes. */
static __always_inline void client_asked(struct bpf_sock_ops *ctx, struct pintle_turn *t,
					 __u32 endpoint, __u32 generation)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	__u32 in;
	bool answered;

	if (!tp || ctx->state != BPF_TCP_ESTABLISHED)
		return;
	/* The SYN counts as a byte. */
	in = (__u32)ctx->bytes_acked + (tp->write_seq - tp->snd_una) - 1;
	if (in == t->first.in)
		return;
	/* The acknowledgement came with the first data of the answer. */
	answered = tp->rcv_nxt != tp->rcv_wup;
	first_closed(t, endpoint, generation);
	if (t->first.step == PINTLE_FIRST_NONE) {
		t->first.out = (__u32)ctx->bytes_received - answered;
		t->first.segments = ctx->data_segs_in - answered;
	}
	t->first.step = PINTLE_FIRST_ASKED;
	t->first.in = in;
	t->first.asked_ns = tp->rack.mstamp * 1000; /* when its newest segment left */
	if (answered)
		client_told(ctx, t, endpoint, generation);
	callback_arm(ctx, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
}

/* ---- at a server's socket ----------------------------------------------------------- */

/* Returns true with the first token, or if there is nothing to wait for. */
static __always_inline bool server_told(struct bpf_sock_ops *ctx, struct pintle_turn *t,
					__u32 endpoint, __u32 generation)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 in = ctx->bytes_received;

	if (!ctx->skb_len) {
		/* An acknowledgement, perhaps of a further segment of the request. */
		if (in != t->first.in && t->first.step != PINTLE_FIRST_HEADED) {
			t->first.in = in;
			t->first.asked_ns = now;
			t->first.step = PINTLE_FIRST_ASKED;
		}
		return false;
	}
	if (t->first.step == PINTLE_FIRST_HEADED) {
		first_end(t, endpoint, generation, now);
		return true;
	}
	/* The request was not acknowledged before its answer: when it came is not known. */
	if (t->first.step == PINTLE_FIRST_NONE || in != t->first.in)
		return true;
	t->first.step = PINTLE_FIRST_HEADED;
	t->first.headed_ns = now;
	return false;
}

#endif
