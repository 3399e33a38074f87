/* SPDX-License-Identifier: Apache-2.0 */
/* load_random.h - random numbers that follow from a seed alone, and their distributions. */
#ifndef PINTLE_LOAD_RANDOM_H
#define PINTLE_LOAD_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

/** A stream of its own for each (seed, a, b): nothing drawn from one moves another. */
void rng_init(struct rng *r, uint64_t seed, uint64_t a, uint64_t b);
uint64_t rng_next(struct rng *r);
double rng_unit(struct rng *r); /* above 0, below 1 */
double rng_normal(struct rng *r);
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
