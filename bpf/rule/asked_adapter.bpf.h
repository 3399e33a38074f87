/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * asked_adapter.bpf.h - the LoRA adapter that a request names, as the rule wants it;
 * loaded_adapters.bpf.h has the text.
 *
 * The functions are for connections with terms.adapted alone, which asking_adapter() sets.
 */
#ifndef PINTLE_ASKED_ADAPTER_BPF_H
#define PINTLE_ASKED_ADAPTER_BPF_H

#include "world.bpf.h"

#include "loaded_adapters.bpf.h"

/* The number of the adapter that the request on this CPU names. */
static __always_inline __u32 adapter_asked(void)
{
	__u32 zero = 0;
	struct pintle_asking *a = world_find(asking, &zero);

	return a ? a->adapter : 0;
}

/* How the candidate is off for the adapter: enum adapters_state. */
DECIDE_STEP adapter_state(const struct decide_candidate *c)
{
	struct pintle_adapters *row;
	__u32 id;

	if (!c)
		return ADAPTERS_LOADED;
	id = c->endpoint;
	row = world_find(adapters, &id);
	return row ? adapters_state(row, c->generation, adapter_asked()) : ADAPTERS_LOADED;
}

/* What it costs that the candidate has not loaded the adapter. */
static __always_inline __u32 adapter_missing(const struct decide_candidate *c, __u32 weight)
{
	return adapters_missing(adapter_state(c), weight);
}

/* The i-th endpoint that is noted to have the adapter. Returns 0 if there is none. */
DECIDE_STEP adapter_holder(__u32 i, struct decide_candidate *c)
{
	__u32 number = adapter_asked();
	struct pintle_holders *h = world_find(adapter_holders, &number);

	__u64 ref;

	if (!h || !c || i >= PINTLE_ADAPTER_HOLDERS)
		return 0;
	ref = h->of[i];
	c->endpoint = ref;
	c->generation = ref >> 32;
	return !!c->generation;
}

/* A request for the adapter went to the endpoint. Returns 1 if that had it. */
DECIDE_STEP adapter_placed(__u32 id, __u32 generation)
{
	__u32 number = adapter_asked(), at = number / 64;
	struct pintle_adapters *row = world_find(adapters, &id);
	struct pintle_holders *h;

	hide(at);
	if (!row || row->generation != generation || at >= PINTLE_ADAPTER_WORDS)
		return 0;
	if (adapters_state(row, generation, number) == ADAPTERS_LOADED)
		return 1;
	__sync_fetch_and_or(&row->placed[at], 1ULL << (number & 63));
	h = world_find(adapter_holders, &number);
	if (h)
		adapters_note(h, id, generation, world_random());
	return 0;
}

#endif
