// SPDX-License-Identifier: Apache-2.0
#include "lab_report.h"

#include <cjson/cJSON.h>

#include "../../userspace/base/util.h"
#include "../policies/lab_policy.h"

#define MS 1e6

static const char *const names[LAB_PART_P95] = {
	[LAB_TTFT_MEAN] = "ttft_mean_ms",
	[LAB_TTFT_P50] = "ttft_p50_ms",
	[LAB_TTFT_P95] = "ttft_p95_ms",
	[LAB_TTFT_P99] = "ttft_p99_ms",
	[LAB_OTHER_P95] = "other_ttft_p95_ms",
	[LAB_ITL_MEAN] = "itl_mean_ms",
	[LAB_ITL_P50] = "itl_p50_ms",
	[LAB_ITL_P95] = "itl_p95_ms",
	[LAB_ITL_P99] = "itl_p99_ms",
	[LAB_REQUESTS] = "requests_per_s",
	[LAB_TOKENS] = "output_tokens_per_s",
	[LAB_HIT_RATE] = "hit_rate",
	[LAB_SPREAD] = "spread",
	[LAB_PEAK] = "peak",
	[LAB_HERD] = "herd",
	[LAB_UNFINISHED] = "unfinished",
	[LAB_PREEMPTIONS] = "preemptions",
	[LAB_ESCAPED] = "escaped",
	[LAB_TOLD_NO] = "told_no",
};

static double escaped(const struct lab_result *r)
{
	double all = 0;

	for (int i = 0; i < PINTLE_MAX_OUTCOMES; i++)
		all += (double)r->outcomes[i];
	return all > 0 ? (double)r->outcomes[PINTLE_OUTCOME_ESCAPED] / all : 0;
}

static void row_take(struct lab_row *row, uint32_t seed, const struct lab_result *r)
{
	const struct {
		enum lab_figure figure;
		double value;
	} figures[] = {
		{LAB_TTFT_MEAN, durations_mean(&r->ttft) / MS},
		{LAB_TTFT_P50, (double)durations_quantile(&r->ttft, 0.5) / MS},
		{LAB_TTFT_P95, (double)durations_quantile(&r->ttft, 0.95) / MS},
		{LAB_TTFT_P99, (double)durations_quantile(&r->ttft, 0.99) / MS},
		{LAB_OTHER_P95, (double)durations_quantile(&r->ttft_other, 0.95) / MS},
		{LAB_ITL_MEAN, durations_mean(&r->itl) / MS},
		{LAB_ITL_P50, (double)durations_quantile(&r->itl, 0.5) / MS},
		{LAB_ITL_P95, (double)durations_quantile(&r->itl, 0.95) / MS},
		{LAB_ITL_P99, (double)durations_quantile(&r->itl, 0.99) / MS},
		{LAB_REQUESTS, r->requests_per_s},
		{LAB_TOKENS, r->tokens_per_s},
		{LAB_HIT_RATE, r->hit_rate},
		{LAB_SPREAD, r->spread},
		{LAB_PEAK, r->peak},
		{LAB_HERD, r->herd},
		{LAB_UNFINISHED, (double)r->unfinished},
		{LAB_PREEMPTIONS, (double)r->preemptions},
		{LAB_ESCAPED, escaped(r)},
		{LAB_TOLD_NO, (double)r->told_no},
	};

	for (size_t i = 0; i < ARRAY_SIZE(figures); i++)
		row->values[figures[i].figure][seed] = figures[i].value;
	for (int i = 0; i < LAB_MAX_PARTS; i++) {
		row->values[LAB_PART_P95 + i][seed] =
			(double)durations_quantile(&r->ttft_part[i], 0.95) / MS;
		row->values[LAB_PART_TOKENS + i][seed] = r->part_tokens_per_s[i];
	}
	row->placed += r->placed;
}

static double cpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int lab_row_run(const struct lab_options *o, const char *policy, uint32_t seeds,
		struct lab_row *row, const char **what)
{
	struct lab_row r = {.policy = policy, .rate = o->rate, .seeds = seeds};
	double began = cpu_now();

	for (uint32_t i = 0; i < seeds; i++) {
		struct lab_options each = *o;
		struct lab_result result;
		int err;

		each.seed = o->seed + i;
		err = lab_run(&each, &result, what);
		if (err) {
			lab_row_fini(&r);
			return err;
		}
		row_take(&r, i, &result);
		if (!i) {
			r.timeline = TAKE_PTR(result.timeline);
			r.timeline_count = result.timeline_count;
		}
		lab_result_fini(&result);
	}
	if (o->load) /* its rate is of sessions: report the rate of requests that came of it */
		r.rate = lab_row_figure(&r, LAB_REQUESTS).mean / o->endpoints;
	r.cpu_s = cpu_now() - began;
	*row = r;
	return 0;
}

void lab_row_fini(struct lab_row *row)
{
	free(row->timeline);
	row->timeline = NULL;
}

struct lab_interval lab_row_figure(const struct lab_row *row, enum lab_figure figure)
{
	return lab_interval_of(row->values[figure], row->seeds);
}

/* Moves `from` into *to, after releasing the row that *to held. */
static void row_keep(struct lab_row *to, const struct lab_row *from)
{
	lab_row_fini(to);
	*to = *from;
}

static bool within(const struct lab_row *row, double slo_ms)
{
	for (uint32_t i = 0; i < row->seeds; i++)
		if (row->values[LAB_TTFT_P95][i] > slo_ms)
			return false;
	return true;
}

int lab_knee(const struct lab_options *o, const char *policy, uint32_t seeds, double slo_ms,
	     double low, double high, struct lab_row *row, const char **what)
{
	struct lab_row best = {.policy = policy, .seeds = seeds}, now;
	struct lab_options at = *o;
	int err;

	at.hopeless_ms = slo_ms;
	while (high / low > 1.02) {
		at.rate = best.rate > 0 ? sqrt(low * high) : low;
		err = lab_row_run(&at, policy, seeds, &now, what);
		if (err) {
			lab_row_fini(&best);
			return err;
		}
		if (within(&now, slo_ms)) {
			low = at.rate;
			row_keep(&best, &now);
		} else {
			lab_row_fini(&now);
			if (best.rate <= 0)
				break;
			high = at.rate;
		}
	}
	*row = best;
	return 0;
}

/* -- output ------------------------------------------------------------------------------- */

void lab_table_head(FILE *f)
{
	fprintf(f, "%-34s %7s %9s %9s %9s %8s %8s %9s %6s %7s %6s\n", "policy", "rate", "TTFT p50",
		"p95", "p99 ms", "ITL p50", "p99 ms", "tokens/s", "hits", "spread", "herd");
}

void lab_table_row(FILE *f, const struct lab_row *row)
{
#define MEAN(x) lab_row_figure(row, x).mean
	fprintf(f, "%-34s %7.2f %9.1f %9.1f %9.1f %8.2f %8.2f %9.0f %5.1f%% %7.3f %6.2f\n",
		row->policy, row->rate, MEAN(LAB_TTFT_P50), MEAN(LAB_TTFT_P95), MEAN(LAB_TTFT_P99),
		MEAN(LAB_ITL_P50), MEAN(LAB_ITL_P99), MEAN(LAB_TOKENS), 100 * MEAN(LAB_HIT_RATE),
		MEAN(LAB_SPREAD), MEAN(LAB_HERD));
#undef MEAN
}

static void timeline_add(cJSON *json, const struct lab_row *row)
{
	cJSON *mean = cJSON_AddArrayToObject(json, "timeline_mean");
	cJSON *most = cJSON_AddArrayToObject(json, "timeline_most");

	for (uint32_t i = 0; i < row->timeline_count; i++) {
		cJSON_AddItemToArray(mean, cJSON_CreateNumber(row->timeline[i].mean));
		cJSON_AddItemToArray(most, cJSON_CreateNumber(row->timeline[i].most));
	}
}

static void pair_add(cJSON *json, const char *name, const struct lab_row *row,
		     enum lab_figure figure)
{
	struct lab_interval v = lab_row_figure(row, figure);
	cJSON *pair = cJSON_AddArrayToObject(json, name);

	cJSON_AddItemToArray(pair, cJSON_CreateNumber(v.mean));
	cJSON_AddItemToArray(pair, cJSON_CreateNumber(v.half));
}

static void parts_add(cJSON *json, const struct lab_options *o, const struct lab_row *row)
{
	cJSON *parts = cJSON_AddObjectToObject(json, "parts");

	for (uint32_t i = 0; i < o->workload->parts; i++) {
		cJSON *part = cJSON_AddObjectToObject(parts, o->workload->part[i].name);

		pair_add(part, "ttft_p95_ms", row, LAB_PART_P95 + i);
		pair_add(part, "output_tokens_per_s", row, LAB_PART_TOKENS + i);
	}
}

int lab_json_row(FILE *f, const struct lab_options *o, const struct lab_row *row, bool timeline)
{
	cJSON *json = cJSON_CreateObject();
	char *text;

	if (!json)
		return -ENOMEM;
	cJSON_AddStringToObject(json, "workload", o->workload->name);
	cJSON_AddStringToObject(json, "profile", o->profile->name);
	cJSON_AddStringToObject(json, "policy", row->policy);
	cJSON_AddBoolToObject(json, "central", o->policy->central);
	cJSON_AddNumberToObject(json, "endpoints", o->endpoints);
	cJSON_AddNumberToObject(json, "nodes", o->nodes);
	cJSON_AddNumberToObject(json, "rate", row->rate);
	cJSON_AddNumberToObject(json, "seeds", row->seeds);
	cJSON_AddNumberToObject(json, "placed", (double)row->placed);
	cJSON_AddNumberToObject(json, "cpu_s", row->cpu_s);
	for (int i = 0; i < LAB_PART_P95; i++)
		pair_add(json, names[i], row, i);
	parts_add(json, o, row);
	if (timeline)
		timeline_add(json, row);
	text = cJSON_PrintUnformatted(json);
	cJSON_Delete(json);
	if (!text)
		return -ENOMEM;
	fprintf(f, "%s\n", text);
	cJSON_free(text);
	return 0;
}
