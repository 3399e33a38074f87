/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h - the pinned maps as a decision's text asks for them (bpf/world.bpf.h), for a host
 * program that decides what the kernel would.
 *
 * A world reads each value once, when it is asked for it first, and answers with its copy from then
 * on. So all decisions in it see the same facts, and what they write, or the caller changes, is in
 * the copies alone. No right to run programs is needed, only one to read the maps.
 *
 * The text is handed no world: a thread is in one at a time.
 */
#ifndef PINTLE_WORLD_H
#define PINTLE_WORLD_H

#include <pintle/abi.h>

#include "maps.h"

struct world;

/** Makes the world of the maps `m`, which stay open as long. Returns 0 with *out, which the caller
 * frees (world_free()), or -ENOMEM. */
int world_new(const struct maps *m, struct world **out);
void world_free(struct world *w);
static inline void world_freep(struct world **w)
{
	world_free(*w);
}

/** Puts the calling thread into the world; NULL: into none. The caller leaves it again before it
 * frees it. */
void world_enter(struct world *w);
/** Returns 0, or the first -errno that reading a value gave: it then counted as not there. */
int world_error(const struct world *w);
/** Sets the next decision's world_seed(). Each decision makes a new one of it. */
void world_set_seed(struct world *w, uint64_t seed);
/** Returns the request that the decisions are for. */
struct pintle_asking *world_asking(struct world *w);

/** Returns the note of a decision with this terms.note, the only one. */
#define WORLD_NOTE 1
struct pintle_trace *world_note(struct world *w);

/* ---- for bpf/world.bpf.h ------------------------------------------------------------- */

enum { MAP_notes = MAP_COUNT }; /* which is not pinned */

void *world_look(uint32_t map, const void *key);
uint64_t world_seed(void);
struct pintle_homes *world_homes(uint32_t pool);

#define world_find(map, key) world_look(MAP_##map, key)
#define world_random()       ((__u32)world_seed())
#define world_loop(n, step, arg)                                                                   \
	do {                                                                                       \
		for (__u32 world_i = 0; world_i < (n) && !step(world_i, arg); world_i++)           \
			;                                                                          \
	} while (0)
#define WORLD_DRY 1

#pragma GCC diagnostic ignored "-Wunknown-pragmas" /* the text unrolls loops, by clang's pragma */

#endif
