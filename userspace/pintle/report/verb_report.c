/* SPDX-License-Identifier: Apache-2.0 */
/* verb_report.c - what enforcing would change, or did. */
#include <inttypes.h>

#include "../../base/log.h"
#include "../../base/words.h"
#include "../output.h"
#include "report.h"

#define DEFAULT_SINCE_NS (3600 * NSEC_PER_SEC)

/* ---- JSON ------------------------------------------------------------------------------- */

static cJSON *difference_json(const struct difference *d)
{
	cJSON *o = d->known ? cJSON_CreateObject() : cJSON_CreateNull();

	if (!o || !d->known)
		return o;
	cJSON_AddItemToObject(o, "before", json_number(d->before));
	cJSON_AddItemToObject(o, "after", json_number(d->after));
	cJSON_AddItemToObject(o, "change", json_number(d->change));
	cJSON_AddItemToObject(o, "low", d->judged ? json_number(d->low) : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "high", d->judged ? json_number(d->high) : cJSON_CreateNull());
	return o;
}

static cJSON *sentences_json(const struct report *r)
{
	cJSON *a = cJSON_CreateArray();
	char buf[REPORT_SENTENCE_SIZE];

	for (size_t i = 0; a && report_sentence(r, i, buf); i++)
		cJSON_AddItemToArray(a, cJSON_CreateString(buf));
	return a;
}

static int report_json(const struct report *r)
{
	cJSON *o = cJSON_CreateObject();
	struct report_tables tables;

	if (!o)
		return output_json(NULL);
	cJSON_AddStringToObject(o, "pool", r->pool->name);
	cJSON_AddItemToObject(o, "since_seconds", json_number(r->asked_seconds));
	cJSON_AddItemToObject(o, "seconds", json_number(r->seconds));
	report_tables(r, &tables);
	for (const struct report_table *t = tables.table; t < tables.table + REPORT_TABLES; t++)
		cJSON_AddItemToObject(o, t->name,
				      output_array(t->columns, t->rows, t->count, t->size, r));
	cJSON_AddItemToObject(o, "would_load", difference_json(&r->would_load));
	cJSON_AddItemToObject(o, "would_first_token_seconds",
			      difference_json(&r->would_first_token));
	cJSON_AddItemToObject(o, "did_first_token_mean_seconds", difference_json(&r->did_mean));
	cJSON_AddItemToObject(o, "did_first_token_p95_seconds", difference_json(&r->did_p95));
	cJSON_AddItemToObject(o, "says", sentences_json(r));
	return output_json(o);
}

/* ---- text -------------------------------------------------------------------------------- */

static int report_text(const struct cli *cli, const struct report *r)
{
	char buf[REPORT_SENTENCE_SIZE], span[48];
	struct report_tables tables;
	int status = EXIT_OK;

	printf("%s: the last %s\n", r->pool->name, report_span_text(r->seconds, span));
	for (size_t i = 0; report_sentence(r, i, buf); i++)
		printf("  %s\n", buf);
	report_tables(r, &tables);
	for (size_t i = 0; !status && i < REPORT_TABLES; i++) {
		const struct report_table *t = &tables.table[i];

		if (!t->count)
			continue;
		putchar('\n');
		status = output_rows(cli, t->columns, t->rows, t->count, t->size, r, NULL);
	}
	return status ? status : output_finish();
}

/* ---- the command --------------------------------------------------------------------------- */

static int report_page(const struct report *r, const char *path)
{
	if (report_html(r, path))
		return EXIT_FAILED;
	printf("wrote %s\n", path);
	return output_finish();
}

static int run_report(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	uint64_t since = cli->since_ns ?: DEFAULT_SINCE_NS;
	struct report r = {.asked_seconds = (double)since / 1e9};
	int err, status;

	if (cli->html && !*cli->html) {
		log_error("--html takes the name of a file, such as report.html");
		return EXIT_USAGE;
	}
	if (cli->html && cli->json) {
		log_error("--html writes a page, and -o json prints; take one of them");
		return EXIT_USAGE;
	}
	status = open_state(cli, MAPS_READ, &m, &s);
	if (status)
		return status;
	r.state = s;
	r.pool = find_pool(s, cli->words[0]);
	if (!r.pool)
		return EXIT_FAILED;
	err = report_make(&r, m, s->now_ns > since ? s->now_ns - since : 0);
	if (err) {
		log_err_r(err, "cannot read the history");
		status = EXIT_FAILED;
	} else if (cli->html) {
		status = report_page(&r, cli->html);
	} else {
		status = cli->json ? report_json(&r) : report_text(cli, &r);
	}
	report_free(&r);
	return status;
}

#define CHANGE "{before, after, change (0.1: a tenth more), low, high (of 95 % confidence)}"

static const struct json_key keys[] = {
	{"pool", "text: POOL"},
	{"since_seconds", "what was asked for"},
	{"seconds", "what the history has of it"},
	{"modes", "list of the objects below, one for each mode that held"},
	{"classes",
	 "list of {class, mode, placements, answers, first_token_mean_seconds, "
	 "first_token_p50_seconds, first_token_p95_seconds}; [] where the pool has one class"},
	{"endpoints",
	 "list of {endpoint, placements, share_without, share_would, share_enforced, "
	 "first_token_mean_seconds}: its share, 0..1, of the placements in baseline and shadow, of "
	 "those that the rule would have made in shadow, and of those in enforce"},
	{"tenants",
	 "list of {tenant, mode, opened, refused, answers, first_token_mean_seconds, "
	 "first_token_p50_seconds, first_token_p95_seconds}, of those with most connections"},
	{"would_load",
	 CHANGE ": the load that a connection found, and would have found; null: no mode shadow"},
	{"would_first_token_seconds", "the same of the mean time to first token"},
	{"did_first_token_mean_seconds",
	 "the same of what baseline and shadow had, and enforce has; null: one is missing"},
	{"did_first_token_p95_seconds", "the same of the 95th percentile"},
	{"says", "list of texts: the sentences"},
	{0},
};

const struct command command_report = {
	.name = "report",
	.kind = VERB,
	.arguments = "POOL [--since TIME] [--html FILE]",
	.summary = "the change that enforcing would make, or made",
	.help = "Compares the modes that the pool was in, in the last hour or in --since, 24h at most:\n"
		"times to first token, sessions that are kept together, loads. In mode shadow it says\n"
		"what the rule would do: a forecast of the first step. Needs no daemon: pintled wrote the\n"
		"history each minute. --html writes one page with plots.",
	.run = run_report,
	.keys = keys,
	.columns = &report_mode_columns,
	.options = OPTIONS_NOUN | OPTION_REPORT,
	.least = 1,
	.most = 1,
	.words = {WORD_POOL},
};
