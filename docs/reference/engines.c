/* SPDX-License-Identifier: Apache-2.0 */
/* engines.c - what each engine's server needs, and which of its metrics are read. */
#include "reference.h"

#include "../../userspace/base/util.h"
#include "../../userspace/policy/engine_names.h"
#include "../../userspace/maps/names.h"
#include <pintle/abi.h>
#include "../../userspace/policy/engines.h"
#include "../../userspace/policy/outcomes.h"

#define CELL_SIZE 1024

void engines_start_markdown(FILE *f)
{
	static const struct {
		const char *name, *start, *page;
	} rows[] = {
#define X(symbol, name, says, start, page) {name, start, page},
		PINTLE_ENGINES(X)
#undef X
	};
	char name[CODE_SIZE];

	table_head(f, "`engine`", "the server must be started with", "page", NULL);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		table_row(f, code(rows[i].name, name), rows[i].start, rows[i].page, NULL);
}

/* Whether the metric is the one before without "_total". */
static bool is_shorter(const struct engine_metric *m, const struct engine_metric *before)
{
	size_t length = strlen(m->name);

	return !strncmp(m->name, before->name, length) && !strcmp(before->name + length, "_total");
}

/* "`a` + `b`, else `c[_total]`" */
static const char *joint(const struct engine_metric *m, const struct engine_metric *before,
			 bool first)
{
	if (first)
		return "";
	if (m->larger)
		return ", or if larger ";
	return m->choice == before->choice ? " + " : ", else ";
}

static const char *signal_text(const struct engine *e, enum signal signal, char text[CELL_SIZE])
{
	struct engine_metric m, before = {.name = ""};
	size_t n = 0;

	for (size_t i = 0; engine_metric(e, i, &m); i++) {
		if (m.signal != signal)
			continue;
		if (n && is_shorter(&m, &before)) {
			n -= strlen("_total`");
			n += (size_t)snprintf(text + n, CELL_SIZE - n, "[_total]`");
			before = m;
			continue;
		}
		n += (size_t)snprintf(text + n, CELL_SIZE - n, "%s`%s", joint(&m, &before, !n),
				      m.name);
		if (m.label)
			n += (size_t)snprintf(text + n, CELL_SIZE - n, "{%s=\"%s\"}", m.label,
					      m.label_value);
		n += (size_t)snprintf(text + n, CELL_SIZE - n, "`");
		before = m;
	}
	return n ? text : "none";
}

/* False for `auto`, which has those of the others. */
static bool has_metrics(const struct engine *e)
{
	struct engine_metric first;

	return engine_metric(e, 0, &first);
}

void engines_load_markdown(FILE *f)
{
	char waiting[CELL_SIZE], running[CELL_SIZE], kv_cache[CELL_SIZE], name[CODE_SIZE];

	table_head(f, "`engine`", "waiting", "running", "KV cache in use, 0 to 1", NULL);
	for (size_t i = 0; engine_name(i); i++) {
		const struct engine *e = engine_find(engine_name(i));

		if (!has_metrics(e))
			continue;
		table_row(f, code(engine_name(i), name), signal_text(e, SIGNAL_WAITING, waiting),
			  signal_text(e, SIGNAL_RUNNING, running),
			  signal_text(e, SIGNAL_KV_CACHE, kv_cache), NULL);
	}
}

void engines_counters_markdown(FILE *f)
{
	char hits[CELL_SIZE], queries[CELL_SIZE], prompt[CELL_SIZE], output[CELL_SIZE];
	char name[CODE_SIZE];

	table_head(f, "`engine`", "prefix cache: hits", "prefix cache: queries", "prompt tokens",
		   "output tokens", NULL);
	for (size_t i = 0; engine_name(i); i++) {
		const struct engine *e = engine_find(engine_name(i));

		if (!has_metrics(e))
			continue;
		table_row(f, code(engine_name(i), name), signal_text(e, SIGNAL_PREFIX_HITS, hits),
			  signal_text(e, SIGNAL_PREFIX_QUERIES, queries),
			  signal_text(e, SIGNAL_PROMPT_TOKENS, prompt),
			  signal_text(e, SIGNAL_OUTPUT_TOKENS, output), NULL);
	}
}

/* What the metric says of an outcome, or "none". */
static const char *outcome_text(const char *says)
{
	return says ?: "none";
}

void engines_outcomes_markdown(FILE *f)
{
	struct outcome_metric m;
	char engine[CODE_SIZE], name[CODE_SIZE];

	table_head(f, "`engine`", "metric", "done", "refused", "failed", NULL);
	for (size_t i = 0; outcome_metric(i, &m); i++)
		table_row(f, code(m.engine, engine), code(m.name, name), outcome_text(m.ok),
			  outcome_text(m.refused), outcome_text(m.failed), NULL);
}

void failings_markdown(FILE *f)
{
	char name[CODE_SIZE];

	table_head(f, "`ejected_for`", "by whose word", NULL);
	for (uint32_t i = PINTLE_FAILING_NOT + 1; i < PINTLE_FAILING_COUNT; i++)
		table_row(f, code(failing_name(i), name), failing_help(i), NULL);
}
