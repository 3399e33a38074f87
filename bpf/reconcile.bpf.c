/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * reconcile.bpf.c - holds the counts against what there is: iterators over `conns` and `connects`
 * count the live connections of each endpoint and class into `recount`, one over `pending` the
 * decisions of the lookup hook that may still become one. They walk every network namespace's
 * sockets, and need no scan of the socket table.
 */
#include "client.bpf.h"

struct bpf_iter_meta {
	void *seq;
} __attribute__((preserve_access_index));
struct in6_address {
	unsigned int word[4];
};
struct sock_common {
	unsigned int skc_daddr;
	unsigned short skc_dport;
	unsigned short skc_family;
	unsigned char skc_state;
	struct in6_address skc_v6_daddr;
} __attribute__((preserve_access_index));
struct sock {
	struct sock_common __sk_common;
} __attribute__((preserve_access_index));
struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	void *map;
	struct sock *sk;
	void *value;
} __attribute__((preserve_access_index));

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *map;
	void *key;
	void *value;
} __attribute__((preserve_access_index));

static __always_inline void count_one(__u32 endpoint, __u32 class_id, __u64 one)
{
	__u32 at = endpoint * PINTLE_MAX_CLASSES + (class_id & (PINTLE_MAX_CLASSES - 1));
	__u64 *n = bpf_map_lookup_elem(&recount, &at);

	if (n)
		__sync_fetch_and_add(n, one);
}

SEC("iter/bpf_sk_storage_map")
int pintle_recount(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct pintle_conn *conn = ctx->value;
	struct sock *sk = ctx->sk;

	if (!sk || !conn || !conn->counted || !(conn->flags & PINTLE_CONN_STEERED))
		return 0;
	if (sk->__sk_common.skc_state == BPF_TCP_CLOSE) {
		/* Its end was missed: another program took our callback flag away. */
		conn->counted = 0;
		return 0;
	}
	count_one(conn->endpoint, conn->class_id, PINTLE_RECOUNT_IN_FLIGHT);
	return 0;
}

/* Whether the socket is on its way to, or connected to, where the record says. */
static __always_inline bool is_there(const struct pintle_connect *c, struct sock *sk)
{
	const __u32 *address = (const __u32 *)c->address;
	const struct sock_common *s = &sk->__sk_common;

	if (s->skc_state == BPF_TCP_CLOSE || s->skc_dport != bpf_htons(c->port))
		return false;
	if (address_is_v4(c->address))
		return s->skc_daddr == address[3];
	return s->skc_v6_daddr.word[0] == address[0] && s->skc_v6_daddr.word[1] == address[1] &&
	       s->skc_v6_daddr.word[2] == address[2] && s->skc_v6_daddr.word[3] == address[3];
}

/* What went by while the links were away: an end, a further connect() of the socket, or a SYN. */
SEC("iter/bpf_sk_storage_map")
int pintle_recount_connects(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct pintle_connect *c = ctx->value;
	struct sock *sk = ctx->sk;

	if (!sk || !c || (!c->counted && !c->placed) || !counters_of(c))
		return 0;
	if (c->counted && !is_there(c, sk)) {
		c->counted = 0;
		return 0;
	}
	/* It may be past ESTABLISHED again, and still the client's. */
	if (c->placed && sk->__sk_common.skc_state != BPF_TCP_SYN_SENT && is_there(c, sk)) {
		c->placed = 0;
		c->counted = 1;
	}
	count_one(c->endpoint, c->class_id,
		  c->counted ? PINTLE_RECOUNT_IN_FLIGHT : PINTLE_RECOUNT_PENDING);
	return 0;
}

/* A SYN that nobody answered, a stray ACK or RST: such a decision stays until another takes its
 * place, but no longer counts as placed. */
SEC("iter/bpf_map_elem")
int pintle_recount_pending(struct bpf_iter__bpf_map_elem *ctx)
{
	struct pintle_decision *d = ctx->value;

	if (!d || d->ended || !counters_kept(d->endpoint, d->generation, d->class_id))
		return 0;
	if (decision_expired(d, bpf_ktime_get_ns()))
		placement_failed(d);
	else
		count_one(d->endpoint, d->class_id, PINTLE_RECOUNT_PENDING);
	return 0;
}

/* The walk over `connects` of the former layout, once every program is of this one: carries the
 * records of sockets to which nothing has happened since. */
SEC("iter/bpf_sk_storage_map")
int pintle_carry(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	pintle_former_connect *former = ctx->value;
	struct sock *sk = ctx->sk;
	struct pintle_connect *c;

	if (!sk || !former || (!former->generation && !former->hint.flags))
		return 0;
	c = bpf_sk_storage_get(&connects, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (c)
		connect_carry(c, former);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
