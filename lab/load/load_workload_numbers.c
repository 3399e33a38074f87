// SPDX-License-Identifier: Apache-2.0
/* load_workload_numbers.c - a number of a workload's file, or a distribution of them. */
#include <math.h>

#include "../../userspace/base/util.h"
#include "load_fields.h"
#include "load_workload.h"

struct dist_parts {
	double mean, median, sigma, from, to, min, max; /* NaN: not given */
	const struct key *unit;
	const char *label;
};

/* One number of a distribution, in its unit. A mean or median of whole numbers need not be
 * whole. */
static void read_part(struct report *r, const struct dist_parts *d, const char *name, bool whole,
		      const struct node *n, double *out)
{
	struct key k = *d->unit;
	char path[128], wants[WANTED_SIZE];
	uint64_t ns = 0;
	int number = 0;

	snprintf(path, sizeof(path), "%s%s%s", d->label, *name ? "." : "", name);
	k.path = path;
	if (k.type == KEY_INTEGER && !whole)
		k.type = KEY_NUMBER;
	if (n->kind != NODE_SCALAR) {
		load_report_kind(r, n, path, key_wants(&k, wants));
		return;
	}
	if (k.type == KEY_DURATION) {
		value_read(r, &k, n, &ns);
		*out = (double)ns;
	} else if (k.type == KEY_INTEGER) {
		value_read(r, &k, n, &number);
		*out = number;
	} else {
		value_read(r, &k, n, out);
	}
}

static void read_sigma(struct report *r, const struct load_field *f, const struct node *n,
		       void *base)
{
	struct dist_parts *d = base;
	struct dist_parts sigma = *d;
	struct key k = {.type = KEY_NUMBER, .min = 0, .max = 5};

	(void)f;
	sigma.unit = &k;
	read_part(r, &sigma, "sigma", false, n, &d->sigma);
}

static void read_dist_part(struct report *r, const struct load_field *f, const struct node *n,
			   void *base)
{
	const char *name = f->key.path;
	bool whole = strcmp(name, "mean") != 0 && strcmp(name, "median") != 0;
	double value = NAN;

	read_part(r, base, name, whole, n, &value);
	memcpy((char *)base + f->key.offset, &value, sizeof(value));
}

#define PART(name)                                                                                 \
	{                                                                                          \
		{.path = #name, .offset = offsetof(struct dist_parts, name)}, read_dist_part       \
	}

static const struct load_field dist_fields[] = {
	PART(mean), PART(median), {{.path = "sigma"}, read_sigma}, PART(from), PART(to),
	PART(min),  PART(max),
};

static bool given(double part)
{
	return !isnan(part);
}

/* What is wrong with the parts together, or NULL. */
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
	if (given(d->mean) && d->unit->type == KEY_INTEGER && d->mean < 1)
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

void load_read_dist(struct report *r, const struct load_field *f, const struct node *n, void *base)
{
	struct dist *out = (struct dist *)((char *)base + f->key.offset);
	struct dist_parts d = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, &f->key, key_label(&f->key)};
	struct load_section s = {d.label, dist_fields, ARRAY_SIZE(dist_fields)};
	size_t errors = r->errors;
	double value = 0;

	if (n->kind == NODE_SCALAR) {
		read_part(r, &d, "", true, n, &value);
		*out = (struct dist){DIST_CONSTANT, value, 0, value, value};
	} else if (n->kind == NODE_MAP) {
		load_section_read(r, &s, n, &d);
		if (r->errors == errors && parts_wrong(&d))
			report_error(r, n->line, n->column, "%s is no distribution; %s", d.label,
				     parts_wrong(&d));
		else if (r->errors == errors)
			*out = dist_of(&d);
	} else {
		load_report_kind(
			r, n, d.label,
			"a number, or a mapping with mean, with median and sigma, or with from "
			"and to");
	}
}
