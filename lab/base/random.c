// SPDX-License-Identifier: Apache-2.0
#include "random.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "../../userspace/base/util.h"

void rng_init(struct rng *r, uint64_t seed, uint64_t a, uint64_t b)
{
	uint64_t state = hash_mix(seed + HASH_STEP);

	state = hash_mix(state + a + HASH_STEP);
	r->state = hash_mix(state + b + HASH_STEP);
}

double rng_unit(struct rng *r)
{
	return (double)((rng_next(r) >> 11) + 1) * 0x1p-53;
}

double normal_of(double u, double v)
{
	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

double rng_normal(struct rng *r)
{
	double u = rng_unit(r);

	return normal_of(u, rng_unit(r));
}

double rng_exponential(struct rng *r)
{
	return -log(rng_unit(r));
}

/* Marsaglia and Tsang, "A simple method for generating gamma variables", 2000. Shape >= 1. */
static double gamma_draw(struct rng *r, double shape)
{
	double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);

	for (;;) {
		double x = rng_normal(r), v = 1 + c * x;

		if (v <= 0)
			continue;
		v = v * v * v;
		if (log(rng_unit(r)) < x * x / 2 + d - d * v + d * log(v))
			return d * v;
	}
}

double rng_gamma(struct rng *r, double cv)
{
	double shape = 1 / (cv * cv);

	assert(cv > 0);
	if (shape >= 1)
		return gamma_draw(r, shape) / shape;
	return gamma_draw(r, shape + 1) * pow(rng_unit(r), 1 / shape) / shape;
}

int zipf_init(struct zipf *z, uint32_t count, double exponent)
{
	double *sums = calloc(count, sizeof(*sums)), total = 0;

	assert(count);
	if (!sums)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		total += pow((double)i + 1, -exponent);
		sums[i] = total;
	}
	for (uint32_t i = 0; i < count; i++)
		sums[i] /= total;
	*z = (struct zipf){.sums = sums, .count = count};
	return 0;
}

uint32_t zipf_draw(const struct zipf *z, struct rng *r)
{
	double u = rng_unit(r);
	uint32_t low = 0, high = z->count - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (z->sums[middle] < u)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void zipf_free(struct zipf *z)
{
	free(z->sums);
	*z = (struct zipf){};
}

static double clamp(const struct dist *d, double value)
{
	value = MAX(value, d->min);
	return MIN(value, d->max);
}

double dist_draw(const struct dist *d, struct rng *r)
{
	double value = d->a;

	switch (d->shape) {
	case DIST_CONSTANT:
		break;
	case DIST_EXPONENTIAL:
		value = d->a * rng_exponential(r);
		break;
	case DIST_LOGNORMAL:
		value = d->a * exp(d->b * rng_normal(r));
		break;
	case DIST_UNIFORM:
		value = d->a + (d->b - d->a) * rng_unit(r);
		break;
	}
	return clamp(d, value);
}

uint32_t dist_draw_whole(const struct dist *d, struct rng *r)
{
	double value;

	if (d->shape == DIST_EXPONENTIAL)
		value = d->a <= 1 ? 1 : 1 + floor(log(rng_unit(r)) / log(1 - 1 / d->a));
	else if (d->shape == DIST_UNIFORM)
		value = d->a + floor((d->b - d->a + 1) * rng_unit(r));
	else
		value = round(dist_draw(d, r));
	return (uint32_t)clamp(d, value);
}
