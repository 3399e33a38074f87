// SPDX-License-Identifier: Apache-2.0
#include "demand.h"

static void demand_turn(struct demand *d, bool idle, uint64_t now)
{
	if (d->idle != idle)
		d->since_ns = now;
	d->idle = idle;
}

void demand_use(struct demand *d, uint64_t now)
{
	d->used_ns = now;
	demand_turn(d, false, now);
}

void demand_see(struct demand *d, uint32_t generation, uint64_t decisions, bool open, uint64_t now)
{
	bool new = !d->since_ns || d->generation != generation;

	if (new)
		*d = (struct demand){.generation = generation, .since_ns = now};
	if (new || open || decisions != d->decisions)
		demand_use(d, now);
	else if (now - d->used_ns >= DEMAND_NS)
		demand_turn(d, true, now);
	d->decisions = decisions;
}
