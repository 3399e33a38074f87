/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sockops_first.bpf.h - when the first token of an answer comes, by callbacks that end with it.
 *
 * At a client's socket, for each request: RTT_CB comes when a segment of the request was
 * acknowledged. A client sends nothing but requests, so it comes once or twice for a request, and
 * never for a token. It arms HDR_OPT_LEN, which comes when an acknowledgement is being sent: data
 * has come. The first data is the answer's head, the second its first token, which disarms the
 * callback.
 *
 * At a server's socket, for the first request of a connection: HDR_OPT_LEN comes when a segment is
 * being sent: an acknowledgement of the request, the head, or the first token, which disarms the
 * callback. No callback could arm it for the next request: RTT_CB would come for each token.
 *
 * Where `follow` is switched off, open connections keep their callbacks, which cost one or two
 * calls for a request, and never one for a token; where it is switched on, only new connections get
 * them.
 *
 * No program sees what the bytes are. Two sizes tell HTTP/2 without TLS, and WebSocket, from
 * HTTP/1.1; from then on nothing of the connection is measured, because what would be counted as a
 * request or as an answer is neither:
 *
 *   - the first segment of the first answer is shorter than a head: a server of HTTP/2 begins with
 *     its settings, of 9 to 62 bytes. `100 Continue`, of 25 bytes, is no answer yet.
 *   - bytes that come after an answer has begun are fewer than a request has: a client of HTTP/2
 *     acknowledges the settings by 9 bytes.
 *
 * An answer that has one segment of data has its first token in it. HDR_OPT_LEN reserves no room,
 * so no packet changes. The pass follows requests by itself: if another program takes the callbacks
 * away, only first tokens are missed.
 */
#ifndef PINTLE_SOCKOPS_FIRST_BPF_H
#define PINTLE_SOCKOPS_FIRST_BPF_H

#include "pass/answer.bpf.h"
#include "pass/answered.bpf.h"
#include "buckets.bpf.h"
#include "pass/evidence.bpf.h"
#include "sockops_trace.bpf.h"
#include "rule/trial.bpf.h"

#define ANSWER_LATE_NS 500000000ULL

#define SOCK_DONE 1 /* a bit of skc_flags: the peer's FIN has come */

/* What is remembered of the connection that was opened at `opened_ns`; NULL: nothing. */
static __always_inline struct pintle_turn *turn_find(struct bpf_sock_ops *ctx, __u64 opened_ns)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_turn *t = sk ? bpf_sk_storage_get(&turns, sk, NULL, 0) : NULL;

	return t && t->opened_ns == opened_ns ? t : NULL;
}

/* The same, made if there is none; NULL: no memory. */
static __always_inline struct pintle_turn *turn_make(struct bpf_sock_ops *ctx, __u64 opened_ns)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_turn *t;

	if (!sk)
		return NULL;
	t = bpf_sk_storage_get(&turns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (t)
		turn_begin(t, opened_ns);
	return t;
}

#define REQUEST_LEAST 25 /* "GET / HTTP/1.1", "Host:", and the empty line */
#define ANSWER_LEAST  64 /* "HTTP/1.1 204 No Content", the Date of RFC 9110, the empty line */
#define CONTINUE      25 /* "HTTP/1.1 100 Continue" and the empty line */

/* Whether so many bytes, after an answer has begun, are too few for a request. The peer's FIN
 * counts as one. */
static __always_inline bool is_no_request(__u32 bytes)
{
	return bytes > 1 && bytes < REQUEST_LEAST;
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

/* The time in microseconds; wraps after 71 minutes, which no answer takes. */
static __always_inline __u32 now_us(void)
{
	return bpf_ktime_get_ns() / 1000;
}

/* Arms the first callback to come for a connection that is being established, if its pool's
 * requests are followed. */
static __always_inline void first_begin(struct bpf_sock_ops *ctx, __u32 pool, __u32 pool_generation,
					__u32 flag)
{
	struct pintle_pool *followed = pool_find(pool, pool_generation);

	if (followed && followed->follow)
		callback_arm(ctx, flag);
}

/* Returns bucket_of(), whose search the verifier goes through once here, not for each state in
 * which it is asked. */
__weak __noinline int bucket_find(__u32 us)
{
	return bucket_of(us);
}

/* A first token that came; or a request that ended, of which only the first five are used. */
struct first {
	__u32 endpoint, generation, pool, pool_generation, class_id;
	__u32 waited_us;
	__u32 asked_us;  /* when its request's newest byte came: the low 32 bits of the clock */
	__u32 bytes;     /* of the request */
	__u64 opened_ns; /* when its connection was opened */
};
#define FIRST(c, us, size)                                                                         \
	{                                                                                          \
		(c)->endpoint, (c)->generation, (c)->pool, (c)->pool_generation, (c)->class_id,    \
			(us), (c)->asked_us, (size), (c)->opened_ns                                \
	}

static __always_inline void first_sum(struct pintle_firsts *sums, __u32 waited_us, __u32 bucket)
{
	__sync_fetch_and_add(&sums->answers, 1);
	__sync_fetch_and_add(&sums->waited_ns, (__u64)waited_us * 1000);
	if (bucket < PINTLE_BUCKETS)
		__sync_fetch_and_add(&sums->bucket[bucket], 1);
}

/* The same for the block of the pool's A/B test in which the request came, if it has one. */
__weak __noinline int first_add_trial(const struct first *f)
{
	struct pintle_trial_block key = {};
	struct pintle_override *o;
	struct pintle_firsts *sums;
	struct pintle_trial *t;
	__u64 now = bpf_ktime_get_ns();

	if (!f)
		return 0;
	key.pool.id = f->pool;
	o = bpf_map_lookup_elem(&overrides, &key.pool.id);
	if (!o || !(o->flags & PINTLE_OVERRIDE_TRIAL))
		return 0;
	key.pool.generation = f->pool_generation;
	t = bpf_map_lookup_elem(&trials, &key.pool);
	if (!t)
		return 0;
	key.trial = t->seed;
	key.number = trial_counts_in(t, f->opened_ns,
				     now - (__u64)((__u32)(now / 1000) - f->asked_us) * 1000);
	sums = bpf_map_lookup_elem(&trial_blocks, &key);
	if (sums)
		first_sum(sums, f->waited_us, bucket_find(f->waited_us));
	return 0;
}

static __always_inline struct pintle_firsts *endpoint_firsts(const struct first *f)
{
	__u32 key = f->endpoint;

	return endpoint_kept(key, f->generation) ? bpf_map_lookup_elem(&firsts, &key) : NULL;
}

static __always_inline struct pintle_class_sums *class_sums_of(const struct first *f)
{
	__u32 key = f->pool * PINTLE_MAX_CLASSES + (f->class_id & (PINTLE_MAX_CLASSES - 1));

	return pool_find(f->pool, f->pool_generation) ? bpf_map_lookup_elem(&class_sums, &key)
						      : NULL;
}

static __always_inline void size_add(struct pintle_sizes *to, __u32 bytes)
{
	__u32 at = size_bucket(bytes);

	hide(at);
	if (at < PINTLE_SIZES)
		__sync_fetch_and_add(&to->count[at], 1);
	__sync_fetch_and_add(&to->bytes, bytes);
}

/* Adds the size of a request whose first token came. */
__weak __noinline int request_measured(const struct first *f)
{
	struct pintle_class_sums *sums;
	struct pintle_firsts *own;

	if (!f)
		return 0;
	own = endpoint_firsts(f);
	if (own)
		__sync_fetch_and_add(&own->request_bytes, f->bytes);
	sums = class_sums_of(f);
	if (sums)
		size_add(&sums->request, f->bytes);
	return 0;
}

/* Counts a request that ended. `bytes` are its answer's; 0: it has none. */
__weak __noinline int request_ended(const struct first *f, __u32 bytes, __u32 how)
{
	struct pintle_class_sums *sums;
	struct pintle_firsts *own;

	if (!f)
		return 0;
	own = bytes ? endpoint_firsts(f) : NULL;
	if (own) {
		__sync_fetch_and_add(&own->ended, 1);
		__sync_fetch_and_add(&own->answer_bytes, bytes);
	}
	sums = class_sums_of(f);
	if (!sums)
		return 0;
	if (bytes)
		size_add(&sums->answer, bytes);
	hide(how);
	if (how < PINTLE_REQUEST_END_COUNT)
		__sync_fetch_and_add(&sums->ended[how], 1);
	return 0;
}

/* How a request ended with its connection, which ended with this errno. */
static __always_inline enum pintle_request_end request_end_of(__u32 error, bool answered)
{
	switch (ending_of(error)) {
	case PINTLE_ENDING_CLOSED:
		return answered ? PINTLE_REQUEST_ANSWERED : PINTLE_REQUEST_UNANSWERED;
	case PINTLE_ENDING_RESET:
		return PINTLE_REQUEST_RESET;
	case PINTLE_ENDING_TIMEOUT:
		return PINTLE_REQUEST_TIMEOUT;
	default:
		return PINTLE_REQUEST_ERROR;
	}
}

/* Whether the peer's FIN has come, which counts as a byte. */
static __always_inline bool fin_came(const void *kernel_sock)
{
	const struct sock_common *sk = kernel_sock;

	return sk->skc_flags & 1UL << SOCK_DONE;
}

/* Adds a first token for which a client waited so long to the sums of the endpoint, and of the
 * class. */
__weak __noinline int first_add(const struct first *f)
{
	struct pintle_firsts *sums;
	__u32 key, bucket;

	if (!f)
		return 0;
	bucket = bucket_find(f->waited_us);
	hide(bucket);
	key = f->endpoint;
	sums = bpf_map_lookup_elem(&firsts, &key);
	if (sums && endpoint_kept(key, f->generation))
		first_sum(sums, f->waited_us, bucket);
	key = f->pool * PINTLE_MAX_CLASSES + f->class_id;
	sums = bpf_map_lookup_elem(&class_firsts, &key);
	if (sums && f->class_id < PINTLE_MAX_CLASSES && pool_find(f->pool, f->pool_generation))
		first_sum(sums, f->waited_us, bucket);
	return 0;
}

static const struct pintle_tenant_firsts no_tenant_firsts;

/* Adds a first token to the tenant's sums, which are made if there is room. */
__weak __noinline int tenant_first_add(const struct pintle_affinity_key *tenant, __u32 waited_us)
{
	struct pintle_affinity_key key;
	struct pintle_tenant_firsts *sums;
	__u32 bucket;

	if (!tenant)
		return 0;
	key = *tenant;
	sums = bpf_map_lookup_elem(&tenant_firsts, &key);
	if (!sums) {
		bpf_map_update_elem(&tenant_firsts, &key, &no_tenant_firsts, BPF_NOEXIST);
		sums = bpf_map_lookup_elem(&tenant_firsts, &key);
	}
	if (!sums)
		return 0;
	bucket = tenant_bucket_of(bucket_find(waited_us));
	hide(bucket);
	__sync_fetch_and_add(&sums->answers, 1);
	__sync_fetch_and_add(&sums->waited_ns, (__u64)waited_us * 1000);
	if (bucket < PINTLE_TENANT_BUCKETS)
		__sync_fetch_and_add(&sums->bucket[bucket], 1);
	return 0;
}

/* The same for the tenant of a socket that has a seat. */
static __always_inline void seat_first(struct bpf_sock_ops *ctx, __u32 waited_us)
{
	struct bpf_sock *sk = ctx->sk;
	struct pintle_seat *s = sk ? bpf_sk_storage_get(&seats, sk, NULL, 0) : NULL;
	struct pintle_affinity_key key;

	if (!s)
		return;
	key = s->tenant;
	tenant_first_add(&key, waited_us);
}

/* Adds a first token by `c`, the record of a client's socket or of a server's, of a request of so
 * many bytes. */
#define FIRST_ADD(c, us, size)                                                                     \
	do {                                                                                       \
		struct first f = FIRST(c, us, size);                                               \
                                                                                                   \
		first_add(&f);                                                                     \
		first_add_trial(&f);                                                               \
		request_measured(&f);                                                              \
	} while (0)

/* The connection has ended, after so many segments of answers. What came out since the last pass,
 * no other pass will see; yet it says that the endpoint serves. A FIN counts as a byte. `t` is NULL
 * if no pass saw the connection. */
static __always_inline void answer_ended(const struct pintle_turn *t, __u32 endpoint,
					 __u32 generation, const struct end *end, __u32 segments)
{
	struct pintle_firsts *sums = bpf_map_lookup_elem(&firsts, &endpoint);
	__u32 in = end->received, out = end->acknowledged;
	bool goes_on = false;

	if (t) {
		in -= t->in;
		out -= t->out;
		segments -= t->segments;
		goes_on = t->state == PINTLE_TURN_HEADED || t->state == PINTLE_TURN_ANSWERING;
		if (t->state == PINTLE_TURN_WAITING)
			in += t->bytes;
	}
	if (sums && (__s32)out > 1 && endpoint_kept(endpoint, generation) &&
	    (goes_on || answer_beyond_head(segments, out, in)))
		sums->out_ns = bpf_ktime_get_ns();
}

/* Whether this side has sent its FIN first, by the state before the connection's end. */
static __always_inline bool closed_here(__u32 before)
{
	return before == BPF_TCP_FIN_WAIT1 || before == BPF_TCP_FIN_WAIT2 ||
	       before == BPF_TCP_CLOSING;
}

/* Whether the server ended the connection: by its FIN, before the client's, or by a reset. Who
 * resets a connection has no error, and no FIN came. */
static __always_inline bool server_ended_it(const struct bpf_sock_ops *ctx,
					    const struct tcp_sock *tp, __u32 error, bool asks)
{
	bool here = closed_here(ctx->args[0]);

	if (asks)
		return !here && (fin_came(tp) || error == ECONNRESET);
	return here || (!fin_came(tp) && !error);
}

/* Notes the shape of the only answer on a connection that ended; those before the last one the pass
 * has noted. `asks`: this is the client's socket. A server that ended a connection owes its client
 * an answer; one whose client has gone away does not. */
static __always_inline void answer_shape(struct bpf_sock_ops *ctx, const struct pintle_turn *t,
					 struct answered *a, __u64 in, const struct end *end,
					 bool asks)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	__u32 came, left;

	if (!tp || !in || (t && (t->requests > 1 || t->flags & PINTLE_TURN_NOTED)))
		return;
	if (!a->bytes && !server_ended_it(ctx, tp, end->error, asks))
		return;
	came = asks ? tp->lsndtime : tp->inet_conn.icsk_ack.lrcvtime;
	left = asks ? tp->inet_conn.icsk_ack.lrcvtime : tp->lsndtime;
	/* A kept connection may end long after its answer: nobody can say which page counted it. */
	if (a->bytes && end->now - tick_time(left, end->now) > ANSWER_LATE_NS)
		return;
	a->took_ms = (__s32)(left - came) > 0 ? (left - came) * tick_ns / 1000000 : 0;
	answered_note(a);
}

/* ---- evidence --------------------------------------------------------------------- */

/* What is known of a connection that counts as open in its session's binding `a`, from its
 * beginning on. */
static __always_inline void evidence_begin(const struct pintle_affinity_key *key,
					   const struct pintle_affinity *a, struct pintle_turn *t)
{
	t->session = key->session;
	t->flags |= PINTLE_TURN_BOUND;
	t->beside = session_beside(a, 1);
}

/* Tells of the requests on such a connection, which ended. `in` and `out` are bytes of requests and
 * of answers; `asks`: this is the client's socket. */
static __always_inline void evidence_end(struct bpf_sock_ops *ctx,
					 const struct pintle_affinity_key *key,
					 struct pintle_turn *t, __u32 in, __u32 out, bool asks)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	struct closing c = {.in = in, .out = out};

	if (!t || !tp || !pool_classifies(key->pool, key->pool_generation))
		return;
	c.now = bpf_ktime_get_ns();
	c.in_stamp = asks ? tp->lsndtime : tp->inet_conn.icsk_ack.lrcvtime;
	c.out_stamp = asks ? tp->inet_conn.icsk_ack.lrcvtime : tp->lsndtime;
	evidence_closed(key, t, &c);
}

/* ---- at a client's socket --------------------------------------------------------- */

/* The first token came at this time. */
static __always_inline void client_first(struct bpf_sock_ops *ctx, struct pintle_connect *c,
					 __u32 us)
{
	__s32 waited_us = us - c->asked_us;

	c->first_step = PINTLE_FIRST_NONE;
	if (!c->asked_us)
		return;
	FIRST_ADD(c, waited_us > 0 ? waited_us : 0, c->first_in - c->before_in);
	if (c->flags & PINTLE_CONNECT_SEAT)
		seat_first(ctx, waited_us > 0 ? waited_us : 0);
	trace_first(ctx, waited_us > 0 ? waited_us : 0);
}

/* The answer has ended: if it had one segment, that was its first token too. */
static __always_inline void client_answered(struct bpf_sock_ops *ctx, struct pintle_connect *c)
{
	if (c->first_step == PINTLE_FIRST_HEADED)
		client_first(ctx, c, c->headed_us);
}

/* Bytes of requests that were written, whether acknowledged or not. The SYN counts as one. */
static __always_inline __u32 client_wrote(const struct bpf_sock_ops *ctx, const struct tcp_sock *tp)
{
	return (__u32)ctx->bytes_acked + (tp->write_seq - tp->snd_una) - 1;
}

/* From now on the connection is not measured. Returns true. */
static __always_inline bool client_is_other(struct pintle_connect *c)
{
	c->first_step = PINTLE_FIRST_NONE;
	__sync_fetch_and_or(&c->flags, PINTLE_CONNECT_OTHER);
	return true;
}

/* Whether the client has written what is no request since an answer began. */
static __always_inline bool client_other(struct bpf_sock_ops *ctx, struct pintle_connect *c,
					 const struct tcp_sock *tp)
{
	return c->first_in && c->first_step != PINTLE_FIRST_ASKED &&
	       is_no_request(client_wrote(ctx, tp) - c->first_in) && client_is_other(c);
}

/* Whether data came since the last look. Returns true with the first token. A client that answers
 * at once delays its acknowledgements, so that one may be for the head and the first token: then
 * the look at the head sees two segments. */
static __always_inline bool client_told(struct bpf_sock_ops *ctx, struct pintle_connect *c)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	__u32 now = now_us(), out = ctx->bytes_received;

	if (!tp || c->flags & PINTLE_CONNECT_OTHER)
		return true;
	out -= fin_came(tp);
	if (c->first_out == out)
		return false;
	c->first_out = out;
	if (client_other(ctx, c, tp))
		return true;
	/* The end of a large request was not written yet when RTT_CB came last. What is sent with
	 * this acknowledgement, or not acknowledged yet, may be the next request. */
	if (c->first_step == PINTLE_FIRST_ASKED && !ctx->skb_len && tp->snd_una == tp->write_seq &&
	    ctx->state == BPF_TCP_ESTABLISHED)
		c->first_in = (__u32)ctx->bytes_acked - 1;
	if (c->first_step == PINTLE_FIRST_ASKED && out - c->before_out == CONTINUE) {
		c->before_out = out;
		c->first_segments = ctx->data_segs_in;
		return false;
	}
	if (c->first_step == PINTLE_FIRST_ASKED && ctx->data_segs_in - c->first_segments < 2) {
		c->first_step = PINTLE_FIRST_HEADED;
		c->headed_us = now;
		return !c->before_in && out - c->before_out < ANSWER_LEAST && client_is_other(c);
	}
	if (c->first_step != PINTLE_FIRST_NONE)
		client_first(ctx, c, now);
	return true;
}

/* All that was written counts, not only what was acknowledged: the callback comes once for a round
 * trip, so only the beginning of a large request is acknowledged when it comes. */
static __always_inline void client_asked(struct bpf_sock_ops *ctx, struct pintle_connect *c)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	__u32 in, out;
	bool answered;

	if (!tp || ctx->state != BPF_TCP_ESTABLISHED || c->flags & PINTLE_CONNECT_OTHER)
		return;
	in = client_wrote(ctx, tp);
	if (in == c->first_in || client_other(ctx, c, tp))
		return;
	/* The acknowledgement came with the first data of the answer. */
	answered = tp->rcv_nxt != tp->rcv_wup;
	client_answered(ctx, c);
	if (c->first_step == PINTLE_FIRST_NONE) {
		out = (__u32)ctx->bytes_received - (tp->rcv_nxt - tp->rcv_wup);
		if (c->first_in) {
			struct first f = FIRST(c, 0, 0);

			request_ended(&f, out - c->before_out, PINTLE_REQUEST_ANSWERED);
		}
		c->before_in = c->first_in;
		c->before_out = out;
		c->first_out = (__u32)ctx->bytes_received - answered;
		c->first_segments = ctx->data_segs_in - answered;
	}
	c->first_step = PINTLE_FIRST_ASKED;
	c->first_in = in;
	c->asked_us = tp->rack.mstamp; /* when its newest segment left */
	if (answered)
		client_told(ctx, c);
	callback_arm(ctx, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
}

/* The connection ended, by this errno: so did its newest request. */
static __always_inline void client_ended(struct bpf_sock_ops *ctx, struct pintle_connect *c,
					 __u32 error)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	bool answered = c->first_step != PINTLE_FIRST_ASKED;
	struct first f = FIRST(c, 0, 0);
	__u32 out;

	if (!tp || !c->first_in || c->flags & PINTLE_CONNECT_OTHER || client_other(ctx, c, tp))
		return;
	client_answered(ctx, c);
	out = (__u32)ctx->bytes_received - fin_came(tp) - c->before_out;
	request_ended(&f, answered ? out : 0, request_end_of(error, answered));
}

/* ---- at a server's socket ----------------------------------------------------------- */

static __always_inline bool server_is_other(struct pintle_conn *conn)
{
	conn->first_step = PINTLE_FIRST_NONE;
	conn->flags |= PINTLE_CONN_OTHER;
	return true;
}

/* Whether what is no request has come since the answer began. */
static __always_inline bool server_other(struct pintle_conn *conn, __u32 in)
{
	return conn->first_step >= PINTLE_FIRST_HEADED && is_no_request(in - conn->first_in) &&
	       server_is_other(conn);
}

/* Bytes that the server has written, without its FIN. `state`: before the end. */
static __always_inline __u32 server_wrote(const struct tcp_sock *tp, __u64 acknowledged,
					  __u32 state)
{
	bool fin = state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_FIN_WAIT2 ||
		   state == BPF_TCP_CLOSING || state == BPF_TCP_LAST_ACK ||
		   state == BPF_TCP_TIME_WAIT;

	return (__u32)acknowledged + (tp->write_seq - tp->snd_una) - fin;
}

/* Returns true with the first token, or if there is nothing to wait for. */
static __always_inline bool server_told(struct bpf_sock_ops *ctx, struct pintle_conn *conn)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	__u32 now = now_us(), in = ctx->bytes_received;

	if (!tp)
		return true;
	in -= fin_came(tp);
	if (server_other(conn, in))
		return true;
	if (!ctx->skb_len) {
		/* An acknowledgement, perhaps of a further segment of the request. */
		if (in != conn->first_in && conn->first_step != PINTLE_FIRST_HEADED) {
			conn->first_in = in;
			conn->asked_us = now;
			conn->first_step = PINTLE_FIRST_ASKED;
		}
		return false;
	}
	if (conn->first_step == PINTLE_FIRST_HEADED) {
		/* After another request this is its answer: the first one had one segment. */
		if (in == conn->first_in)
			conn->headed_us = now;
		return true;
	}
	if (ctx->skb_len == CONTINUE)
		return false;
	if (ctx->skb_len < ANSWER_LEAST)
		return server_is_other(conn);
	/* The request was not acknowledged before its answer: when it came is not known. */
	if (conn->first_step == PINTLE_FIRST_NONE || in != conn->first_in) {
		conn->first_step = PINTLE_FIRST_NONE;
		return true;
	}
	conn->first_step = PINTLE_FIRST_HEADED;
	conn->headed_us = now;
	return false;
}

/* Adds the first token, if one came: the newest segment seen. */
static __always_inline void server_first(struct bpf_sock_ops *ctx, struct pintle_conn *conn)
{
	if (conn->first_step == PINTLE_FIRST_HEADED) {
		FIRST_ADD(conn, conn->headed_us - conn->asked_us, conn->first_in);
		if (conn->flags & PINTLE_CONN_SEAT)
			seat_first(ctx, conn->headed_us - conn->asked_us);
		trace_first(ctx, conn->headed_us - conn->asked_us);
	}
	conn->first_step =
		conn->first_step >= PINTLE_FIRST_HEADED ? PINTLE_FIRST_SEEN : PINTLE_FIRST_NONE;
}

/* The connection ended. Where it had one request, that ended with it. Of what came after the first
 * one no callback told: those requests are only counted, as far as passes saw them. */
static __noinline int server_ended(struct bpf_sock_ops *ctx, struct pintle_conn *conn,
				   const struct pintle_turn *t, const struct end *end)
{
	struct pintle_pool *pool = pool_find(conn->pool, conn->pool_generation);
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	struct first f = FIRST(conn, 0, 0);
	struct pintle_class_sums *sums;
	__u32 in, out, further = 1;
	bool answered;

	if (!tp)
		return 0;
	in = (__u32)end->received - fin_came(tp);
	if (conn->flags & PINTLE_CONN_OTHER || server_other(conn, in))
		return 0;
	server_first(ctx, conn);
	if (!pool || !pool->follow)
		return 0;
	out = server_wrote(tp, end->acknowledged, ctx->args[0]);
	answered = conn->first_step == PINTLE_FIRST_SEEN;
	if (!in)
		return 0;
	if (answered ? in == conn->first_in : !out) {
		request_ended(&f, answered ? out : 0, request_end_of(end->error, answered));
		return 0;
	}
	if (t && t->requests > answered + 1)
		further = t->requests - answered;
	sums = class_sums_of(&f);
	if (sums)
		__sync_fetch_and_add(&sums->unmeasured, further);
	return 0;
}

/* A function of its own, because of its stack. */
static __noinline int server_answered(struct bpf_sock_ops *ctx, const struct pintle_conn *conn,
				      const struct pintle_turn *turn, const struct end *end)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	struct answered a = {.endpoint = conn->endpoint, .generation = conn->generation};
	struct pintle_tuple t;

	if (!tp)
		return 0;
	addresses_read(ctx, &t);
	a.client = answered_client(&t);
	a.bytes = server_wrote(tp, end->acknowledged, ctx->args[0]);
	answer_shape(ctx, turn, &a, end->received - fin_came(tp), end, false);
	return 0;
}

static __noinline int client_was_answered(struct bpf_sock_ops *ctx, const struct pintle_connect *c,
					  const struct end *end)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	struct answered a = {
		.endpoint = c->endpoint, .generation = c->generation, .client = c->client};
	__u32 in = (__u32)end->received - 1;

	if (!tp || c->flags & PINTLE_CONNECT_APART)
		return 0;
	a.bytes = (__u32)end->acknowledged - fin_came(tp);
	answer_shape(ctx, turn_find(ctx, c->opened_ns), &a, in < REQUEST_LEAST ? 0 : in, end, true);
	return 0;
}

#endif
