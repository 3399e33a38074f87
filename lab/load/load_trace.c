// SPDX-License-Identifier: Apache-2.0
/*
 * load_trace.c - reads traces. JSON Lines and CSV share one table of columns: each line is first
 * cut into texts by column, and the texts become a request.
 */
#include "load_trace.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <search.h>
#include <stdarg.h>

#include "../../userspace/base/text.h"
#include "../../userspace/base/util.h"
#include "load_workload.h"

#define MAX_BYTES   (1U << 30)
#define MAX_LINE    4096
#define MAX_SECONDS (30 * 24 * 3600.0)

enum column { TIME, SESSION, PROMPT, OUTPUT, GROUP, SHARED, COLUMNS };

static const struct {
	const char *name;
	bool required;
} columns[COLUMNS] = {
	[TIME] = {"time", true},
	[SESSION] = {"session", true},
	[PROMPT] = {"prompt_tokens", true},
	[OUTPUT] = {"output_tokens", true},
	[GROUP] = {"group", false},
	[SHARED] = {"shared_tokens", false},
};
static const char all_columns[] =
	"time, session, prompt_tokens, output_tokens, and perhaps group, shared_tokens";

/* Numbers names from 0, in the order of their first appearance. */
struct name {
	char *text;
	uint32_t number;
};
struct name_table {
	void *tree;
	uint32_t count;
};

struct reader {
	const char *file;
	const struct yaml_sink *sink;
	int line;
	struct trace trace;
	struct name_table sessions, groups;
	double first_time, last_time;
	int order[COLUMNS + 1]; /* CSV: the enum column of each field */
	int width;              /* CSV: fields of a line; 0: JSON Lines */
};

__attribute__((format(printf, 2, 3))) static int wrong(const struct reader *r, const char *fmt, ...)
{
	char message[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	r->sink->error(r->sink->arg, r->file, r->line, 1, message);
	return -EINVAL;
}

/* -- names ------------------------------------------------------------------------ */

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

static int number_of(struct name_table *t, const char *text, uint32_t *out)
{
	struct name wanted = {.text = (char *)text}, *added, **found;

	found = tfind(&wanted, &t->tree, by_text);
	if (found) {
		*out = (*found)->number;
		return 0;
	}
	added = malloc(sizeof(*added));
	if (!added)
		return -ENOMEM;
	added->text = strdup(text);
	added->number = t->count;
	if (!added->text || !tsearch(added, &t->tree, by_text)) {
		free(added->text);
		free(added);
		return -ENOMEM;
	}
	*out = t->count++;
	return 0;
}

static void name_free(void *node)
{
	struct name *n = node;

	free(n->text);
	free(n);
}

/* -- a request from its texts ----------------------------------------------------- */

static int need_number(const struct reader *r, enum column c, const char *text, double low,
		       double high, double *out)
{
	char quoted[TEXT_QUOTED_SIZE], *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= low && value <= high) ||
	    (c != TIME && value != floor(value)))
		return wrong(r, "%s is %s; write a %snumber from %.15g to %.15g", columns[c].name,
			     text_quote(text, strlen(text), quoted), c == TIME ? "" : "whole ", low,
			     high);
	*out = value;
	return 0;
}

static struct trace_request *new_request(struct trace *t)
{
	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : 1024;
		struct trace_request *requests = reallocarray(t->requests, room, sizeof(*requests));

		if (!requests)
			return NULL;
		t->requests = requests;
		t->room = room;
	}
	return &t->requests[t->count];
}

static int take_time(struct reader *r, const char *text, uint64_t *out)
{
	double time = 0;
	int err = need_number(r, TIME, text, 0, 1e12, &time);

	if (err)
		return err;
	if (!r->trace.count)
		r->first_time = r->last_time = time;
	if (time < r->last_time)
		return wrong(r, "time is before that of the line above; sort the file by time");
	if (time - r->first_time > MAX_SECONDS)
		return wrong(r, "time is more than 30 days after the first; write seconds");
	r->last_time = time;
	*out = (uint64_t)llround((time - r->first_time) * 1e9);
	return 0;
}

static int take_request(struct reader *r, char *const texts[COLUMNS])
{
	struct trace_request *q = new_request(&r->trace);
	double prompt = 0, output = 0, shared = TRACE_NONE;
	int err;

	for (int c = 0; c < COLUMNS; c++)
		if (columns[c].required && (!texts[c] || !*texts[c]))
			return wrong(r, "%s is missing; each request needs %s", columns[c].name,
				     all_columns);
	if (!q)
		return -ENOMEM;
	*q = (struct trace_request){.group = TRACE_NONE};
	err = take_time(r, texts[TIME], &q->at_ns);
	if (!err)
		err = need_number(r, PROMPT, texts[PROMPT], 1, WORKLOAD_MAX_TOKENS, &prompt);
	if (!err)
		err = need_number(r, OUTPUT, texts[OUTPUT], 1, WORKLOAD_MAX_TOKENS, &output);
	if (!err && texts[SHARED] && *texts[SHARED]) {
		err = need_number(r, SHARED, texts[SHARED], 0, prompt, &shared);
		if (!err && !(texts[GROUP] && *texts[GROUP]))
			return wrong(r,
				     "shared_tokens without a group; say which group shares them");
	}
	if (!err)
		err = number_of(&r->sessions, texts[SESSION], &q->session);
	if (!err && texts[GROUP] && *texts[GROUP])
		err = number_of(&r->groups, texts[GROUP], &q->group);
	if (err)
		return err;
	q->prompt_tokens = (uint32_t)prompt;
	q->output_tokens = (uint32_t)output;
	q->shared_tokens = (uint32_t)shared;
	r->trace.count++;
	return 0;
}

/* -- JSON Lines ------------------------------------------------------------------- */

static void json_freep(cJSON **json)
{
	cJSON_Delete(*json);
}

static int take_json(struct reader *r, const char *line)
{
	_cleanup_(json_freep) cJSON *json = cJSON_Parse(line);
	char numbers[COLUMNS][32];
	char *texts[COLUMNS] = {0};

	if (!cJSON_IsObject(json))
		return wrong(r, "no JSON object; write one a line, with %s", all_columns);
	for (int c = 0; c < COLUMNS; c++) {
		const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, columns[c].name);

		if (cJSON_IsNumber(item)) {
			snprintf(numbers[c], sizeof(numbers[c]), "%.17g", item->valuedouble);
			texts[c] = numbers[c];
		} else if (cJSON_IsString(item)) {
			texts[c] = item->valuestring;
		} else if (item && !cJSON_IsNull(item)) {
			return wrong(r, "%s is neither a number nor a text; write one of them",
				     columns[c].name);
		}
	}
	return take_request(r, texts);
}

/* -- CSV -------------------------------------------------------------------------- */

/* Cuts the line at its commas and drops quotes around fields. Returns the number of fields, which
 * may be more than `fields` has room for. */
static int split(char *line, char *fields[COLUMNS + 1])
{
	int count = 0;

	for (char *field; (field = strsep(&line, ",")); count++) {
		size_t size;

		field += strspn(field, " \t");
		size = strlen(field);
		while (size && strchr(" \t", field[size - 1]))
			field[--size] = '\0';
		if (size > 1 && *field == '"' && field[size - 1] == '"') {
			field[size - 1] = '\0';
			field++;
		}
		if (count <= COLUMNS)
			fields[count] = field;
	}
	return count;
}

static int take_header(struct reader *r, char *line)
{
	char *fields[COLUMNS + 1], quoted[TEXT_QUOTED_SIZE];
	bool seen[COLUMNS] = {false};

	r->width = split(line, fields);
	for (int i = 0; i < MIN(r->width, COLUMNS + 1); i++) {
		int c = 0;

		while (c < COLUMNS && strcmp(columns[c].name, fields[i]) != 0)
			c++;
		if (c == COLUMNS || seen[c])
			return wrong(r, "the header names a column %s%s; it may name %s",
				     text_quote(fields[i], strlen(fields[i]), quoted),
				     c == COLUMNS ? "" : " twice", all_columns);
		seen[c] = true;
		r->order[i] = c;
	}
	for (int c = 0; c < COLUMNS; c++)
		if (columns[c].required && !seen[c])
			return wrong(r, "the header does not name %s; it must name %s",
				     columns[c].name, all_columns);
	return 0;
}

static int take_csv(struct reader *r, char *line)
{
	char *fields[COLUMNS + 1], *texts[COLUMNS] = {0};
	int count = split(line, fields);

	if (count != r->width)
		return wrong(r, "%d fields; write %d, as the header has", count, r->width);
	for (int i = 0; i < count; i++)
		texts[r->order[i]] = fields[i];
	return take_request(r, texts);
}

/* -- the file --------------------------------------------------------------------- */

static int take_line(struct reader *r, char *line, size_t size)
{
	if (memchr(line, '\0', size))
		return wrong(r, "a NUL; save the file as text");
	if (size && line[size - 1] == '\r')
		line[--size] = '\0';
	line += strspn(line, " \t");
	if (!*line || *line == '#')
		return 0;
	if (strlen(line) > MAX_LINE)
		return wrong(r, "longer than %d characters; write one request a line", MAX_LINE);
	if (*line == '{')
		return r->width ? wrong(r, "JSON in a CSV; keep to one form") : take_json(r, line);
	if (r->width)
		return take_csv(r, line);
	if (r->trace.count)
		return wrong(r, "no JSON object; keep to one form");
	return take_header(r, line);
}

static int take_text(struct reader *r, char *text, size_t size)
{
	char *end = text + size;

	for (char *at = text; at < end; r->line++) {
		char *stop = memchr(at, '\n', (size_t)(end - at));
		int err;

		stop = stop ? stop : end;
		*stop = '\0';
		err = take_line(r, at, (size_t)(stop - at));
		if (err)
			return err;
		at = stop + 1;
	}
	r->line = 1;
	if (!r->trace.count)
		return wrong(r, "no requests; write one a line, with %s", all_columns);
	return 0;
}

int trace_parse(const char *name, char *text, size_t size, const struct yaml_sink *sink,
		struct trace *out)
{
	struct reader r = {.file = name, .sink = sink, .line = 1};
	locale_t outer = text_numbers_begin();
	int err = take_text(&r, text, size);

	text_numbers_end(outer);
	r.trace.sessions = r.sessions.count;
	r.trace.groups = r.groups.count;
	tdestroy(r.sessions.tree, name_free);
	tdestroy(r.groups.tree, name_free);
	if (err)
		trace_free(&r.trace);
	else
		*out = r.trace;
	return err;
}

static int read_whole(FILE *f, char **text, size_t *size)
{
	size_t room = 1U << 16;
	char *grown;

	for (;;) {
		grown = realloc(*text, room + 1);
		if (!grown)
			return -ENOMEM;
		*text = grown;
		*size += fread(*text + *size, 1, room - *size, f);
		if (ferror(f))
			return -errno;
		if (*size < room)
			return 0;
		if (room >= MAX_BYTES)
			return -EFBIG;
		room *= 2;
	}
}

int trace_load(const char *path, const struct yaml_sink *sink, struct trace *out)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	size_t size = 0;
	int err = f ? read_whole(f, &text, &size) : -errno;
	char message[256];

	if (err) {
		snprintf(message, sizeof(message), "cannot be read: %s; name a trace that can",
			 strerror(-err));
		sink->error(sink->arg, path, 1, 1, message);
		return err;
	}
	return trace_parse(path, text, size, sink, out);
}

void trace_free(struct trace *t)
{
	free(t->requests);
	*t = (struct trace){};
}
