/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge.h - runs the classifier (policy/classify.h) on the requests that the kernel saw: drains the
 * map `evidence`, and writes verdicts to the map `sessions`.
 */
#ifndef PINTLE_JUDGE_H
#define PINTLE_JUDGE_H

#include <uv.h>

#include "../../config/config.h"
#include "../ground.h"
#include "../../policy/classify.h"
#include "../publish/publication.h"

struct judge;

/** Takes over the verdicts of an earlier daemon. They hold until there is another one: what led to
 * them is forgotten. Returns 0 and *out (judge_free() it), or -errno, logged. */
int judge_new(const struct ground *g, struct judge **out);
/** Judges these pools from now on; deletes verdicts of others. Does nothing between two calls if
 * none of the pools classifies. NULL for `j` is ignored, as below. */
void judge_configure(struct judge *j, const struct config *c, const struct publication *p);

/* Figures for /metrics. What was counted is since the daemon started. */
struct judge_pool {
	uint32_t generation;                 /* of the pool; 0: it does not classify */
	uint64_t sessions[CLASSIFY_CLASSES]; /* that have the verdict now */
	uint64_t requests;                   /* that were judged */
	uint64_t changes;                    /* verdicts that were made or changed */
};
/** Returns the judgement of the pool with this id; zeros for others. */
struct judge_pool judge_pool(const struct judge *j, uint32_t id);
/** Returns the evidence that was lost, because the ring was full. */
uint64_t judge_lost(const struct judge *j);

/** Frees it; the loop must run once more before the maps are closed. NULL is fine. */
void judge_free(struct judge *j);

#endif
