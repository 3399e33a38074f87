/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hint.bpf.c - takes the private socket options of pintle/hint.h (cgroup/setsockopt), and keeps
 * what they say with the socket until connect() asks for it.
 *
 * Runs for every setsockopt() of the cgroup, so it is attached only while a pool uses hints.
 */
#include "client.bpf.h"
#include "hash.bpf.h"

#define SOCK_STREAM 1
#define PAGE        4096 /* of a longer value only so much is shown, and must not be written back */

#define TAKEN -1 /* as a length: the kernel's own handler is passed over */

/* What each option sets. */
#define OPTIONS (PINTLE_HINT_CLASS - PINTLE_HINT_SESSION + 1)
static const __u32 hint_flags[OPTIONS] = {
	[PINTLE_HINT_SESSION - PINTLE_HINT_SESSION] = PINTLE_HINTED_SESSION,
	[PINTLE_HINT_GROUP - PINTLE_HINT_SESSION] = PINTLE_HINTED_GROUP,
	[PINTLE_HINT_CLASS - PINTLE_HINT_SESSION] = PINTLE_HINTED_CLASS,
};

/* A session's hash is keyed by this node's secret. A group's has the same key everywhere, since its
 * home must be the same endpoint on each node. */
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

	/* The buffer is never shorter than 16 bytes, whatever was given. */
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
			ctx->optlen = 0; /* the kernel takes it from the caller as it is */
		return 1;
	}
	if (ctx->optlen == TAKEN)
		return 1; /* by another Pintle, for a cgroup above or below */
	err = hint_take(ctx, sk, hint_flags[option]);
	if (err) {
		bpf_set_retval(err);
		return 0;
	}
	ctx->optlen = TAKEN;
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
