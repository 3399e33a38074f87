/* SPDX-License-Identifier: Apache-2.0 */
/* verb_report.c - what enforcing would change, or did. */
#include <inttypes.h>

#include "../base/log.h"
#include "../base/words.h"
#include "output.h"
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
	struct report_mode modes[REPORT_MODES];
	size_t n = report_modes(r, modes);
	cJSON *o = cJSON_CreateObject();

	if (!o)
		return output_json(NULL);
	cJSON_AddStringToObject(o, "pool", r->pool->name);
	cJSON_AddItemToObject(o, "since_seconds", json_number(r->asked_seconds));
	cJSON_AddItemToObject(o, "seconds", json_number(r->seconds));
	cJSON_AddItemToObject(o, "modes",
			      output_array(&report_mode_columns, modes, n, sizeof(*modes), r));
	cJSON_AddItemToObject(o, "classes",
			      output_array(&report_class_columns, r->classes, r->class_count,
					   sizeof(*r->classes), r));
	cJSON_AddItemToObject(o, "endpoints",
			      output_array(&report_endpoint_columns, r->endpoints,
					   r->endpoint_count, sizeof(*r->endpoints), r));
	cJSON_AddItemToObject(o, "tenants",
			      output_array(&report_tenant_columns, r->tenants, r->tenant_count,
					   sizeof(*r->tenants), r));
	cJSON_AddItemToObject(o, "would_load", difference_json(&r->would_load));
	cJSON_AddItemToObject(o, "would_first_token_seconds",
			      difference_json(&r->would_first_token));
	cJSON_AddItemToObject(o, "did_first_token_mean_seconds", difference_json(&r->did_mean));
	cJSON_AddItemToObject(o, "did_first_token_p95_seconds", difference_json(&r->did_p95));
	cJSON_AddItemToObject(o, "says", sentences_json(r));
	return output_json(o);
}

/* ---- text -------------------------------------------------------------------------------- */

static int table(const struct cli *cli, const struct columns *c, const void *rows, size_t count,
		 size_t size, const struct report *r)
{
	if (!count)
		return EXIT_OK;
	putchar('\n');
	return output_rows(cli, c, rows, count, size, r, NULL);
}

static int report_text(const struct cli *cli, const struct report *r)
{
	struct report_mode modes[REPORT_MODES];
	size_t n = report_modes(r, modes);
	char buf[REPORT_SENTENCE_SIZE], span[48];
	int status;

	printf("%s: the last %s\n", r->pool->name, report_span_text(r->seconds, span));
	for (size_t i = 0; report_sentence(r, i, buf); i++)
		printf("  %s\n", buf);
	status = table(cli, &report_mode_columns, modes, n, sizeof(*modes), r);
	if (!status)
		status = table(cli, &report_class_columns, r->classes, r->class_count,
			       sizeof(*r->classes), r);
	if (!status)
		status = table(cli, &report_endpoint_columns, r->endpoints, r->endpoint_count,
			       sizeof(*r->endpoints), r);
	if (!status)
		status = table(cli, &report_tenant_columns, r->tenants, r->tenant_count,
			       sizeof(*r->tenants), r);
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

const struct command command_report = {
	.name = "report",
	.kind = VERB,
	.arguments = "POOL [--since TIME] [--html FILE]",
	.summary = "what enforcing would change, or did",
	.help = "Compares the modes that the pool was in, in the last hour or in --since, 24h at most:\n"
		"times to first token, sessions that are kept together, loads. In mode shadow it says\n"
		"what the rule would do: a forecast of the first step. Needs no daemon: pintled wrote the\n"
		"history each minute. --html writes one page with plots.",
	.run = run_report,
	.columns = &report_mode_columns,
	.options = OPTIONS_NOUN | OPTION_REPORT,
	.least = 1,
	.most = 1,
	.words = {WORD_POOL},
};
