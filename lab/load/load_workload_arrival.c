// SPDX-License-Identifier: Apache-2.0
/* load_workload_arrival.c - when sessions begin, as a workload's file says it. */
#include "../../userspace/base/util.h"
#include "load_fields.h"
#include "load_workload.h"

#define MAX_RATE  1e5
#define MAX_USERS 100000

static const char *const processes[] = {
	[ARRIVAL_POISSON] = "poisson", [ARRIVAL_GAMMA] = "gamma", [ARRIVAL_EVEN] = "even", NULL};

static const struct load_field point_fields[] = {
	{{"rate.at", KEY_DURATION, .required = true, .max = LOAD_MAX_DURATION,
	  .offset = offsetof(struct rate_point, at_ns)},
	 NULL},
	{{"rate.rate", KEY_NUMBER, .required = true, .max = MAX_RATE,
	  .offset = offsetof(struct rate_point, rate)},
	 NULL},
};
static const struct load_section point_section = {"a point of rate", point_fields,
						  ARRAY_SIZE(point_fields)};

static void read_points(struct report *r, const struct node *list, struct arrival *a)
{
	const struct node *n = list->first;

	for (; n && a->point_count < WORKLOAD_MAX_POINTS; n = n->next) {
		struct rate_point *p = &a->points[a->point_count++];

		load_section_read(r, &point_section, n, p);
		if (p > a->points && p->at_ns < p[-1].at_ns)
			report_error(r, n->line, n->column,
				     "a point of rate lies before the one above it; order them by "
				     "time");
	}
	if (n)
		report_error(r, n->line, n->column, "more than %d points of rate; take some out",
			     WORKLOAD_MAX_POINTS);
	else if (!list->count)
		report_error(r, list->line, list->column,
			     "rate is empty; write a number, or a list such as [{at: 0s, rate: 2}, "
			     "{at: 60s, rate: 8}]");
	else if (!(arrival_peak(a) > 0))
		report_error(r, list->line, list->column,
			     "rate is 0 at every point; write one above 0");
}

static void read_rate(struct report *r, const struct load_field *f, const struct node *n,
		      void *base)
{
	struct arrival *a = &((struct workload_class *)base)->arrival;
	struct key k = {"rate", KEY_NUMBER, .min = 1e-4, .max = MAX_RATE};

	(void)f;
	a->points = calloc(WORKLOAD_MAX_POINTS, sizeof(*a->points));
	if (!a->points) {
		r->out_of_memory = true;
		return;
	}
	if (n->kind == NODE_SCALAR) {
		a->point_count = 1;
		value_read(r, &k, n, &a->points[0].rate);
	} else if (n->kind == NODE_LIST) {
		read_points(r, n, a);
	} else {
		load_report_kind(r, n, "rate", "sessions a second, or a list of points {at, rate}");
	}
}

#define ARRIVAL(member) .offset = offsetof(struct workload_class, arrival.member)

static const struct load_field burst_fields[] = {
	{{"bursts.every", KEY_DURATION, .required = true, .min = NSEC_PER_MSEC,
	  .max = LOAD_MAX_DURATION, ARRIVAL(burst_every_ns)},
	 NULL},
	{{"bursts.length", KEY_DURATION, .required = true, .min = NSEC_PER_MSEC,
	  .max = LOAD_MAX_DURATION, ARRIVAL(burst_length_ns)},
	 NULL},
	{{"bursts.factor", KEY_NUMBER, .required = true, .max = 1000, ARRIVAL(burst_factor)}, NULL},
};
static const struct load_section burst_section = {"bursts", burst_fields, ARRAY_SIZE(burst_fields)};

static void read_bursts(struct report *r, const struct load_field *f, const struct node *n,
			void *base)
{
	const struct arrival *a = &((struct workload_class *)base)->arrival;
	size_t errors = r->errors;

	(void)f;
	load_section_read(r, &burst_section, n, base);
	if (r->errors == errors && a->burst_length_ns >= a->burst_every_ns)
		report_error(
			r, n->line, n->column,
			"bursts are no shorter than the time between their beginnings; write a "
			"length below every");
}

#define CLASS(member) .offset = offsetof(struct workload_class, member)

static const struct load_field arrival_fields[] = {
	{{"arrival.process", KEY_CHOICE, .choices = processes, .preset = "poisson",
	  ARRIVAL(process)},
	 NULL},
	{{.path = "arrival.rate"}, read_rate},
	{{"arrival.cv", KEY_NUMBER, .min = 0.01, .max = 100, ARRIVAL(cv)}, NULL},
	{{.path = "arrival.bursts"}, read_bursts},
	{{"arrival.users", KEY_INTEGER, .min = 1, .max = MAX_USERS, CLASS(users)}, NULL},
	{{"arrival.spread", KEY_DURATION, .max = LOAD_MAX_DURATION, CLASS(spread_ns)}, NULL},
};
static const struct load_section arrival_section = {"arrival", arrival_fields,
						    ARRAY_SIZE(arrival_fields)};

static void refuse_with(struct report *r, const struct node *map, const char *name,
			const char *says)
{
	const struct node *n = node_get(map, name);

	if (n)
		report_error(r, n->key->line, n->key->column, "%s %s", name, says);
}

/* Which keys go together. */
static void check_arrival(struct report *r, const struct node *n, const struct workload_class *c)
{
	static const char *const open_only[] = {"process", "rate", "cv", "bursts"};
	bool closed = node_get(n, "users"), gamma = c->arrival.process == ARRIVAL_GAMMA;

	if (closed) {
		for (size_t i = 0; i < ARRAY_SIZE(open_only); i++)
			refuse_with(r, n, open_only[i],
				    "does not go with users, who begin when their last session is "
				    "over; take one of the two out");
		return;
	}
	refuse_with(r, n, "spread", "is the time over which users begin; write users, too");
	if (!node_get(n, "rate"))
		report_error(r, n->line, n->column,
			     "arrival says not how many sessions begin; add rate (an open loop) or "
			     "users (a closed one)");
	if (!gamma)
		refuse_with(r, n, "cv", "is of the process gamma; write process: gamma, too");
	else if (!node_get(n, "cv"))
		report_error(r, n->line, n->column,
			     "\"cv\" is missing for the process gamma; add it: 1 is like poisson, "
			     "above it sessions come in clusters");
}

void load_read_arrival(struct report *r, const struct load_field *f, const struct node *n,
		       void *base)
{
	size_t errors = r->errors;

	(void)f;
	load_section_read(r, &arrival_section, n, base);
	if (r->errors == errors)
		check_arrival(r, n, base);
}
