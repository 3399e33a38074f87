/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * carry.bpf.c - what pins of another build hold, and user space cannot read: the BTF of their maps,
 * and the records of sockets, which these programs carry over, member by member.
 */
#include "iterator.bpf.h"
#include "carry.bpf.h"

#include <bpf/bpf_tracing.h>

struct btf {
	void *data;
	__u32 data_size;
} __attribute__((preserve_access_index));
struct bpf_map {
	__u32 id;
	struct btf *btf;
} __attribute__((preserve_access_index));
struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
} __attribute__((preserve_access_index));

/* The map whose BTF is asked for, and from where on. */
__u32 types_of = 0, types_at = 0;
static __u8 types_piece[CARRY_TYPES_PIECE];

/* The kernel gives a descriptor of a BTF only to CAP_SYS_ADMIN. */
SEC("iter/bpf_map")
int pintle_types(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;
	struct btf *btf;
	__u32 size;

	if (!map || map->id != types_of)
		return 0;
	btf = map->btf;
	if (!btf || btf->data_size <= types_at)
		return 0;
	size = btf->data_size - types_at;
	if (size > sizeof(types_piece))
		size = sizeof(types_piece);
	if (!bpf_probe_read_kernel(types_piece, size, (const char *)btf->data + types_at))
		bpf_seq_write(ctx->meta->seq, types_piece, size);
	return 0;
}

/* For each byte of a record: 1 + its place in the former record; 0: it had none. The kernel takes
 * only constant places in a value that is walked over: so the values of this array must be known
 * when it looks at the program, and the array cannot be a map. A record that is there already is
 * newer. */
#define X(map, type)                                                                               \
	const volatile __u16 carry_##map[sizeof(type)] = {};                                       \
	SEC("iter/bpf_sk_storage_map")                                                             \
	int pintle_carry_##map(struct bpf_iter__bpf_sk_storage_map *ctx)                           \
	{                                                                                          \
		const __u8 *from = ctx->value;                                                     \
		struct sock *sk = ctx->sk;                                                         \
		type record = {};                                                                  \
		__u32 i, at;                                                                       \
                                                                                                   \
		if (!sk || !from)                                                                  \
			return 0;                                                                  \
		for (i = 0; i < sizeof(record); i++) {                                             \
			at = carry_##map[i];                                                       \
			if (at)                                                                    \
				((__u8 *)&record)[i] = from[at - 1];                               \
		}                                                                                  \
		bpf_sk_storage_get(&map, sk, &record, BPF_SK_STORAGE_GET_F_CREATE);                \
		return 0;                                                                          \
	}
CARRY_RECORDS(X)
#undef X

char LICENSE[] SEC("license") = "Dual BSD/GPL";
