/* SPDX-License-Identifier: Apache-2.0 */
/*
 * same_model.h - whether a pool and the others to which its connections may go (its canary, its
 * fallbacks) serve the same model.
 *
 * Every SAME_MODEL_INTERVAL_NS each of their servers is asked for /v1/models. Where the lists of
 * two pools are known and have no model in common, nothing goes from the one to the other. A pool
 * of which no list is known is taken to fit: many servers have none, or want a key.
 *
 * The servers of pools that others name in their `models` are asked, too: their lists say which
 * LoRA adapters they have (loaded_adapters.h).
 */
#ifndef PINTLE_SAME_MODEL_H
#define PINTLE_SAME_MODEL_H

#include <uv.h>

#include "../../config/config.h"
#include "../ground.h"
#include "loaded_adapters.h"
#include "../publish/publication.h"

#define SAME_MODEL_INTERVAL_NS 10000000000ULL

struct same_model;

/** Asks from within the ground's namespace; `adapters` must outlive it. Returns 0 and *out
 * (same_model_free() it), or -errno, logged. */
int same_model_new(const struct ground *g, struct loaded_adapters *adapters,
		   struct same_model **out);
/** Asks from now on the servers of those pools of `c`, which `adapters` knows already. `c` and
 * `pub` are kept by reference until the next call. Without memory some servers are not asked, which
 * is logged. */
void same_model_configure(struct same_model *x, const struct config *c,
			  const struct publication *pub);
void same_model_free(struct same_model *x);

#endif
