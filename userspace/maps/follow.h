/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.h - a follower of a pool's decisions: a slot in the map `follows`, and a ring buffer of
 * its own, which the kernel fills as long as the slot is renewed. No daemon takes part.
 */
#ifndef PINTLE_FOLLOW_H
#define PINTLE_FOLLOW_H

#include "maps.h"

/* A slot that is not renewed for so long is free. */
#define FOLLOW_LEASE_NS 3000000000ULL

struct follow_asked {
	struct pintle_ref pool;
	uint32_t rate;    /* at most so many decisions a second, and a quarter of them at once */
	uint32_t what;    /* PINTLE_FOLLOW_* */
	uint64_t slow_ns; /* with PINTLE_FOLLOW_SLOW */
};

struct follow {
	const struct maps *m;
	uint32_t at;       /* its slot */
	uint64_t until_ns; /* of the slot, while it is this follower's */
	int ring;          /* of struct pintle_trace; -1: it does not follow */
};

#define FOLLOW_NONE ((struct follow){.ring = -1})

/** Takes a free slot, and follows. `m` is writable, and outlives *out, which the caller ends
 * (follow_end()). Returns 0; -EBUSY if no slot is free; or another -errno. Does not log. */
int follow_begin(const struct maps *m, const struct follow_asked *asked, struct follow *out);
/** Keeps the slot, if called every second, follows `pool` from now on, which may be a new one of
 * the same name, and deletes decisions that no connection came of. Returns 0; or -ESTALE if it came
 * so late that another follower has the slot, or has cleared it: then only follow_end() is left. */
int follow_renew(struct follow *f, const struct pintle_ref *pool);
/** Returns the slot, in which the kernel counts; NULL: another follower may have it. */
const struct pintle_follower *follow_counts(const struct follow *f);
/** Frees slots and rings of followers that were killed. To be called now and then; followers do so
 * themselves where no daemon runs. `m` is writable. */
void follow_tend(const struct maps *m);
/** Frees the slot and the ring; fine with FOLLOW_NONE. */
void follow_end(struct follow *f);

#endif
