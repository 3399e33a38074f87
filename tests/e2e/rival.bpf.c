/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rival.bpf.c - what another load balancer, or a careless neighbour, does on the same cgroup.
 *
 *   rival4, rival6    rewrite a destination that is in `moves`; a move to :: denies the connect()
 *   rude              sockops: turns off every callback except its own
 *   seen              counters: 0 rewritten, 1 denied, 2 flags replaced
 */
#include <linux/bpf.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct address {
	__u32 ip[4]; /* network byte order; IPv4 as ::ffff:a.b.c.d */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct address);
	__type(value, struct address);
} moves SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&seen, &what);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* 1: let it go on, perhaps elsewhere; 0: EPERM. */
static __always_inline int move(struct address *to)
{
	const struct address *found = bpf_map_lookup_elem(&moves, to);

	if (!found)
		return 1;
	*to = *found;
	count(!to->ip[3]);
	return to->ip[3] != 0;
}

SEC("cgroup/connect4")
int rival4(struct bpf_sock_addr *ctx)
{
	struct address to = {.ip = {0, 0, bpf_htonl(0xffff), ctx->user_ip4}};
	int verdict = move(&to);

	ctx->user_ip4 = to.ip[3];
	return verdict;
}

SEC("cgroup/connect6")
int rival6(struct bpf_sock_addr *ctx)
{
	struct address to = {
		.ip = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
	int verdict = move(&to);

	ctx->user_ip6[0] = to.ip[0];
	ctx->user_ip6[1] = to.ip[1];
	ctx->user_ip6[2] = to.ip[2];
	ctx->user_ip6[3] = to.ip[3];
	return verdict;
}

SEC("sockops")
int rude(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) {
		count(2);
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_RTT_CB_FLAG);
	}
	return 1;
}

char LICENSE[] SEC("license") = "Apache-2.0";
