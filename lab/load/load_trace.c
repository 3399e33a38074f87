// SPDX-License-Identifier: Apache-2.0
/*
 * load_trace.c - reads traces. Each form is a table of column names. A line is first cut into texts
 * by column, and the texts become a request.
 */
#include "load_trace.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <search.h>
#include <stdarg.h>
#include <time.h>

#include "../../userspace/base/text.h"
#include "../../userspace/base/util.h"
#include "load_workload.h"

#define MAX_BYTES   (1U << 30)
#define MAX_LINE    (1 << 18) /* 8,192 hash_ids, of a prompt of 128k tokens, take 70,000 */
#define MAX_FIELDS  16
#define MAX_SECONDS (366 * 24 * 3600.0)
#define MAX_ID      9007199254740992.0 /* whole numbers up to here are exact in JSON */

enum column { TIME, SESSION, PROMPT, OUTPUT, GROUP, SHARED, COLUMNS };

struct form {
	const char *names[COLUMNS]; /* NULL: the form has no such column */
	const char *all;
	double tick_s; /* unit of the time column; 0: it holds dates */
	bool json, csv;
	/* A trace of others: further columns are skipped, and so are requests without a prompt or
	 * an answer, which had failed. A request that names no session is one by itself. */
	bool foreign;
};

/* The lab's own form comes last: it is what a file is held to that looks like no other. */
static const struct form forms[] = {
	{
		/* Mooncake, and vllm bench */
		.names = {[TIME] = "timestamp",
			  [PROMPT] = "input_length",
			  [OUTPUT] = "output_length"},
		.all = "timestamp (ms), input_length, output_length, and perhaps hash_ids",
		.tick_s = 1e-3,
		.json = true,
		.foreign = true,
	},
	{
		/* Azure's LLM inference traces, 2023 and 2024 */
		.names = {[TIME] = "TIMESTAMP",
			  [PROMPT] = "ContextTokens",
			  [OUTPUT] = "GeneratedTokens"},
		.all = "TIMESTAMP, ContextTokens, GeneratedTokens",
		.csv = true,
		.foreign = true,
	},
	{
		/* BurstGPT; its later files name sessions */
		.names = {[TIME] = "Timestamp",
			  [SESSION] = "Session ID",
			  [PROMPT] = "Request tokens",
			  [OUTPUT] = "Response tokens"},
		.all = "Timestamp, Request tokens, Response tokens, and perhaps Session ID",
		.tick_s = 1,
		.csv = true,
		.foreign = true,
	},
	{
		.names = {"time", "session", "prompt_tokens", "output_tokens", "group",
			  "shared_tokens"},
		.all = "time, session, prompt_tokens, output_tokens, and perhaps group, "
		       "shared_tokens",
		.tick_s = 1,
		.json = true,
		.csv = true,
	},
};

static bool required(const struct form *f, enum column c)
{
	return c == TIME || c == PROMPT || c == OUTPUT || (c == SESSION && !f->foreign);
}

/* Numbers names from 0, in the order of their first appearance. */
struct name {
	char *text;
	uint32_t number;
};
struct name_table {
	void *tree;
	uint32_t count;
};

/* The session of the newest request with this block. */
struct block {
	uint64_t id;
	uint32_t session;
};

struct reader {
	const char *file;
	const struct yaml_sink *sink;
	const struct form *form; /* NULL before the first line */
	int line;
	struct trace trace;
	struct name_table sessions, groups;
	void *blocks; /* tree of struct block */
	double first_time, last_time;
	int order[MAX_FIELDS]; /* CSV: the enum column of each field; COLUMNS: none */
	int width;             /* CSV: fields of a line; 0: JSON Lines */
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
		return wrong(r, "%s is %s; write a %snumber from %.15g to %.15g", r->form->names[c],
			     text_quote(text, strlen(text), quoted), c == TIME ? "" : "whole ", low,
			     high);
	*out = value;
	return 0;
}

/* A date such as 2023-11-16 18:15:46.6805900, in UTC. */
static int need_date(const struct reader *r, const char *text, double *out)
{
	char quoted[TEXT_QUOTED_SIZE];
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%d %H:%M:%S", &tm);
	double fraction = 0;

	if (rest && *rest == '.') {
		char *end;

		fraction = strtod(rest, &end);
		rest = end == rest + 1 + strspn(rest + 1, "0123456789") ? end : NULL;
	}
	if (!rest || (*rest && strcmp(rest, "Z") && strcmp(rest, "+00:00")))
		return wrong(r, "%s is %s; write a time such as 2023-11-16 18:15:46.6805900",
			     r->form->names[TIME], text_quote(text, strlen(text), quoted));
	*out = (double)timegm(&tm) + fraction;
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
	const char *name = r->form->names[TIME];
	double time = 0;
	int err = r->form->tick_s > 0 ? need_number(r, TIME, text, 0, 1e15, &time)
				      : need_date(r, text, &time);

	if (err)
		return err;
	time *= r->form->tick_s > 0 ? r->form->tick_s : 1;
	if (!r->trace.count)
		r->first_time = r->last_time = time;
	if (time < r->last_time)
		return wrong(r, "%s is before that of the line above; sort the file by time", name);
	if (time - r->first_time > MAX_SECONDS)
		return wrong(r, "%s is more than a year after the first; write %sseconds", name,
			     r->form->tick_s == 1e-3 ? "milli" : "");
	r->last_time = time;
	*out = (uint64_t)llround((time - r->first_time) * 1e9);
	return 0;
}

static int take_request(struct reader *r, char *const texts[COLUMNS])
{
	const struct form *f = r->form;
	struct trace_request *q = new_request(&r->trace);
	double prompt = 0, output = 0, shared = TRACE_NONE, least = f->foreign ? 0 : 1;
	int err;

	for (enum column c = 0; c < COLUMNS; c++)
		if (required(f, c) && (!texts[c] || !*texts[c]))
			return wrong(r, "%s is missing; each request needs %s", f->names[c],
				     f->all);
	if (!q)
		return -ENOMEM;
	*q = (struct trace_request){.group = TRACE_NONE};
	err = take_time(r, texts[TIME], &q->at_ns);
	if (!err)
		err = need_number(r, PROMPT, texts[PROMPT], least, WORKLOAD_MAX_TOKENS, &prompt);
	if (!err)
		err = need_number(r, OUTPUT, texts[OUTPUT], least, WORKLOAD_MAX_TOKENS, &output);
	if (err || !prompt || !output)
		return err;
	if (texts[SHARED] && *texts[SHARED]) {
		err = need_number(r, SHARED, texts[SHARED], 0, prompt, &shared);
		if (!err && !(texts[GROUP] && *texts[GROUP]))
			return wrong(r,
				     "shared_tokens without a group; say which group shares them");
	}
	if (!err && texts[SESSION] && *texts[SESSION])
		err = number_of(&r->sessions, texts[SESSION], &q->session);
	else
		q->session = r->sessions.count++;
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

/* -- hash_ids --------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
	uint64_t x = ((const struct block *)a)->id, y = ((const struct block *)b)->id;

	return (x > y) - (x < y);
}

static int ids_read(struct reader *r, const cJSON *list, struct trace_request *q)
{
	struct trace *t = &r->trace;
	const cJSON *item;

	q->first_id = t->id_count;
	cJSON_ArrayForEach (item, list) {
		double id = item->valuedouble;

		if (!cJSON_IsNumber(item) || !(id >= 0 && id <= MAX_ID) || id != floor(id))
			return wrong(r,
				     "hash_ids holds something else than whole numbers from 0 "
				     "to %.15g; write one for each block",
				     MAX_ID);
		if (t->id_count == t->id_room) {
			size_t room = t->id_room ? 2 * t->id_room : 4096;
			uint64_t *ids = reallocarray(t->ids, room, sizeof(*ids));

			if (!ids)
				return -ENOMEM;
			t->ids = ids;
			t->id_room = room;
		}
		t->ids[t->id_count++] = (uint64_t)id;
		q->id_count++;
	}
	return 0;
}

/* A request belongs to the session of the newest request that shares the longest run of blocks
 * beyond the first, which many sessions share: it is their system prompt. Without such a request,
 * the session that it has just been given stays. */
static int session_by_ids(struct reader *r, struct trace_request *q)
{
	const uint64_t *ids = &r->trace.ids[q->first_id];
	struct block **found = NULL;

	for (uint32_t i = q->id_count; !found && i-- > 1;)
		found = tfind(&(struct block){.id = ids[i]}, &r->blocks, by_id);
	if (found) {
		r->sessions.count = q->session;
		q->session = (*found)->session;
	}
	for (uint32_t i = 1; i < q->id_count; i++) {
		struct block *b = malloc(sizeof(*b)), **at;

		if (!b)
			return -ENOMEM;
		*b = (struct block){ids[i], q->session};
		at = tsearch(b, &r->blocks, by_id);
		if (!at || *at != b)
			free(b);
		if (!at)
			return -ENOMEM;
		(*at)->session = q->session;
	}
	return 0;
}

static int take_ids(struct reader *r, const cJSON *list, struct trace_request *q)
{
	char first[32];
	int err;

	if (!list || cJSON_IsNull(list))
		return 0;
	if (!cJSON_IsArray(list))
		return wrong(r, "hash_ids is no list; write [0, 1, 2]");
	err = ids_read(r, list, q);
	if (err || !q->id_count)
		return err;
	snprintf(first, sizeof(first), "%" PRIu64, r->trace.ids[q->first_id]);
	q->shared_tokens = MIN(r->trace.id_tokens, q->prompt_tokens);
	err = number_of(&r->groups, first, &q->group);
	return err ?: session_by_ids(r, q);
}

/* -- JSON Lines ------------------------------------------------------------------- */

static void json_freep(cJSON **json)
{
	cJSON_Delete(*json);
}

/* The form whose prompt column this object names. */
static const struct form *json_form(const cJSON *json)
{
	const struct form *f = forms;

	while (f < &forms[ARRAY_SIZE(forms) - 1] &&
	       !(f->json && cJSON_GetObjectItemCaseSensitive(json, f->names[PROMPT])))
		f++;
	return f;
}

static int take_json(struct reader *r, const char *line)
{
	_cleanup_(json_freep) cJSON *json = cJSON_Parse(line);
	char numbers[COLUMNS][32];
	char *texts[COLUMNS] = {0};
	size_t before = r->trace.count;
	int err;

	r->form = r->form ?: json_form(json);
	if (!cJSON_IsObject(json))
		return wrong(r, "no JSON object; write one a line, with %s", r->form->all);
	for (int c = 0; c < COLUMNS; c++) {
		const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, r->form->names[c] ?: "");

		if (!r->form->names[c])
			continue;
		if (cJSON_IsNumber(item)) {
			snprintf(numbers[c], sizeof(numbers[c]), "%.17g", item->valuedouble);
			texts[c] = numbers[c];
		} else if (cJSON_IsString(item)) {
			texts[c] = item->valuestring;
		} else if (item && !cJSON_IsNull(item)) {
			return wrong(r, "%s is neither a number nor a text; write one of them",
				     r->form->names[c]);
		}
	}
	err = take_request(r, texts);
	if (err || !r->form->foreign || r->trace.count == before)
		return err;
	return take_ids(r, cJSON_GetObjectItemCaseSensitive(json, "hash_ids"),
			&r->trace.requests[before]);
}

/* -- CSV -------------------------------------------------------------------------- */

/* Cuts the line at its commas and drops quotes around fields. Returns the number of fields, which
 * may be more than `fields` has room for. */
static int split(char *line, char *fields[MAX_FIELDS])
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
		if (count < MAX_FIELDS)
			fields[count] = field;
	}
	return count;
}

static int column_of(const struct form *f, const char *name)
{
	int c = 0;

	while (c < COLUMNS && !(f->names[c] && !strcmp(f->names[c], name)))
		c++;
	return c;
}

/* The form whose prompt column this header names. */
static const struct form *csv_form(char *const fields[], int count)
{
	for (size_t i = 0; i + 1 < ARRAY_SIZE(forms); i++)
		for (int k = 0; forms[i].csv && k < count; k++)
			if (column_of(&forms[i], fields[k]) == PROMPT)
				return &forms[i];
	return &forms[ARRAY_SIZE(forms) - 1];
}

static int take_header(struct reader *r, char *line)
{
	char *fields[MAX_FIELDS], quoted[TEXT_QUOTED_SIZE];
	bool seen[COLUMNS + 1] = {false};

	r->width = split(line, fields);
	if (r->width > MAX_FIELDS)
		return wrong(r, "the header names %d columns; leave %d at most", r->width,
			     MAX_FIELDS);
	r->form = csv_form(fields, r->width);
	for (int i = 0; i < r->width; i++) {
		int c = column_of(r->form, fields[i]);

		if (c == COLUMNS ? !r->form->foreign : seen[c])
			return wrong(r, "the header names a column %s%s; it may name %s",
				     text_quote(fields[i], strlen(fields[i]), quoted),
				     c == COLUMNS ? "" : " twice", r->form->all);
		seen[c] = true;
		r->order[i] = c;
	}
	for (enum column c = 0; c < COLUMNS; c++)
		if (required(r->form, c) && !seen[c])
			return wrong(r, "the header does not name %s; it must name %s",
				     r->form->names[c], r->form->all);
	return 0;
}

static int take_csv(struct reader *r, char *line)
{
	char *fields[MAX_FIELDS], *texts[COLUMNS + 1] = {0};
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
	if (r->form)
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
		return wrong(r, "no requests; write one a line, with %s",
			     (r->form ?: &forms[ARRAY_SIZE(forms) - 1])->all);
	return 0;
}

int trace_parse(const char *name, char *text, size_t size, uint32_t id_tokens,
		const struct yaml_sink *sink, struct trace *out)
{
	struct reader r = {
		.file = name,
		.sink = sink,
		.line = 1,
		.trace.id_tokens = id_tokens,
	};
	locale_t outer = text_numbers_begin();
	int err = take_text(&r, text, size);

	text_numbers_end(outer);
	r.trace.sessions = r.sessions.count;
	r.trace.groups = r.groups.count;
	tdestroy(r.sessions.tree, name_free);
	tdestroy(r.groups.tree, name_free);
	tdestroy(r.blocks, free);
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

int trace_load(const char *path, uint32_t id_tokens, const struct yaml_sink *sink,
	       struct trace *out)
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
	return trace_parse(path, text, size, id_tokens, sink, out);
}

void trace_free(struct trace *t)
{
	free(t->requests);
	free(t->ids);
	*t = (struct trace){};
}
