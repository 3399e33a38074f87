/* SPDX-License-Identifier: Apache-2.0 */
#include "yaml_report.h"

#include <stdarg.h>

#include "../base/text.h"
#include "../base/util.h"

bool yaml_report_full(const struct yaml_report *r)
{
	return r->out_of_memory || r->count >= YAML_MAX_MESSAGES;
}

static struct yaml_message *message_new(struct yaml_report *r)
{
	struct yaml_message *grown;

	if (yaml_report_full(r))
		return NULL;
	if (r->count == r->room) {
		size_t room = r->room ? 2 * r->room : 16;

		grown = reallocarray(r->messages, room, sizeof(*grown));
		if (!grown) {
			r->out_of_memory = true;
			return NULL;
		}
		r->messages = grown;
		r->room = room;
	}
	return &r->messages[r->count];
}

__attribute__((format(printf, 5, 0))) static void
message_add(struct yaml_report *r, bool warning, int line, int column, const char *fmt, va_list ap)
{
	struct yaml_message *m = message_new(r);
	char *text;

	r->errors += !warning;
	if (!m)
		return;
	text = text_vformat(fmt, ap);
	if (!text) {
		r->out_of_memory = true;
		return;
	}
	*m = (struct yaml_message){line, column, warning, text};
	r->count++;
}

void yaml_report_error(struct yaml_report *r, int line, int column, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message_add(r, false, line, column, fmt, ap);
	va_end(ap);
}

void yaml_report_warning(struct yaml_report *r, int line, int column, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message_add(r, true, line, column, fmt, ap);
	va_end(ap);
}

struct place {
	const struct yaml_message *m;
	size_t order; /* keeps messages about the same place in order: qsort() is not stable */
};

static int yaml_report_by_place(const void *left, const void *right)
{
	const struct place *a = left, *b = right;

	if (a->m->line != b->m->line)
		return a->m->line < b->m->line ? -1 : 1;
	if (a->m->column != b->m->column)
		return a->m->column < b->m->column ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

void yaml_report_tell(struct yaml_report *r, const char *file, const struct yaml_sink *sink)
{
	_cleanup_free_ struct place *places = calloc(r->count + 1, sizeof(*places));
	const struct yaml_message *m = NULL;

	if (!places)
		r->out_of_memory = true;
	for (size_t i = 0; places && i < r->count; i++)
		places[i] = (struct place){&r->messages[i], i};
	if (places)
		qsort(places, r->count, sizeof(*places), yaml_report_by_place);
	for (size_t i = 0; places && i < r->count; i++) {
		m = places[i].m;
		(m->warning ? sink->warning : sink->error)(sink->arg, file, m->line, m->column,
							   m->text);
	}
	if (r->out_of_memory)
		sink->error(sink->arg, file, 1, 1, "out of memory; free some and try again");
	else if (m && r->count == YAML_MAX_MESSAGES)
		sink->error(sink->arg, file, m->line, m->column,
			    "too many messages to show more; fix these and check again");
}

void yaml_report_free(struct yaml_report *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->messages[i].text);
	free(r->messages);
}

static void to_stderr(const char *file, int line, int column, const char *kind, const char *message)
{
	if (line)
		fprintf(stderr, "%s:%d:%d: %s%s\n", file, line, column, kind, message);
	else
		fprintf(stderr, "%s: %s%s\n", file, kind, message);
}

static void error_to_stderr(void *arg, const char *file, int line, int column, const char *message)
{
	(void)arg;
	to_stderr(file, line, column, "", message);
}

static void warning_to_stderr(void *arg, const char *file, int line, int column,
			      const char *message)
{
	(void)arg;
	to_stderr(file, line, column, "warning: ", message);
}

const struct yaml_sink yaml_sink_stderr = {
	.error = error_to_stderr,
	.warning = warning_to_stderr,
};
