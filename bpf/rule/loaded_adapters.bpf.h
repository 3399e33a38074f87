/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * loaded_adapters.bpf.h - which endpoints have loaded the LoRA adapter that a request names, and
 * what it costs that one has not.
 *
 *   has(e)   by the newest page of endpoint e; or a request for it was placed there since. Where
 *            pages do not say, it is in the list of models of e
 *   cost(e)  0            e has it
 *            weight       e has a slot for it
 *            2 x weight   requests use all slots of e: the adapter waits until one is free
 *            8 x weight   it is not in the list of models of e, which would answer 404
 *
 * The cost counts beside the load, as what a prompt lacks does, and towards no limit. Loading takes
 * as long at an endpoint of weight 2, so it is not divided by the rate.
 *
 * No map, no helper, no clock. The same text is compiled into kernel programs and host programs.
 */
#ifndef PINTLE_LOADED_ADAPTERS_BPF_H
#define PINTLE_LOADED_ADAPTERS_BPF_H

#include "decide.bpf.h"

/* How an endpoint is off for an adapter; the worst comes last. */
enum adapters_state { ADAPTERS_LOADED, ADAPTERS_ROOM, ADAPTERS_BUSY, ADAPTERS_LACKS };

static __always_inline bool adapters_bit(const __u64 bits[PINTLE_ADAPTER_WORDS], __u32 number)
{
	return bits[number / 64 & (PINTLE_ADAPTER_WORDS - 1)] >> number % 64 & 1;
}

/* Where nothing is known of the endpoint, it is taken to have a slot. */
static __always_inline enum adapters_state adapters_state(const struct pintle_adapters *a,
							  __u32 generation, __u32 number)
{
	bool listed = a->flags & PINTLE_ADAPTERS_LISTED && adapters_bit(a->listed, number);

	if (a->generation != generation)
		return ADAPTERS_ROOM;
	if (adapters_bit(a->loaded, number) || adapters_bit(a->placed, number) ||
	    (!a->slots && listed))
		return ADAPTERS_LOADED;
	if (a->flags & PINTLE_ADAPTERS_LISTED && !listed)
		return ADAPTERS_LACKS;
	return a->slots && a->used >= a->slots ? ADAPTERS_BUSY : ADAPTERS_ROOM;
}

/* cost(e), for decide_consider_missing(). */
static __always_inline __u32 adapters_missing(enum adapters_state state, __u32 weight)
{
	__u32 times = state == ADAPTERS_LACKS ? 8 : (__u32)state;

	return decide_cap((__u64)times * weight, DECIDE_MAX_MISSING);
}

/* Notes that the endpoint has the adapter: in a place that is free, or in the one that `otherwise`
 * says. */
static __always_inline void adapters_note(struct pintle_holders *h, __u32 id, __u32 generation,
					  __u32 otherwise)
{
	__u64 ref = (__u64)generation << 32 | id;
	__u32 i, at = otherwise;

	for (i = 0; i < PINTLE_ADAPTER_HOLDERS; i++) {
		if (h->of[i] == ref)
			return;
		if (!h->of[i])
			at = i;
	}
	h->of[at & (PINTLE_ADAPTER_HOLDERS - 1)] = ref;
}

#endif
