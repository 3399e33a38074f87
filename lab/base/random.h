/* SPDX-License-Identifier: Apache-2.0 */
/* random.h - random numbers that follow from a seed alone, and distributions of them. */
#ifndef PINTLE_LAB_RANDOM_H
#define PINTLE_LAB_RANDOM_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../userspace/base/hash.h"

/* SplitMix64; every state is a good one. */
struct rng {
	uint64_t state;
};

/** Begins the stream of (seed, a, b). Numbers drawn from this stream do not change any other, so a
 * purpose that gets a stream of its own leaves all other results as they were. */
void rng_init(struct rng *r, uint64_t seed, uint64_t a, uint64_t b);

static inline uint64_t rng_next(struct rng *r)
{
	return hash_mix(r->state += HASH_STEP);
}

/** 0 <= x < n, where n is at least 1. The bias of a 64-bit draw is below n / 2^64. */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
	assert(n);
	return (uint32_t)(((unsigned __int128)rng_next(r) * n) >> 64);
}

double rng_unit(struct rng *r);   /* 0 < x <= 1 */
double rng_normal(struct rng *r); /* mean 0, standard deviation 1 */
/** A normal number from two uniform ones, 0 < u, v <= 1: the first of the pair of Box and Muller,
 * Ann. Math. Stat. 29(2), 1958. */
double normal_of(double u, double v);
double rng_exponential(struct rng *r); /* mean 1 */
/** Gamma with mean 1; `cv`, the coefficient of variation, is above 0. */
double rng_gamma(struct rng *r, double cv);

/* Numbers from 0 to count - 1; the probability of i is in proportion to 1 / (i + 1)^exponent. */
struct zipf {
	double *sums; /* sums[i]: the probability of a number from 0 to i */
	uint32_t count;
};

/** `count` is at least 1. Returns 0 or -ENOMEM. */
int zipf_init(struct zipf *z, uint32_t count, double exponent);
uint32_t zipf_draw(const struct zipf *z, struct rng *r);
void zipf_free(struct zipf *z);

enum dist_shape { DIST_CONSTANT, DIST_EXPONENTIAL, DIST_LOGNORMAL, DIST_UNIFORM };

struct dist {
	enum dist_shape shape;
	/* constant: the value; exponential: the mean; log-normal: median and sigma; uniform: the
	 * least and the greatest value */
	double a, b;
	double min, max; /* a value drawn outside this range becomes its nearer end */
};

double dist_draw(const struct dist *d, struct rng *r);
/** A whole number. DIST_EXPONENTIAL becomes a geometric distribution from 1 on, with mean `a`. */
uint32_t dist_draw_whole(const struct dist *d, struct rng *r);

#endif
