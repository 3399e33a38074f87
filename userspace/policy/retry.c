/* SPDX-License-Identifier: Apache-2.0 */
#include "retry.h"

#include "../base/util.h"
#include "rule/decide.bpf.h"

void retry_look(struct retry_pace *p, uint64_t begun, double under_way, double seconds)
{
	double came = begun >= p->begun ? (double)(begun - p->begun) : 0, part;

	/* The first look only says where to count from. */
	if (p->looked && seconds > 0) {
		p->seconds += seconds;
		part = seconds / MIN(p->seconds, RETRY_MEMORY_S);
		part = MIN(part, 1.0);
		p->under_way += part * (under_way - p->under_way);
		p->rate += part * (came / seconds - p->rate);
	}
	p->looked = true;
	p->begun = begun;
}

double retry_time(const struct retry_pace *p)
{
	double watched = p->seconds < RETRY_MEMORY_S ? p->seconds : RETRY_MEMORY_S;

	if (p->under_way <= 0 || watched <= 0)
		return -1;
	return p->under_way / MAX(p->rate, 1 / watched);
}

double retry_room(double limit, uint32_t rate)
{
	return limit * 7 / 8 * (rate ? rate : DECIDE_RATE) / DECIDE_RATE;
}

double retry_wait(const struct retry_pace *p, double load, double room, double requests)
{
	double time = retry_time(p);

	if (time < 0)
		return -1;
	return time * MAX(load - room + 1, 1.0) / MAX(requests, 1.0);
}
