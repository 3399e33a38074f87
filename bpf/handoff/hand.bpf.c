/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hand.bpf.c - the hand-off (TC), for pools that are decided by request. It waits for a
 * connection's first request before the connection has a socket, and then hands it to the server
 * that the rule chooses. It decides nothing: see asking.bpf.h.
 *
 *   SYN               answered with a cookie (cookie.bpf.h), without any memory
 *   the client's ACK  dropped: nothing is there yet that it could establish
 *   first segment     its headers are read, the lookup hook decides, and the listener takes the
 *                     connection together with the segment (bpf_sk_assign_tcp_reqsk(), Linux 6.9).
 *                     Where its headers do not end, or its body does not begin, in that, it is
 *                     held: see hand_hold.bpf.h. In a pool with one request per connection it is
 *                     changed: see oneshot_edit.bpf.h
 *   all later ones    belong to a socket, and pass
 *
 * Packets to other destinations leave after one look-up. Where this program is not attached, or
 * another filter takes the packets before it, the kernel answers the SYN, and the lookup hook
 * decides by the connection's addresses.
 */
#include "guess.bpf.h"
#include "hand_flow.bpf.h"
#include "hand_hold.bpf.h"
#include "learn.bpf.h"
#include "request_model.bpf.h"
#include "oneshot_write.bpf.h"
#include "pod_ways.bpf.h"
#include "served.bpf.h"

#include <bpf/bpf_core_read.h>
#include <linux/if_packet.h>

/* ---- the kernel's ----------------------------------------------------------------- */

/* A type that is only declared would be refused by libbpf 1.1. */
struct sock {
	int sk_err;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
} __attribute__((preserve_access_index));

struct bpf_tcp_req_attrs {
	__u32 rcv_tsval;
	__u32 rcv_tsecr;
	__u16 mss;
	__u8 rcv_wscale;
	__u8 snd_wscale;
	__u8 ecn_ok;
	__u8 wscale_ok;
	__u8 sack_ok;
	__u8 tstamp_ok;
	__u8 usec_ts_ok;
	__u8 reserved[3];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock_common {
	possible_net_t skc_net;
	__u32 skc_tw_rcv_nxt;
	unsigned char skc_ipv6only : 1;
};

struct inet_timewait_sock {
	struct sock_common __tw_common;
	unsigned char tw_substate;
};

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
	__u32 tw_ts_recent;
	int tw_ts_recent_stamp;
};
#pragma clang attribute pop

extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk,
				   struct bpf_tcp_req_attrs *attrs, int attrs__sz) __ksym __weak;

/* ---- what is kept, not pinned ------------------------------------------------------- */

#define HANDED    256
#define HANDED_NS 20000000ULL /* 20 ms */

#define FULL_QUEUES 1024

/* A connection that was handed over on this CPU a moment ago. */
struct handed {
	__u64 when;
	__u32 hash;
	__u32 left;     /* segments that may be queued again */
	__u32 sequence; /* of the segment that was handed over with it */
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HANDED);
	__type(key, __u32);
	__type(value, struct handed);
} MAP(hand_notes);

/* Connections, by their hash, that met a full queue when they were handed over last. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FULL_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} MAP(hand_full);

/* ---- TIME-WAIT ------------------------------------------------------------------------------ */

/* Whether the kernel would let the SYN end the former connection: what it brings is newer than all
 * that the client sent before. As in tcp_timewait_state_process(). */
static __always_inline bool time_wait_may_end(const struct hand *h, const struct hand_options *o,
					      const struct tcp_timewait_sock *tw)
{
	__s32 later = tw->tw_ts_recent_stamp && o->has_time ? o->value - tw->tw_ts_recent : 0;

	/* With tcp_rfc1337, a reset does not end it. */
	if (tw->tw_sk.tw_substate != STATE_TIME_WAIT || later < 0 ||
	    tw->tw_sk.__tw_common.skc_net.net->ipv4.sysctl_tcp_rfc1337)
		return false;
	return later > 0 || (__s32)(h->s.sequence - tw->tw_sk.__tw_common.skc_tw_rcv_nxt) > 0;
}

/* Finds the sequence number that is due in a TIME-WAIT that the SYN may end. Returns 1, or 0 if
 * there is none. bpf_skc_to_tcp_timewait_sock() does not know connections of listeners in a
 * sockmap. */
__noinline int time_wait_find(struct __sk_buff *skb, const struct hand *h, __u32 *due)
{
	struct pintle_asking *a = asking_find();
	const struct tcp_timewait_sock *tw;
	struct hand_options o = {};
	struct bpf_sock *sk;
	int found = 0;

	if (!a || !h || !due)
		return 0;
	options_read(h, &o);
	a->state = PINTLE_ASKING_WHETHER;
	sk = socket_look(skb, h);
	a->state = PINTLE_ASKING_NOTHING;
	if (!sk)
		return 0;
	if (sk->state == STATE_TIME_WAIT) {
		tw = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_timewait_sock));
		found = time_wait_may_end(h, &o, tw);
		*due = tw->tw_sk.__tw_common.skc_tw_rcv_nxt;
	}
	bpf_sk_release(sk);
	return found;
}

/* The server has closed a connection, and the client takes its port for the next one. The kernel
 * would end the TIME-WAIT for the SYN, and accept that; but it does so for no cookie. So the SYN
 * becomes a reset, which ends it, and that is queued. What is left of the packet is the answer. */
__noinline int time_wait_end(struct __sk_buff *skb, const struct hand *h)
{
	struct answer a;
	__u32 due = 0;

	if (!h || time_wait_find(skb, h, &due) <= 0)
		return 0;
	answer_begin(&a, h);
	a.tcp.source = bpf_htons(h->s.tuple.remote_port);
	a.tcp.dest = bpf_htons(h->s.tuple.local_port);
	a.tcp.seq = bpf_htonl(due);
	a.tcp.rst = 1;
	answer_sum(h, &a);
	if (!bpf_skb_change_tail(skb, h->s.tcp + ANSWER_SIZE, 0) &&
	    !bpf_skb_store_bytes(skb, h->s.tcp, &a, ANSWER_SIZE, BPF_F_RECOMPUTE_CSUM) &&
	    !ip_set_length(skb, h, ANSWER_SIZE))
		come_again(skb);
	return 1;
}

/* Reads what else is needed of a segment without a socket. Returns false if it cannot be handled.
 */
static __always_inline bool hand_take_up(struct __sk_buff *skb, struct hand *h)
{
	if (!hand_begin(skb, h))
		return false;
	seen_make(skb->ifindex, h->now);
	return true;
}

/* The kernel goes on with a connection that has a socket. */
static __always_inline int on_syn(struct __sk_buff *skb, struct hand *h)
{
	struct pintle_pool *pool;
	int result;

	if (!hand_take_up(skb, h))
		return TC_ACT_UNSPEC;
	pool = pool_find(h->pool.id, h->pool.generation);
	if (!pool || hand_rests(h, pool) || checksum_read(h) < 0)
		return TC_ACT_UNSPEC;
	if (hand_is_off(h, pool)) {
		hand_count(h, PINTLE_HAND_BY_CONNECTION);
		return TC_ACT_UNSPEC;
	}
	if (socket_there(skb, h) > 0) {
		if (kernel_takes(skb, h) && time_wait_end(skb, h) > 0) {
			h->unsure = 1;
			return answer_syn(skb, h);
		}
		hand_count(h, PINTLE_HAND_BY_CONNECTION);
		return TC_ACT_UNSPEC;
	}
	if (is_local(skb, h) <= 0) {
		hand_count(h, PINTLE_HAND_FORWARDED);
		return TC_ACT_UNSPEC;
	}
	if (!kernel_takes(skb, h)) {
		hand_count(h, PINTLE_HAND_BY_CONNECTION);
		return TC_ACT_UNSPEC;
	}
	result = answer_syn(skb, h);
	if (result == TC_ACT_UNSPEC)
		hand_count(h, PINTLE_HAND_BY_CONNECTION);
	return result;
}

/* One-shot ends the connections that the kernel begins. A function of its own, because of its
 * stack.
 */
__noinline int note_the_kernels(const struct hand *h)
{
	struct pintle_pool *pool;

	if (!h)
		return 0;
	pool = pool_find(h->pool.id, h->pool.generation);
	if (pool && oneshot_wanted(pool, h->pool.id))
		oneshot_note(&h->s);
	return 0;
}

/* ---- handing over ------------------------------------------------------------------------------
 */

static __always_inline struct handed *handed_at(const struct hand *h)
{
	__u32 at = h->hash % HANDED;

	return bpf_map_lookup_elem(&hand_notes, &at);
}

static __always_inline void handed_make(const struct hand *h)
{
	struct handed *n = handed_at(h);

	if (!n)
		return;
	n->when = h->now;
	n->hash = h->hash;
	n->left = 64;
	n->sequence = h->s.sequence;
}

/* The connection's entry if it was handed over a moment ago. */
static __always_inline struct handed *handed_find(const struct hand *h)
{
	struct handed *n = handed_at(h);

	return n && n->hash == h->hash && h->now - n->when < HANDED_NS ? n : NULL;
}

/* TC sees all packets of a batch before TCP sees the first. So segments right behind the one that
 * was handed over find no socket yet: they are queued again, behind it. */
static __always_inline bool queue_again(struct __sk_buff *skb, const struct hand *h)
{
	struct handed *n = handed_find(h);

	if (!n || !n->left || n->sequence == h->s.sequence)
		return false;
	n->left--;
	return !come_again(skb);
}

/* Reads the headers for what tells the pool's sessions apart. Returns 1, or 0 without the pool. */
__noinline int headers_read(struct __sk_buff *skb, const struct hand *h,
			    const struct pintle_ref *of)
{
	struct hand_scratch *x = scratch_find();
	struct pintle_pool *pool;

	if (!x || !h || !of)
		return 0;
	pool = pool_find(of->id, of->generation);
	if (!pool)
		return 0;
	request_begin(&x->scan, HAND_LINE_MIN, HAND_LINE_MAX);
	request_read(skb, &h->s, &x->scan, hand_names(&pool->asked));
	/* A server does not read the urgent byte where it stands. */
	if (h->flags & FLAG_URG && !h->held)
		x->scan.known |= REQUEST_MALFORMED;
	return 1;
}

/* Finds the session that the request names, if it does, into `asking`. Returns how the connection
 * is counted. */
__noinline int session_ask(struct __sk_buff *skb, const struct hand *h, const struct pintle_ref *of)
{
	struct pintle_asking *a = asking_find();
	const struct hand_secret *secret = secret_find();
	struct hand_scratch *x = scratch_find();
	struct pintle_pool *pool;
	struct hand_named *n;
	int how;

	if (!a || !x || !secret || !h || !of)
		return PINTLE_HAND_NOT_HTTP;
	n = &x->named;
	__builtin_memset(&n->source, 0, sizeof(n->source));
	pool = pool_find(of->id, of->generation);
	if (!pool)
		return PINTLE_HAND_NOT_HTTP;
	if (!pool->hints_shared)
		key_of_tuple(&h->s.tuple, PINTLE_KEY_SOURCE,
			     KEY_BITS(pool->key_bits_v4, pool->key_bits_v6, 0), &n->source);
	n->secret = *secret;
	how = hand_session(&x->scan, &pool->asked, n, &a->session);
	if (!hand_asks_body(&pool->asked, n, how))
		return how;
	body_read(skb, &h->s, &x->scan, &pool->asked, &x->body);
	return hand_session(&x->scan, &pool->asked, n, &a->session);
}

#define OTHER 2

/* What tells the connection's decision from others with its 4-tuple: one of two numbers, of 30 bits
 * of its cookie. The client may take its port for the next connection at once. A segment that comes
 * again has the one of the decision before, also where its model is not seen any more; the other
 * one if its model now says another pool. The kernel did not take what came before: 10.0.0.7 asks
 * for a model of everybody's while the listener's queue is full, and then, on the same connection,
 * for one that it may not have. */
static __always_inline __u32 connection_of(const struct hand *h, const struct pintle_asking *a)
{
	__u32 one = h->acknowledged << 2 | 1;
	const struct pintle_decision *d = decision_find(&h->s.tuple);
	const struct model_scratch *x = model_scratch_find();

	if (!x || !d || (d->handed | OTHER) != (one | OTHER))
		return one;
	if (!a->pool.generation || !x->scan.key.name[0] || d->pool == a->pool.id)
		return d->handed;
	return d->handed ^ OTHER;
}

/* Reads the request, and finds into *a the pool and the session that it names, if it does. Each
 * pool says itself what makes a session. Returns how the connection is counted. Inlined, because
 * there may be only eight frames of functions. */
static __always_inline int request_ask(struct __sk_buff *skb, const struct hand *h,
				       struct pintle_asking *a)
{
	struct hand_scratch *x = scratch_find();
	struct pintle_ref of = {};

	if (!x)
		return PINTLE_HAND_NOT_HTTP;
	x->began = h->now;
	__builtin_memset(&a->session, 0, sizeof(a->session));
	of = h->pool;
	if (!h->read)
		headers_read(skb, h, &of);
	model_choose(skb, &h->s, &of, &x->scan);
	if (a->no_model)
		return PINTLE_HAND_NO_MODEL;
	if (a->pool.generation && a->pool.id != of.id) {
		of = a->pool;
		headers_read(skb, h, &of);
	}
	return session_ask(skb, h, &of);
}

/* What the socket gets that the SYN said, as far as its namespace has it by now: what the kernel
 * would refuse, the client can do without, but for windows, which are smaller then than they could
 * be. A pod's server sends such segments as with the kernel's own cookies. */
static __always_inline void attrs_fill(struct bpf_tcp_req_attrs *attrs, const struct hand *h,
				       const struct net *net, struct hand_options *o)
{
	options_keep(net, o);
	attrs->rcv_tsval = o->value;
	attrs->rcv_tsecr = o->echo;
	attrs->mss = o->mss < mss_least(h) ? mss_least(h) : o->mss;
	attrs->rcv_wscale = o->has_scale ? HAND_SCALE : 0;
	attrs->snd_wscale = o->scale;
	attrs->wscale_ok = o->has_scale;
	attrs->sack_ok = o->has_sack;
	attrs->tstamp_ok = o->has_time;
	attrs->ecn_ok = o->has_ecn;
}

#define HAND_POD   (PINTLE_HAND_COUNT + 1) /* the listener is in a pod */
#define HAND_THERE (PINTLE_HAND_COUNT + 2) /* the connection has a socket already */
#define HAND_REST  (PINTLE_HAND_COUNT + 3) /* no socket became of it, so the hand-off rests */

static __always_inline __u32 *full_at(const struct hand *h)
{
	__u32 at = h->hash % FULL_QUEUES;

	return bpf_map_lookup_elem(&hand_full, &at);
}

/* Whether the server's queue was full when the segment was handed over last. */
static __always_inline bool met_full(const struct hand *h)
{
	const __u32 *full = full_at(h);

	return full && *full == (h->hash | 1);
}

/* A server that accepts nothing lets the kernel drop what comes: that is no failure of the
 * hand-off. Keeps whether it is so. */
static __always_inline bool queue_is_full(const struct hand *h, const struct tcp_sock *listener)
{
	const struct sock *sk = (const struct sock *)listener;
	bool is = sk->sk_ack_backlog > sk->sk_max_ack_backlog;
	__u32 *full = full_at(h);

	if (full && (is || *full))
		*full = is ? h->hash | 1 : 0;
	return is;
}

/* Whether the segment, which is sound, was handed over before, and there is no socket. A copy that
 * came along with it is no failure. Returns when that was, or 0. */
__noinline long handed_in_vain(const struct hand *h)
{
	struct pintle_decision *d = h ? decision_find(&h->s.tuple) : NULL;
	__u64 when;

	if (!d || d->ended || d->handed != asking_connection())
		return 0;
	when = d->decided_ns;
	if (h->now - when < REST_SAME_NS || h->now - when > PINTLE_PENDING_NS || met_full(h))
		return 0;
	return (long)when;
}

/* Counts the failure. Returns 1 if the hand-off rests for the client: its next try is the kernel's,
 * so this one is not to be handed over again. A function of its own, because of its stack. */
__noinline int note_in_vain(const struct hand *h, __u64 handed_ns)
{
	struct rest_failure f = {.weight = 1};
	struct pintle_decision *d;

	if (!h)
		return 0;
	f.now = h->now;
	f.handed_ns = handed_ns;
	f.hash = h->hash;
	rest_failed(&h->pool, &h->s.tuple, &f);
	if (h->in_pods || rest_holds(&h->pool, &h->s.tuple, h->hash, 0) <= 0)
		return 0;
	d = decision_find(&h->s.tuple);
	if (d)
		placement_failed(d); /* so it is not counted once more when it expires */
	return 1;
}

/* Hands the connection to the listener that the lookup hook chooses, with this segment. Returns
 * PINTLE_HAND_COUNT if that worked. `in_vain`: as handed_in_vain() said. A function of its own,
 * because of its stack. */
static __noinline int hand_over(struct __sk_buff *skb, const struct hand *h, struct hand_options *o,
				__u64 in_vain)
{
	struct bpf_tcp_req_attrs attrs = {};
	struct tcp_sock *listener;
	struct bpf_sock *sk;
	bool there, rests = false;
	int result = -1;

	attrs_fill(&attrs, h, frame_net_device(skb)->nd_net.net, o);
	sk = socket_look(skb, h);
	if (!sk)
		return PINTLE_HAND_NOBODY;
	there = sk->state != STATE_LISTEN;
	if (!there) {
		listener = bpf_skc_to_tcp_sock(sk);
		rests = listener && !queue_is_full(h, listener) && in_vain &&
			note_in_vain(h, in_vain) > 0;
		if (listener && !rests)
			result = bpf_sk_assign_tcp_reqsk(skb, (struct sock *)listener, &attrs,
							 sizeof(attrs));
	}
	bpf_sk_release(sk);
	if (there)
		return HAND_THERE;
	if (rests)
		return HAND_REST;
	if (result == -ENETUNREACH)
		return HAND_POD;
	return result ? PINTLE_HAND_FAILED : PINTLE_HAND_COUNT;
}

/* The prompt is for the pool that serves the request's model. */
static __always_inline void prompt_take(struct __sk_buff *skb, const struct hand *h)
{
	struct pintle_asking *a = asking_find();
	struct hand_scratch *x = scratch_find();
	struct pintle_ref of = h->pool;

	if (!x || !a)
		return;
	if (a->pool.generation)
		of = a->pool;
	prompt_read(skb, &h->s, &x->scan, &of);
}

/* What the session said and heard last is cached at the endpoint to which it is bound. The session
 * is the one that sockops binds in a pool that is decided by request; no other reads asked_bytes.
 */
static __always_inline __u32 context_of(const struct hand *h, const struct pintle_decision *d,
					const struct pintle_asking *asked)
{
	struct pintle_affinity_key key = {
		.pool = d->pool, .pool_generation = d->pool_generation, .session = asked->session};
	struct pintle_affinity *a;

	if (key.session.kind == PINTLE_KEY_NONE)
		server_session(&h->s.tuple, &key);
	a = binding_find(&key);
	return a ? a->context_bytes : 0;
}

/* Counts the size of the request at its endpoint: until a pass sees the connection, nothing else
 * says how much work it brings. */
static __always_inline void asked_count(const struct hand *h, const struct pintle_decision *d,
					__u32 length, __u32 cached)
{
	__u32 id = d->endpoint, bytes = length > h->s.size ? length : h->s.size;
	struct pintle_ends *e = bpf_map_lookup_elem(&ends, &id);

	if (bytes > PINTLE_MAX_ASKED)
		bytes = PINTLE_MAX_ASKED;
	if (e && bytes > cached)
		__sync_fetch_and_add(&e->asked_bytes, bytes - cached);
}

/* Keeps for sockops how much was seen of the request's prompt, and how much of it is cached. A
 * function of its own, because of its stack. */
static __noinline int prompt_note(const struct hand *h, __u32 steps, __u32 cached)
{
	struct pintle_hand_flow *f = hand_flow_decided(&h->s.tuple);
	struct pintle_named *n, none = {};

	if (f) {
		f->prompt_steps = steps;
		f->turn.cached = cached;
		return 0;
	}
	n = bpf_map_lookup_elem(&named, &h->s.tuple);
	if (n) {
		n->prompt_steps = steps;
		n->cached = cached;
		return 0;
	}
	none.prompt_steps = steps;
	none.cached = cached;
	bpf_map_update_elem(&named, &h->s.tuple, &none, BPF_ANY);
	return 0;
}

/* Counts what the request brings to where it went. Returns 1 if its adapter was loaded there; -1 if
 * it was decided before, and so was counted. That is so where the segment comes again, as
 * it does while the queue of the server's listener is full, or where it is lost behind here; and
 * where a bridge takes the socket off what its port has handed over, so that it is handed over once
 * more. A function of its own, because of its stack. */
static __noinline int placed_count(struct hand *h)
{
	struct pintle_decision *d = decision_find(&h->s.tuple);
	struct pintle_asking *a = asking_find();
	struct hand_scratch *x = scratch_find();
	__u32 have, steps, context = 0;

	h->placed = d && x && d->decided_ns < x->began ? PLACED_AGAIN : PLACED_FIRST;
	if (h->placed == PLACED_AGAIN)
		return -1;
	/* The kernel drops what comes to a full queue. */
	if (!h->in_pods && !met_full(h))
		rest_watch(&h->pool, &h->s.tuple, h->hash);
	if (!d || !d->generation || !a || !x)
		return 0;
	steps = prompt_seen(a, d);
	have = steps ? prompt_placed(&h->s.tuple, d) : 0;
	if (d->outcome == PINTLE_OUTCOME_STICKY)
		context = context_of(h, d, a);
	asked_count(h, d, x->scan.length, have > context ? have : context);
	if (steps)
		prompt_note(h, steps, have);
	if (!a->adapter || d->pool != a->pool.id || d->pool_generation != a->pool.generation)
		return 0;
	return adapter_placed(d->endpoint, d->generation);
}

/* Whether the headers that were read last may still end, or the body begins in a later segment. The
 * body may say where the request goes; and where it does not, a server that gets headers and body
 * at once is woken once. A function of its own, because of its stack. */
__noinline int is_unfinished(const struct hand *h)
{
	const struct hand_scratch *x = scratch_find();
	struct pintle_pool *pool;

	if (!x || !h)
		return 0;
	pool = pool_find(h->pool.id, h->pool.generation);
	return pool && (!(x->scan.known & REQUEST_OVER) ||
			hand_awaits_body(pool, &x->scan, h->s.size, HOLD_MAX, 1));
}

/* Hands the connection over to where the lookup hook places it. `how`: as request_ask() said. */
__noinline int place(struct __sk_buff *skb, struct hand *h, int how)
{
	struct pintle_asking *a = asking_find();
	struct hand_options o = {};
	int failed, loaded;
	__u64 in_vain;
	__u32 pod = 0;

	if (!a || !h)
		return TC_ACT_SHOT;
	prompt_take(skb, h);
	options_read(h, &o);
	hand_unpack(&o, h->kept);
	in_vain = handed_in_vain(h);
	a->state = PINTLE_ASKING_WHERE;
	/* Nothing is decided for what was begun before the sysctl was set to 0. */
	failed = kernel_takes(skb, h) ? hand_over(skb, h, &o, in_vain) : PINTLE_HAND_FAILED;
	a->state = PINTLE_ASKING_NOTHING;
	if (failed == HAND_THERE)
		return TC_ACT_UNSPEC;
	if (failed == HAND_POD) {
		pod = pod_chosen(&h->s.tuple);
		failed = pod ? PINTLE_HAND_COUNT : PINTLE_HAND_FAILED;
	}
	if (failed != PINTLE_HAND_COUNT) {
		if (failed != HAND_REST)
			hand_count(h, how == PINTLE_HAND_NO_MODEL ? how : failed);
		if (how == PINTLE_HAND_NO_MODEL)
			model_count(a, false);
		if (h->held)
			held_forget(&h->s.tuple);
		checksum_read(h);
		return answer_reset(skb, h);
	}
	loaded = placed_count(h);
	if (loaded >= 0) {
		hand_count(h, how);
		model_count(a, loaded > 0);
	}
	handed_make(h);
	return pod ? pod_send(skb, pod) : TC_ACT_UNSPEC;
}

/* Whether the pool with the frontend wants one request per connection. The request was read for the
 * lines of sessions: if only a line that the pool can spare helps, it is read again for those. A
 * function of its own, because of its stack. */
__noinline int close_wanted(struct __sk_buff *skb, const struct hand *h)
{
	struct oneshot_scratch *o = oneshot_scratch_find();
	struct hand_scratch *x = scratch_find();
	struct pintle_pool *pool;

	if (!x || !o || !h)
		return 0;
	pool = pool_find(h->pool.id, h->pool.generation);
	if (!pool || !oneshot_wanted(pool, h->pool.id))
		return 0;
	if (oneshot_asks_names(&x->scan)) {
		oneshot_begin(&x->scan);
		request_read(skb, &h->s, &x->scan, oneshot_names(&pool->rewrite, &o->names));
	}
	return 1;
}

/* After close_wanted(): makes the server close after the request that was handed over. The
 * connection gets its socket with this segment, so the server sees the request's first bytes as
 * they are written here, and no others. */
__noinline int close_behind(struct __sk_buff *skb, const struct hand *h)
{
	struct oneshot_scratch *x = oneshot_scratch_find();
	struct hand_scratch *of = scratch_find();
	struct pintle_pool *pool;
	__u32 result;

	if (!x || !of || !h)
		return 0;
	pool = pool_find(h->pool.id, h->pool.generation);
	if (!pool)
		return 0;
	result = oneshot_apply(skb, &h->s, &of->scan, &pool->rewrite, x);
	if (h->placed == PLACED_FIRST)
		oneshot_count(h->pool.id, result);
	return 0;
}

/* A function of its own, because of its stack. */
__noinline int ask(struct __sk_buff *skb, const struct hand *h)
{
	struct pintle_asking *a = asking_find();
	int how;

	if (!a || !h)
		return PINTLE_HAND_NOT_HTTP;
	how = request_ask(skb, h, a);
	a->connection = connection_of(h, a);
	return how;
}

/* ---- without a socket
 * ----------------------------------------------------------------------------- */

/* A function of its own, because of its stack. */
__noinline int is_held(const struct hand *h)
{
	struct pintle_held_key k;

	return h && held_any() && held_find(&h->s.tuple, &k);
}

/* A segment of no connection that is begun here: it is answered as the kernel would. Where one of
 * its addresses and ports is held, it is somebody else's. */
static __always_inline int on_stray(struct __sk_buff *skb, struct hand *h)
{
	guess_note(h);
	if (is_held(h) > 0)
		return TC_ACT_SHOT;
	checksum_read(h);
	hand_count(h, PINTLE_HAND_STRAY);
	return answer_reset(skb, h);
}

/* A segment behind a connection's first one. That one is lost, or is late: the client sends it
 * again, and then this one. Or the connection is over, and there is nothing to wait for. */
static __always_inline int on_ahead(struct __sk_buff *skb, struct hand *h)
{
	if (!served_is(&h->s.tuple, h->acknowledged, h->first))
		return TC_ACT_SHOT;
	return socket_there(skb, h) > 0 ? TC_ACT_UNSPEC : on_stray(skb, h);
}

/* Whether the connection was decided when its SYN came, a moment ago, and so before the hand-off
 * was attached, or while it rested: the kernel answered it with a cookie of its own. */
__noinline int was_decided(const struct hand *h)
{
	struct pintle_decision *d;

	if (!h)
		return 0;
	d = bpf_map_lookup_elem(&pending, &h->s.tuple);
	return d && !d->handed && !d->ended && !decision_expired(d, h->now);
}

/* A segment without data: the end of the handshake, a probe of a client that keeps the connection
 * alive before its first request, what it says to an answer that came twice, or its end, which is
 * answered as a server would that reads no request. */
static __always_inline int on_bare(struct __sk_buff *skb, struct hand *h)
{
	if (checksum_read(h) < 0)
		return TC_ACT_SHOT;
	if (!(h->flags & FLAG_FIN)) {
		if (h->fits == HAND_FITS_FIRST)
			return TC_ACT_SHOT;
		if (h->fits == HAND_FITS_PROBE)
			return answer_ack(skb, h, h->s.sequence + 1);
	}
	if (was_decided(h) > 0)
		return TC_ACT_UNSPEC;
	if (h->fits == HAND_FITS_AHEAD)
		return on_ahead(skb, h);
	if (h->fits == HAND_FITS_FIRST) {
		hand_count(h, PINTLE_HAND_NO_REQUEST);
		return answer_until(skb, h, h->s.sequence, true);
	}
	/* The client acknowledges that answer. */
	if (!(h->flags & FLAG_FIN) && fits_read(h, 1) == HAND_FITS_FIRST)
		return TC_ACT_SHOT;
	return on_stray(skb, h);
}

/* A reset of a connection that is not held. */
static __always_inline int on_reset(struct hand *h)
{
	if (!h->s.size && !checksum_read(h) && h->fits == HAND_FITS_FIRST)
		hand_count(h, PINTLE_HAND_NO_REQUEST);
	return TC_ACT_SHOT;
}

/* Whether a segment is of a handshake that the hand-off has begun: its end, a probe behind it, or
 * the client's first. */
static __always_inline bool is_of_handshake(const struct hand *h)
{
	return h->fits == HAND_FITS_FIRST || h->fits == HAND_FITS_PROBE;
}

/* A segment of a connection that is not held. Returns HOLD_OVER if it is the first with data. */
static __always_inline int on_first(struct __sk_buff *skb, struct hand *h)
{
	__u32 ended;

	if (h->flags & FLAG_RST)
		return on_reset(h);
	if (!h->s.size) {
		ended = h->in_pods ? pod_flow_ended(&h->s.tuple) : 0;
		if (ended && !is_of_handshake(h))
			return pod_send(skb, ended);
		return on_bare(skb, h);
	}
	/* A probe may have a byte of what was acknowledged already. */
	if (h->s.size == 1 && h->fits == HAND_FITS_PROBE) {
		checksum_read(h);
		return answer_ack(skb, h, h->s.sequence + 1);
	}
	if (h->fits == HAND_FITS_FIRST) {
		if (guess_brakes(h) <= 0)
			return HOLD_OVER;
		hand_count(h, PINTLE_HAND_BRAKED);
		return TC_ACT_SHOT;
	}
	if (was_decided(h) > 0)
		return TC_ACT_UNSPEC;
	return h->fits == HAND_FITS_AHEAD ? on_ahead(skb, h) : on_stray(skb, h);
}

/* Whether the segment is the kernel's: the hand-off rests, and has not begun this handshake. The
 * kernel's has no socket either while the kernel sends SYN cookies. The end of a connection to a
 * pod is never the kernel's. */
__noinline int is_the_kernels(const struct hand *h)
{
	struct pintle_pool *pool;

	if (!h)
		return 1;
	pool = pool_find(h->pool.id, h->pool.generation);
	if (pool && h->in_pods && !h->s.size && pod_flow_ended(&h->s.tuple))
		return 0;
	if (!pool)
		return 1;
	if (!hand_is_off(h, pool) || is_of_handshake(h))
		return 0;
	return h->fits != HAND_FITS_AHEAD || was_decided(h) > 0;
}

/* Whether the segment is the first of a handshake that the hand-off has begun. */
static __always_inline bool is_begun(struct hand *h)
{
	return (h->flags & (FLAG_ACK | FLAG_RST | FLAG_SYN)) == FLAG_ACK &&
	       fits_read(h, 0) == HAND_FITS_FIRST;
}

/* A segment right behind a SYN that was answered on this CPU. Returns TC_ACT_SHOT; HOLD_OVER for
 * the first with data, whose connection may have a socket only by another CPU: hand_over() finds
 * out; or HOLD_NOT. A function of its own, because of its stack. */
__noinline int on_begun(struct __sk_buff *skb, struct hand *h)
{
	struct begun *b = h ? begun_find(h) : NULL;

	if (!b || !hand_take_up(skb, h) || !begun_is(b, h) ||
	    (h->flags & (FLAG_FIN | FLAG_SYN | FLAG_RST | FLAG_ACK)) != FLAG_ACK)
		return HOLD_NOT;
	if (!h->s.size)
		return TC_ACT_SHOT;
	b->when = 0;
	h->kept = b->kept;
	return is_held(h) > 0 ? HOLD_NOT : HOLD_OVER;
}

/* Of segments without a socket none but the first request reaches the kernel: it would run the
 * lookup hook, which would decide. Where the reset that was to end a TIME-WAIT is lost, the first
 * segment ends it; the client sends that again. Returns a TC_ACT_*, or HOLD_OVER for the first
 * request. */
static __always_inline int on_other(struct __sk_buff *skb, struct hand *h)
{
	int result, there = socket_there(skb, h);

	/* Nothing more is read of a segment that the kernel goes on with: most are such. */
	if ((there > 0 && there != STATE_TIME_WAIT) || !hand_take_up(skb, h))
		return TC_ACT_UNSPEC;
	if (there > 0)
		return is_begun(h) && time_wait_end(skb, h) > 0 ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	if (queue_again(skb, h))
		return TC_ACT_SHOT;
	if (is_local(skb, h) <= 0)
		return TC_ACT_UNSPEC;
	if (h->flags & FLAG_SYN || !(h->flags & (FLAG_ACK | FLAG_RST)))
		return TC_ACT_SHOT;
	result = hold_segment(skb, h);
	if (result == HOLD_MORE)
		result = hold_take(skb, h);
	if (result != HOLD_NOT)
		return result;
	fits_read(h, 0);
	return is_the_kernels(h) ? TC_ACT_UNSPEC : on_first(skb, h);
}

/* The first request has come, and with it its connection. */
static __always_inline int on_request(struct __sk_buff *skb, struct hand *h)
{
	struct pintle_ref of = h->pool;
	int how, result = HOLD_NOT;

	if (served_is(&h->s.tuple, h->acknowledged, h->s.sequence))
		return socket_there(skb, h) > 0 ? TC_ACT_UNSPEC : on_stray(skb, h);
	if (!h->held && hold_is_sound(skb, h) <= 0) {
		hold_count(h->pool.id, PINTLE_HOLD_DAMAGED);
		return TC_ACT_SHOT;
	}
	if (!h->held)
		h->read = headers_read(skb, h, &of) > 0;
	if (!h->held && h->read && is_unfinished(h) > 0)
		result = hold_begin(h);
	if (result == HOLD_MORE)
		result = hold_take(skb, h);
	if (result != HOLD_NOT && result != HOLD_OVER)
		return result;
	how = ask(skb, h);
	result = place(skb, h, how);
	if (h->placed != PLACED_NOT && close_wanted(skb, h) > 0)
		close_behind(skb, h);
	return result;
}

/* ---- all ----------------------------------------------------------------------------------------
 */

static __always_inline int hand_segment(struct __sk_buff *skb, __u32 below_ip)
{
	struct hand h = {};
	bool pods = pods_any();
	int answer, result;
	__u32 pod;

	/* A bridge's port sees frames for other machines, too. Those of a pod are of interest. */
	if ((skb->pkt_type != PACKET_HOST && !pods) || segment_read(skb, below_ip, &h.s))
		return TC_ACT_UNSPEC;
	answer = pods ? pod_answer(skb, &h.s) : TC_ACT_UNSPEC;
	if (answer != TC_ACT_UNSPEC || skb->pkt_type != PACKET_HOST)
		return answer;
	if (!hand_pool(&h) || (h.in_pods && !pod_may_serve(skb, below_ip)))
		return TC_ACT_UNSPEC;
	pod = h.in_pods ? pod_flow(&h.s.tuple) : 0;
	if (pod)
		return pod_send(skb, pod);
	if (h.s.syn) {
		result = on_syn(skb, &h);
		if (result == TC_ACT_UNSPEC)
			note_the_kernels(&h);
		return result;
	}
	result = on_begun(skb, &h);
	if (result == HOLD_NOT)
		result = on_other(skb, &h);
	return result == HOLD_OVER ? on_request(skb, &h) : result;
}

/* Not loaded unless it is asked for by name ("?"): kernels before 6.9 would refuse it. */
SEC("?tc")
int pintle_hand(struct __sk_buff *skb)
{
	return hand_segment(skb, ETH_HLEN);
}

/* For devices without a link layer, such as tunnels and tun. */
SEC("?tc")
int pintle_hand3(struct __sk_buff *skb)
{
	return hand_segment(skb, 0);
}

#include "hand_pod.bpf.h"
#include "splice.bpf.h"
#include "hand_work.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
