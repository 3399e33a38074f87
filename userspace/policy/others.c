// SPDX-License-Identifier: Apache-2.0
#include "others.h"

#include <math.h>

/* The level changes when it is so much closer to another one. */
#define OTHERS_CLEARLY 0.75

#define OTHERS_LEAST_SAMPLE 2
#define OTHERS_TIE_STEP     2000 /* milli-requests a level */

void others_page(struct others *o, double page, double own, uint32_t endpoints)
{
	double weight = 1.0 / ((double)OTHERS_PAGES * (endpoints ? endpoints : 1));
	double all = page > 0 ? page : 0, theirs = own > 0 ? fmax(all - own, 0) : all;

	o->pages = fmin(o->pages + weight * OTHERS_PAGES, OTHERS_PAGES);
	o->all += weight * (all - o->all);
	o->theirs += weight * (theirs - o->theirs);
}

bool others_judge(struct others *o)
{
	double share, level;

	/* Less than a page is a sum's rounding. */
	if (!(o->all > 0) || o->pages < OTHERS_PAGES - 0.5)
		return false;
	share = fmin(o->theirs / o->all, 1);
	level = OTHERS_LEVELS * share * share * share * share;
	if (fabs(level - o->level) < OTHERS_CLEARLY)
		return false;
	o->level = (uint32_t)lround(level);
	return true;
}

uint32_t others_sample(uint32_t level)
{
	return PINTLE_SAMPLE - (uint32_t)lround((PINTLE_SAMPLE - OTHERS_LEAST_SAMPLE) *
						fmin(level, OTHERS_LEVELS) / OTHERS_LEVELS);
}

uint32_t others_tie(uint32_t level)
{
	return OTHERS_TIE_STEP * (uint32_t)fmin(level, OTHERS_LEVELS);
}
