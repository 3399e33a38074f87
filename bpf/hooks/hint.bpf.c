/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hint.bpf.c - takes the private socket options of pintle/hint.h (cgroup/setsockopt), and stores
 * their values in the socket's record for connect().
 *
 * The program runs for every setsockopt() in the cgroup, so it is attached only while a pool uses
 * hints.
 */
#include "client.bpf.h"
#include "hash.bpf.h"

#define SOCK_STREAM 1
#define PAGE        4096 /* the program sees at most so much of a value; see pintle_hint() */

#define TAKEN -1 /* as optlen: the kernel skips its own handler */

/* The flag that each option sets. */
#define OPTIONS (PINTLE_HINT_CLASS - PINTLE_HINT_SESSION + 1)
static const __u32 hint_flags[OPTIONS] = {
	[PINTLE_HINT_SESSION - PINTLE_HINT_SESSION] = PINTLE_HINTED_SESSION,
	[PINTLE_HINT_GROUP - PINTLE_HINT_SESSION] = PINTLE_HINTED_GROUP,
	[PINTLE_HINT_CLASS - PINTLE_HINT_SESSION] = PINTLE_HINTED_CLASS,
};

/* A session's hash is keyed with this node's secret. A group's hash has the same key on every node,
 * because the group's home must be the same endpoint on each. */
static __always_inline void hash_key(struct hash_input *in, __u32 flag)
{
	__u32 zero = 0;
	struct pintle_node *n = bpf_map_lookup_elem(&node, &zero);

	if (n && flag == PINTLE_HINTED_SESSION) {
		in->key[0] = n->hint_key[0];
		in->key[1] = n->hint_key[1];
	}
}

static __always_inline int hint_take_key(struct bpf_sockopt *ctx, __u32 flag, __u8 to[16])
{
	__u8 *p = ctx->optval, *end = ctx->optval_end;
	struct hash_input in = {.size = ctx->optlen};
	struct hash_output out;
	__u32 i;

	if (!in.size || in.size > PINTLE_HINT_MAX)
		return -EINVAL;
	for (i = 0; i < PINTLE_HINT_MAX && i < in.size; i++) {
		if (p + i + 1 > end)
			return -EINVAL;
		((__u8 *)in.word)[i] = p[i];
	}
	hash_key(&in, flag);
	hash_text(&in, &out);
	__builtin_memcpy(to, &out, sizeof(out));
	return 0;
}

static __always_inline int hint_take_class(struct bpf_sockopt *ctx, __u32 *to)
{
	__u32 *p = ctx->optval;

	/* optlen is checked, too, because the buffer has at least 16 bytes for any optlen. */
	if (ctx->optlen != sizeof(*p) || (void *)(p + 1) > ctx->optval_end)
		return -EINVAL;
	if (*p >= PINTLE_MAX_CLASSES)
		return -EINVAL;
	*to = *p;
	return 0;
}

static __always_inline int hint_take(struct bpf_sockopt *ctx, struct bpf_sock *sk, __u32 flag)
{
	struct pintle_connect *c = connect_find(sk);
	int err;

	if (!c)
		c = bpf_sk_storage_get(&connects, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c)
		return -ENOMEM;
	if (flag == PINTLE_HINTED_CLASS)
		err = hint_take_class(ctx, &c->hint.class_id);
	else
		err = hint_take_key(
			ctx, flag, flag == PINTLE_HINTED_SESSION ? c->hint.session : c->hint.group);
	if (!err)
		c->hint.flags |= flag;
	return err;
}

SEC("cgroup/setsockopt")
int pintle_hint(struct bpf_sockopt *ctx)
{
	__u32 option = ctx->optname - PINTLE_HINT_SESSION;
	struct bpf_sock *sk = ctx->sk;
	int err;

	if (ctx->level != PINTLE_HINT_LEVEL || option >= OPTIONS || !sk ||
	    sk->type != SOCK_STREAM || (sk->family != AF_INET && sk->family != AF_INET6)) {
		if (ctx->optlen > PAGE)
			ctx->optlen = 0; /* the kernel then uses the caller's own buffer */
		return 1;
	}
	if (ctx->optlen == TAKEN)
		return 1; /* another Pintle, for a cgroup above or below, took the hint */
	err = hint_take(ctx, sk, hint_flags[option]);
	if (err) {
		bpf_set_retval(err);
		return 0;
	}
	ctx->optlen = TAKEN;
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
