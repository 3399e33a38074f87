// SPDX-License-Identifier: Apache-2.0
#include "load_report.h"

#include <cjson/cJSON.h>
#include <inttypes.h>

#include "../../userspace/base/util.h"

/* The report warns when this client sent 1 % of its requests so late, or later. */
#define LATE_NS (20 * NSEC_PER_MSEC)

static double seconds(uint64_t ns)
{
	return (double)ns * 1e-9;
}

static double share(double part, double whole)
{
	return whole > 0 ? part / whole : 0;
}

/* The latencies of both forms of the report. */
static const struct {
	const char *key, *title;
	size_t offset;
} latencies[] = {
	{"ttft", "TTFT", offsetof(struct stats_row, ttft)},
	{"itl", "between tokens", offsetof(struct stats_row, itl)},
	{"tpot", "per token", offsetof(struct stats_row, tpot)},
	{"e2e", "end to end", offsetof(struct stats_row, e2e)},
};

static const struct {
	const char *key;
	double share;
} quantiles[] = {
	{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999},
};

static const struct durations *latency(const struct stats_row *r, size_t i)
{
	return (const struct durations *)((const char *)r + latencies[i].offset);
}

/* -- text ------------------------------------------------------------------------- */

static void heading(FILE *f, const struct report_names *names, const struct run_config *config,
		    const struct run_result *result)
{
	fprintf(f, "%s%s%s to %s, %s, seed %" PRIu64 "\n", names->workload,
		names->trace ? ", trace " : "", names->trace ? names->trace : "", names->target,
		config->form.chat ? "chat" : "completions", config->seed);
	fprintf(f, "measured for %.1f s, after %.1f s of warm-up%s; %" PRIu64 " connection%s\n",
		seconds(result->window_ns), seconds(config->warmup_ns),
		result->interrupted ? ", ended by a signal" : "", result->connections,
		plural(result->connections));
}

static void row_text(FILE *f, const struct stats_row *r, double window)
{
	char hit[16] = "-";

	if (r->prompt_tokens)
		snprintf(hit, sizeof(hit), "%.1f %%",
			 100 * share((double)r->cached_tokens, (double)r->prompt_tokens));
	fprintf(f, "%-16s %9" PRIu64 " %9" PRIu64 " %7" PRIu64 " %9.2f %11.0f %12" PRIu64 " %8s\n",
		r->name, r->sessions, stats_requests(r), stats_errors(r),
		share((double)r->ended_in_window, window), share(r->tokens_in_window, window),
		r->prompt_tokens, hit);
}

static void latency_text(FILE *f, const struct stats_row *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(latencies); i++) {
		const struct durations *h = latency(r, i);

		if (!h->count)
			continue;
		fprintf(f, "%-16s %-15s %9.1f", r->name, latencies[i].title,
			durations_mean(h) * 1e-6);
		for (size_t q = 0; q < ARRAY_SIZE(quantiles); q++)
			fprintf(f, " %9.1f",
				(double)durations_quantile(h, quantiles[q].share) * 1e-6);
		fprintf(f, " %9.1f\n", (double)h->max_ns * 1e-6);
	}
}

static void endpoint_text(FILE *f, const struct stats *s, double window)
{
	if (!s->endpoint_count)
		return;
	fprintf(f, "\n%-24s %9s %7s %9s %11s %8s %9s %9s %9s\n", "endpoint", "requests", "errors",
		"req/s", "tokens/s", "cached", "TTFT p50", "p95", "ITL p50");
	for (size_t i = 0; i < s->endpoint_count; i++) {
		const struct stats_row *r = s->endpoints[i];

		fprintf(f,
			"%-24s %9" PRIu64 " %7" PRIu64 " %9.2f %11.0f %6.1f %% %9.1f %9.1f %9.1f\n",
			r->name, stats_requests(r), stats_errors(r),
			share((double)r->ended_in_window, window),
			share(r->tokens_in_window, window),
			100 * share((double)r->cached_tokens, (double)r->prompt_tokens),
			(double)durations_quantile(&r->ttft, 0.5) * 1e-6,
			(double)durations_quantile(&r->ttft, 0.95) * 1e-6,
			(double)durations_quantile(&r->itl, 0.5) * 1e-6);
	}
}

static void errors_text(FILE *f, const struct stats *s, const struct stats_row *total)
{
	bool any = false;

	for (size_t o = 0; o < LOAD_OUTCOME_COUNT; o++) {
		if (o == LOAD_OK || !total->outcomes[o])
			continue;
		fprintf(f, "%s%-16s %9" PRIu64 "  %s\n", any ? "" : "\nnot answered well:\n",
			load_outcome_keys[o], total->outcomes[o], s->problems[o]);
		any = true;
	}
}

static void told_no_text(FILE *f, const struct stats_row *total)
{
	if (total->told_no)
		fprintf(f,
			"\ntold no, and sent again: %" PRIu64 " times, %" PRIu64
			" of them without a time to come again\n",
			total->told_no, total->told_no_time);
}

static double server_sum(const struct run_config *config, enum server_counter counter)
{
	return load_servers_sum(config->servers, config->server_count, counter);
}

static void servers_text(FILE *f, const struct run_config *config)
{
	double queries = server_sum(config, SERVER_QUERIES);

	if (!config->server_count)
		return;
	fprintf(f,
		"\nservers: prefix hits %.1f %% of %.0f tokens; on average %.1f ms in the queue, "
		"TTFT %.1f ms; %.0f preemptions\n",
		100 * share(server_sum(config, SERVER_HITS), queries), queries,
		1e3 * share(server_sum(config, SERVER_QUEUE_SUM),
			    server_sum(config, SERVER_QUEUE_COUNT)),
		1e3 * share(server_sum(config, SERVER_TTFT_SUM),
			    server_sum(config, SERVER_TTFT_COUNT)),
		server_sum(config, SERVER_PREEMPTIONS));
	for (size_t i = 0; i < config->server_count; i++)
		if (*config->servers[i].problem)
			fprintf(f, "not counted: %s: %s\n", config->servers[i].shown,
				config->servers[i].problem);
}

void report_text(FILE *f, const struct report_names *names, const struct run_config *config,
		 const struct run_result *result)
{
	_cleanup_free_ struct stats_row *total = calloc(1, sizeof(*total));
	const struct stats *s = &result->stats;
	double window = seconds(result->window_ns);
	uint64_t late = durations_quantile(&s->lag, 0.99);

	if (!total)
		return;
	stats_total(s, total);
	heading(f, names, config, result);
	fprintf(f, "\n%-16s %9s %9s %7s %9s %11s %12s %8s\n", "class", "sessions", "requests",
		"errors", "req/s", "tokens/s", "prompt", "cached");
	for (size_t i = 0; i < s->class_count; i++)
		row_text(f, &s->classes[i], window);
	if (s->class_count > 1)
		row_text(f, total, window);
	fprintf(f, "\n%-16s %-15s %9s", "class", "ms", "mean");
	for (size_t q = 0; q < ARRAY_SIZE(quantiles); q++)
		fprintf(f, " %9s", quantiles[q].key);
	fprintf(f, " %9s\n", "max");
	for (size_t i = 0; i < s->class_count; i++)
		latency_text(f, &s->classes[i]);
	if (s->class_count > 1)
		latency_text(f, total);
	endpoint_text(f, s, window);
	errors_text(f, s, total);
	told_no_text(f, total);
	servers_text(f, config);
	if (late > LATE_NS)
		fprintf(f,
			"\nThis client was late itself: 1 %% of its requests by %.0f ms or more, "
			"which their times hold. It has too little CPU.\n",
			(double)late * 1e-6);
}

/* -- JSON ------------------------------------------------------------------------- */

static void histogram_json(cJSON *parent, const char *key, const struct durations *h)
{
	cJSON *o = cJSON_AddObjectToObject(parent, key);

	cJSON_AddNumberToObject(o, "count", (double)h->count);
	cJSON_AddNumberToObject(o, "mean", durations_mean(h) * 1e-9);
	cJSON_AddNumberToObject(o, "min", seconds(h->min_ns));
	for (size_t q = 0; q < ARRAY_SIZE(quantiles); q++)
		cJSON_AddNumberToObject(o, quantiles[q].key,
					seconds(durations_quantile(h, quantiles[q].share)));
	cJSON_AddNumberToObject(o, "max", seconds(h->max_ns));
}

static void row_json(cJSON *o, const struct stats_row *r, double window)
{
	cJSON *errors;

	cJSON_AddStringToObject(o, "name", r->name);
	cJSON_AddNumberToObject(o, "sessions", (double)r->sessions);
	cJSON_AddNumberToObject(o, "requests", (double)stats_requests(r));
	cJSON_AddNumberToObject(o, "ok", (double)r->outcomes[LOAD_OK]);
	cJSON_AddNumberToObject(o, "cancelled", (double)r->outcomes[LOAD_CANCELLED]);
	errors = cJSON_AddObjectToObject(o, "errors");
	for (size_t k = 0; k < LOAD_OUTCOME_COUNT; k++)
		if (k != LOAD_OK && k != LOAD_CANCELLED)
			cJSON_AddNumberToObject(errors, load_outcome_keys[k],
						(double)r->outcomes[k]);
	cJSON_AddNumberToObject(o, "told_no", (double)r->told_no);
	cJSON_AddNumberToObject(o, "told_no_time", (double)r->told_no_time);
	cJSON_AddNumberToObject(o, "prompt_tokens", (double)r->prompt_tokens);
	cJSON_AddNumberToObject(o, "cached_tokens", (double)r->cached_tokens);
	cJSON_AddNumberToObject(o, "output_tokens", (double)r->output_tokens);
	cJSON_AddNumberToObject(o, "requests_per_second",
				share((double)r->ended_in_window, window));
	cJSON_AddNumberToObject(o, "output_tokens_per_second", share(r->tokens_in_window, window));
	for (size_t i = 0; i < ARRAY_SIZE(latencies); i++)
		histogram_json(o, latencies[i].key, latency(r, i));
}

static void add_row(cJSON *array, const struct stats_row *r, double window)
{
	cJSON *o = cJSON_CreateObject();

	row_json(o, r, window);
	cJSON_AddItemToArray(array, o);
}

static void add_counters(cJSON *o, const struct load_server *list, size_t count)
{
	double hits = load_servers_sum(list, count, SERVER_HITS);

	for (int c = 0; c < SERVER_COUNTER_COUNT; c++)
		cJSON_AddNumberToObject(o, server_counter_keys[c],
					load_servers_sum(list, count, (enum server_counter)c));
	cJSON_AddNumberToObject(o, "hit_rate",
				share(hits, load_servers_sum(list, count, SERVER_QUERIES)));
}

static void servers_json(cJSON *parent, const struct run_config *config)
{
	cJSON *o, *pages;

	if (!config->server_count) {
		cJSON_AddNullToObject(parent, "servers");
		return;
	}
	o = cJSON_AddObjectToObject(parent, "servers");
	add_counters(o, config->servers, config->server_count);
	pages = cJSON_AddArrayToObject(o, "pages");
	for (size_t i = 0; i < config->server_count; i++) {
		const struct load_server *server = &config->servers[i];
		cJSON *page = cJSON_CreateObject();

		cJSON_AddStringToObject(page, "url", server->shown);
		if (server->read[0] && server->read[1])
			cJSON_AddNullToObject(page, "problem");
		else
			cJSON_AddStringToObject(page, "problem",
						*server->problem ? server->problem : "not read");
		add_counters(page, server, 1);
		cJSON_AddItemToArray(pages, page);
	}
}

static void timeline_json(cJSON *parent, const struct stats *s)
{
	cJSON *array = cJSON_AddArrayToObject(parent, "timeline");
	int64_t in_flight = 0;

	for (size_t i = 0; i < s->second_count; i++) {
		const struct stats_second *second = &s->seconds[i];
		cJSON *o = cJSON_CreateObject();

		in_flight += (int64_t)second->started - second->ended;
		cJSON_AddNumberToObject(o, "second", (double)i);
		cJSON_AddNumberToObject(o, "started", second->started);
		cJSON_AddNumberToObject(o, "ended", second->ended);
		cJSON_AddNumberToObject(o, "errors", second->errors);
		cJSON_AddNumberToObject(o, "told_no", second->told_no);
		cJSON_AddNumberToObject(o, "in_flight", (double)in_flight);
		cJSON_AddNumberToObject(o, "pieces", second->pieces);
		cJSON_AddNumberToObject(o, "first_tokens", second->first_tokens);
		cJSON_AddNumberToObject(o, "ttft_mean",
					share(second->ttft_sum, second->first_tokens));
		cJSON_AddItemToArray(array, o);
	}
}

static void run_json(cJSON *o, const struct report_names *names, const struct run_config *config,
		     const struct run_result *result)
{
	char source[ADDR_TEXT_SIZE];

	cJSON_AddNumberToObject(o, "version", 1);
	cJSON_AddStringToObject(o, "target", names->target);
	cJSON_AddStringToObject(o, "workload", names->workload);
	if (names->trace)
		cJSON_AddStringToObject(o, "trace", names->trace);
	else
		cJSON_AddNullToObject(o, "trace");
	cJSON_AddStringToObject(o, "api", config->form.chat ? "chat" : "completions");
	cJSON_AddStringToObject(o, "source", source_format(&config->source, source));
	cJSON_AddNumberToObject(o, "seed", (double)config->seed);
	cJSON_AddNumberToObject(o, "warmup_seconds", seconds(config->warmup_ns));
	cJSON_AddNumberToObject(o, "measured_seconds", seconds(result->window_ns));
	cJSON_AddNumberToObject(o, "elapsed_seconds", seconds(result->elapsed_ns));
	cJSON_AddBoolToObject(o, "interrupted", result->interrupted);
	cJSON_AddNumberToObject(o, "connections", (double)result->connections);
	cJSON_AddNumberToObject(o, "reused", (double)result->reused);
	cJSON_AddNumberToObject(o, "retried", (double)result->retried);
	cJSON_AddNumberToObject(o, "warmup_requests", (double)result->stats.warmup_requests);
	cJSON_AddNumberToObject(o, "cpu_seconds", result->cpu_seconds);
	histogram_json(o, "lag", &result->stats.lag);
}

static void problems_json(cJSON *parent, const struct stats *s)
{
	cJSON *o = cJSON_AddObjectToObject(parent, "problems");

	for (size_t k = 0; k < LOAD_OUTCOME_COUNT; k++)
		if (*s->problems[k])
			cJSON_AddStringToObject(o, load_outcome_keys[k], s->problems[k]);
}

int report_json(FILE *f, const struct report_names *names, const struct run_config *config,
		const struct run_result *result)
{
	_cleanup_free_ struct stats_row *total = calloc(1, sizeof(*total));
	const struct stats *s = &result->stats;
	double window = seconds(result->window_ns);
	cJSON *o = cJSON_CreateObject(), *array;
	char *text = NULL;

	if (total) {
		stats_total(s, total);
		run_json(o, names, config, result);
		row_json(cJSON_AddObjectToObject(o, "total"), total, window);
		array = cJSON_AddArrayToObject(o, "classes");
		for (size_t i = 0; i < s->class_count; i++)
			add_row(array, &s->classes[i], window);
		array = cJSON_AddArrayToObject(o, "endpoints");
		for (size_t i = 0; i < s->endpoint_count; i++)
			add_row(array, s->endpoints[i], window);
		problems_json(o, s);
		servers_json(o, config);
		timeline_json(o, s);
		text = cJSON_Print(o);
	}
	cJSON_Delete(o);
	if (!text)
		return -ENOMEM;
	fprintf(f, "%s\n", text);
	cJSON_free(text);
	return 0;
}
