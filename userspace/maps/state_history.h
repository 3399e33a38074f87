/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_history.h - a pool's counts now, and as they stood in the last 24 hours (map `history`).
 * Reading needs no daemon. What happened between two moments is the difference of their counts.
 */
#ifndef PINTLE_STATE_HISTORY_H
#define PINTLE_STATE_HISTORY_H

#include "state.h"

struct history_moment {
	uint64_t time_ns;
	struct pintle_moment_pool pool;
	struct pintle_moment_class classes[PINTLE_MAX_CLASSES];
	uint32_t class_count;
	struct pintle_moment_tenant tenants[PINTLE_MOMENT_ROWS];
	size_t tenant_count;
	struct pintle_moment_wait *waits; /* of those that had an answer; NULL: of none */
	size_t wait_count;
	struct pintle_moment_endpoint *endpoints; /* NULL: this moment has none */
	size_t endpoint_count;
};

void history_moment_free(struct history_moment *h);

/** Fills *out with the pool's counts now, which the caller frees. The mode is the one that holds
 * now; of tokens and GPUs, and the gauges but those of classes and endpoints, nothing is said.
 * Returns 0 or -errno, not logged. */
int history_take(const struct maps *m, const struct state *s, const struct state_pool *p,
		 struct history_moment *out);

/** Returns the mode that held from the moment `before` until now; PINTLE_MODE_COUNT: several, or
 * not known. */
uint32_t history_mode(const struct pintle_moment_pool *before, uint64_t before_ns,
		      const struct state_pool *now);

struct history {
	struct history_moment *all; /* by time, the newest last */
	size_t count;
};

/** Reads the pool's moments from the last one before `since_ns` on, and now. Returns 0 with *out,
 * which the caller frees; or -errno, *out untouched, not logged. */
int history_read(const struct maps *m, const struct state *s, const struct state_pool *p,
		 uint64_t since_ns, struct history **out);
void history_free(struct history *h);
static inline void history_freep(struct history **h)
{
	history_free(*h);
}

/** Returns how much a count has grown; one that is smaller has begun anew. */
static inline uint64_t history_grown(uint64_t before, uint64_t after)
{
	return after >= before ? after - before : after;
}

#endif
