/* SPDX-License-Identifier: Apache-2.0 */
/* neighbour.bpf.c - another sockops program on the same cgroup. It asks for RTT callbacks, and
 * counts its calls: 0 established, 1 RTT, 2 state changes. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

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

SEC("sockops")
int neighbour(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		count(0);
		bpf_sock_ops_cb_flags_set(ctx,
					  ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG);
		break;
	case BPF_SOCK_OPS_RTT_CB:
		count(1);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		count(2);
		break;
	}
	return 1;
}

char LICENSE[] SEC("license") = "Apache-2.0";
