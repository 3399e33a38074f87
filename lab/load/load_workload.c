// SPDX-License-Identifier: Apache-2.0
/* load_workload.c - a workload's file: its classes, and what else it says. */
#include "load_workload.h"

#include <ctype.h>

#include "../../userspace/base/util.h"
#include "load_fields.h"

#define MAX_BYTES  (1U << 20)
#define MAX_GROUPS 1000000
#define MAX_TURNS  1000
#define MAX_SAYS   200
#define MAX_NAME   31

#define CLASS(member) .offset = offsetof(struct workload_class, member)

/* -- classes ---------------------------------------------------------------------- */

static const struct load_field shared_fields[] = {
	{{"shared.tokens", KEY_INTEGER, .required = true, .min = 1, .max = WORKLOAD_MAX_TOKENS,
	  CLASS(shared)},
	 load_read_dist},
	{{"shared.groups", KEY_INTEGER, .min = 1, .max = MAX_GROUPS, .preset = "1", CLASS(groups)},
	 NULL},
	{{"shared.zipf", KEY_NUMBER, .max = 5, .preset = "0", CLASS(zipf)}, NULL},
};
static const struct load_section shared_section = {"shared", shared_fields,
						   ARRAY_SIZE(shared_fields)};

static void read_shared(struct report *r, const struct load_field *f, const struct node *n,
			void *base)
{
	(void)f;
	load_section_read(r, &shared_section, n, base);
}

static const char *const connections[] = {
	[CONNECTION_KEPT] = "keep-alive", [CONNECTION_EACH] = "per-request", NULL};
static const char *const addresses[] = {[ADDRESSES_SESSION] = "session",
					[ADDRESSES_GROUP] = "group",
					[ADDRESSES_CLASS] = "class",
					NULL};

#define TOKENS(low) KEY_INTEGER, .min = (low), .max = WORKLOAD_MAX_TOKENS

static const struct load_field class_fields[] = {
	{{"name", KEY_NAME, .required = true, .max = MAX_NAME, CLASS(name)}, NULL},
	{{.path = "arrival", .required = true}, load_read_arrival},
	{{"turns", KEY_INTEGER, .min = 1, .max = MAX_TURNS, .preset = "1", CLASS(turns)},
	 load_read_dist},
	{{"think", KEY_DURATION, .max = LOAD_MAX_DURATION, .preset = "0s", CLASS(think)},
	 load_read_dist},
	{{.path = "shared"}, read_shared},
	{{"context", TOKENS(0), .preset = "0", CLASS(context)}, load_read_dist},
	{{"prompt", TOKENS(1), .required = true, CLASS(prompt)}, load_read_dist},
	{{"output", TOKENS(1), .required = true, CLASS(output)}, load_read_dist},
	{{"history", KEY_BOOL, .preset = "true", CLASS(history)}, NULL},
	{{"connection", KEY_CHOICE, .choices = connections, .preset = "keep-alive",
	  CLASS(connection)},
	 NULL},
	{{"addresses", KEY_CHOICE, .choices = addresses, .preset = "session", CLASS(addresses)},
	 NULL},
	{{"priority", KEY_INTEGER, .max = 1000, CLASS(priority)}, NULL},
};
static const struct load_section class_section = {"a class", class_fields,
						  ARRAY_SIZE(class_fields)};

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

static void read_classes(struct report *r, const struct load_field *f, const struct node *list,
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
		load_section_read(r, &class_section, n, &w->classes[w->class_count++]);
		check_name(r, n, w);
	}
}

/* -- the file --------------------------------------------------------------------- */

static void read_description(struct report *r, const struct load_field *f, const struct node *n,
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

static void read_source(struct report *r, const struct load_field *f, const struct node *n,
			void *base)
{
	struct workload *w = base;
	const char *what = "write a prefix, or none";
	char quoted[QUOTED_SIZE];

	(void)f;
	w->says_source = true;
	if (n->kind != NODE_SCALAR)
		load_report_kind(r, n, "source", "a prefix, or none");
	else if (source_parse(n->text, &w->source, &what))
		report_error(r, n->line, n->column, "source is %s, which is no prefix; %s",
			     quote(n->text, n->length, quoted), what);
}

static const struct load_field file_fields[] = {
	{{.path = "description"}, read_description},
	{{.path = "source"}, read_source},
	{{.path = "classes", .required = true}, read_classes},
};
static const struct load_section file_section = {"the file", file_fields, ARRAY_SIZE(file_fields)};

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
	load_section_read(r, &file_section, tree.root, w);
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
