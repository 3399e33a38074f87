/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * splice.bpf.h - the part of the hand-off for clients in pods of this node, and servers anywhere.
 * Its program sees both directions of a pod's device, at this node's end of it.
 *
 *   SYN              answered with a cookie, as everywhere in the hand-off
 *   first request    held and read; the rule decides among all endpoints of the pool
 *   then             a SYN goes to the chosen server, in the client's name; when the server has
 *                    answered it, what is held goes there
 *   all later ones   pass, with addresses and numbers translated (splice_write.bpf.h)
 *
 * The last segment that is held is not acknowledged before the server has it. So the client sends
 * it again, and that is the clock: the SYN is sent again with it, or what is held; a server that
 * has refused the connection, or that does not answer, is replaced by another.
 *
 * Only sockets' own segments are taken: a packet has its socket, the socket has a record of the
 * connect hook (`connects`), and that says that the connection is to be decided here. What has no
 * flow and no such record passes, untouched.
 */
#ifndef PINTLE_SPLICE_BPF_H
#define PINTLE_SPLICE_BPF_H

#include "splice_decide.bpf.h"
#include "splice_write.bpf.h"

#define SPLICE_TRY_NS 1000000000ULL /* 1 s: a server that has not answered by then */
#define SPLICE_TIMES  3             /* servers */

/* A server that acknowledges again and again gets held bytes no more often than this: it may do so
 * because it does not want them. */
#define SPLICE_REMIND_NS 20000000ULL /* 20 ms */

/* What becomes of a segment, where that is no TC_ACT_*: it is to be decided now. */
#define SPLICE_DECIDE -4

/* Where segments of a pod were seen to leave, and whose SYN's answer is waited for. */
struct splice_look {
	__u64 space; /* cookie of the network namespace */
	__u32 device;
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct pintle_tuple);
	__type(value, struct splice_look);
} MAP(splice_looks);

/* ---- whose it is -------------------------------------------------------------------------- */

/* Whether the client's address is behind the device by which the packet has come: else anybody
 * with another's address would get the answers. A bridge's port has those addresses whose link
 * layer's address the packet is from. */
__noinline int splice_is_behind(struct __sk_buff *skb, const struct hand *h)
{
	struct bpf_fib_lookup fib = {.l4_protocol = IPPROTO_TCP};
	const __u32 *client;
	__u8 from[ETH_ALEN];
	long result;
	__u32 i;

	if (!h)
		return 0;
	fib.ifindex = skb->ifindex;
	if (h->v4) {
		fib.family = AF_INET;
		fib.ipv4_src = ((const __u32 *)h->s.tuple.local)[3];
		fib.ipv4_dst = ((const __u32 *)h->s.tuple.remote)[3];
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, h->s.tuple.local, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, h->s.tuple.remote, sizeof(fib.ipv6_dst));
	}
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return 0;
	/* Behind a gateway there is no pod. */
	client = (const __u32 *)h->s.tuple.remote;
	if (h->v4 ? fib.ipv4_dst != client[3]
		  : (fib.ipv6_dst[0] ^ client[0]) | (fib.ipv6_dst[1] ^ client[1]) |
			    (fib.ipv6_dst[2] ^ client[2]) | (fib.ipv6_dst[3] ^ client[3]))
		return 0;
	if (fib.ifindex == skb->ifindex)
		return 1;
	if (result != BPF_FIB_LKUP_RET_SUCCESS || bpf_skb_load_bytes(skb, ETH_ALEN, from, ETH_ALEN))
		return 0;
#pragma unroll
	for (i = 0; i < ETH_ALEN; i++)
		if (from[i] != fib.dmac[i])
			return 0;
	return fib.ifindex == way_master(frame_net_device(skb));
}

/* ---- where pods are ------------------------------------------------------------------------ */

static __always_inline void splice_reversed(const struct pintle_tuple *t, struct pintle_tuple *k)
{
	k->scope = t->scope;
	k->local_port = t->remote_port;
	k->remote_port = t->local_port;
	__builtin_memcpy(k->local, t->remote, sizeof(k->local));
	__builtin_memcpy(k->remote, t->local, sizeof(k->remote));
}

/* A SYN that is none of ours leaves a pod: if the answer comes by this device, too, the pod's
 * connections can be spliced here. Not so where the answers take another way, as with eBPF host
 * routing, or where another program takes packets before this one. */
__noinline int splice_look_out(struct __sk_buff *skb, const struct pintle_tuple *t)
{
	const struct sock_common *kernel_sock;
	struct splice_look look = {};
	struct pintle_space *s;
	struct bpf_sock *sk = skb->sk;
	struct pintle_tuple k;

	if (!t || !sk)
		return 0;
	kernel_sock = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct sock_common));
	look.space = kernel_sock->skc_net.net->net_cookie;
	look.device = skb->ifindex;
	s = bpf_map_lookup_elem(&splice_spaces, &look.space);
	if (s && s->device == look.device)
		return 0;
	splice_reversed(t, &k);
	bpf_map_update_elem(&splice_looks, &k, &look, BPF_ANY);
	return 0;
}

/* An answer to a SYN goes to a pod. */
__noinline int splice_look_back(struct __sk_buff *skb, const struct pintle_tuple *t)
{
	struct pintle_space s = {};
	struct splice_look *look;
	struct pintle_tuple k;
	__u64 space;

	if (!t)
		return 0;
	k = *t;
	look = bpf_map_lookup_elem(&splice_looks, &k);
	if (!look || look->device != skb->ifindex)
		return 0;
	space = look->space;
	s.device = look->device;
	s.since_ns = bpf_ktime_get_ns();
	bpf_map_update_elem(&splice_spaces, &space, &s, BPF_ANY);
	bpf_map_delete_elem(&splice_looks, &k);
	return 0;
}

/* ---- what is held --------------------------------------------------------------------------- */

/* The connection's entry, locked. */
static __always_inline struct pintle_held *splice_held(const struct pintle_tuple *t,
						       const struct pintle_splice *f)
{
	struct pintle_held_key k;
	struct pintle_held *e = held_find(t, &k);

	if (!e || !held_lock(e))
		return NULL;
	if (held_is(e, t) && e->acknowledged == f->acknowledged && e->first == f->first &&
	    e->decided)
		return e;
	held_unlock(e);
	return NULL;
}

struct splice_sending {
	struct __sk_buff *skb;
	const struct hand *h;
	const struct pintle_splice *f;
	const struct pintle_tuple *t;
	const struct request_scan *scan;
	__u32 at; /* behind the first byte */
	__u32 end;
};

static long splice_send_piece(__u32 i, void *arg)
{
	struct splice_sending *s = arg;
	struct splice_work *w = splice_work_find();
	__u32 n = s->end - s->at, at = s->at;

	(void)i;
	if (!w || !n)
		return 1;
	if (n > s->f->mss)
		n = s->f->mss;
	if (n > SPLICE_PIECE || at > HOLD_MAX)
		return 1;
	if (bpf_probe_read_kernel(w->piece, at_least_1(n, SPLICE_PIECE), s->scan->bytes + at))
		return 1;
	w->piece_size = n;
	w->answer.tcp.seq = bpf_htonl(s->f->first + at);
	w->answer.tcp.psh = at + n == s->end;
	s->at = at + n;
	return splice_write(s->skb, s->h, s->f, s->t) ||
	       bpf_clone_redirect(s->skb, s->skb->ifindex, BPF_F_INGRESS);
}

/* What of the header all pieces have in common. `acknowledged`, `echo`: the server's numbers. */
static __always_inline void splice_head(struct splice_work *w, const struct pintle_splice *f,
					__u32 acknowledged, bool timed, __u32 value, __u32 echo)
{
	__u32 i;

	__builtin_memset(&w->answer, 0, sizeof(w->answer));
#pragma unroll
	for (i = 0; i < 5; i++)
		w->answer.options[i] = NOTHING_4;
	w->answer.tcp.seq = bpf_htonl(f->end);
	w->answer.tcp.ack = 1;
	w->answer.tcp.ack_seq = bpf_htonl(acknowledged);
	w->answer.tcp.window =
		bpf_htons(f->flags & PINTLE_SPLICE_SCALES ? f->window
							  : splice_window(f->window, f->scale, 0));
	if (timed) {
		w->answer.options[0] = bpf_htonl(0x0101080a);
		w->answer.options[1] = bpf_htonl(value);
		w->answer.options[2] = bpf_htonl(echo);
	}
	w->piece_size = 0;
}

/* Sends what of the held bytes the server does not have, or only the first segment of it, by copies
 * of the packet, which come in by the client's device. splice_head() was called. Where nothing is
 * held, an acknowledgement is sent. */
__noinline int splice_send(struct __sk_buff *skb, const struct hand *h, struct pintle_splice *f,
			   const struct pintle_tuple *t, __u32 once)
{
	struct splice_sending s = {.skb = skb};
	struct pintle_held *e;

	if (!h || !f || !t)
		return -1;
	s.h = h;
	s.f = f;
	s.t = t;
	e = f->acked == f->end ? NULL : splice_held(t, f);
	if (!e)
		return splice_write(skb, h, f, t) ||
		       bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS);
	s.scan = (const struct request_scan *)e->request;
	s.at = f->acked - f->first;
	s.end = f->end - f->first;
	if (s.end <= e->decided)
		bpf_loop(once ? 1 : 32, splice_send_piece, &s, 0);
	held_unlock(e);
	return 0;
}

/* A further segment, while the server has not answered. It is not acknowledged. */
__noinline int splice_append(struct __sk_buff *skb, struct hand *h, struct pintle_splice *f)
{
	struct hold_loading l = {.skb = skb};
	struct pintle_held *e;

	if (!h || !f || hold_is_sound(skb, h) <= 0)
		return 0;
	e = splice_held(&h->s.tuple, f);
	if (!e)
		return 0;
	l.scan = (struct request_scan *)e->request;
	l.from = h->s.data;
	l.to = e->decided;
	l.size = h->s.size;
	if (l.to == f->end - f->first && l.to <= HOLD_MAX && l.size <= HOLD_MAX - l.to) {
		bpf_loop(REQUEST_MAX / REQUEST_CHUNK, hold_load_chunk, &l, 0);
		e->decided = l.to + l.size;
		f->end += l.size;
	}
	held_unlock(e);
	return 0;
}

/* ---- to a server ------------------------------------------------------------------------------
 */

/* Gives the connection a port that the client has no other connection to that server with, and its
 * entry in `splice_backs`. Returns 0 or -1. */
static __noinline int splice_port(const struct hand *h, struct pintle_splice *f)
{
	struct pintle_splice_back b = {.acknowledged = f->acknowledged};
	struct pintle_tuple k = {};
	__u32 at = h->hash ^ f->acknowledged ^ f->times << 8, i;

	b.tuple = h->s.tuple;
	at = at * 0x9e3779b1 >> 8;
	for (i = 0; i < 16; i++) {
		f->own_port = PINTLE_SPLICE_PORT + (at + i * 61) % PINTLE_SPLICE_PORTS;
		splice_back_key(&h->s.tuple, f, &k);
		if (!bpf_map_update_elem(&splice_backs, &k, &b, BPF_NOEXIST))
			return 0;
	}
	return -1;
}

/* Enters the endpoint that was decided on into the flow. */
static __always_inline void splice_aim(struct pintle_splice *f, const struct pintle_connect *c,
				       __u64 now)
{
	f->endpoint.id = c->endpoint;
	f->endpoint.generation = c->generation;
	__builtin_memcpy(f->address, c->address, sizeof(f->address));
	f->port = c->port;
	f->began_ns = now;
	f->state = PINTLE_SPLICE_CALLS;
	f->times++;
}

/* Makes the flow of a connection whose record has an endpoint now. Returns 0, or -1: there is no
 * room. */
__noinline int splice_make(struct hand *h, struct pintle_connect *c)
{
	struct splice_work *w = splice_work_find();
	struct hand_options o = {};
	struct segment_header *x = header_find();
	struct pintle_tuple k;
	struct pintle_splice *f, *former;
	struct pintle_held *e;
	struct pintle_held_key held_at;

	if (!w || !x || !h || !c)
		return -1;
	f = &w->fresh;
	__builtin_memset(f, 0, sizeof(*f));
	options_read(h, &o);
	hand_unpack(&o, h->kept);
	f->client = c->client;
	f->device = w->device;
	f->pool.id = c->pool;
	f->pool.generation = c->pool_generation;
	f->first = h->s.sequence;
	f->acked = f->first;
	f->acknowledged = h->acknowledged;
	f->time = o.has_time ? o.echo : 0;
	f->value = o.value;
	f->scale = o.has_scale ? o.scale : 0;
	f->flags = o.has_scale ? PINTLE_SPLICE_OFFERED : 0;
	f->window = bpf_ntohs(((const struct tcphdr *)x->bytes)->window);
	f->end = f->first;
	e = held_find(&h->s.tuple, &held_at);
	if (e && e->acknowledged == f->acknowledged && e->first == f->first)
		f->end = f->first + e->decided;
	splice_aim(f, c, h->now);
	k = h->s.tuple;
	former = bpf_map_lookup_elem(&splices, &k);
	if (former)
		splice_forget(&k, former);
	if (!splice_share_take(c->client))
		return -1;
	if (splice_port(h, f) || bpf_map_update_elem(&splices, &k, f, BPF_ANY)) {
		splice_back_forget(&k, f);
		splice_share_give(c->client);
		return -1;
	}
	splice_sum_add(1);
	splice_sweep_soon();
	return 0;
}

/* Makes the packet the SYN to the flow's server. It goes on as if the client had sent it. */
__noinline int splice_call(struct __sk_buff *skb, const struct hand *h, struct pintle_splice *f,
			   const struct pintle_tuple *t)
{
	struct splice_work *w = splice_work_find();
	struct hand_options o = {};

	if (!w || !h || !f || !t)
		return TC_ACT_SHOT;
	options_read(h, &o);
	hand_unpack(&o, h->kept);
	/* What is held must not be older than this, or the server drops it (PAWS). */
	f->value = o.value;
	splice_head(w, f, 0, false, 0, 0);
	w->answer.tcp.seq = bpf_htonl(f->first - 1);
	w->answer.tcp.ack = 0;
	w->answer.tcp.syn = 1;
	w->answer.tcp.window = bpf_htons(64240);
	w->answer.options[0] =
		bpf_htonl(0x02040000 | (o.mss < mss_least(h) ? mss_least(h) : o.mss));
	if (o.has_sack)
		w->answer.options[1] = bpf_htonl(0x01010402);
	if (o.has_time) {
		w->answer.options[1] = bpf_htonl(o.has_sack ? 0x0402080a : 0x0101080a);
		w->answer.options[2] = bpf_htonl(o.value);
		w->answer.options[3] = 0;
	}
	if (o.has_scale)
		w->answer.options[4] = bpf_htonl(0x01030300 | o.scale);
	return splice_write(skb, h, f, t) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* Counts what the request brings to where it went, as placed_count() does. A function of its own,
 * because of its stack. */
__noinline int splice_count(struct hand *h, const struct pintle_connect *c)
{
	struct pintle_decision d = {};
	struct pintle_asking *a = asking_find();
	struct hand_scratch *x = scratch_find();
	struct pintle_affinity_key key = {};
	struct pintle_affinity *bound;
	__u32 have, steps, context = 0;

	if (!h || !c || !a || !x)
		return 0;
	d.decided_ns = h->now;
	d.endpoint = c->endpoint;
	d.generation = c->generation;
	d.pool = c->pool;
	d.pool_generation = c->pool_generation;
	steps = prompt_seen(a, &d);
	have = steps ? prompt_placed(&h->s.tuple, &d) : 0;
	if (c->outcome == PINTLE_OUTCOME_STICKY) {
		key.pool = c->pool;
		key.pool_generation = c->pool_generation;
		key.session = c->session;
		bound = binding_find(&key);
		context = bound ? bound->context_bytes : 0;
	}
	asked_count(h, &d, x->scan.length, have > context ? have : context);
	if (!a->adapter || d.pool != a->pool.id || d.pool_generation != a->pool.generation)
		return 0;
	return adapter_placed(d.endpoint, d.generation);
}

/* No server gets the connection. */
static __always_inline int splice_refuse(struct __sk_buff *skb, struct hand *h)
{
	held_forget(&h->s.tuple);
	checksum_read(h);
	return answer_reset(skb, h);
}

/* The first request was decided. */
static __always_inline int splice_placed(struct __sk_buff *skb, struct hand *h,
					 struct pintle_connect *c, int how)
{
	struct pintle_asking *a = asking_find();
	struct pintle_splice *f;
	struct pintle_tuple k;
	int loaded;

	if (!a)
		return TC_ACT_SHOT;
	if (!c || !c->generation) {
		hand_count(h, how == PINTLE_HAND_NO_MODEL ? how : PINTLE_HAND_NOBODY);
		if (how == PINTLE_HAND_NO_MODEL)
			model_count(a, false);
		return splice_refuse(skb, h);
	}
	if (splice_make(h, c)) {
		disown(c);
		hand_count(h, PINTLE_HAND_FAILED);
		return splice_refuse(skb, h);
	}
	splice_opened(c, h->now);
	loaded = splice_count(h, c);
	hand_count(h, how);
	model_count(a, loaded > 0);
	k = h->s.tuple;
	f = bpf_map_lookup_elem(&splices, &k);
	return f ? splice_call(skb, h, f, &h->s.tuple) : TC_ACT_SHOT;
}

/* No server is asked any more. */
static __always_inline int splice_give_up(struct __sk_buff *skb, struct hand *h,
					  struct pintle_splice *f)
{
	hand_count(h, PINTLE_HAND_NOBODY);
	f->state = PINTLE_SPLICE_GONE;
	f->ended_ns = h->now;
	h->acknowledged = f->acknowledged;
	return splice_refuse(skb, h);
}

/* A connection was decided once more. */
static __always_inline int splice_replaced(struct __sk_buff *skb, struct hand *h,
					   struct pintle_connect *c)
{
	struct pintle_splice *f;
	struct pintle_tuple k = h->s.tuple;

	f = bpf_map_lookup_elem(&splices, &k);
	if (!f)
		return TC_ACT_SHOT;
	if (!c || !c->generation)
		return splice_give_up(skb, h, f);
	splice_aim(f, c, h->now);
	if (splice_port(h, f)) {
		disown(c);
		return splice_give_up(skb, h, f);
	}
	splice_opened(c, h->now);
	return splice_call(skb, h, f, &h->s.tuple);
}

/* After splice_decide(). */
__noinline int splice_decided(struct __sk_buff *skb, struct hand *h)
{
	struct splice_work *w = splice_work_find();
	struct pintle_connect *c;

	if (!w || !h)
		return TC_ACT_SHOT;
	c = splice_record(skb, &h->s.tuple);
	return w->again ? splice_replaced(skb, h, c) : splice_placed(skb, h, c, w->how);
}

/* A function of its own, because of its stack. */
__noinline int splice_ask(struct __sk_buff *skb, const struct hand *h)
{
	struct pintle_asking *a = asking_find();

	return a && h ? request_ask(skb, h, a) : PINTLE_HAND_NOT_HTTP;
}

/* ---- one request per connection -------------------------------------------------------------- */

struct splice_closing {
	struct request_scan *scan;
	const struct oneshot_edit *edit;
};

static long splice_close_byte(__u32 i, void *arg)
{
	const struct splice_closing *c = arg;
	__u32 at = c->edit->offset + i;

	hide(at);
	if (i >= c->edit->length || at >= HOLD_MAX)
		return 1;
	c->scan->bytes[at] = oneshot_byte(c->edit, i);
	return 0;
}

/* Makes the server close behind the request, by a change of what is held of it. Returns whether it
 * was changed. */
static __always_inline bool splice_close_held(const struct hand *h, const struct oneshot_edit *edit)
{
	struct splice_closing c = {.edit = edit};
	struct pintle_held_key k;
	struct pintle_held *e = held_find(&h->s.tuple, &k);
	bool is;

	if (!e || !held_lock(e))
		return false;
	is = held_is(e, &h->s.tuple) && e->acknowledged == h->acknowledged &&
	     e->first == h->s.sequence && edit->offset + edit->length <= e->decided;
	c.scan = (struct request_scan *)e->request;
	if (is)
		bpf_loop(ONESHOT_LINE_MAX, splice_close_byte, &c, 0);
	held_unlock(e);
	return is;
}

/* A function of its own, because of its stack. */
__noinline int splice_close(struct __sk_buff *skb, const struct hand *h)
{
	struct oneshot_scratch *o = oneshot_scratch_find();
	struct hand_scratch *x = scratch_find();
	struct pintle_pool *pool;

	if (!o || !x || !h || close_wanted(skb, h) <= 0)
		return 0;
	pool = pool_find(h->pool.id, h->pool.generation);
	if (!pool)
		return 0;
	oneshot_decide(&x->scan, &pool->rewrite, &o->edit);
	if (o->edit.kind != ONESHOT_NOTHING && !splice_close_held(h, &o->edit))
		o->edit.result = PINTLE_ONESHOT_LEFT_FAILED;
	oneshot_count(h->pool.id, o->edit.result);
	return 0;
}

/* ---- deciding ----------------------------------------------------------------------------------
 */

/* The request is there, and is read: says of what pool an endpoint is to be decided on. */
static __always_inline int splice_asked(struct __sk_buff *skb, struct hand *h)
{
	struct splice_work *w = splice_work_find();
	struct pintle_asking *a = asking_find();

	if (!a || !w)
		return TC_ACT_SHOT;
	w->how = splice_ask(skb, h);
	w->again = 0;
	w->asked = h->pool;
	if (a->pool.generation)
		w->asked = a->pool;
	if (w->how == PINTLE_HAND_NO_MODEL)
		w->asked.generation = 0;
	else
		prompt_take(skb, h);
	splice_close(skb, h);
	return SPLICE_DECIDE;
}

/* The server has refused the connection, or has not answered: the rule decides again. */
__noinline int splice_again(struct __sk_buff *skb, struct hand *h, struct pintle_splice *f)
{
	struct splice_work *w = splice_work_find();
	struct pintle_asking *a = asking_find();
	struct pintle_connect *c;
	struct pintle_tuple k;
	__u32 at;

	if (!a || !w || !h || !f)
		return TC_ACT_SHOT;
	c = splice_record(skb, &h->s.tuple);
	if (!c)
		return TC_ACT_SHOT;
	if (c->generation && c->generation == f->endpoint.generation &&
	    c->endpoint == f->endpoint.id)
		endpoint_failed(c, f->state == PINTLE_SPLICE_REFUSED ? PINTLE_FAILURE_REFUSED
								     : PINTLE_FAILURE_UNANSWERED);
	disown(c);
	k = h->s.tuple;
	splice_back_forget(&k, f);
	at = f->times - 1;
	if (at < PINTLE_MAX_TRIED)
		f->tried[at & 1] = f->endpoint;
	if (f->times >= SPLICE_TIMES)
		return splice_give_up(skb, h, f);
	/* The session is in the record. */
	__builtin_memset(&a->session, 0, sizeof(a->session));
	__builtin_memset(&a->pool, 0, sizeof(a->pool));
	__builtin_memset(&a->prompt_of, 0, sizeof(a->prompt_of));
	a->adapter = 0;
	a->no_model = 0;
	a->tried[0] = f->tried[0];
	a->tried[1] = f->tried[1];
	w->asked = f->pool;
	w->again = 1;
	return SPLICE_DECIDE;
}

/* ---- the client's segments ----------------------------------------------------------------------
 */

/* A SYN of a client's socket whose connection is to be spliced. */
static __always_inline int splice_syn(struct __sk_buff *skb, struct hand *h)
{
	struct pintle_connect *c = splice_record(skb, &h->s.tuple);
	struct pintle_splice *f;
	struct pintle_tuple k;
	int result;

	if (!c || !hand_begin(skb, h) || checksum_read(h) < 0)
		return TC_ACT_UNSPEC;
	/* The socket has its addresses and ports alone, so what had them before is over. */
	k = h->s.tuple;
	f = bpf_map_lookup_elem(&splices, &k);
	if (f)
		splice_forget(&k, f);
	result = splice_is_behind(skb, h) > 0 ? answer_syn(skb, h) : TC_ACT_UNSPEC;
	if (result != TC_ACT_UNSPEC)
		return result;
	/* This one goes where the frontend leads. The pod's next one is the connect hook's, until
	 * its device is known again: it may be another by now. */
	__sync_fetch_and_and(&c->flags, ~PINTLE_CONNECT_SPLICED);
	splice_space_forget(c);
	hand_count(h, PINTLE_HAND_BY_CONNECTION);
	return result;
}

/* As on_first(): a segment of a connection of which nothing is held. Its socket proves whose it is.
 */
static __always_inline int splice_first(struct __sk_buff *skb, struct hand *h)
{
	if (h->flags & FLAG_RST) {
		if (!h->s.size && h->fits == HAND_FITS_FIRST)
			hand_count(h, PINTLE_HAND_NO_REQUEST);
		return TC_ACT_SHOT;
	}
	if (h->fits == HAND_FITS_AHEAD)
		return TC_ACT_SHOT;
	if (h->s.size > 1 && h->fits == HAND_FITS_FIRST)
		return HOLD_OVER;
	if (checksum_read(h) < 0)
		return TC_ACT_SHOT;
	if (h->s.size <= 1 && h->fits == HAND_FITS_PROBE)
		return answer_ack(skb, h, h->s.sequence + 1);
	if (h->fits == HAND_FITS_FIRST) {
		if (h->s.size)
			return HOLD_OVER;
		if (!(h->flags & FLAG_FIN))
			return TC_ACT_SHOT;
		hand_count(h, PINTLE_HAND_NO_REQUEST);
		return answer_until(skb, h, h->s.sequence, true);
	}
	/* The client acknowledges that answer. */
	if (!h->s.size && fits_read(h, 1) == HAND_FITS_FIRST)
		return TC_ACT_SHOT;
	/* Its cookie has expired. */
	hand_count(h, PINTLE_HAND_STRAY);
	return answer_reset(skb, h);
}

/* A segment of a connection whose request is not decided yet. Returns a TC_ACT_*, HOLD_MORE, or
 * HOLD_OVER. */
static __always_inline int splice_early(struct __sk_buff *skb, struct hand *h)
{
	struct pintle_connect *c = splice_record(skb, &h->s.tuple);
	struct pintle_ref of = h->pool;
	int result;

	if (!c || !hand_begin(skb, h))
		return TC_ACT_UNSPEC;
	/* Its flow was swept, or removed. */
	if (c->generation) {
		checksum_read(h);
		return h->flags & FLAG_RST ? TC_ACT_SHOT : answer_reset(skb, h);
	}
	result = hold_segment(skb, h);
	if (result != HOLD_NOT)
		return result;
	fits_read(h, 0);
	result = splice_first(skb, h);
	if (result != HOLD_OVER)
		return result;
	if (hold_is_sound(skb, h) <= 0) {
		hold_count(h->pool.id, PINTLE_HOLD_DAMAGED);
		return TC_ACT_SHOT;
	}
	h->read = headers_read(skb, h, &of) > 0;
	result = hold_begin(h);
	return result == HOLD_NOT ? HOLD_OVER : result;
}

/* A segment of the client, while its server has not answered. */
static __always_inline int splice_wait(struct __sk_buff *skb, struct hand *h,
				       struct pintle_splice *f)
{
	__u32 before = f->end - h->s.sequence;

	if (h->flags & FLAG_RST) {
		if (h->s.sequence - f->first <= HAND_AHEAD) {
			f->ended_ns = h->now;
			f->state = PINTLE_SPLICE_GONE;
			held_forget(&h->s.tuple);
		}
		return TC_ACT_SHOT;
	}
	/* A FIN is sent again, too; alone, where it has decided the connection and all before it
	 * was acknowledged. */
	if (!h->s.size && !(h->flags & FLAG_FIN))
		return TC_ACT_SHOT;
	/* The reset was lost. */
	if (f->state == PINTLE_SPLICE_GONE) {
		h->acknowledged = f->acknowledged;
		return splice_refuse(skb, h);
	}
	if (h->s.size && !before && f->end != f->first) {
		splice_append(skb, h, f);
		return TC_ACT_SHOT;
	}
	if (before > HAND_AHEAD)
		return TC_ACT_SHOT;
	checksum_read(h);
	fits_read(h, 0);
	if (f->state == PINTLE_SPLICE_CALLS && h->now - f->began_ns < SPLICE_TRY_NS)
		return splice_call(skb, h, f, &h->s.tuple);
	return splice_again(skb, h, f);
}

/* Sends again what is held, because the client has sent the last of it again. */
static __always_inline int splice_repeat(struct __sk_buff *skb, struct hand *h,
					 struct pintle_splice *f)
{
	struct splice_work *w = splice_work_find();
	struct segment_header *x = header_find();
	struct hand_options o = {};

	if (!w || !x)
		return TC_ACT_SHOT;
	options_read(h, &o);
	checksum_read(h);
	f->value = o.value;
	/* That of the request went with another number: together with this one it would be too
	 * much. */
	f->window = bpf_ntohs(((const struct tcphdr *)x->bytes)->window);
	splice_head(w, f, h->acknowledged - f->shift, o.has_time, o.value, o.echo - f->time);
	splice_send(skb, h, f, &h->s.tuple, 0);
	return TC_ACT_SHOT;
}

/* A function of its own, because of its stack. */
static __noinline void splice_note_time(const struct hand *h, struct pintle_splice *f)
{
	struct hand_options o = {};

	options_read(h, &o);
	if (o.has_time)
		f->value = o.value;
}

/* A segment of a connection that has a flow. */
static __always_inline int splice_client(struct __sk_buff *skb, struct hand *h,
					 struct pintle_splice *f)
{
	if (f->device && f->device != skb->ifindex)
		return TC_ACT_UNSPEC;
	h->pool = f->pool;
	h->v4 = address_is_v4(h->s.tuple.local);
	h->in_pods = 1;
	h->spliced = 1;
	h->hash = tuple_hash(&h->s.tuple);
	if (!hand_begin(skb, h))
		return TC_ACT_SHOT;
	if (f->state != PINTLE_SPLICE_OPEN)
		return splice_wait(skb, h, f);
	if (f->acked != f->end && h->s.size && (__s32)(h->s.sequence - f->end) < 0)
		return splice_repeat(skb, h, f);
	if (f->acked != f->end)
		splice_note_time(h, f);
	return splice_onward(skb, h, f) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* Finds the pool of the segment's destination. Returns false unless its requests are spliced. */
static __always_inline bool splice_pool(struct hand *h)
{
	struct pintle_pool *pool;

	frontend_of(&h->s.tuple, PINTLE_HOOK_CONNECT, &h->pool);
	pool = pool_find(h->pool.id, h->pool.generation);
	if (!pool || pool->decide != PINTLE_DECIDE_REQUEST)
		return false;
	h->v4 = address_is_v4(h->s.tuple.local);
	h->in_pods = 1;
	h->spliced = 1;
	h->unsure = 1; /* no note of the SYN is wanted */
	h->hash = tuple_hash(&h->s.tuple);
	return true;
}

/* Whether the packet comes from the pod, and does not go there. */
static __always_inline bool splice_comes_in(struct __sk_buff *skb)
{
	const struct sk_buff *s = bpf_rdonly_cast(skb, bpf_core_type_id_kernel(struct sk_buff));

	return BPF_CORE_READ_BITFIELD(s, tc_at_ingress);
}

/* Whatever comes from a pod. Returns a TC_ACT_*, SPLICE_DECIDE, HOLD_MORE, or HOLD_OVER. */
__noinline int splice_in(struct __sk_buff *skb, struct hand *h)
{
	struct pintle_splice *f;
	struct pintle_tuple k;

	if (!h)
		return TC_ACT_UNSPEC;
	k = h->s.tuple;
	f = bpf_map_lookup_elem(&splices, &k);
	if (f && !h->s.syn)
		return splice_client(skb, h, f);
	if (!splice_pool(h)) {
		if (h->s.syn)
			splice_look_out(skb, &h->s.tuple);
		return TC_ACT_UNSPEC;
	}
	return h->s.syn ? splice_syn(skb, h) : splice_early(skb, h);
}

#include "splice_back.bpf.h"

/* Whether it is a segment; else it may be a router's word about one. */
static __noinline int splice_read(struct __sk_buff *skb, struct splice_work *w)
{
	w->device = skb->ifindex;
	__builtin_memset(&w->h, 0, sizeof(w->h));
	return !segment_read(skb, ETH_HLEN, &w->h.s);
}

/* Holding, reading and deciding take nearly all frames and all of the stack that there may be, so
 * nothing else is between them and this. Not loaded unless it is asked for
 * by name ("?"). */
SEC("?tc")
int pintle_splice(struct __sk_buff *skb)
{
	struct splice_work *w = splice_work_find();
	int result;

	if (!w)
		return TC_ACT_UNSPEC;
	result = splice_read(skb, w);
	if (!splice_comes_in(skb))
		return result ? splice_out(skb, &w->h) : splice_other(skb, &w->h);
	if (!result)
		return TC_ACT_UNSPEC;
	result = splice_in(skb, &w->h);
	if (result == HOLD_MORE)
		result = hold_take(skb, &w->h);
	if (result == HOLD_OVER)
		result = splice_asked(skb, &w->h);
	if (result != SPLICE_DECIDE)
		return result;
	splice_decide(skb, &w->h);
	return splice_decided(skb, &w->h);
}

#endif
