/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hand_hold.bpf.h - holds a connection whose headers do not end, or whose body does not begin, in
 * its first segment.
 *
 *   a segment         its bytes are kept in `held`, and acknowledged
 *   the last of them  the packet gets all that was kept in front of its own bytes, and goes on as
 * if the client had sent it so
 *
 * What is acknowledged is nowhere else: it is kept until the server has it, and the bytes that came
 * first count. The last segment is not acknowledged, so the client sends it again if the server
 * does not get it.
 *
 * The kernel's timer forgets a connection of which no more comes. Its later segments are like those
 * of a connection that is over: they are answered with a reset.
 */
#ifndef PINTLE_HAND_HOLD_BPF_H
#define PINTLE_HAND_HOLD_BPF_H

#include "hand_segment.bpf.h"
#include "served.bpf.h"

#define SWEEP_NS     1000000000ULL /* 1 s */
#define CLOCK_STEADY 1             /* CLOCK_MONOTONIC */
#define HOLD_SEGMENT 1460          /* bytes, with an MTU of 1500 */

/* What becomes of a segment, where that is no TC_ACT_*. */
#define HOLD_NOT  -1 /* it is of no held connection */
#define HOLD_OVER -2 /* it has all bytes of its connection now, which is to be decided */
#define HOLD_MORE                                                                                  \
	-3 /* call hold_take(): not called from here, since frames of the stack are few            \
	    */

static const struct pintle_held hold_fresh = {.busy = 1}; /* a new entry */

_Static_assert(sizeof(((struct pintle_held *)0)->request) >= sizeof(struct request_scan), "room");

static __always_inline void hold_count(__u32 pool, __u32 hold)
{
	__u32 at = PINTLE_HOLD_STAT(pool, hold);
	__u64 *n = bpf_map_lookup_elem(&hold_stats, &at);

	if (n)
		(*n)++;
}

/* ---- checksums ----------------------------------------------------------------------- */

struct hold_summing {
	struct __sk_buff *skb;
	const struct request_scan *scan;
	__u8 *chunk;
	__u32 from, size;
	__u64 sum;
};

static long hold_sum_data(__u32 i, void *arg)
{
	struct hold_summing *s = arg;
	__u32 at = REQUEST_CHUNK * i, n;

	if (at >= s->size)
		return 1;
	n = s->size - at;
	if (n < REQUEST_CHUNK)
		__builtin_memset(s->chunk, 0, REQUEST_CHUNK);
	else
		n = REQUEST_CHUNK;
	if (bpf_skb_load_bytes(s->skb, s->from + at, s->chunk, at_least_1(n, REQUEST_CHUNK)))
		return 1;
	s->sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)s->chunk, REQUEST_CHUNK, 0);
	return 0;
}

/* Whether IP and TCP would take the headers: a segment whose IP header is damaged, or that is
 * signed with a key that no server of a frontend has, would be handed over in vain. */
__noinline int hold_is_taken(struct __sk_buff *skb, const struct hand *h)
{
	struct hand_options o = {};
	struct iphdr ip;

	if (!h)
		return 0;
	options_read(h, &o);
	if (o.is_signed)
		return 0;
	if (!h->v4)
		return 1;
	return !bpf_skb_load_bytes(skb, h->s.ip, &ip, sizeof(ip)) &&
	       fold((__u32)bpf_csum_diff(0, 0, (__be32 *)&ip, sizeof(ip), 0)) == 0xffff;
}

/* Whether the segment is whole and undamaged: what is acknowledged cannot be had again, and what
 * TCP would drop decides nothing. A device may have looked already. */
__noinline int hold_is_sound(struct __sk_buff *skb, struct hand *h)
{
	struct hold_summing s = {.skb = skb};
	struct segment_header *x = header_find();
	struct hand_scratch *w = scratch_find();

	if (!h || !x || !w || h->s.data + h->s.size > skb->len || checksum_read(h) < 0 ||
	    hold_is_taken(skb, h) <= 0)
		return 0;
	if (!h->s.size || h->partial || bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0)
		return 1;
	s.chunk = w->chunk;
	s.from = h->s.data;
	s.size = h->s.size;
	s.sum = pseudo_sum(h, h->s.data - h->s.tcp + h->s.size) +
		(__u32)bpf_csum_diff(0, 0, (__be32 *)x->bytes, HEADER_MAX, 0);
	bpf_loop(65536 / REQUEST_CHUNK, hold_sum_data, &s, 0);
	return fold(s.sum) == 0xffff;
}

static long hold_sum_kept(__u32 i, void *arg)
{
	struct hold_summing *s = arg;
	__u32 at = REQUEST_CHUNK * i, n;

	if (at >= s->size)
		return 1;
	n = (s->size - at + 3) & ~3U;
	if (n > REQUEST_CHUNK)
		n = REQUEST_CHUNK;
	at &= REQUEST_MAX - REQUEST_CHUNK;
	n = at_least_1(n, REQUEST_CHUNK);
	s->sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)(s->scan->bytes + at), n, 0);
	return 0;
}

/* The sum of the first `size` bytes, behind which it writes zeros. */
__noinline int hold_sum(struct request_scan *scan, __u32 size)
{
	struct hold_summing s = {.scan = scan, .size = size};
	__u32 i;

	if (!scan)
		return 0;
#pragma unroll
	for (i = 0; i < 3; i++)
		scan->bytes[(size + i) & (REQUEST_MAX - 1)] = 0;
	bpf_loop(REQUEST_MAX / REQUEST_CHUNK, hold_sum_kept, &s, 0);
	return fold(s.sum);
}

/* ---- bytes --------------------------------------------------------------------------- */

struct hold_loading {
	struct __sk_buff *skb;
	struct request_scan *scan;
	__u32 from, to, size;
	__u32 zero;
};

static long hold_load_chunk(__u32 i, void *arg)
{
	const struct hold_loading *l = arg;
	__u32 done = REQUEST_CHUNK * i, n, to;

	if (done >= l->size)
		return 1;
	n = l->size - done;
	if (n > REQUEST_CHUNK)
		n = REQUEST_CHUNK;
	to = (l->to + done) & (REQUEST_MAX - 1);
	hide(to);
	if (to > REQUEST_MAX - 1)
		return 1;
	n = at_least_1(n, REQUEST_CHUNK);
	return !!bpf_skb_load_bytes(l->skb, l->from + done, l->scan->bytes + to, n);
}

/* As the kernel does where there is a socket: what a network marks (CE) is told to the client until
 * that says that it sends more slowly (CWR). */
static __always_inline void hold_note_mark(struct __sk_buff *skb, struct hand *h,
					   struct pintle_held *e)
{
	__u8 mask = ecn_mask(h), ip[2];

	if (h->flags & FLAG_CWR)
		e->marked = 0;
	if (!bpf_skb_load_bytes(skb, h->s.ip, ip, sizeof(ip)) && (ip[1] & mask) == mask)
		e->marked = 1;
	h->marked = e->marked;
}

/* The server's socket goes on telling it, as if this packet had been marked. ip_set_length() makes
 * the header's checksum anew. */
static __always_inline int hold_mark(struct __sk_buff *skb, const struct hand *h)
{
	__u8 ip[2];

	if (!h->marked)
		return 0;
	if (bpf_skb_load_bytes(skb, h->s.ip, ip, sizeof(ip)))
		return -1;
	ip[1] |= ecn_mask(h);
	return bpf_skb_store_bytes(skb, h->s.ip, ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

/* Makes of the packet one with the connection's first `size` bytes. */
__noinline int hold_rewrite(struct __sk_buff *skb, struct hand *h, struct pintle_held *e,
			    __u32 size)
{
	struct segment_header *x = header_find();
	struct request_scan *scan;
	struct tcphdr *tcp;
	__u32 header;
	__u64 sum;

	if (!h || !e || !x || !size || size > HOLD_MAX)
		return -1;
	scan = (struct request_scan *)e->request;
	tcp = (struct tcphdr *)x->bytes;
	header = h->s.data - h->s.tcp;
	tcp->seq = bpf_htonl(e->first);
	x->bytes[13] = FLAG_ACK | FLAG_PSH | (h->flags & FLAG_FIN);
	tcp->urg_ptr = 0;
	tcp->check = 0;
	sum = pseudo_sum(h, header + size);
	if (!h->partial)
		sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)x->bytes, HEADER_MAX, 0) +
		       (__u32)hold_sum(scan, size);
	tcp->check = h->partial ? fold(sum) : ~fold(sum);
	if (bpf_skb_change_tail(skb, h->s.data + size, 0) ||
	    bpf_skb_store_bytes(skb, h->s.data, scan->bytes, at_least_1(size, REQUEST_MAX),
				BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, h->s.tcp, x->bytes, at_least_1(header, HEADER_MAX),
				BPF_F_RECOMPUTE_CSUM) ||
	    hold_mark(skb, h))
		return -1;
	h->s.sequence = e->first;
	h->s.size = size;
	h->held = 1;
	return ip_set_length(skb, h, header + size);
}

/* ---- the sweeper --------------------------------------------------------------------- */

struct hold_sweeping {
	__u64 now;
	__u32 left;
	__u32 zero;
};

static long hold_sweep_one(void *map, struct pintle_held_key *k, struct pintle_held *e,
			   struct hold_sweeping *s)
{
	/* Another CPU may have made the entry since the sweep began: then it is younger than `now`.
	 */
	if ((__s64)(s->now - e->since_ns) < (__s64)HOLD_END_NS || !held_lock(e)) {
		s->left = 1;
		return 0;
	}
	if (!e->decided && e->pool.id < PINTLE_MAX_POOLS) {
		hold_count(e->pool.id, PINTLE_HOLD_GIVEN_UP);
		/* What comes of it now has nothing to wait for. */
		served_note(&e->tuple, e->acknowledged, e->first);
	}
	bpf_map_delete_elem(map, k);
	return 0;
}

static int hold_sweep(void *map, __u32 *key, struct sweeper_value *s)
{
	struct hold_sweeping sweeping = {.now = bpf_ktime_get_ns()};

	(void)map;
	(void)key;
	/* It says that it runs for as long as there is an entry: see held_any(). */
	__sync_lock_test_and_set(&s->runs, PINTLE_SWEEPER_RUNS);
	bpf_for_each_map_elem(&held, hold_sweep_one, &sweeping, 0);
	if (sweeping.left ||
	    __sync_val_compare_and_swap(&s->runs, PINTLE_SWEEPER_RUNS, 0) != PINTLE_SWEEPER_RUNS)
		bpf_timer_start(&s->timer, SWEEP_NS, 0);
	return 0;
}

static __always_inline void hold_sweep_soon(void)
{
	__u32 zero = 0;
	struct sweeper_value *s = bpf_map_lookup_elem(&sweeper, &zero);

	if (!s || s->runs == PINTLE_SWEEPER_CALLED ||
	    __sync_lock_test_and_set(&s->runs, PINTLE_SWEEPER_CALLED))
		return;
	bpf_timer_init(&s->timer, &sweeper, CLOCK_STEADY); /* fails where it is there already */
	bpf_timer_set_callback(&s->timer, hold_sweep);
	if (bpf_timer_start(&s->timer, SWEEP_NS, 0))
		__sync_lock_test_and_set(&s->runs, 0);
}

/* ---- a segment ----------------------------------------------------------------------- */

struct hold_recalling {
	const struct request_scan *from;
	struct request_scan *to;
};

static long hold_recall_chunk(__u32 i, void *arg)
{
	const struct hold_recalling *r = arg;
	__u32 at = REQUEST_CHUNK * i;

	if (at >= r->from->line)
		return 1;
	at &= REQUEST_MAX - REQUEST_CHUNK;
	hide(at);
	if (at > REQUEST_MAX - REQUEST_CHUNK)
		return 1;
	__builtin_memcpy(r->to->bytes + at, r->from->bytes + at, REQUEST_CHUNK);
	return 0;
}

/* A reload may change the names while a connection is held. */
static __always_inline __u64 hold_names(const struct pintle_pool *pool)
{
	const __u64 *word = (const __u64 *)pool->asked.headers;
	__u64 hash = 1;
	__u32 i;

	for (i = 0; i < sizeof(pool->asked.headers) / 8; i++)
		hash = hash * 0x9e3779b97f4a7c15 + word[i];
	return hash;
}

/* Puts the headers into hand_scratch if they were read to their end. Returns whether they were. A
 * function of its own, because of its stack. */
__noinline int hold_recall(const struct request_scan *scan)
{
	struct hand_scratch *x = scratch_find();
	struct hold_recalling r = {.from = scan};

	if (!x || !scan || (scan->known & REQUEST_OVER) != REQUEST_ENDED)
		return 0;
	r.to = &x->scan;
	hold_copy(&x->scan, scan);
	bpf_loop(REQUEST_MAX / REQUEST_CHUNK, hold_recall_chunk, &r, 0);
	return 1;
}

/* The connection is to be decided now. What the packet has no room for comes behind it as a packet
 * of its own, which is queued again; once, so that nothing goes round where no server takes it. */
static __always_inline int hold_end(struct __sk_buff *skb, struct hand *h, struct pintle_held *e,
				    __u32 size, __u32 how)
{
	if (!e->decided) {
		/* A request in one segment is kept only until its server has it. */
		if (!h->spliced || ((struct request_scan *)e->request)->size)
			hold_count(h->pool.id, how);
		if (h->part.rest)
			come_again(skb);
	}
	e->decided = size;
	if (!h->part.end)
		h->flags &= ~FLAG_FIN;
	return hold_rewrite(skb, h, e, size) ? TC_ACT_SHOT : HOLD_OVER;
}

/* How much room in its window a client wants to send more than it has sent: a whole segment, or it
 * waits for 200 ms. */
static __always_inline __u32 hold_next(struct __sk_buff *skb, const struct hand *h)
{
	__u32 size = skb->gso_size ? skb->gso_size : h->s.size;

	return size > HOLD_SEGMENT ? size : HOLD_SEGMENT;
}

/* Whether more of the body is waited for, of which so many bytes are there. A function of its own,
 * because of its stack. */
__noinline int hold_awaits(struct __sk_buff *skb, const struct hand *h,
			   const struct request_scan *scan, __u32 size)
{
	struct pintle_pool *pool;

	if (!h || !scan)
		return 0;
	pool = pool_find(h->pool.id, h->pool.generation);
	if (!pool)
		return 0;
	if (h->spliced)
		return hand_awaits_body(pool, scan, size, HAND_SPLICE_MOST, hold_next(skb, h));
	return hand_awaits_body(pool, scan, size, HOLD_MAX, 1);
}

/* Takes what is new of the segment. The entry is locked. */
static __always_inline int hold_take_into(struct __sk_buff *skb, struct hand *h,
					  struct pintle_held *e)
{
	struct hand_scratch *x = scratch_find();
	struct hold_loading l = {.skb = skb};
	struct pintle_pool *pool = pool_find(h->pool.id, h->pool.generation);
	__u32 how, size, had;
	int over;

	if (!x || !pool)
		return TC_ACT_SHOT;
	l.scan = (struct request_scan *)e->request;
	if (h->read && !l.scan->size) {
		hold_begin_scan(l.scan, &x->scan);
		e->names = hold_names(pool);
	}
	l.from = h->s.data + h->part.skip;
	l.to = l.scan->size;
	l.size = h->part.take;
	size = l.to + l.size;
	if (size > HOLD_MAX)
		return TC_ACT_SHOT;
	/* What was handed over is handed over again as it came first, and all of it: the packet may
	 * be that one, with the request in it changed by now. */
	had = e->decided > l.to ? e->decided - l.to : 0;
	had = had < l.size ? had : l.size;
	l.from += had;
	l.to += had;
	l.size -= had;
	if (size < e->decided)
		size = e->decided;
	bpf_loop(REQUEST_MAX / REQUEST_CHUNK, hold_load_chunk, &l, 0);
	hold_note_mark(skb, h, e);
	over = hold_read(l.scan, &x->reader, size, hand_names(&pool->asked));
	if (over && hold_awaits(skb, h, l.scan, size) > 0)
		over = 0;
	how = hold_ends(&h->part, over, bpf_ktime_get_ns() - e->since_ns);
	if (how != PINTLE_HOLD_COUNT || e->decided) {
		h->read = e->names == hold_names(pool) && hold_recall(l.scan) > 0;
		hold_leave(l.scan, &x->reader);
		return hold_end(skb, h, e, size, how);
	}
	hold_keep(l.scan, &x->reader);
	return answer_ack(skb, h, e->first + size);
}

/* After HOLD_MORE. Returns a TC_ACT_* or HOLD_OVER. */
__noinline int hold_take(struct __sk_buff *skb, struct hand *h)
{
	struct pintle_held_key k;
	struct pintle_held *e;
	int result;

	if (!h)
		return TC_ACT_SHOT;
	e = held_find(&h->s.tuple, &k);
	if (!e)
		return TC_ACT_SHOT;
	hold_sweep_soon();
	result = hold_take_into(skb, h, e);
	held_unlock(e);
	return result;
}

/* ---- all ------------------------------------------------------------------------------- */

/* Puts a new entry into the first free place of the connection, and gives its key. NULL: there is
 * none. */
static __always_inline struct pintle_held *hold_put(const struct pintle_tuple *t,
						    struct pintle_held_key *k)
{
	struct held_places places;
	__u32 way;

	held_places(t, &places);
#pragma unroll
	for (way = 0; way < PINTLE_HELD_WAYS; way++) {
		held_key(&places, way, k);
		if (!bpf_map_update_elem(&held, k, &hold_fresh, BPF_NOEXIST))
			return bpf_map_lookup_elem(&held, k);
	}
	return NULL;
}

/* Makes an entry, which is locked. Returns 1, or 0 if there is no place. */
__noinline int hold_make(const struct hand *h)
{
	struct pintle_held_key k, other;
	struct pintle_held *e;

	if (!h)
		return 0;
	held_forget(&h->s.tuple); /* a former connection's */
	e = hold_put(&h->s.tuple, &k);
	if (!e)
		return 0;
	e->first = h->s.sequence;
	e->acknowledged = h->acknowledged;
	e->kept = h->kept;
	e->pool = h->pool;
	e->tuple = h->s.tuple;
	request_begin((struct request_scan *)e->request, HAND_LINE_MIN, HAND_LINE_MAX);
	/* In full order: where two CPUs have the connection's first segment at once, at least one
	 * sees the other's entry, and gives up its own. */
	__sync_lock_test_and_set(&e->since_ns, bpf_ktime_get_ns());
	if (!held_find_but(&h->s.tuple, k.place, &other))
		return 1;
	bpf_map_delete_elem(&held, &k);
	return 0;
}

/* Begins to hold the connection whose first segment this is, and is sound. Returns HOLD_MORE, or
 * HOLD_NOT if it has to be decided now. */
__noinline int hold_begin(struct hand *h)
{
	__u32 why = PINTLE_HOLD_COUNT;

	if (!h)
		return HOLD_NOT;
	if (h->flags & FLAG_FIN)
		why = PINTLE_HOLD_CLOSED;
	else if (h->s.size > HOLD_MAX)
		why = PINTLE_HOLD_FULL;
	else if (hold_make(h) <= 0)
		why = PINTLE_HOLD_NO_PLACE;
	if (why == PINTLE_HOLD_COUNT) {
		h->part = (struct hold_part){.take = h->s.size};
		return HOLD_MORE;
	}
	hold_count(h->pool.id, why);
	return HOLD_NOT;
}

/* Only a reset with the very number that is due ends the connection, as in RFC 5961. Another that
 * may be the client's is answered: the client then says that number. */
static __always_inline int hold_reset(struct __sk_buff *skb, const struct hand *h, __u32 next)
{
	if (h->s.sequence - next - 1 >= 65535)
		return TC_ACT_SHOT;
	return answer_ack(skb, h, next);
}

/* A segment of a connection that is held. The entry is locked. */
static __always_inline int hold_more(struct __sk_buff *skb, struct hand *h,
				     const struct pintle_held *e)
{
	__u32 kept = ((const struct request_scan *)e->request)->size, next = e->first + kept;
	enum hold_segment what;

	if (hold_is_sound(skb, h) <= 0) {
		hold_count(h->pool.id, PINTLE_HOLD_DAMAGED);
		return TC_ACT_SHOT;
	}
	h->acknowledged = e->acknowledged;
	h->kept = e->kept;
	h->first = e->first;
	h->marked = e->marked;
	if (h->flags & FLAG_RST)
		return hold_reset(skb, h, next);
	what = hold_look(kept, h->s.sequence - e->first, h->s.size, !!(h->flags & FLAG_FIN),
			 &h->part);
	if (what == HOLD_BARE)
		return TC_ACT_SHOT;
	if (what == HOLD_GAP && !e->decided &&
	    hold_look_behind((const struct request_scan *)e->request, h->s.size, &h->part))
		return HOLD_MORE;
	if (what != HOLD_NEW) {
		hold_count(h->pool.id,
			   what == HOLD_GAP ? PINTLE_HOLD_OVERTOOK : PINTLE_HOLD_REPEATED);
		return answer_ack(skb, h, next);
	}
	if (h->part.skip)
		hold_count(h->pool.id, PINTLE_HOLD_OVERLAPPED);
	return HOLD_MORE;
}

/* Returns a TC_ACT_*, HOLD_NOT, or HOLD_MORE with the entry locked. */
__noinline int hold_segment(struct __sk_buff *skb, struct hand *h)
{
	struct pintle_held_key k;
	struct pintle_held *e;
	int result;

	if (!h)
		return HOLD_NOT;
	e = held_find(&h->s.tuple, &k);
	if (!e || (e->acknowledged != h->acknowledged && !(h->flags & FLAG_RST)))
		return HOLD_NOT;
	if (!held_lock(e)) {
		hold_count(h->pool.id, PINTLE_HOLD_AT_ONCE);
		return TC_ACT_SHOT;
	}
	if (!held_is(e, &h->s.tuple)) {
		held_unlock(e);
		return HOLD_NOT;
	}
	if (h->flags & FLAG_RST && !e->decided &&
	    h->s.sequence == e->first + ((struct request_scan *)e->request)->size) {
		hold_count(h->pool.id, PINTLE_HOLD_RESET);
		bpf_map_delete_elem(&held, &k);
		return TC_ACT_SHOT;
	}
	result = hold_more(skb, h, e);
	if (result != HOLD_MORE)
		held_unlock(e);
	return result;
}

#endif
