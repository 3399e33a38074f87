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

/* Buckets grow by 1/64 of an octave's start: a quantile is off by 0.8 % at most. */
#define LAB_SUB_BITS 6
#define LAB_BUCKETS  ((64 - LAB_SUB_BITS + 1) << LAB_SUB_BITS)

struct lab_histogram {
	uint64_t count;
	double sum;
	uint64_t buckets[LAB_BUCKETS];
};

/** Adds `value` (nanoseconds) n times. */
void lab_histogram_add(struct lab_histogram *h, uint64_t value, uint64_t n);
/** The smallest value with a share q (0..1) of all at or below it, as the middle of its
 * bucket; 0 when empty. */
double lab_histogram_quantile(const struct lab_histogram *h, double q);
/** 0 when empty. */
double lab_histogram_mean(const struct lab_histogram *h);

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
