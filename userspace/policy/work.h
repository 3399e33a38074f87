/* SPDX-License-Identifier: Apache-2.0 */
/* work.h - what a pass over an endpoint's connections adds to its score: pure functions. */
#ifndef PINTLE_WORK_H
#define PINTLE_WORK_H

#include <pintle/abi.h>

#include "../config/config.h"

#define WORK_BYTES_PER_REQUEST ((double)PINTLE_REQUEST_BYTES)
/* So many bytes of a short context allow a session's endpoint to be one request ahead: as many as
 * weigh that much when the context is computed anew. */
#define WORK_CONTEXT_BYTES 400

/* The mean of the uncached bytes of a pool's requests, over about the newest hundred of them.
 * Begins as zeros. */
struct work_mean {
	double bytes;           /* the mean; 0: no request was seen yet */
	double seen;            /* requests in it, at most WORK_MEAN_REQUESTS */
	uint64_t requests, sum; /* the pool's sums when the mean was brought up to date */
};
#define WORK_MEAN_REQUESTS 100.0

/** Takes in the requests since the last call. `requests` and `uncached_bytes` are those members of
 * struct pintle_work, summed over the pool's endpoints. A sum that fell, because an endpoint left
 * the pool, only counts from here on. */
void work_mean_update(struct work_mean *m, uint64_t requests, uint64_t uncached_bytes);

/* An endpoint's counters, summed over the classes, as a pass began. */
struct work_counts {
	int64_t inflight; /* opened - closed */
	uint64_t opened;  /* ever */
	uint64_t asked;   /* bytes, as pintle_ends.asked_bytes */
};

/** Sets the members of *out that a pass gives, passed_ns and those behind it, and no others:
 *
 *   floor    = w.queue x (waiting + unseen) + w.running x answering
 *   prompt   = (prompt_bytes + unseen x mean_bytes) / WORK_BYTES_PER_REQUEST
 *   newcomer = mean_bytes / WORK_BYTES_PER_REQUEST
 *
 * in milli-requests, clamped to PINTLE_MAX_LOAD: a connection on which no request was seen yet
 * counts as one average request. `mean_bytes` is work_mean.bytes; negative or NaN counts as 0.
 * Cannot fail. With work->passed_ns 0 all members become 0: the requests are not followed. */
void work_fold(const struct pintle_work *work, const struct config_weights *w, double mean_bytes,
	       const struct work_counts *counts, struct pintle_score *out);

#endif
