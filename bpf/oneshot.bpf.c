/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * oneshot.bpf.c - a helper beside the hooks (TC): in a pool that asks for it, has the server close
 * each connection after its first answer, so that each request comes on a connection of its own
 * and is steered. It decides nothing.
 *
 *   SYN                  noted with the number of its first byte of data
 *   first segment        overwritten as oneshot.bpf.h says; sent again, it is so again, alike; left
 *                        alone, it stays so, even if it comes again with more behind it
 *   anything further     forgets the connection: a body may look like anything
 *
 * Packets to elsewhere leave after one look-up. A connection that is not noted, or forgotten too
 * early, merely stays kept alive. No packet's way ends here: who comes after sees them all.
 */
#include "oneshot.bpf.h"
#include "packet.bpf.h"

#include <linux/pkt_cls.h>

_Static_assert(ONESHOT_LINE_MAX <= SEGMENT_OVERWRITE_MAX, "a line is overwritten at once");

struct scratch {
	struct request_scan scan;
	struct oneshot_edit edit;
	__u8 line[264]; /* the edit, from an even offset on */
};

/* Too large for the stack; a CPU runs one of these programs at a time. Not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} MAP(oneshot_scratch);

/* ---- whose --------------------------------------------------------------------- */

/* The pool whose requests come there, if it wants each on a connection of its own. */
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

	/* One that is sent again, or seen on a second device, is the same. */
	if (!f || f->sequence != flow.sequence)
		bpf_map_update_elem(&oneshot_flows, &s->tuple, &flow, BPF_ANY);
	s->sequence++; /* what data it may bring comes after it */
}

/* Its flow, if this is the first segment of data. */
static __always_inline struct pintle_flow *first_segment(const struct segment *s)
{
	struct pintle_flow *f = bpf_map_lookup_elem(&oneshot_flows, &s->tuple);

	if (!f)
		return NULL;
	if (f->sequence == s->sequence && s->size)
		return f;
	/* A later one may overtake the first. */
	if (f->counted ? s->size || s->end : s->end)
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
	/* Once, however often it is sent or on how many devices it is seen. */
	if (__sync_lock_test_and_set(&flow->counted, 1))
		return TC_ACT_UNSPEC;
	oneshot_count(id, x->edit.result);
	/* The server may have this part as it was: half a line must not be overwritten. */
	if (x->edit.kind == ONESHOT_NOTHING)
		bpf_map_delete_elem(&oneshot_flows, &s.tuple);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int pintle_oneshot(struct __sk_buff *skb)
{
	return first_request(skb, ETH_HLEN);
}

/* On devices without a link layer: tunnels, tun. */
SEC("tc")
int pintle_oneshot3(struct __sk_buff *skb)
{
	return first_request(skb, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
