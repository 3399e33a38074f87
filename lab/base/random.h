/* SPDX-License-Identifier: Apache-2.0 */
/* random.h - random numbers that follow from a seed alone, and their distributions. */
#ifndef PINTLE_LAB_RANDOM_H
#define PINTLE_LAB_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

#include "../../userspace/base/hash.h"

/* SplitMix64. Any state will do. */
struct rng {
	uint64_t state;
};

/** A stream of its own for each (seed, a, b): nothing drawn from one moves another. */
void rng_init(struct rng *r, uint64_t seed, uint64_t a, uint64_t b);

static inline uint64_t rng_next(struct rng *r)
{
	return hash_mix(r->state += HASH_STEP);
}

/** 0 <= x < n; n of at least 1 (the bias of 64 bits is of no account). */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)(((unsigned __int128)rng_next(r) * n) >> 64);
}

double rng_unit(struct rng *r); /* 0 < x <= 1 */
double rng_normal(struct rng *r);
/** A normal number from two of 0 < u <= 1 (Box and Muller, Ann. Math. Stat. 29(2), 1958; the first
 * of the pair). */
double normal_of(double u, double v);
double rng_exponential(struct rng *r); /* mean 1 */
/** Mean 1, with this coefficient of variation (above 0). */
double rng_gamma(struct rng *r, double cv);

/* A number from 0 to count-1; i comes in proportion to 1 / (i+1)^exponent. */
struct zipf {
	double *sums; /* of the shares up to i */
	uint32_t count;
};

/** Returns 0 or -ENOMEM. */
int zipf_init(struct zipf *z, uint32_t count, double exponent);
uint32_t zipf_draw(const struct zipf *z, struct rng *r);
void zipf_free(struct zipf *z);

enum dist_shape { DIST_CONSTANT, DIST_EXPONENTIAL, DIST_LOGNORMAL, DIST_UNIFORM };

struct dist {
	enum dist_shape shape;
	/* constant: the value; exponential: the mean; log-normal: median and sigma; uniform: from
	 * and to */
	double a, b;
	double min, max; /* what is drawn beyond them becomes them */
};

double dist_draw(const struct dist *d, struct rng *r);
/** A whole number; a DIST_EXPONENTIAL is a geometric one, from 1 on, with that mean. */
uint32_t dist_draw_whole(const struct dist *d, struct rng *r);

#endif
