// SPDX-License-Identifier: Apache-2.0
/* load_workload_arrival.c - reads the key `arrival` of a class: when sessions begin. */
#include "../../userspace/base/util.h"
#include "load_workload_internal.h"

#define MAX_RATE  1e5
#define MAX_USERS 100000

static const char *const processes[] = {
	[ARRIVAL_POISSON] = "poisson", [ARRIVAL_GAMMA] = "gamma", [ARRIVAL_EVEN] = "even", NULL};

static const struct yaml_key point_keys[] = {
	{"rate.at", &yaml_duration, .required = true, .max = LOAD_MAX_DURATION,
	 .offset = offsetof(struct rate_point, at_ns)},
	{"rate.rate", &yaml_number, .required = true, .max = MAX_RATE,
	 .offset = offsetof(struct rate_point, rate)},
};
static const struct yaml_table point_table = {point_keys, ARRAY_SIZE(point_keys), "rate.",
					      "a point of rate"};

static void read_points(struct yaml_report *r, const struct yaml_node *list, struct arrival *a)
{
	const struct yaml_node *n = list->first;

	for (; n && a->point_count < WORKLOAD_MAX_POINTS; n = n->next) {
		struct rate_point *p = &a->points[a->point_count++];

		yaml_read_map(r, &point_table, n, p);
		if (p > a->points && p->at_ns < p[-1].at_ns)
			yaml_report_error(
				r, n->line, n->column,
				"a point of rate lies before the one above it; order them by "
				"time");
	}
	if (n)
		yaml_report_error(r, n->line, n->column, "more than %d points of rate; remove some",
				  WORKLOAD_MAX_POINTS);
	else if (!list->count)
		yaml_report_error(
			r, list->line, list->column,
			"rate is empty; write a number, or a list such as [{at: 0s, rate: 2}, "
			"{at: 60s, rate: 8}]");
	else if (!(arrival_peak(a) > 0))
		yaml_report_error(r, list->line, list->column,
				  "rate is 0 at every point; write one above 0");
}

static void read_rate(struct yaml_report *r, const struct yaml_key *k, const struct yaml_node *n,
		      void *class)
{
	struct arrival *a = &((struct workload_class *)class)->arrival;
	struct yaml_key number = {"rate", &yaml_number, .min = 1e-4, .max = MAX_RATE};

	(void)k;
	a->points = calloc(WORKLOAD_MAX_POINTS, sizeof(*a->points));
	if (!a->points) {
		r->out_of_memory = true;
		return;
	}
	if (n->kind == YAML_SCALAR) {
		a->point_count = 1;
		yaml_value_read(r, &number, n, &a->points[0].rate);
	} else if (n->kind == YAML_LIST) {
		read_points(r, n, a);
	} else {
		yaml_report_kind(r, n, "rate", "sessions a second, or a list of points {at, rate}");
	}
}

#define ARRIVAL(member) .offset = offsetof(struct workload_class, arrival.member)

static const struct yaml_key burst_keys[] = {
	{"bursts.every", &yaml_duration, .required = true, .min = NSEC_PER_MSEC,
	 .max = LOAD_MAX_DURATION, ARRIVAL(burst_every_ns)},
	{"bursts.length", &yaml_duration, .required = true, .min = NSEC_PER_MSEC,
	 .max = LOAD_MAX_DURATION, ARRIVAL(burst_length_ns)},
	{"bursts.factor", &yaml_number, .required = true, .max = 1000, ARRIVAL(burst_factor)},
};
static const struct yaml_table burst_table = {burst_keys, ARRAY_SIZE(burst_keys), "bursts.",
					      "bursts"};

static void read_bursts(struct yaml_report *r, const struct yaml_key *k, const struct yaml_node *n,
			void *class)
{
	const struct arrival *a = &((struct workload_class *)class)->arrival;
	size_t errors = r->errors;

	(void)k;
	yaml_read_map(r, &burst_table, n, class);
	if (r->errors == errors && a->burst_length_ns >= a->burst_every_ns)
		yaml_report_error(
			r, n->line, n->column,
			"bursts are no shorter than the time between their beginnings; write a "
			"length below every");
}

#define CLASS(member) .offset = offsetof(struct workload_class, member)

static const struct yaml_type rate = {.read_node = read_rate};
static const struct yaml_type bursts = {.read_node = read_bursts};

static const struct yaml_key arrival_keys[] = {
	{"arrival.process", &yaml_choice, .choices = processes, .preset = "poisson",
	 ARRIVAL(process)},
	{.path = "arrival.rate", .type = &rate},
	{"arrival.cv", &yaml_number, .min = 0.01, .max = 100, ARRIVAL(cv)},
	{.path = "arrival.bursts", .type = &bursts},
	{"arrival.users", &yaml_integer, .min = 1, .max = MAX_USERS, CLASS(users)},
	{"arrival.spread", &yaml_duration, .max = LOAD_MAX_DURATION, CLASS(spread_ns)},
};
static const struct yaml_table arrival_table = {arrival_keys, ARRAY_SIZE(arrival_keys), "arrival.",
						"arrival"};

static void refuse_with(struct yaml_report *r, const struct yaml_node *map, const char *name,
			const char *says)
{
	const struct yaml_node *n = yaml_node_get(map, name);

	if (n)
		yaml_report_error(r, n->key->line, n->key->column, "%s %s", name, says);
}

/* Checks which keys may stand together. */
static void check_arrival(struct yaml_report *r, const struct yaml_node *n,
			  const struct workload_class *c)
{
	static const char *const open_only[] = {"process", "rate", "cv", "bursts"};
	bool closed = yaml_node_get(n, "users"), gamma = c->arrival.process == ARRIVAL_GAMMA;

	if (closed) {
		for (size_t i = 0; i < ARRAY_SIZE(open_only); i++)
			refuse_with(r, n, open_only[i],
				    "does not go with users, who begin when their last session is "
				    "over; take one of the two out");
		return;
	}
	refuse_with(r, n, "spread", "is the time over which users begin; write users, too");
	if (!yaml_node_get(n, "rate"))
		yaml_report_error(
			r, n->line, n->column,
			"arrival says not how many sessions begin; add rate (an open loop) or "
			"users (a closed one)");
	if (!gamma)
		refuse_with(r, n, "cv", "is of the process gamma; write process: gamma, too");
	else if (!yaml_node_get(n, "cv"))
		yaml_report_error(
			r, n->line, n->column,
			"\"cv\" is missing for the process gamma; add it: 1 is like poisson, "
			"above it sessions come in clusters");
}

static void read_arrival(struct yaml_report *r, const struct yaml_key *k, const struct yaml_node *n,
			 void *class)
{
	size_t errors = r->errors;

	(void)k;
	yaml_read_map(r, &arrival_table, n, class);
	if (r->errors == errors)
		check_arrival(r, n, class);
}

static void wants_arrival(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE,
		 "rate, sessions a second (an open loop), or users (a closed one)");
}

const struct yaml_type load_arrival = {.wants = wants_arrival, .read_node = read_arrival};
