/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * splice_flow.bpf.h - the flows of connections that are spliced (`splices` and `splice_backs` in
 * abi.h): how they begin and end, and who sweeps them.
 *
 *   made     when the first request is decided
 *   open     when the server has answered the SYN
 *   ended    with the client's socket, which sockops sees: an idle connection stays, however long
 *            that takes. A FIN or a reset ends no flow: anybody may have forged it, and the socket
 *            would not believe it
 *   deleted  a minute after, by the kernel's timer, or sooner where the client has many; at once
 *            when the client's socket uses the addresses and ports again
 */
#ifndef PINTLE_SPLICE_FLOW_BPF_H
#define PINTLE_SPLICE_FLOW_BPF_H

#include "common.bpf.h"
#include "mix.bpf.h"

#define SPLICE_GRACE_NS 60000000000ULL  /* 1 min: what is under way may still come */
#define SPLICE_HASTE_NS 5000000000ULL   /* 5 s: the same, where the client has half of its share */
#define SPLICE_CALL_NS  120000000000ULL /* 2 min: the client has given up */
#define SPLICE_SWEEP_NS 4000000000ULL   /* 4 s */
#define SPLICE_SWEEPER  1               /* in `sweeper` */
#define SPLICE_CLOCK    1               /* CLOCK_MONOTONIC */

/* The connection as its server's segments name it. */
static __always_inline void splice_back_key(const struct pintle_tuple *t,
					    const struct pintle_splice *f, struct pintle_tuple *k)
{
	k->scope = t->scope;
	k->local_port = f->own_port;
	k->remote_port = f->port;
	__builtin_memcpy(k->local, t->remote, sizeof(k->local));
	__builtin_memcpy(k->remote, f->address, sizeof(k->remote));
}

/* Deletes the entry in `splice_backs`, unless it is another connection's by now. */
static __always_inline void splice_back_forget(const struct pintle_tuple *t,
					       const struct pintle_splice *f)
{
	struct pintle_splice_back *b;
	struct pintle_tuple k;

	splice_back_key(t, f, &k);
	b = bpf_map_lookup_elem(&splice_backs, &k);
	if (b && b->acknowledged == f->acknowledged)
		bpf_map_delete_elem(&splice_backs, &k);
}

static __always_inline void splice_share_give(__u64 client)
{
	__u64 *n = bpf_map_lookup_elem(&splice_shares, &client);

	if (!n)
		return;
	if ((__s64)__sync_fetch_and_add(n, -1) <= 1)
		bpf_map_delete_elem(&splice_shares, &client);
}

/* Counts one more flow of the client. Returns false if it has its share already. */
static __always_inline bool splice_share_take(__u64 client)
{
	__u64 *n = bpf_map_lookup_elem(&splice_shares, &client), one = 1;

	if (!n)
		return !bpf_map_update_elem(&splice_shares, &client, &one, BPF_NOEXIST);
	if (*n >= PINTLE_SPLICE_SHARE)
		return false;
	__sync_fetch_and_add(n, 1);
	return true;
}

/* Adds to the number of all flows, which is never deleted. */
static __always_inline void splice_sum_add(__s64 add)
{
	__u64 all = PINTLE_SPLICE_ALL, zero = 0, *n = bpf_map_lookup_elem(&splice_shares, &all);

	if (!n) {
		bpf_map_update_elem(&splice_shares, &all, &zero, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&splice_shares, &all);
	}
	if (n)
		__sync_fetch_and_add(n, add);
}

/* Whether the client may have one more, and there is room for it. */
static __always_inline bool splice_room(__u64 client)
{
	__u64 all = PINTLE_SPLICE_ALL, *n = bpf_map_lookup_elem(&splice_shares, &all);

	if (n && *n >= PINTLE_SPLICE_ROOM)
		return false;
	n = bpf_map_lookup_elem(&splice_shares, &client);
	return !n || *n < PINTLE_SPLICE_SHARE;
}

/* From now on the pod's connections are decided as they come, until one shows where its device is.
 */
static __always_inline void splice_space_forget(const struct pintle_connect *c)
{
	__u64 space = c->client; /* Linux 6.1 takes keys only from the stack */

	bpf_map_delete_elem(&splice_spaces, &space);
}

/* Deletes the flow. The key is on the caller's stack. */
static __always_inline void splice_forget(struct pintle_tuple *t, struct pintle_splice *f)
{
	__u64 client = f->client;

	splice_back_forget(t, f);
	if (bpf_map_delete_elem(&splices, t))
		return;
	splice_share_give(client);
	splice_sum_add(-1);
}

/* The client's socket has ended. `t`: the client's address as `local`, as sockops has it. */
static __always_inline void splice_client_closed(const struct pintle_connect *c,
						 const struct pintle_tuple *t)
{
	struct pintle_splice *f;
	struct pintle_tuple k;

	k.scope = t->scope;
	k.local_port = c->frontend_port;
	k.remote_port = t->local_port;
	__builtin_memcpy(k.local, c->frontend, sizeof(k.local));
	__builtin_memcpy(k.remote, t->local, sizeof(k.remote));
	f = bpf_map_lookup_elem(&splices, &k);
	if (f && f->client == c->client)
		f->ended_ns = bpf_ktime_get_ns();
}

/* ---- the sweeper -------------------------------------------------------------------------- */

struct splice_sweeping {
	__u64 now;
	__u32 left;
	__u32 zero;
};

/* For how long an ended flow stays. What comes behind it then meets no socket, and is reset. */
static __always_inline __s64 splice_grace(const struct pintle_splice *f)
{
	__u64 client = f->client, *n = bpf_map_lookup_elem(&splice_shares, &client);

	return n && *n > PINTLE_SPLICE_SHARE / 2 ? SPLICE_HASTE_NS : SPLICE_GRACE_NS;
}

static long splice_sweep_one(void *map, struct pintle_tuple *key, struct pintle_splice *f,
			     struct splice_sweeping *s)
{
	struct pintle_tuple t;

	(void)map;
	if (f->ended_ns ? (__s64)(s->now - f->ended_ns) < splice_grace(f)
			: f->state == PINTLE_SPLICE_OPEN ||
				  (__s64)(s->now - f->began_ns) < (__s64)SPLICE_CALL_NS) {
		s->left = 1;
		return 0;
	}
	t = *key; /* Linux 6.1 takes keys only from the stack */
	splice_forget(&t, f);
	return 0;
}

static int splice_sweep(void *map, __u32 *key, struct sweeper_value *s)
{
	struct splice_sweeping sweeping = {.now = bpf_ktime_get_ns()};

	(void)map;
	(void)key;
	__sync_lock_test_and_set(&s->runs, PINTLE_SWEEPER_RUNS);
	bpf_for_each_map_elem(&splices, splice_sweep_one, &sweeping, 0);
	if (sweeping.left ||
	    __sync_val_compare_and_swap(&s->runs, PINTLE_SWEEPER_RUNS, 0) != PINTLE_SWEEPER_RUNS)
		bpf_timer_start(&s->timer, SPLICE_SWEEP_NS, 0);
	return 0;
}

static __always_inline void splice_sweep_soon(void)
{
	__u32 at = SPLICE_SWEEPER;
	struct sweeper_value *s = bpf_map_lookup_elem(&sweeper, &at);

	if (!s || s->runs == PINTLE_SWEEPER_CALLED ||
	    __sync_lock_test_and_set(&s->runs, PINTLE_SWEEPER_CALLED))
		return;
	bpf_timer_init(&s->timer, &sweeper, SPLICE_CLOCK); /* fails where it is there already */
	bpf_timer_set_callback(&s->timer, splice_sweep);
	if (bpf_timer_start(&s->timer, SPLICE_SWEEP_NS, 0))
		__sync_lock_test_and_set(&s->runs, 0);
}

#endif
