/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_stats.h - what the lab measures.
 *
 * The herd index: time is cut into windows of a scrape interval; in each, the most that any
 * endpoint was given, over a fair share (all placements / endpoints); averaged over the
 * windows, each counting as much as it has placements. 1 is perfectly even. Chance alone
 * is above 1 (few placements cannot be even), so it is read beside policy `random`.
 */
#ifndef PINTLE_SIM_LAB_STATS_H
#define PINTLE_SIM_LAB_STATS_H

#include <stddef.h>
#include <stdint.h>

struct lab_herd {
	uint64_t window; /* number of the one under way */
	uint32_t *counts;
	uint32_t endpoints, total, most;
	double weighted; /* sum over windows of (most / fair share) x placements */
	double placements;
};

/** 0 or -ENOMEM. */
int lab_herd_init(struct lab_herd *h, uint32_t endpoints);
void lab_herd_fini(struct lab_herd *h);
/** One placement; `window` never gets smaller. */
void lab_herd_add(struct lab_herd *h, uint64_t window, uint32_t endpoint);
/** The index so far, the window under way included; 0 without placements. */
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
