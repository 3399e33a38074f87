/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * work.bpf.h - what an object's programs work on and that is too large for the stack: one per-CPU
 * map for each object, because a program may use 64 maps. Each header declares the function that
 * finds its part; the object lists all parts, and defines these functions.
 */
#ifndef PINTLE_WORK_BPF_H
#define PINTLE_WORK_BPF_H

#include "maps.bpf.h"
#include "world.bpf.h"

#define WORK_MAX 32768 /* bytes: the kernel's PCPU_MIN_UNIT_SIZE */

/* Defines the map `work`, which is not pinned, for struct work. */
#define WORK(work)                                                                                 \
	_Static_assert(sizeof(struct work) <= WORK_MAX, "fits into a per-CPU map");                \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                           \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, struct work);                                                        \
	} MAP(work)

/* Defines the function that finds a part. The compiler may not add the part's offset to what the
 * map gives before it has compared that with NULL: the verifier refuses such a sum. The first part
 * needs none, and so no branch. */
#define WORK_PART(work, part, find)                                                                \
	static __always_inline __typeof__(&((struct work *)0)->part) find(void)                    \
	{                                                                                          \
		__u32 zero = 0;                                                                    \
		struct work *w = bpf_map_lookup_elem(&work, &zero);                                \
                                                                                                   \
		if (!__builtin_offsetof(struct work, part) || !w)                                  \
			return (void *)w;                                                          \
		hide(w);                                                                           \
		return &w->part;                                                                   \
	}

#endif
