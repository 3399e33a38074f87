// SPDX-License-Identifier: Apache-2.0
/* load_workload_numbers.c - reads numbers, and distributions of numbers. */
#include <math.h>

#include "../../userspace/base/util.h"
#include "load_workload_internal.h"

struct dist_parts {
	double mean, median, sigma, from, to, min, max; /* NaN: not given */
	const struct yaml_key *unit; /* yaml_integer or yaml_duration, with the range */
	const char *label;
};

/* Reads one number of a distribution, in the distribution's unit. The mean or the median of whole
 * numbers need not be whole. */
static void read_part(struct yaml_report *r, const struct dist_parts *d, const char *name,
		      bool whole, const struct yaml_node *n, double *out)
{
	struct yaml_key k = *d->unit;
	char path[128], wants[YAML_WANTS_SIZE];
	uint64_t ns = 0;
	int number = 0;

	snprintf(path, sizeof(path), "%s%s%s", d->label, *name ? "." : "", name);
	k.path = path;
	if (k.type == &yaml_integer && !whole)
		k.type = &yaml_number;
	if (n->kind != YAML_SCALAR) {
		yaml_report_kind(r, n, path, yaml_key_wants(NULL, &k, wants));
		return;
	}
	if (k.type == &yaml_duration) {
		yaml_value_read(r, &k, n, &ns);
		*out = (double)ns;
	} else if (k.type == &yaml_integer) {
		yaml_value_read(r, &k, n, &number);
		*out = number;
	} else {
		yaml_value_read(r, &k, n, out);
	}
}

static void read_sigma(struct yaml_report *r, const struct yaml_key *k, const struct yaml_node *n,
		       void *parts)
{
	struct dist_parts *d = parts;
	struct dist_parts sigma = *d;
	struct yaml_key number = {.type = &yaml_number, .min = 0, .max = 5};

	(void)k;
	sigma.unit = &number;
	read_part(r, &sigma, "sigma", false, n, &d->sigma);
}

static void read_dist_part(struct yaml_report *r, const struct yaml_key *k,
			   const struct yaml_node *n, void *parts)
{
	bool whole = strcmp(k->path, "mean") != 0 && strcmp(k->path, "median") != 0;
	double value = NAN;

	read_part(r, parts, k->path, whole, n, &value);
	memcpy((char *)parts + k->offset, &value, sizeof(value));
}

static const struct yaml_type dist_part = {.read_node = read_dist_part};
static const struct yaml_type dist_sigma = {.read_node = read_sigma};

#define PART(name)                                                                                 \
	{                                                                                          \
#name, &dist_part, .offset = offsetof(struct dist_parts, name)                     \
	}

static const struct yaml_key dist_keys[] = {
	PART(mean), PART(median), {.path = "sigma", .type = &dist_sigma}, PART(from), PART(to),
	PART(min),  PART(max),
};

static bool given(double part)
{
	return !isnan(part);
}

/* What to write instead when the parts do not make a distribution; NULL when they do. */
static const char *parts_wrong(const struct dist_parts *d)
{
	int shapes = given(d->mean) + given(d->median) + (given(d->from) || given(d->to));

	if (shapes != 1)
		return "write one of these: mean; median and sigma; from and to";
	if (given(d->median) != given(d->sigma))
		return "write both median and sigma, or neither";
	if (given(d->from) != given(d->to))
		return "write both from and to";
	if (d->from > d->to)
		return "write from no larger than to";
	if (d->min > d->max)
		return "write min no larger than max";
	if (d->mean <= 0 || d->median <= 0)
		return "write a mean or median above 0";
	if (given(d->mean) && d->unit->type == &yaml_integer && d->mean < 1)
		return "write a mean of at least 1";
	return NULL;
}

static struct dist dist_of(const struct dist_parts *d)
{
	struct dist out = {.min = given(d->min) ? d->min : d->unit->min,
			   .max = given(d->max) ? d->max : d->unit->max};

	if (given(d->mean)) {
		out.shape = DIST_EXPONENTIAL;
		out.a = d->mean;
	} else if (given(d->median)) {
		out.shape = DIST_LOGNORMAL;
		out.a = d->median;
		out.b = d->sigma;
	} else {
		out.shape = DIST_UNIFORM;
		out.a = d->from;
		out.b = d->to;
	}
	return out;
}

static void wants_dist(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE,
		 "a number, or a mapping with mean, with median and sigma, or with from and to");
}

/* Reads a number as a constant, or a mapping as a distribution. */
static void read_dist(struct yaml_report *r, const struct yaml_key *k, const struct yaml_node *n,
		      void *base)
{
	struct dist *out = (struct dist *)((char *)base + k->offset);
	struct yaml_key unit = *k;
	struct dist_parts d = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, &unit, yaml_key_label(k)};
	struct yaml_table parts = {dist_keys, ARRAY_SIZE(dist_keys), .what = d.label};
	char wants[YAML_WANTS_SIZE];
	size_t errors = r->errors;
	double value = 0;

	unit.type = k->type == &load_dist_duration ? &yaml_duration : &yaml_integer;
	if (n->kind == YAML_SCALAR) {
		read_part(r, &d, "", true, n, &value);
		*out = (struct dist){DIST_CONSTANT, value, 0, value, value};
	} else if (n->kind == YAML_MAP) {
		yaml_read_map(r, &parts, n, &d);
		if (r->errors == errors && parts_wrong(&d))
			yaml_report_error(r, n->line, n->column, "%s is no distribution; %s",
					  d.label, parts_wrong(&d));
		else if (r->errors == errors)
			*out = dist_of(&d);
	} else {
		yaml_report_kind(r, n, d.label, yaml_key_wants(NULL, k, wants));
	}
}

const struct yaml_type load_dist_whole = {.wants = wants_dist, .read_node = read_dist};
const struct yaml_type load_dist_duration = {.wants = wants_dist, .read_node = read_dist};
