// SPDX-License-Identifier: Apache-2.0
/* load_workload_scale.c - scales a workload up or down. */
#include <math.h>

#include "../../userspace/base/util.h"
#include "load_workload.h"

bool workload_set_rate(struct workload *w, double rate)
{
	double sum = 0;

	for (size_t i = 0; i < w->class_count; i++)
		sum += arrival_peak(&w->classes[i].arrival);
	if (!(sum > 0))
		return false;
	for (size_t i = 0; i < w->class_count; i++) {
		struct arrival *a = &w->classes[i].arrival;

		for (size_t p = 0; p < a->point_count; p++)
			a->points[p].rate *= rate / sum;
	}
	return true;
}

/* The closed class whose number of users is furthest below its share; with `more`, furthest above
 * it among the classes with more than one user. */
static struct workload_class *furthest(const struct workload *w, const double *shares, bool more)
{
	struct workload_class *found = NULL;
	double worst = -INFINITY;

	for (size_t i = 0; i < w->class_count; i++) {
		struct workload_class *c = &w->classes[i];
		double distance = more ? c->users - shares[i] : shares[i] - c->users;

		if (!c->users || (more && c->users == 1) || distance <= worst)
			continue;
		found = c;
		worst = distance;
	}
	return found;
}

/* Rounding down and the least of one user each leave a small difference to `users`. It is made up
 * user by user, in the class that is then furthest from its share. */
bool workload_set_users(struct workload *w, unsigned int users)
{
	double shares[WORKLOAD_MAX_CLASSES] = {0}, sum = 0;
	unsigned int classes = 0, given_out = 0;

	for (size_t i = 0; i < w->class_count; i++) {
		sum += w->classes[i].users;
		classes += w->classes[i].users > 0;
	}
	if (!classes || users < classes)
		return false;
	for (size_t i = 0; i < w->class_count; i++) {
		struct workload_class *c = &w->classes[i];

		if (!c->users)
			continue;
		shares[i] = users * (c->users / sum);
		c->users = MAX((int)shares[i], 1);
		given_out += (unsigned int)c->users;
	}
	for (; given_out < users; given_out++)
		furthest(w, shares, false)->users++;
	for (; given_out > users; given_out--)
		furthest(w, shares, true)->users--;
	return true;
}
