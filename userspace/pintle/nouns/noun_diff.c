/* SPDX-License-Identifier: Apache-2.0 */
/* noun_diff.c - what differs from the configuration file. */
#include "../../base/log.h"
#include "../cli.h"
#include "../output.h"

#define MAX_TOLD 10 /* reasons */

struct difference {
	const char *pool, *endpoint, *key; /* endpoint NULL: a key of the pool */
	const char *file, *set, *runs;     /* "": not known, or none */
	const char *state, *why;           /* why "": neither refused nor stuck */
	uint64_t since_ns;
	double age_seconds;
};

/* ---- columns ---------------------------------------------------------------------- */

#define GET(name)    GETTER(name, const struct difference *d, const void *arg)
#define COLUMN(name) .get = get_##name

#define GET_TEXT(name)                                                                             \
	GET(name)                                                                                  \
	{                                                                                          \
		return value_text_or_none(d->name);                                                \
	}

GET_TEXT(pool)
GET_TEXT(endpoint)
GET_TEXT(key)
GET_TEXT(file)
GET_TEXT(set)
GET_TEXT(runs)
GET_TEXT(why)

GET(state)
{
	struct value v = value_text(d->state);

	v.tone = d->why[0] ? TONE_BAD : TONE_PLAIN;
	return v;
}

GET(since)
{
	char when[WORDS_SIZE];

	return value_text(wall_rfc3339(d->since_ns, when));
}

GET(age_seconds)
{
	return value_number(VALUE_SECONDS, d->age_seconds, true);
}

static const struct column columns[] = {
	{.key = "pool", .heading = "POOL", COLUMN(pool), .help = "text: name of the pool"},
	{.key = "endpoint",
	 .heading = "ENDPOINT",
	 COLUMN(endpoint),
	 .help = "text: its name, where one is drained; else null"},
	{.key = "key",
	 .heading = "KEY",
	 COLUMN(key),
	 .help = "text: the key, from the pool on; of an endpoint: drained"},
	{.key = "file",
	 .heading = "FILE",
	 COLUMN(file),
	 .help = "text: the value in the file, or the default; null: not known, or no such key"},
	{.key = "set",
	 .heading = "SET",
	 COLUMN(set),
	 .help = "text: the value that was set; null: it was taken back, and pintled has yet to "
		 "see that"},
	{.key = "runs",
	 .heading = "RUNS",
	 COLUMN(runs),
	 .help = "text: the value that holds; null: not known"},
	{.key = "state",
	 .heading = "STATE",
	 COLUMN(state),
	 .help = "text: of what was set: holds, waits (for pintled), refused"},
	{.key = "why",
	 COLUMN(why),
	 .help = "text: why it is refused, or could not be taken back; or null"},
	{.key = "since", COLUMN(since), .help = "text: RFC 3339 time when it was set"},
	{.key = "age_seconds",
	 .heading = "SINCE",
	 .right = true,
	 .spare = 1,
	 COLUMN(age_seconds),
	 .help = "the same as an age"},
};
static const struct columns diff_columns = COLUMNS(columns);

/* ---- the file --------------------------------------------------------------------- */

/* Judges the settings by the file as it is now: *judged, *n; *changed: pintled runs by another
 * text. Returns whether the file could be read and judged. */
static bool diff_take_file(const struct state *s, struct config_setting **judged, size_t *n,
			   bool *changed)
{
	struct config_text text = {0};
	int err = settings_read_file(s, &text);

	if (!err) {
		*changed = !settings_file_runs(s, &text);
		err = settings_judge(s, &text, NULL, NULL, judged, n);
	}
	free(text.text);
	return !err;
}

/* The value in the file as it is now; else as pintled read it last. */
static const char *file_value(const struct state_setting *t, const struct config_setting *judged,
			      size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (judged[i].pool == t->pool && judged[i].key == t->key && judged[i].file[0])
			return judged[i].file;
	return t->file;
}

/* ---- rows ------------------------------------------------------------------------- */

static double age_of(const struct state *s, uint64_t since)
{
	int64_t ns = (int64_t)(s->now_ns - since);

	return (double)MAX(ns, 0) / (double)NSEC_PER_SEC;
}

/* Compares values, not texts: "2.0" is the file's "2". */
static bool runs_as_file(const struct difference *d)
{
	char why[PINTLE_WHY_SIZE];
	const struct yaml_key *k = config_settable(d->key, why);

	return k && config_value_same(k, d->runs, d->file);
}

/* Whether the row is of that pool (NULL: any), and is not what the file says. */
static bool diff_differs(const struct difference *d, const char *pool)
{
	if (pool && strcmp(d->pool, pool) != 0)
		return false;
	return d->state != setting_state_name(STATE_SETTING_HOLDS) || !runs_as_file(d);
}

static struct difference setting_row(const struct state *s, const struct state_setting *t,
				     const char *file)
{
	return (struct difference){
		.pool = t->pool,
		.key = t->key,
		.file = file,
		.set = t->value,
		/* Before pintled has judged the setting, the file's value runs. */
		.runs = t->runs[0] ? t->runs : file,
		.state = setting_state_name(t->state),
		.why = t->why,
		.since_ns = t->since_ns,
		.age_seconds = age_of(s, t->since_ns),
	};
}

static struct difference drain_row(const struct state *s, const struct state_endpoint *e)
{
	return (struct difference){
		.pool = s->pools[e->pool].name,
		.endpoint = e->name,
		.key = "drained",
		.file = "false",
		.set = "true",
		.runs = "true",
		.state = setting_state_name(STATE_SETTING_HOLDS),
		.why = "",
		.since_ns = e->drained_since_ns,
		.age_seconds = age_of(s, e->drained_since_ns),
	};
}

static struct difference *rows_new(const struct state *s, const char *pool,
				   const struct config_setting *judged, size_t judged_count,
				   size_t *n)
{
	struct difference *rows = calloc(s->setting_count + s->endpoint_count + 1, sizeof(*rows));

	*n = 0;
	for (size_t i = 0; rows && i < s->setting_count; i++) {
		const struct state_setting *t = &s->settings[i];

		rows[*n] = setting_row(s, t, file_value(t, judged, judged_count));
		*n += diff_differs(&rows[*n], pool);
	}
	for (size_t i = 0; rows && i < s->endpoint_count; i++) {
		if (!s->endpoints[i].drained)
			continue;
		rows[*n] = drain_row(s, &s->endpoints[i]);
		*n += diff_differs(&rows[*n], pool);
	}
	return rows;
}

/* Logs the reasons, which JSON has in its rows. */
static void tell_reasons(const struct difference *rows, size_t n)
{
	int left = MAX_TOLD;

	for (size_t i = 0; i < n && left; i++) {
		if (!rows[i].why[0])
			continue;
		left--;
		if (rows[i].state == setting_state_name(STATE_SETTING_REFUSED))
			log_warn("%s %s=%s does not hold: %s", rows[i].pool, rows[i].key,
				 rows[i].set, rows[i].why);
		else
			log_warn("%s %s is %s still, though it was taken back: %s", rows[i].pool,
				 rows[i].key, rows[i].runs, rows[i].why);
	}
}

static int run_diff(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	_cleanup_free_ struct config_setting *judged = NULL;
	_cleanup_free_ struct difference *rows = NULL;
	const char *pool = cli->word_count ? cli->words[0] : NULL;
	bool readable, changed = false;
	size_t judged_count = 0, n;

	if (open_state(cli, MAPS_READ, &m, &s) || (pool && !setting_pool(s, pool)))
		return EXIT_UNTOLD;
	readable = diff_take_file(s, &judged, &judged_count, &changed);
	rows = rows_new(s, pool, judged, judged_count, &n);
	if (!rows) {
		log_error("out of memory");
		return EXIT_UNTOLD;
	}
	if (!readable)
		log_warn("so the file's values are as pintled read them last");
	if (changed)
		log_warn("%s was changed after pintled read it; `pintle reload` has it read again",
			 s->node.config);
	if (!cli->json)
		tell_reasons(rows, n);
	if (output_rows(cli, &diff_columns, rows, n, sizeof(*rows), NULL,
			readable && !changed ? "all pools are as the file says" : "nothing is set"))
		return EXIT_UNTOLD;
	return n || changed ? EXIT_FAILED : readable ? EXIT_OK : EXIT_UNTOLD;
}

const struct command command_diff = {
	.name = "diff",
	.kind = NOUN,
	.arguments = "[POOL]",
	.summary = "keys and drains that differ from the configuration file",
	.help = "Prints a row for each key that was set (`pintle set`, `pintle mode`) to another value\n"
		"than the file has, and for each endpoint that is drained. Keys of pools only: keys of\n"
		"`node` take effect when pintled starts. Exit status 0 if nothing differs; 1 if something does, or\n"
		"if the file changed after pintled read it; 2 if neither can be known. A reader who\n"
		"may not read the file sees its values as pintled last read them.",
	.run = run_diff,
	.columns = &diff_columns,
	.options = OPTIONS_NOUN,
	.most = 1,
	.words = {WORD_POOL},
};
