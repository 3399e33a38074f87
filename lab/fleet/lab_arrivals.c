// SPDX-License-Identifier: Apache-2.0
/* lab_arrivals.c - when sessions begin: Poisson, modulated by calm and burst, and by a surge. */
#include "lab_internal.h"

static bool surging(const struct lab *lab)
{
	return lab->now_ns >= lab->surge_begins_ns && lab->now_ns < lab->surge_ends_ns;
}

/* When the rate of arrivals changes next. */
static uint64_t pace_ends_ns(const struct lab *lab)
{
	uint64_t surge = surging(lab)                         ? lab->surge_ends_ns
			 : lab->now_ns < lab->surge_begins_ns ? lab->surge_begins_ns
							      : NEVER;

	return MIN(lab->burst_ends_ns, surge);
}

static void arrivals_next(struct lab *lab, uint32_t part)
{
	double rate = lab->part_rate[part] * (lab->bursting ? lab->w->burst : 1) *
		      (surging(lab) ? lab->o->surge : 1);
	uint64_t ends = pace_ends_ns(lab);
	uint64_t at = lab->now_ns + (uint64_t)(1 / rate * rng_exponential(&lab->arrivals) * 1e9);

	/* Exponential gaps have no memory, so a gap that a change of pace interrupts is drawn anew
	 * there. */
	if (at > ends)
		at = ends;
	lab_event_put(lab, at, SESSION_BEGINS, part, at == ends);
}

static void pace_change(struct lab *lab)
{
	double mean;

	lab->bursting = !lab->bursting;
	mean = lab->bursting ? lab->w->burst_s : lab->w->calm_s;
	lab->burst_ends_ns = lab->now_ns + (uint64_t)(mean * rng_exponential(&lab->arrivals) * 1e9);
}

void lab_arrive(struct lab *lab, uint32_t part, bool only_pace)
{
	const struct lab_part *p = &lab->w->part[part];

	if (lab->w->burst > 1 && lab->now_ns >= lab->burst_ends_ns)
		pace_change(lab);
	if (!only_pace) {
		uint64_t job = ++lab->job_serial;
		uint32_t group = zipf_draw(&lab->groups[part], &lab->arrivals);

		for (uint32_t i = 0; i < p->width; i++)
			lab_session_begin(lab, part, job, group);
	}
	arrivals_next(lab, part);
}

/* Mean number of requests of a session: a geometric distribution, cut off at turns_max. */
static double turns_mean(const struct lab_part *p)
{
	double stay = 1 - 1 / p->turns;

	return p->turns <= 1 ? 1 : (1 - pow(stay, p->turns_max)) * p->turns;
}

int lab_arrivals_init(struct lab *lab)
{
	double all = lab->o->rate * lab->o->endpoints;
	double pace = lab->w->burst > 1 ? (lab->w->burst * lab->w->burst_s + lab->w->calm_s) /
						  (lab->w->burst_s + lab->w->calm_s)
					: 1;

	lab->burst_ends_ns = NEVER;
	lab->surge_begins_ns = lab->surge_ends_ns = NEVER;
	if (lab->o->surge > 0) {
		lab->surge_begins_ns = lab->from_ns + (uint64_t)(lab->o->surge_from_s * 1e9);
		lab->surge_ends_ns = lab->surge_begins_ns + (uint64_t)(lab->o->surge_s * 1e9);
	}
	if (lab->o->trace)
		lab_trace_init(lab);
	if (lab->o->load)
		return lab_load_init(lab);
	if (lab->o->trace)
		return 0;
	if (lab->w->burst > 1) {
		lab->bursting = true;
		pace_change(lab);
	}
	for (uint32_t i = 0; i < lab->w->parts; i++) {
		const struct lab_part *p = &lab->w->part[i];

		if (lab->o->without && !strcmp(lab->o->without, p->name))
			continue;
		if (zipf_init(&lab->groups[i], p->groups, p->zipf))
			return -ENOMEM;
		lab->part_rate[i] = all * p->share / turns_mean(p) / p->width / pace;
		arrivals_next(lab, i);
	}
	return 0;
}
