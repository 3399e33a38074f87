/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * reconcile.bpf.c - holds the counts against the sockets that there are: an iterator over
 * `conns` counts the live connections of each endpoint and class into `recount`. It
 * walks every network namespace's sockets, and needs no scan of the socket table.
 */
#include "maps.bpf.h"

struct bpf_iter_meta {
	void *seq;
} __attribute__((preserve_access_index));
struct sock_common {
	unsigned char skc_state;
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

SEC("iter/bpf_sk_storage_map")
int pintle_recount(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct pintle_conn *conn = ctx->value;
	struct sock *sk = ctx->sk;
	__u64 *n;
	__u32 at;

	if (!sk || !conn || !conn->counted || !(conn->flags & PINTLE_CONN_STEERED))
		return 0;
	if (sk->__sk_common.skc_state == BPF_TCP_CLOSE) {
		/* Its end was missed: another program took our callback flag away. */
		conn->counted = 0;
		return 0;
	}
	at = conn->endpoint * PINTLE_MAX_CLASSES + (conn->class_id & (PINTLE_MAX_CLASSES - 1));
	n = bpf_map_lookup_elem(&recount, &at);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
