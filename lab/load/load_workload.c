// SPDX-License-Identifier: Apache-2.0
/* load_workload.c - reads a workload's file: its classes, its description and its source. */
#include "load_workload.h"

#include <ctype.h>

#include "../../userspace/base/util.h"
#include "load_workload_internal.h"

#define MAX_GROUPS 1000000
#define MAX_TURNS  1000
#define MAX_SAYS   200
#define MAX_NAME   31

#define CLASS(member) .offset = offsetof(struct workload_class, member)

/* -- classes ---------------------------------------------------------------------- */

static const struct yaml_key shared_keys[] = {
	{"shared.tokens", &load_dist_whole, .required = true, .min = 1, .max = WORKLOAD_MAX_TOKENS,
	 CLASS(shared)},
	{"shared.groups", &yaml_integer, .min = 1, .max = MAX_GROUPS, .preset = "1", CLASS(groups)},
	{"shared.zipf", &yaml_number, .max = 5, .preset = "0", CLASS(zipf)},
};
static const struct yaml_table shared_table = {shared_keys, ARRAY_SIZE(shared_keys), "shared.",
					       "shared"};

static void read_shared(struct yaml_report *r, const struct yaml_key *k, const struct yaml_node *n,
			void *class)
{
	(void)k;
	yaml_read_map(r, &shared_table, n, class);
}

static void wants_shared(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "a mapping: keys with values");
}

static const struct yaml_type shared = {.wants = wants_shared, .read_node = read_shared};

static const char *const connections[] = {
	[CONNECTION_KEPT] = "keep-alive", [CONNECTION_EACH] = "per-request", NULL};
static const char *const addresses[] = {[ADDRESSES_SESSION] = "session",
					[ADDRESSES_GROUP] = "group",
					[ADDRESSES_CLASS] = "class",
					NULL};

#define TOKENS(low) &load_dist_whole, .min = (low), .max = WORKLOAD_MAX_TOKENS

static const struct yaml_key class_keys[] = {
	{"name", &yaml_name, .required = true, .max = MAX_NAME, CLASS(name)},
	{"arrival", &load_arrival, .required = true},
	{"turns", &load_dist_whole, .min = 1, .max = MAX_TURNS, .preset = "1", CLASS(turns)},
	{"think", &load_dist_duration, .max = LOAD_MAX_DURATION, .preset = "0s", CLASS(think)},
	{.path = "shared", .type = &shared},
	{"context", TOKENS(0), .preset = "0", CLASS(context)},
	{"prompt", TOKENS(1), .required = true, CLASS(prompt)},
	{"output", TOKENS(1), .required = true, CLASS(output)},
	{"history", &yaml_bool, .preset = "true", CLASS(history)},
	{"connection", &yaml_choice, .choices = connections, .preset = "keep-alive",
	 CLASS(connection)},
	{"addresses", &yaml_choice, .choices = addresses, .preset = "session", CLASS(addresses)},
	{"priority", &yaml_integer, .max = 1000, .unset = -1, CLASS(priority)},
};
static const struct yaml_table class_table = {class_keys, ARRAY_SIZE(class_keys),
					      .what = "a class"};

static void check_name(struct yaml_report *r, const struct yaml_node *n, const struct workload *w)
{
	const struct workload_class *c = &w->classes[w->class_count - 1];

	for (size_t i = 0; c->name && i + 1 < w->class_count; i++) {
		if (w->classes[i].name && !strcmp(w->classes[i].name, c->name))
			yaml_report_error(
				r, n->line, n->column,
				"a second class is called \"%s\"; give each a name of its own",
				c->name);
	}
}

static void read_classes(struct yaml_report *r, const struct yaml_key *k,
			 const struct yaml_node *list, void *workload)
{
	struct workload *w = workload;

	(void)k;
	if (list->kind != YAML_LIST || !list->count) {
		yaml_report_error(
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
	for (const struct yaml_node *n = list->first; n; n = n->next) {
		if (w->class_count == WORKLOAD_MAX_CLASSES) {
			yaml_report_error(r, n->line, n->column,
					  "more than %d classes; remove some",
					  WORKLOAD_MAX_CLASSES);
			return;
		}
		yaml_read_map(r, &class_table, n, &w->classes[w->class_count++]);
		check_name(r, n, w);
	}
}

static void wants_classes(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "a list, \"- name: ...\" for each kind of session");
}

/* -- the file --------------------------------------------------------------------- */

static void read_description(struct yaml_report *r, const struct yaml_key *k,
			     const struct yaml_node *n, void *workload)
{
	struct workload *w = workload;
	bool good = n->kind == YAML_SCALAR && n->length && n->length <= MAX_SAYS;

	(void)k;
	for (size_t i = 0; good && i < n->length; i++)
		good = isprint((unsigned char)n->text[i]);
	if (!good) {
		yaml_report_error(
			r, n->line, n->column,
			"description is no line of text; write 1 to %d printable characters",
			MAX_SAYS);
		return;
	}
	w->description = strdup(n->text);
	if (!w->description)
		r->out_of_memory = true;
}

static void read_source(struct yaml_report *r, const struct yaml_key *k, const struct yaml_node *n,
			void *workload)
{
	struct workload *w = workload;
	const char *what = "write a prefix, or none";
	char quoted[TEXT_QUOTED_SIZE];

	(void)k;
	w->says_source = true;
	if (n->kind != YAML_SCALAR)
		yaml_report_kind(r, n, "source", "a prefix, or none");
	else if (source_parse(n->text, &w->source, &what))
		yaml_report_error(r, n->line, n->column, "source is %s, which is no prefix; %s",
				  text_quote(n->text, n->length, quoted), what);
}

static const struct yaml_type description = {.read_node = read_description};
static const struct yaml_type source = {.read_node = read_source};
static const struct yaml_type classes = {.wants = wants_classes, .read_node = read_classes};

static const struct yaml_key file_keys[] = {
	{.path = "description", .type = &description},
	{.path = "source", .type = &source},
	{"classes", &classes, .required = true},
};
static const struct yaml_table file_table = {
	.keys = file_keys, .count = ARRAY_SIZE(file_keys), .what = "the file"};

static int read_workload(struct yaml_report *r, const char *name, const struct yaml_node *root,
			 void *arg)
{
	_cleanup_(workload_freep) struct workload *w = calloc(1, sizeof(*w));
	struct workload **out = arg;

	(void)name;
	if (!w) {
		r->out_of_memory = true;
		return -ENOMEM;
	}
	yaml_read_map(r, &file_table, root, w);
	if (r->errors || r->out_of_memory)
		return -EINVAL;
	*out = TAKE_PTR(w);
	return 0;
}

static const struct yaml_document document = {
	.file = "workload's file, or one of --list-workloads",
	.begin = "classes:",
	.read = read_workload,
};

int workload_parse(const char *name, const char *text, size_t size, const struct yaml_sink *sink,
		   struct workload **out)
{
	return yaml_parse(&document, name, text, size, sink, out);
}

int workload_load(const char *path, const struct yaml_sink *sink, struct workload **out)
{
	return yaml_load(&document, path, sink, out);
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
