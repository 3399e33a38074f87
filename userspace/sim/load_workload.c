// SPDX-License-Identifier: Apache-2.0
/*
 * load_workload.c - a workload's file, read along tables of keys. The tree of the file, its
 * messages and single values are the configuration's (config_internal.h).
 */
#include "load_workload.h"

#include <ctype.h>
#include <math.h>

#include "../common/config_internal.h"
#include "../common/util.h"

#define MAX_BYTES    (1U << 20)
#define MAX_RATE     1e5
#define MAX_USERS    100000
#define MAX_GROUPS   1000000
#define MAX_TURNS    1000
#define MAX_DURATION (24 * 3600 * (double)NSEC_PER_SEC)
#define MAX_SAYS     200
#define MAX_NAME     31

struct field;

typedef void (*field_reader)(struct report *r, const struct field *f, const struct node *n,
			     void *base);

struct field {
	struct key key;    /* .path is the label, its last part the key */
	field_reader read; /* NULL: value_read() */
};

struct section {
	const char *what; /* for messages: "the file", "a class" */
	const struct field *fields;
	size_t count;
};

/* -- the walk --------------------------------------------------------------------- */

static const struct field *find_field(const struct section *s, const struct node *name)
{
	for (size_t i = 0; i < s->count; i++) {
		const char *known = key_local(&s->fields[i].key);

		if (strlen(known) == name->length && !memcmp(known, name->text, name->length))
			return &s->fields[i];
	}
	return NULL;
}

static void report_unknown(struct report *r, const struct section *s, const struct node *name)
{
	char quoted[QUOTED_SIZE], known[WANTED_SIZE] = "";
	struct nearest nearest = {0};
	size_t used = 0;

	quote(name->text, name->length, quoted);
	for (size_t i = 0; i < s->count && used < sizeof(known); i++) {
		const char *candidate = key_local(&s->fields[i].key);

		nearest_try(&nearest, name->text, candidate);
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
					 candidate);
	}
	if (nearest.best)
		report_error(r, name->line, name->column,
			     "unknown key %s in %s; did you mean \"%s\"?", quoted, s->what,
			     nearest.best);
	else
		report_error(r, name->line, name->column, "unknown key %s in %s; known here: %s",
			     quoted, s->what, known);
}

static void report_kind(struct report *r, const struct node *n, const char *label,
			const char *wants)
{
	static const char *const kinds[] = {
		[NODE_SCALAR] = "one value", [NODE_LIST] = "a list", [NODE_MAP] = "a mapping"};

	if (n->kind != NODE_BROKEN)
		report_error(r, n->line, n->column, "%s is %s; write %s", label, kinds[n->kind],
			     wants);
}

static void read_field(struct report *r, const struct field *f, const struct node *n, void *base)
{
	char wants[WANTED_SIZE];

	if (f->read)
		f->read(r, f, n, base);
	else if (n->kind != NODE_SCALAR)
		report_kind(r, n, key_label(&f->key), key_wants(&f->key, wants));
	else
		value_read(r, &f->key, n, (char *)base + f->key.offset);
}

static void read_presets(struct report *r, const struct section *s, void *base)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct field *f = &s->fields[i];
		struct node n = {.kind = NODE_SCALAR, .plain = true};

		if (!f->key.preset)
			continue;
		n.text = (char *)f->key.preset;
		n.length = strlen(f->key.preset);
		read_field(r, f, &n, base);
	}
}

static void read_section(struct report *r, const struct section *s, const struct node *map,
			 void *base)
{
	read_presets(r, s, base);
	if (map->kind != NODE_MAP) {
		report_kind(r, map, s->what, "a mapping: keys with values");
		return;
	}
	for (const struct node *n = map->first; n && !report_full(r); n = n->next) {
		const struct field *f;

		if (n->key->kind != NODE_SCALAR) {
			report_kind(r, n->key, "a key", "a name");
			continue;
		}
		f = find_field(s, n->key);
		if (!f)
			report_unknown(r, s, n->key);
		else if (node_get(map, key_local(&f->key)) != n)
			report_error(r, n->key->line, n->key->column,
				     "\"%s\" stands here again; keep this or that of line %d",
				     key_local(&f->key),
				     node_get(map, key_local(&f->key))->key->line);
		else
			read_field(r, f, n, base);
	}
	for (size_t i = 0; i < s->count; i++) {
		const struct key *k = &s->fields[i].key;

		if (k->required && !node_get(map, key_local(k)))
			report_error(r, map->line, map->column, "\"%s\" is missing in %s; add it",
				     key_local(k), s->what);
	}
}

/* -- distributions ---------------------------------------------------------------- */

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
		report_kind(r, n, path, key_wants(&k, wants));
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

static void read_sigma(struct report *r, const struct field *f, const struct node *n, void *base)
{
	struct dist_parts *d = base;
	struct dist_parts sigma = *d;
	struct key k = {.type = KEY_NUMBER, .min = 0, .max = 5};

	(void)f;
	sigma.unit = &k;
	read_part(r, &sigma, "sigma", false, n, &d->sigma);
}

static void read_dist_part(struct report *r, const struct field *f, const struct node *n,
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

static const struct field dist_fields[] = {
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

/* A number, or a mapping. The key's type is the unit: KEY_INTEGER or KEY_DURATION. */
static void read_dist(struct report *r, const struct field *f, const struct node *n, void *base)
{
	struct dist *out = (struct dist *)((char *)base + f->key.offset);
	struct dist_parts d = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, &f->key, key_label(&f->key)};
	struct section s = {d.label, dist_fields, ARRAY_SIZE(dist_fields)};
	size_t errors = r->errors;
	double value = 0;

	if (n->kind == NODE_SCALAR) {
		read_part(r, &d, "", true, n, &value);
		*out = (struct dist){DIST_CONSTANT, value, 0, value, value};
	} else if (n->kind == NODE_MAP) {
		read_section(r, &s, n, &d);
		if (r->errors == errors && parts_wrong(&d))
			report_error(r, n->line, n->column, "%s is no distribution; %s", d.label,
				     parts_wrong(&d));
		else if (r->errors == errors)
			*out = dist_of(&d);
	} else {
		report_kind(r, n, d.label,
			    "a number, or a mapping with mean, with median and sigma, or with from "
			    "and to");
	}
}

/* -- arrivals --------------------------------------------------------------------- */

static const char *const processes[] = {
	[ARRIVAL_POISSON] = "poisson", [ARRIVAL_GAMMA] = "gamma", [ARRIVAL_EVEN] = "even", NULL};

static const struct field point_fields[] = {
	{{"rate.at", KEY_DURATION, .required = true, .max = MAX_DURATION,
	  .offset = offsetof(struct rate_point, at_ns)},
	 NULL},
	{{"rate.rate", KEY_NUMBER, .required = true, .max = MAX_RATE,
	  .offset = offsetof(struct rate_point, rate)},
	 NULL},
};
static const struct section point_section = {"a point of rate", point_fields,
					     ARRAY_SIZE(point_fields)};

static void read_points(struct report *r, const struct node *list, struct arrival *a)
{
	const struct node *n = list->first;

	for (; n && a->point_count < WORKLOAD_MAX_POINTS; n = n->next) {
		struct rate_point *p = &a->points[a->point_count++];

		read_section(r, &point_section, n, p);
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

static void read_rate(struct report *r, const struct field *f, const struct node *n, void *base)
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
		report_kind(r, n, "rate", "sessions a second, or a list of points {at, rate}");
	}
}

#define ARRIVAL(member) .offset = offsetof(struct workload_class, arrival.member)

static const struct field burst_fields[] = {
	{{"bursts.every", KEY_DURATION, .required = true, .min = NSEC_PER_MSEC, .max = MAX_DURATION,
	  ARRIVAL(burst_every_ns)},
	 NULL},
	{{"bursts.length", KEY_DURATION, .required = true, .min = NSEC_PER_MSEC,
	  .max = MAX_DURATION, ARRIVAL(burst_length_ns)},
	 NULL},
	{{"bursts.factor", KEY_NUMBER, .required = true, .max = 1000, ARRIVAL(burst_factor)}, NULL},
};
static const struct section burst_section = {"bursts", burst_fields, ARRAY_SIZE(burst_fields)};

static void read_bursts(struct report *r, const struct field *f, const struct node *n, void *base)
{
	const struct arrival *a = &((struct workload_class *)base)->arrival;
	size_t errors = r->errors;

	(void)f;
	read_section(r, &burst_section, n, base);
	if (r->errors == errors && a->burst_length_ns >= a->burst_every_ns)
		report_error(
			r, n->line, n->column,
			"bursts are no shorter than the time between their beginnings; write a "
			"length below every");
}

#define CLASS(member) .offset = offsetof(struct workload_class, member)

static const struct field arrival_fields[] = {
	{{"arrival.process", KEY_CHOICE, .choices = processes, .preset = "poisson",
	  ARRIVAL(process)},
	 NULL},
	{{.path = "arrival.rate"}, read_rate},
	{{"arrival.cv", KEY_NUMBER, .min = 0.01, .max = 100, ARRIVAL(cv)}, NULL},
	{{.path = "arrival.bursts"}, read_bursts},
	{{"arrival.users", KEY_INTEGER, .min = 1, .max = MAX_USERS, CLASS(users)}, NULL},
	{{"arrival.spread", KEY_DURATION, .max = MAX_DURATION, CLASS(spread_ns)}, NULL},
};
static const struct section arrival_section = {"arrival", arrival_fields,
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

static void read_arrival(struct report *r, const struct field *f, const struct node *n, void *base)
{
	size_t errors = r->errors;

	(void)f;
	read_section(r, &arrival_section, n, base);
	if (r->errors == errors)
		check_arrival(r, n, base);
}

/* -- classes ---------------------------------------------------------------------- */

static const struct field shared_fields[] = {
	{{"shared.tokens", KEY_INTEGER, .required = true, .min = 1, .max = WORKLOAD_MAX_TOKENS,
	  CLASS(shared)},
	 read_dist},
	{{"shared.groups", KEY_INTEGER, .min = 1, .max = MAX_GROUPS, .preset = "1", CLASS(groups)},
	 NULL},
	{{"shared.zipf", KEY_NUMBER, .max = 5, .preset = "0", CLASS(zipf)}, NULL},
};
static const struct section shared_section = {"shared", shared_fields, ARRAY_SIZE(shared_fields)};

static void read_shared(struct report *r, const struct field *f, const struct node *n, void *base)
{
	(void)f;
	read_section(r, &shared_section, n, base);
}

static const char *const connections[] = {
	[CONNECTION_KEPT] = "keep-alive", [CONNECTION_EACH] = "per-request", NULL};
static const char *const addresses[] = {[ADDRESSES_SESSION] = "session",
					[ADDRESSES_GROUP] = "group",
					[ADDRESSES_CLASS] = "class",
					NULL};

#define TOKENS(low) KEY_INTEGER, .min = (low), .max = WORKLOAD_MAX_TOKENS

static const struct field class_fields[] = {
	{{"name", KEY_NAME, .required = true, .max = MAX_NAME, CLASS(name)}, NULL},
	{{.path = "arrival", .required = true}, read_arrival},
	{{"turns", KEY_INTEGER, .min = 1, .max = MAX_TURNS, .preset = "1", CLASS(turns)},
	 read_dist},
	{{"think", KEY_DURATION, .max = MAX_DURATION, .preset = "0s", CLASS(think)}, read_dist},
	{{.path = "shared"}, read_shared},
	{{"context", TOKENS(0), .preset = "0", CLASS(context)}, read_dist},
	{{"prompt", TOKENS(1), .required = true, CLASS(prompt)}, read_dist},
	{{"output", TOKENS(1), .required = true, CLASS(output)}, read_dist},
	{{"history", KEY_BOOL, .preset = "true", CLASS(history)}, NULL},
	{{"connection", KEY_CHOICE, .choices = connections, .preset = "keep-alive",
	  CLASS(connection)},
	 NULL},
	{{"addresses", KEY_CHOICE, .choices = addresses, .preset = "session", CLASS(addresses)},
	 NULL},
	{{"priority", KEY_INTEGER, .max = 1000, CLASS(priority)}, NULL},
};
static const struct section class_section = {"a class", class_fields, ARRAY_SIZE(class_fields)};

static void check_name(struct report *r, const struct node *n, const struct workload *w)
{
	const struct workload_class *c = &w->classes[w->class_count - 1];

	for (size_t i = 0; c->name && i + 1 < w->class_count; i++) {
		if (w->classes[i].name && !strcmp(w->classes[i].name, c->name))
			report_error(r, n->line, n->column,
				     "a second class is called \"%s\"; give each a name of its own",
				     c->name);
	}
}

static void read_classes(struct report *r, const struct field *f, const struct node *list,
			 void *base)
{
	struct workload *w = base;

	(void)f;
	if (list->kind != NODE_LIST || !list->count) {
		report_error(
			r, list->line, list->column,
			"classes is no list with something in it; write one \"- name: ...\" for "
			"each kind of session");
		return;
	}
	w->classes = calloc(WORKLOAD_MAX_CLASSES, sizeof(*w->classes));
	if (!w->classes) {
		r->out_of_memory = true;
		return;
	}
	for (const struct node *n = list->first; n; n = n->next) {
		if (w->class_count == WORKLOAD_MAX_CLASSES) {
			report_error(r, n->line, n->column, "more than %d classes; take some out",
				     WORKLOAD_MAX_CLASSES);
			return;
		}
		w->classes[w->class_count].priority = -1;
		read_section(r, &class_section, n, &w->classes[w->class_count++]);
		check_name(r, n, w);
	}
}

/* -- the file --------------------------------------------------------------------- */

static void read_description(struct report *r, const struct field *f, const struct node *n,
			     void *base)
{
	struct workload *w = base;
	bool good = n->kind == NODE_SCALAR && n->length && n->length <= MAX_SAYS;

	(void)f;
	for (size_t i = 0; good && i < n->length; i++)
		good = isprint((unsigned char)n->text[i]);
	if (!good) {
		report_error(r, n->line, n->column,
			     "description is no line of text; write 1 to %d printable characters",
			     MAX_SAYS);
		return;
	}
	w->description = strdup(n->text);
	if (!w->description)
		r->out_of_memory = true;
}

static void read_source(struct report *r, const struct field *f, const struct node *n, void *base)
{
	struct workload *w = base;
	const char *what = "write a prefix, or none";
	char quoted[QUOTED_SIZE];

	(void)f;
	w->says_source = true;
	if (n->kind != NODE_SCALAR)
		report_kind(r, n, "source", "a prefix, or none");
	else if (source_parse(n->text, &w->source, &what))
		report_error(r, n->line, n->column, "source is %s, which is no prefix; %s",
			     quote(n->text, n->length, quoted), what);
}

static const struct field file_fields[] = {
	{{.path = "description"}, read_description},
	{{.path = "source"}, read_source},
	{{.path = "classes", .required = true}, read_classes},
};
static const struct section file_section = {"the file", file_fields, ARRAY_SIZE(file_fields)};

static int read_text(struct report *r, const char *text, size_t size, struct workload **out)
{
	_cleanup_(workload_freep) struct workload *w = calloc(1, sizeof(*w));
	_cleanup_(tree_free) struct tree tree = {0};

	if (!w) {
		r->out_of_memory = true;
		return -ENOMEM;
	}
	if (!tree_read(&tree, text, size, r))
		return -EINVAL;
	if (!tree.root) {
		report_error(r, 1, 1, "the file holds no document; begin with classes:");
		return -EINVAL;
	}
	read_section(r, &file_section, tree.root, w);
	if (r->errors || r->out_of_memory)
		return -EINVAL;
	*out = TAKE_PTR(w);
	return 0;
}

int workload_parse(const char *name, const char *text, size_t size, const struct config_sink *sink,
		   struct workload **out)
{
	_cleanup_(report_free) struct report r = {0};
	locale_t outer = numbers_begin();
	int err;

	if (size > MAX_BYTES) {
		report_error(&r, 1, 1, "the file is larger than 1 MiB; take some out");
		err = -EINVAL;
	} else {
		err = read_text(&r, text, size, out);
	}
	numbers_end(outer);
	report_tell(&r, name, sink);
	return r.out_of_memory ? -ENOMEM : err;
}

int workload_load(const char *path, const struct config_sink *sink, struct workload **out)
{
	_cleanup_free_ char *text = malloc(MAX_BYTES + 1);
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char message[256];
	size_t size = 0;
	int err = 0;

	if (f && text) {
		size = fread(text, 1, MAX_BYTES + 1, f);
		err = ferror(f) ? -errno : 0;
	} else {
		err = f ? -ENOMEM : -errno;
	}
	if (err) {
		snprintf(message, sizeof(message),
			 "cannot be read: %s; name a workload's file, or one of --list-workloads",
			 strerror(-err));
		sink->error(sink->arg, path, 1, 1, message);
		return err;
	}
	return workload_parse(path, text, size, sink, out);
}

void workload_free(struct workload *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->class_count; i++) {
		free(w->classes[i].name);
		free(w->classes[i].arrival.points);
	}
	free(w->classes);
	free(w->description);
	free(w);
}

/* -- overrides -------------------------------------------------------------------- */

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

/* The class that is furthest from its share: below it, or (more) above it with one to spare. */
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

/* Every class keeps at least one. */
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
