/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * oneshot.bpf.c - a helper beside the hooks (TC). In a pool that asks for it, one-shot makes the
 * server close each connection after its first answer, so that each request comes on a connection
 * of its own and is steered. It decides nothing.
 *
 *   SYN                  notes the connection, and the sequence number of its first byte of data
 *   first segment        is overwritten as oneshot_edit.bpf.h says, and in the same way when it is
 *                        sent again: what is behind TC may lose it. If it was left alone it stays
 *                        so, even if it is sent again with more data
 *   far later data       forget the connection, because a body may look like a request
 *
 * In a pool with listeners that is decided by request, the hand-off overwrites the request when it
 * hands the connection over, and notes here the connections that it leaves to the kernel.
 *
 * Most packets leave after one look-up. A connection that is not noted, or that is forgotten too
 * early, is merely kept alive. The program drops no packet, and programs after it see them all.
 */
#include "oneshot_write.bpf.h"
#include "work.bpf.h"

#include <linux/pkt_cls.h>

struct oneshot_work {
	struct request_scan scan;
	struct oneshot_scratch edit; /* of the request that was read */
};

WORK(oneshot_work);

WORK_PART(oneshot_work, scan, scan_find)
WORK_PART(oneshot_work, edit, oneshot_scratch_find)

/* More than this no client sends before the first segment is acknowledged: the window in the answer
 * to a SYN is not scaled. */
#define FIRST_WINDOW 65535

/* The pool whose requests arrive at this destination, if it wants one request per connection. */
static __always_inline struct pintle_pool *oneshot_pool(const struct pintle_tuple *t, __u32 *id)
{
	struct pintle_frontend_key key = {
		.prefixlen = PINTLE_FRONTEND_FIXED_BITS + 128,
		.scope = t->scope,
		.port = t->local_port,
		.protocol = IPPROTO_TCP,
	};
	struct pintle_pool *pool;
	struct pintle_ref *ref;

	__builtin_memcpy(key.address, t->local, sizeof(key.address));
	ref = bpf_map_lookup_elem(&oneshot, &key);
	if (!ref)
		return NULL;
	*id = ref->id;
	pool = pool_find(ref->id, ref->generation);
	return pool && oneshot_wanted(pool, *id) ? pool : NULL;
}

/* Whether the hand-off overwrites the pool's requests. What is spliced comes here as any other
 * connection to a server's address, from a pod of whichever node. */
static __always_inline bool oneshot_is_handed(const struct pintle_pool *pool)
{
	return pool->decide == PINTLE_DECIDE_REQUEST && pool_reach(pool) == PINTLE_REACH_LISTENER;
}

static __always_inline void on_syn(struct segment *s)
{
	struct pintle_pool *pool;
	__u32 id;

	pool = oneshot_pool(&s->tuple, &id);
	if (pool && !oneshot_is_handed(pool))
		oneshot_note(s);
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
	 * it: it may have overtaken them. */
	if (f->counted ? s->end || (s->size && s->sequence - f->sequence > FIRST_WINDOW)
		       : s->end && s->sequence == f->sequence)
		bpf_map_delete_elem(&oneshot_flows, &s->tuple);
	return NULL;
}

static __always_inline int first_request(struct __sk_buff *skb, __u32 below_ip)
{
	struct oneshot_scratch *x;
	struct request_scan *scan;
	struct pintle_flow *flow;
	struct pintle_pool *pool;
	struct segment s = {};
	__u32 id = 0, result;

	if (segment_read(skb, below_ip, &s))
		return TC_ACT_UNSPEC;
	if (s.syn)
		on_syn(&s);
	flow = first_segment(&s);
	if (!flow)
		return TC_ACT_UNSPEC;
	pool = oneshot_pool(&s.tuple, &id);
	scan = scan_find();
	x = oneshot_scratch_find();
	/* The server has this segment as it came, so that it stays so. */
	if (!pool)
		bpf_map_delete_elem(&oneshot_flows, &s.tuple);
	if (!pool || !scan || !x)
		return TC_ACT_UNSPEC;
	oneshot_begin(scan);
	request_read(skb, &s, scan, oneshot_names(&pool->rewrite, &x->names));
	result = oneshot_apply(skb, &s, scan, &pool->rewrite, x);
	/* Counted once, even if the segment is sent again or seen on several devices. */
	if (__sync_lock_test_and_set(&flow->counted, 1))
		return TC_ACT_UNSPEC;
	oneshot_count(id, result);
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
