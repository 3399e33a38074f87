/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * oneshot.bpf.c - a helper beside the hooks (TC). In a pool that asks for it, one-shot makes the
 * server close each connection after its first answer, so that each request comes on a connection
 * of its own and is steered. It decides nothing.
 *
 *   SYN                  notes the connection, and the sequence number of its first byte of data
 *   first segment        is overwritten as oneshot.bpf.h says, and in the same way when it is sent
 *                        again: what is behind TC may lose it. If it was left alone it stays so,
 *                        even if it is sent again with more data
 *   far later data       forget the connection, because a body may look like a request
 *
 * Packets to other destinations leave after one look-up. A connection that is not noted, or that is
 * forgotten too early, is merely kept alive. The program drops no packet, and programs after it see
 * them all.
 */
#include "oneshot.bpf.h"
#include "packet.bpf.h"

#include <linux/pkt_cls.h>

_Static_assert(ONESHOT_LINE_MAX <= SEGMENT_OVERWRITE_MAX, "a line is overwritten at once");

struct scratch {
	struct request_scan scan;
	struct oneshot_edit edit;
	__u8 line[264]; /* the new bytes, from an even offset on */
};

/* Too large for the stack. A CPU runs only one of these programs at a time. Not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} MAP(oneshot_scratch);

/* More than this no client sends before the first segment is acknowledged: the window in the answer
 * to a SYN is not scaled. */
#define FIRST_WINDOW 65535

/* ---- which connections --------------------------------------------------------- */

/* The pool whose requests arrive at this destination, if it wants one request per connection. */
static __always_inline struct pintle_pool *oneshot_pool(const struct pintle_tuple *t, __u32 *id)
{
	struct pintle_frontend_key key = {
		.prefixlen = PINTLE_FRONTEND_FIXED_BITS + 128,
		.scope = t->scope,
		.port = t->local_port,
		.protocol = IPPROTO_TCP,
	};
	struct pintle_override *o;
	struct pintle_pool *pool;
	struct pintle_ref *ref;
	__u32 requests;

	__builtin_memcpy(key.address, t->local, sizeof(key.address));
	ref = bpf_map_lookup_elem(&oneshot, &key);
	if (!ref)
		return NULL;
	*id = ref->id;
	pool = pool_find(ref->id, ref->generation);
	if (!pool)
		return NULL;
	requests = pool->requests;
	o = bpf_map_lookup_elem(&overrides, id);
	if (o && o->generation == pool->generation && o->flags & PINTLE_OVERRIDE_REQUESTS)
		requests = o->requests;
	return requests == PINTLE_REQUESTS_ONE_PER_CONNECTION ? pool : NULL;
}

static __always_inline void note_syn(struct segment *s)
{
	struct pintle_flow *f = bpf_map_lookup_elem(&oneshot_flows, &s->tuple);
	struct pintle_flow flow = {.sequence = s->sequence + 1};

	/* A SYN that is sent again, or seen on a second device, changes nothing. */
	if (!f || f->sequence != flow.sequence)
		bpf_map_update_elem(&oneshot_flows, &s->tuple, &flow, BPF_ANY);
	s->sequence++; /* a SYN's own data begin after it */
}

/* Returns the connection's flow if this is the first segment of data, else NULL. */
static __always_inline struct pintle_flow *first_segment(const struct segment *s)
{
	struct pintle_flow *f = bpf_map_lookup_elem(&oneshot_flows, &s->tuple);

	if (!f)
		return NULL;
	if (f->sequence == s->sequence && s->size)
		return f;
	/* Until the first segment was seen, an end forgets the flow only where no data are before
	 * it: it may have overtaken them. A reset may also be of the former connection from the
	 * client's port, which the hand-off ends after the SYN. */
	if (f->counted ? s->end || (s->size && s->sequence - f->sequence > FIRST_WINDOW)
		       : s->end && s->sequence == f->sequence)
		bpf_map_delete_elem(&oneshot_flows, &s->tuple);
	return NULL;
}

/* ---- writing ------------------------------------------------------------------- */

struct drawing {
	struct scratch *scratch;
	__u32 from; /* an even offset */
};

static long draw_byte(__u32 i, void *arg)
{
	const struct drawing *d = arg;
	struct scratch *x = d->scratch;
	__u32 at = d->from + i, of_edit = at - x->edit.offset;

	if (i >= sizeof(x->line))
		return 1;
	x->line[i] = of_edit < x->edit.length ? oneshot_byte(&x->edit, of_edit)
					      : x->scan.bytes[at & (REQUEST_MAX - 1)];
	return 0;
}

static __always_inline int oneshot_overwrite(struct __sk_buff *skb, const struct segment *s,
					     struct scratch *x)
{
	__u32 at = x->edit.offset, length = x->edit.length;
	struct drawing d = {.scratch = x, .from = at & ~1U};

	if (at >= REQUEST_MAX || length < 1 || length > ONESHOT_LINE_MAX)
		return -1;
	bpf_loop(segment_even(at, length), draw_byte, &d, 0);
	at &= ~1U;
	hide(at);
	if (at >= REQUEST_MAX)
		return -1;
	return segment_overwrite(skb, s, x->edit.offset, length, x->scan.bytes + at, x->line);
}

static __always_inline void oneshot_count(__u32 pool, __u32 result)
{
	__u32 at = PINTLE_ONESHOT_STAT(pool, result);
	__u64 *n = bpf_map_lookup_elem(&oneshot_stats, &at);

	if (n)
		(*n)++;
}

static __always_inline int first_request(struct __sk_buff *skb, __u32 below_ip)
{
	struct segment s = {};
	struct pintle_flow *flow;
	struct pintle_pool *pool;
	__u32 zero = 0, id = 0;
	struct scratch *x;

	if (segment_read(skb, below_ip, &s))
		return TC_ACT_UNSPEC;
	pool = oneshot_pool(&s.tuple, &id);
	if (!pool)
		return TC_ACT_UNSPEC;
	if (s.syn)
		note_syn(&s);
	flow = first_segment(&s);
	x = bpf_map_lookup_elem(&oneshot_scratch, &zero);
	if (!flow || !x)
		return TC_ACT_UNSPEC;
	oneshot_begin(&x->scan);
	request_read(skb, &s, &x->scan, oneshot_names(&pool->rewrite));
	oneshot_decide(&x->scan, &pool->rewrite, &x->edit);
	if (x->edit.kind != ONESHOT_NOTHING && oneshot_overwrite(skb, &s, x))
		x->edit.result = PINTLE_ONESHOT_LEFT_FAILED;
	/* Counted once, even if the segment is sent again or seen on several devices. */
	if (__sync_lock_test_and_set(&flow->counted, 1))
		return TC_ACT_UNSPEC;
	oneshot_count(id, x->edit.result);
	/* The server may have received this part unchanged. If the segment comes again with more
	 * data, a line of which the server has the first half must not be overwritten. */
	if (x->edit.kind == ONESHOT_NOTHING)
		bpf_map_delete_elem(&oneshot_flows, &s.tuple);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int pintle_oneshot(struct __sk_buff *skb)
{
	return first_request(skb, ETH_HLEN);
}

/* For devices without a link layer, such as tunnels and tun. */
SEC("tc")
int pintle_oneshot3(struct __sk_buff *skb)
{
	return first_request(skb, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
