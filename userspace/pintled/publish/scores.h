/* SPDX-License-Identifier: Apache-2.0 */
/* scores.h - writes scores, which the kernel and other programs read at the same time. */
#ifndef PINTLE_SCORES_H
#define PINTLE_SCORES_H

#include <pintle/abi.h>
#include <stdint.h>

/** Writes all of *from but `sequence`. A reader that finds the sequence odd, or changed while it
 * read, takes the score for too old. */
void scores_write(struct pintle_score *to, const struct pintle_score *from);

/** Sums an endpoint's counters over the classes, as they stand now: *opened, *inflight = opened -
 * closed, *pending = placed - opened - failed. */
void scores_count(const struct pintle_inflight *counts, uint64_t *opened, int64_t *inflight,
		  int64_t *pending);

#endif
