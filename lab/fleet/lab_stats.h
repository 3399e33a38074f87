/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_stats.h - what the lab measures.
 *
 * The herd index: time is cut into windows of a scrape interval. In each window, the most
 * placements on one endpoint are divided by a fair share (all placements / endpoints); the index is
 * the mean of these ratios, weighted by the windows' placements. With 8 endpoints and 16 placements
 * in a window, 6 of them on one endpoint, the ratio is 6 / 2 = 3. An index of 1 is perfectly even.
 * Placement at random gives more than 1, so compare an index with that of policy `random`.
 */
#ifndef PINTLE_SIM_LAB_STATS_H
#define PINTLE_SIM_LAB_STATS_H

#include <stddef.h>
#include <stdint.h>

struct lab_herd {
	uint64_t window; /* number of the window under way */
	uint32_t *counts;
	uint32_t endpoints, total, most;
	double weighted; /* sum over windows of (most / fair share) x placements */
	double placements;
};

/** 0 or -ENOMEM. */
int lab_herd_init(struct lab_herd *h, uint32_t endpoints);
void lab_herd_fini(struct lab_herd *h);
/** Counts one placement; `window` is never less than in the call before. */
void lab_herd_add(struct lab_herd *h, uint64_t window, uint32_t endpoint);
/** Ends the window under way, and returns the index so far; 0 without placements. */
double lab_herd_index(struct lab_herd *h);

/* Requests in the engines (running and waiting) at one time. */
struct lab_moment {
	double mean, most, spread; /* spread: standard deviation / mean, 0 when idle */
};

struct lab_moment lab_moment_of(const uint32_t *requests, uint32_t endpoints);

/* Mean of a few runs, and half the width of its 95 % confidence interval (Student's t). */
struct lab_interval {
	double mean, half;
};

struct lab_interval lab_interval_of(const double *values, size_t n);

#endif
