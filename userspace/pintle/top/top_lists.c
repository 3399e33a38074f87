/* SPDX-License-Identifier: Apache-2.0 */
/* top_lists.c - the lists of `pintle top`: which columns of which noun, in which order, which
 * rows. */
#include "top.h"

#include <assert.h>

#include "../../base/hash.h"
#include "../../maps/names.h"

/* ---- rows ---------------------------------------------------------------------- */

static uint64_t identity_of(uint32_t id, uint32_t generation)
{
	return hash_mix((uint64_t)generation << 32 | id);
}

static uint64_t pool_identity(const struct state *s, const void *row)
{
	const struct state_pool *p = row;

	(void)s;
	return identity_of(p->id, p->generation);
}

static uint64_t endpoint_identity(const struct state *s, const void *row)
{
	const struct state_endpoint *e = row;

	(void)s;
	return identity_of(e->id, e->generation);
}

static size_t endpoint_pool(const void *row)
{
	return ((const struct state_endpoint *)row)->pool;
}

static uint64_t class_identity(const struct state *s, const void *row)
{
	const struct top_class *c = row;

	return pool_identity(s, &s->pools[c->pool]) + c->class_id;
}

static size_t class_pool(const void *row)
{
	return ((const struct top_class *)row)->pool;
}

static uint64_t session_identity(const struct state *s, const void *row)
{
	const struct state_session *b = row;

	return pool_identity(s, &s->pools[b->pool]) ^ hash_text(b->text);
}

static size_t session_pool(const void *row)
{
	return ((const struct state_session *)row)->pool;
}

const struct top_list top_lists[TOP_LISTS] = {
	[TOP_POOLS] = {"pools", "no pools", sizeof(struct state_pool), NULL, pool_identity},
	[TOP_ENDPOINTS] = {"endpoints", "no endpoints", sizeof(struct state_endpoint),
			   endpoint_pool, endpoint_identity},
	[TOP_CLASSES] = {"classes", "no pool has classes", sizeof(struct top_class), class_pool,
			 class_identity},
	[TOP_SESSIONS] = {"sessions", "no sessions are bound", sizeof(struct state_session),
			  session_pool, session_identity},
};

const void *top_row(const struct top_data *d, enum top_list_id list, size_t i)
{
	assert(i < d->rows[list].count);
	return d->rows[list].first + i * top_lists[list].size;
}

/* ---- columns of classes ---------------------------------------------------------- */

#define GET(name) GETTER(name, const struct top_class *c, const struct state *s)

static const struct pintle_class *class_of(const struct state *s, const struct top_class *c)
{
	return &s->pools[c->pool].classes[c->class_id];
}

GET(class_pool)
{
	return value_text(s->pools[c->pool].name);
}

GET(class_name)
{
	return value_text(class_of(s, c)->name);
}

GET(class_priority)
{
	return value_number(VALUE_WHOLE, class_of(s, c)->priority, true);
}

GET(class_limit)
{
	return value_number(VALUE_NUMBER, class_of(s, c)->limit / 1000.0, class_of(s, c)->limit);
}

GET(class_admission)
{
	return value_text(admission_name(class_of(s, c)->admission));
}

GET(class_in_flight)
{
	return value_count(s->pools[c->pool].class_in_flight[c->class_id]);
}

static const struct column class_columns[] = {
	{.heading = "POOL", .get = get_class_pool},
	{.heading = "CLASS", .get = get_class_name},
	{.heading = "PRIORITY", .right = true, .spare = 1, .get = get_class_priority},
	{.heading = "LIMIT", .right = true, .spare = 2, .get = get_class_limit},
	{.heading = "ADMISSION", .spare = 3, .get = get_class_admission},
	{.heading = "IN-FLIGHT", .right = true, .get = get_class_in_flight},
};
static const struct columns classes_columns = COLUMNS(class_columns);

/* ---- columns of nouns -------------------------------------------------------------- */

/* A noun's column, by its heading or else by its key. */
struct pick {
	const char *of;
	const char *heading; /* NULL: the noun's */
	int spare;
};

static const struct pick pool_picks[] = {
	{"POOL", NULL, 0},      {"MODE", NULL, 0},      {"HOOK", NULL, 2},
	{"ENDPOINTS", NULL, 1}, {"READY", NULL, 0},     {"ejected", "EJECTED", 4},
	{"IN-FLIGHT", NULL, 0}, {"DECISIONS", NULL, 1}, {"FRONTENDS", NULL, 3},
};

/* WAIT and RUN are the server's own counts, WAITING and ANSWER those of this node's connections. */
static const struct pick endpoint_picks[] = {
	{"ENDPOINT", NULL, 0},
	{"STATE", NULL, 0},
	{"ADDRESS", NULL, 9},
	{"LOAD", NULL, 0},
	{"requests_waiting", "WAITING", 1},
	{"requests_answering", "ANSWER", 1},
	{"WAIT", NULL, 4},
	{"RUN", NULL, 4},
	{"KV", NULL, 1},
	{"GPU", NULL, 6},
	{"TTFT50", NULL, 1},
	{"TTFT95", NULL, 1},
	{"AGE", NULL, 3},
	{"IN-FLIGHT", NULL, 5},
	{"SHARE", NULL, 8},
};

static const struct pick session_picks[] = {
	{"SESSION", NULL, 0}, {"ENDPOINT", NULL, 0}, {"AGE", NULL, 2}, {"IDLE", NULL, 0},
	{"CLASS", NULL, 1},   {"BY", NULL, 3},       {"WHY", NULL, 4},
};

static const struct column *column_find(const struct columns *c, const char *of)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->column[i].heading && !strcmp(c->column[i].heading, of))
			return &c->column[i];
	for (size_t i = 0; i < c->count; i++)
		if (c->column[i].key && !strcmp(c->column[i].key, of))
			return &c->column[i];
	return NULL;
}

static struct columns pick(const struct command *noun, const struct pick *picks, size_t count,
			   struct column *to)
{
	assert(count <= TOP_COLUMNS);
	for (size_t i = 0; i < count; i++) {
		const struct column *c = column_find(noun->columns, picks[i].of);

		assert(c);
		to[i] = *c;
		to[i].spare = picks[i].spare;
		if (picks[i].heading) {
			to[i].heading = picks[i].heading;
			to[i].right = true;
		}
	}
	return (struct columns){to, count};
}

const struct columns *top_columns(enum top_list_id list)
{
	static struct column picked[TOP_LISTS][TOP_COLUMNS];
	static struct columns columns[TOP_LISTS];

	if (columns[list].count)
		return &columns[list];
	columns[TOP_POOLS] =
		pick(&command_pools, pool_picks, ARRAY_SIZE(pool_picks), picked[TOP_POOLS]);
	columns[TOP_ENDPOINTS] = pick(&command_endpoints, endpoint_picks,
				      ARRAY_SIZE(endpoint_picks), picked[TOP_ENDPOINTS]);
	columns[TOP_CLASSES] = classes_columns;
	columns[TOP_SESSIONS] = pick(&command_sessions, session_picks, ARRAY_SIZE(session_picks),
				     picked[TOP_SESSIONS]);
	return &columns[list];
}

/* ---- order and filter --------------------------------------------------------------- */

struct sort_key {
	size_t index;
	bool none; /* rows without a value come last, whatever the direction */
	double number;
	char *text; /* owned; NULL: it is a number */
};

static bool row_has(const struct top_data *d, enum top_list_id list, size_t i, const char *filter)
{
	const struct columns *c = top_columns(list);

	for (size_t j = 0; j < c->count; j++) {
		struct value v = c->column[j].get(top_row(d, list, i), d->s);

		if (v.kind == VALUE_TEXT && strcasestr(v.text, filter))
			return true;
	}
	return false;
}

static bool sort_key_make(const struct value *v, struct sort_key *k)
{
	switch (v->kind) {
	case VALUE_NONE:
	case VALUE_JSON:
		k->none = true;
		return true;
	case VALUE_TEXT:
		k->text = strdup(v->text);
		return k->text;
	case VALUE_COUNT:
		k->number = (double)v->count;
		return true;
	case VALUE_BOOL:
		k->number = v->yes;
		return true;
	default:
		k->number = v->number;
		return true;
	}
}

static int sort_key_compare(const void *left, const void *right, void *arg)
{
	const struct sort_key *a = left, *b = right;
	const bool *reversed = arg;
	int order = 0;

	if (a->none != b->none)
		return a->none ? 1 : -1;
	if (a->text && b->text)
		order = strcmp(a->text, b->text);
	else if (!a->none)
		order = a->number < b->number ? 1 : a->number > b->number ? -1 : 0;
	if (*reversed)
		order = -order;
	return order ? order : a->index < b->index ? -1 : 1;
}

static bool lists_rows_sort(const struct top_data *d, enum top_list_id list, struct top_place *p)
{
	const struct column *by = &top_columns(list)->column[p->sorted_by];
	struct sort_key *keys = calloc(p->shown + 1, sizeof(*keys));
	bool done = keys;

	for (size_t i = 0; done && i < p->shown; i++) {
		struct value v = by->get(top_row(d, list, p->order[i]), d->s);

		keys[i].index = p->order[i];
		done = sort_key_make(&v, &keys[i]);
	}
	if (done) {
		qsort_r(keys, p->shown, sizeof(*keys), sort_key_compare, &p->reversed);
		for (size_t i = 0; i < p->shown; i++)
			p->order[i] = keys[i].index;
	}
	for (size_t i = 0; keys && i < p->shown; i++)
		free(keys[i].text);
	free(keys);
	return done;
}

bool top_order(const struct top_data *d, enum top_list_id list, const char *filter,
	       struct top_place *p)
{
	size_t count = d->rows[list].count;
	size_t *order = reallocarray(p->order, count + 1, sizeof(*order));

	p->shown = 0;
	if (!order)
		return false;
	p->order = order;
	for (size_t i = 0; i < count; i++)
		if (!*filter || row_has(d, list, i, filter))
			p->order[p->shown++] = i;
	return p->sorted_by >= top_columns(list)->count || lists_rows_sort(d, list, p);
}
