// SPDX-License-Identifier: Apache-2.0
#include "load_arrival.h"

#include <assert.h>
#include <math.h>

#include "../../userspace/base/util.h"

/* A stretch of time in which the rate is linear. */
struct stretch {
	uint64_t end_ns; /* ARRIVAL_NEVER: it does not end */
	double rate;     /* at its beginning, per second */
	double slope;    /* per second, each second */
};

static struct stretch ramp_stretch(const struct arrival *a, uint64_t now_ns)
{
	const struct rate_point *from = NULL, *to = NULL;
	double seconds;

	assert(a->point_count);
	for (size_t i = 0; i < a->point_count && !to; i++) {
		if (a->points[i].at_ns > now_ns)
			to = &a->points[i];
		else
			from = &a->points[i];
	}
	if (!to)
		return (struct stretch){ARRIVAL_NEVER, from->rate, 0};
	if (!from) /* before the first point */
		return (struct stretch){to->at_ns, to->rate, 0};
	seconds = (double)(to->at_ns - from->at_ns) * 1e-9;
	struct stretch s = {to->at_ns, from->rate, (to->rate - from->rate) / seconds};

	s.rate += s.slope * (double)(now_ns - from->at_ns) * 1e-9;
	return s;
}

static struct stretch stretch_at(const struct arrival *a, uint64_t now_ns)
{
	struct stretch s = ramp_stretch(a, now_ns);
	uint64_t phase, change;

	if (!a->burst_every_ns)
		return s;
	phase = now_ns % a->burst_every_ns;
	change = now_ns - phase;
	if (phase < a->burst_length_ns) {
		s.rate *= a->burst_factor;
		s.slope *= a->burst_factor;
		change += a->burst_length_ns;
	} else {
		change += a->burst_every_ns;
	}
	s.end_ns = MIN(s.end_ns, change);
	return s;
}

static double gap(const struct arrival *a, struct rng *r)
{
	switch ((enum arrival_process)a->process) {
	case ARRIVAL_POISSON:
		return rng_exponential(r);
	case ARRIVAL_GAMMA:
		return rng_gamma(r, a->cv);
	case ARRIVAL_EVEN:
		break;
	}
	return 1;
}

/* The seconds t for which rate * t + slope * t^2 / 2 is `area`. */
static double time_of_area(const struct stretch *s, double area)
{
	/* In this form the solution needs no division by the slope, which may be 0. */
	double root = sqrt(MAX(s->rate * s->rate + 2 * s->slope * area, 0.0));

	return 2 * area / (s->rate + root);
}

uint64_t arrival_next(const struct arrival *a, struct rng *r, uint64_t now_ns)
{
	double left = gap(a, r);

	for (;;) {
		struct stretch s = stretch_at(a, now_ns);
		double seconds = (double)(s.end_ns - now_ns) * 1e-9;
		double area = (s.rate + s.slope * seconds / 2) * seconds, wait;

		if (s.end_ns == ARRIVAL_NEVER)
			area = s.rate > 0 ? INFINITY : 0;
		if (area >= left) {
			wait = time_of_area(&s, left) * 1e9;
			return wait < 0x1p63 - (double)now_ns ? now_ns + (uint64_t)wait
							      : ARRIVAL_NEVER;
		}
		if (s.end_ns == ARRIVAL_NEVER)
			return ARRIVAL_NEVER;
		/* After the last point only bursts change the rate, and 0 times a factor is 0. */
		if (now_ns >= a->points[a->point_count - 1].at_ns &&
		    !(a->points[a->point_count - 1].rate > 0))
			return ARRIVAL_NEVER;
		left -= area;
		now_ns = s.end_ns;
	}
}

double arrival_peak(const struct arrival *a)
{
	double peak = 0;

	for (size_t i = 0; i < a->point_count; i++)
		peak = MAX(peak, a->points[i].rate);
	return peak;
}
