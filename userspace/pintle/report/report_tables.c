/* SPDX-License-Identifier: Apache-2.0 */
/* report_tables.c - the report's tables and sentences. */
#include "report.h"

#include <math.h>

#include "../../base/buckets.h"
#include "../../base/words.h"
#include "../../maps/names.h"
#include "../../maps/state.h"

#define COLUMN(name) .get = get_##name

const char *report_mode_name(uint32_t mode)
{
	return mode < PINTLE_MODE_COUNT ? mode_name(mode) : "several";
}

static struct value wait_mean(const struct waits *w)
{
	return value_number(VALUE_WAIT,
			    (double)w->waited_ns / 1e9 / (double)MAX(w->answers, (uint64_t)1),
			    w->answers);
}

static struct value wait_quantile(const struct waits *w, double q)
{
	return value_number(VALUE_QUANTILE, bucket_quantile((const __u64 *)w->bucket, q) / 1e6,
			    w->answers);
}

static cJSON *tables_outcomes_json(const uint64_t *counts)
{
	cJSON *object = cJSON_CreateObject();

	for (uint32_t i = 0; object && i < PINTLE_OUTCOME_COUNT; i++)
		if (counts[i])
			cJSON_AddItemToObject(object, outcome_name(i), json_count(counts[i]));
	return object;
}

/* ---- modes ---------------------------------------------------------------------------- */

#define MODE(name) GETTER(name, const struct report_mode *r, const struct report *arg)

MODE(mode)
{
	return value_text(report_mode_name(r->mode));
}

MODE(seconds)
{
	return value_number(VALUE_SECONDS, r->seconds, true);
}

MODE(spans)
{
	return value_count(r->spans);
}

MODE(decisions)
{
	return value_count(r->decisions_total);
}

MODE(outcomes)
{
	return value_json(tables_outcomes_json(r->decisions));
}

MODE(would)
{
	return r->shadows_total ? value_json(tables_outcomes_json(r->shadows)) : value_none();
}

/* The share of kept ones among connections whose session, or group, preferred an endpoint. */
static double kept_share(const struct report_mode *r, double *all)
{
	const uint64_t *n = r->mode == PINTLE_MODE_SHADOW ? r->shadows : r->decisions;
	double kept = (double)outcomes_with(n, PINTLE_KEPT);

	*all = kept + (double)n[PINTLE_OUTCOME_ESCAPED];
	return *all > 0 ? kept / *all : 0;
}

MODE(kept)
{
	double all, share = kept_share(r, &all);

	return value_number(VALUE_SHARE, share, all > 0);
}

MODE(answers)
{
	return value_count(r->waits.answers);
}

MODE(first_token)
{
	return wait_mean(&r->waits);
}

MODE(p50)
{
	return wait_quantile(&r->waits, 0.5);
}

MODE(p95)
{
	return wait_quantile(&r->waits, 0.95);
}

MODE(p99)
{
	return wait_quantile(&r->waits, 0.99);
}

MODE(load)
{
	return value_number(VALUE_NUMBER, r->load_mean / r->looks, r->looks > 0);
}

MODE(load_most)
{
	return value_number(VALUE_NUMBER, r->load_most / r->looks, r->looks > 0);
}

MODE(spread)
{
	return value_number(VALUE_NUMBER, r->load_spread / r->looks, r->looks > 0);
}

MODE(in_flight)
{
	return value_number(VALUE_NUMBER, r->in_flight / r->looks, r->looks > 0);
}

MODE(prefix_hits)
{
	return value_number(VALUE_SHARE, (double)r->prefix_hits / (double)r->prefix_queries,
			    r->prefix_queries);
}

MODE(tokens)
{
	return value_count(r->output_tokens);
}

MODE(gpu_tokens)
{
	return value_number(VALUE_NUMBER, (double)r->output_tokens / ((double)r->gpu_ms / 1000),
			    r->gpu_ms);
}

MODE(gpu_busy)
{
	return value_number(VALUE_SHARE, (double)r->gpu_busy_ms / (double)r->gpu_ms, r->gpu_ms);
}

static const struct column mode_columns[] = {
	{.key = "mode",
	 .heading = "MODE",
	 COLUMN(mode),
	 .help = "text: the mode that held; several: it is not known which, or it changed"},
	{.key = "seconds", .heading = "FOR", .right = true, COLUMN(seconds), .help = "how long"},
	{.key = "spans", COLUMN(spans), .help = "minutes in which something came"},
	{.key = "decisions",
	 .heading = "DECISIONS",
	 .right = true,
	 COLUMN(decisions),
	 .help = "connections"},
	{.key = "outcomes", COLUMN(outcomes), .help = "object: decisions by outcome"},
	{.key = "would",
	 COLUMN(would),
	 .help = "object: the rule's decisions in mode shadow; null: none"},
	{.key = "kept",
	 .heading = "KEPT",
	 .right = true,
	 COLUMN(kept),
	 .help = "share of connections with a preferred endpoint that go there, 0..1; in mode "
		 "shadow, that would; null: none had one"},
	{.key = "answers",
	 .heading = "ANSWERS",
	 .right = true,
	 .spare = 3,
	 COLUMN(answers),
	 .help = "whose first token was seen"},
	{.key = "first_token_mean_seconds",
	 .heading = "TTFT",
	 .right = true,
	 COLUMN(first_token),
	 .help = "mean time to it; null: none was seen"},
	{.key = "first_token_p50_seconds",
	 .heading = "TTFT50",
	 .right = true,
	 COLUMN(p50),
	 .help = "percentiles of it, known to 3 %"},
	{.key = "first_token_p95_seconds",
	 .heading = "TTFT95",
	 .right = true,
	 COLUMN(p95),
	 .help = ""},
	{.key = "first_token_p99_seconds",
	 .heading = "TTFT99",
	 .right = true,
	 .spare = 1,
	 COLUMN(p99),
	 .help = ""},
	{.key = "load_mean",
	 .heading = "LOAD",
	 .right = true,
	 COLUMN(load),
	 .help = "of an endpoint that may be chosen, looked at every 10 s; null: not looked yet"},
	{.key = "load_most", COLUMN(load_most), .help = "of the most loaded one"},
	{.key = "load_spread",
	 .heading = "SPREAD",
	 .right = true,
	 COLUMN(spread),
	 .help = "standard deviation of their loads; the mean of these"},
	{.key = "in_flight",
	 COLUMN(in_flight),
	 .help = "steered connections that were open, on average"},
	{.key = "prefix_hit_ratio",
	 .heading = "CACHED",
	 .right = true,
	 .spare = 2,
	 COLUMN(prefix_hits),
	 .help = "share of prompt tokens that the servers found in their prefix caches; null: "
		 "they do not say"},
	{.key = "output_tokens", COLUMN(tokens), .help = "generated, as the servers count them"},
	{.key = "tokens_per_gpu_second",
	 .heading = "TOK/GPU-S",
	 .right = true,
	 .spare = 4,
	 COLUMN(gpu_tokens),
	 .help = "generated tokens for each second of each GPU that DCGM tells of; null: none"},
	{.key = "gpu_busy", COLUMN(gpu_busy), .help = "share of that time in which they were busy"},
};
const struct columns report_mode_columns = COLUMNS(mode_columns);

/* ---- classes --------------------------------------------------------------------------- */

#define CLASS(name) GETTER(class_##name, const struct report_class *c, const struct report *r)

CLASS(name)
{
	return value_text(c->name);
}

CLASS(mode)
{
	return value_text(report_mode_name(c->mode));
}

CLASS(placed)
{
	return value_count(c->placed);
}

CLASS(answers)
{
	return value_count(c->waits.answers);
}

CLASS(first_token)
{
	return wait_mean(&c->waits);
}

CLASS(p50)
{
	return wait_quantile(&c->waits, 0.5);
}

CLASS(p95)
{
	return wait_quantile(&c->waits, 0.95);
}

static const struct column class_columns[] = {
	{.key = "class", .heading = "CLASS", COLUMN(class_name), .help = "text"},
	{.key = "mode", .heading = "MODE", COLUMN(class_mode), .help = "text: as above"},
	{.key = "placements",
	 .heading = "PLACED",
	 .right = true,
	 COLUMN(class_placed),
	 .help = "connections that an endpoint got"},
	{.key = "answers",
	 .heading = "ANSWERS",
	 .right = true,
	 COLUMN(class_answers),
	 .help = "as above, like the next ones"},
	{.key = "first_token_mean_seconds",
	 .heading = "TTFT",
	 .right = true,
	 COLUMN(class_first_token),
	 .help = ""},
	{.key = "first_token_p50_seconds",
	 .heading = "TTFT50",
	 .right = true,
	 COLUMN(class_p50),
	 .help = ""},
	{.key = "first_token_p95_seconds",
	 .heading = "TTFT95",
	 .right = true,
	 COLUMN(class_p95),
	 .help = ""},
};
static const struct columns report_class_columns = COLUMNS(class_columns);

/* ---- endpoints ------------------------------------------------------------------------- */

#define ENDPOINT(name)                                                                             \
	GETTER(endpoint_##name, const struct report_endpoint *e, const struct report *r)

ENDPOINT(name)
{
	return value_text(e->name);
}

static struct value placed_share(const struct report *r, const struct report_endpoint *e, bool with)
{
	double all = 0, own = 0;

	for (size_t i = 0; i < r->endpoint_count; i++)
		for (uint32_t k = 0; k < PINTLE_MODE_COUNT; k++)
			if (with ? k == PINTLE_MODE_ENFORCE : mode_is_without(k)) {
				all += (double)r->endpoints[i].placed[k];
				own += &r->endpoints[i] == e ? (double)e->placed[k] : 0;
			}
	return value_number(VALUE_SHARE, own / all, all > 0);
}

ENDPOINT(placed)
{
	uint64_t n = 0;

	for (uint32_t k = 0; k < REPORT_MODES; k++)
		n += e->placed[k];
	return value_count(n);
}

ENDPOINT(without)
{
	return placed_share(r, e, false);
}

ENDPOINT(with)
{
	return placed_share(r, e, true);
}

ENDPOINT(would)
{
	double all = 0;

	for (size_t i = 0; i < r->endpoint_count; i++)
		all += (double)r->endpoints[i].would;
	return value_number(VALUE_SHARE, (double)e->would / all, all > 0);
}

ENDPOINT(first_token)
{
	struct waits w = {0};

	for (uint32_t k = 0; k < REPORT_MODES; k++) {
		w.answers += e->answers[k];
		w.waited_ns += e->waited_ns[k];
	}
	return wait_mean(&w);
}

static const struct column endpoint_columns[] = {
	{.key = "endpoint", .heading = "ENDPOINT", COLUMN(endpoint_name), .help = "text"},
	{.key = "placements",
	 .heading = "PLACED",
	 .right = true,
	 COLUMN(endpoint_placed),
	 .help = "connections that it got"},
	{.key = "share_without",
	 .heading = "WITHOUT",
	 .right = true,
	 COLUMN(endpoint_without),
	 .help = "its share of the placements in the modes baseline and shadow, 0..1; null: none"},
	{.key = "share_would",
	 .heading = "WOULD",
	 .right = true,
	 COLUMN(endpoint_would),
	 .help = "its share of those that the rule would have made in mode shadow; null: none"},
	{.key = "share_enforced",
	 .heading = "ENFORCED",
	 .right = true,
	 COLUMN(endpoint_with),
	 .help = "its share in mode enforce; null: none"},
	{.key = "first_token_mean_seconds",
	 .heading = "TTFT",
	 .right = true,
	 COLUMN(endpoint_first_token),
	 .help = "mean, in whatever mode; null: none was seen"},
};
static const struct columns report_endpoint_columns = COLUMNS(endpoint_columns);

/* ---- tenants ---------------------------------------------------------------------------- */

#define TENANT(name) GETTER(tenant_##name, const struct report_tenant *t, const struct report *r)

TENANT(text)
{
	return value_text(t->text);
}

TENANT(mode)
{
	return value_text(report_mode_name(t->mode));
}

TENANT(opened)
{
	return value_count(t->opened);
}

TENANT(refused)
{
	return value_count(t->refused);
}

TENANT(answers)
{
	return value_count(t->waits.answers);
}

TENANT(first_token)
{
	return wait_mean(&t->waits);
}

TENANT(p50)
{
	return wait_quantile(&t->waits, 0.5);
}

TENANT(p95)
{
	return wait_quantile(&t->waits, 0.95);
}

static const struct column tenant_columns[] = {
	{.key = "tenant",
	 .heading = "TENANT",
	 COLUMN(tenant_text),
	 .help = "text: those with most connections; other: all without an entry"},
	{.key = "mode", .heading = "MODE", COLUMN(tenant_mode), .help = "text: as above"},
	{.key = "opened",
	 .heading = "OPENED",
	 .right = true,
	 COLUMN(tenant_opened),
	 .help = "connections"},
	{.key = "refused",
	 .heading = "OVER",
	 .right = true,
	 COLUMN(tenant_refused),
	 .help = "connections that its quota did not let in"},
	{.key = "answers",
	 .heading = "ANSWERS",
	 .right = true,
	 COLUMN(tenant_answers),
	 .help = "as above; percentiles are known to 12 %"},
	{.key = "first_token_mean_seconds",
	 .heading = "TTFT",
	 .right = true,
	 COLUMN(tenant_first_token),
	 .help = ""},
	{.key = "first_token_p50_seconds",
	 .heading = "TTFT50",
	 .right = true,
	 COLUMN(tenant_p50),
	 .help = ""},
	{.key = "first_token_p95_seconds",
	 .heading = "TTFT95",
	 .right = true,
	 COLUMN(tenant_p95),
	 .help = ""},
};
static const struct columns report_tenant_columns = COLUMNS(tenant_columns);

/* ---- all of them ------------------------------------------------------------------------- */

void report_tables(const struct report *r, struct report_tables *t)
{
	size_t modes = 0;

	for (size_t i = 0; i < REPORT_MODES; i++)
		if (r->modes[i].spans)
			t->modes[modes++] = r->modes[i];
	t->table[0] = (struct report_table){"modes", &report_mode_columns, t->modes, modes,
					    sizeof(*t->modes)};
	t->table[1] = (struct report_table){"classes", &report_class_columns, r->classes,
					    r->class_count, sizeof(*r->classes)};
	t->table[2] = (struct report_table){"endpoints", &report_endpoint_columns, r->endpoints,
					    r->endpoint_count, sizeof(*r->endpoints)};
	t->table[3] = (struct report_table){"tenants", &report_tenant_columns, r->tenants,
					    r->tenant_count, sizeof(*r->tenants)};
}

/* ---- sentences -------------------------------------------------------------------------- */

const char *report_span_text(double seconds, char buf[48])
{
	unsigned long s = (unsigned long)MAX(seconds, 0.0);

	if (s >= 3600)
		snprintf(buf, 48, "%lu h %lu min", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(buf, 48, "%lu min %lu s", s / 60, s % 60);
	else
		snprintf(buf, 48, "%lu s", s);
	return buf;
}

static const char *more_or_less(double change, char buf[48])
{
	if (fabs(change) < 0.005)
		snprintf(buf, 48, "the same");
	else if (change >= 1)
		snprintf(buf, 48, "%.1f times as much", 1 + change);
	else
		snprintf(buf, 48, "%.0f %% %s", 100 * fabs(change), change < 0 ? "less" : "more");
	return buf;
}

static bool is_chance(const struct difference *d)
{
	return d->judged && d->low <= 0 && d->high >= 0;
}

static void did_say(const struct difference *d, const char *what, char *buf)
{
	char change[48], after[WORDS_SIZE], before[WORDS_SIZE];
	int n = snprintf(buf, REPORT_SENTENCE_SIZE,
			 "Enforcing, the %s of the time to first token is %s, and without it %s",
			 what, wait_text(d->after, after), wait_text(d->before, before));
	size_t at = (size_t)MAX(n, 0);

	more_or_less(d->change, change);
	if (!d->judged)
		snprintf(buf + at, REPORT_SENTENCE_SIZE - at,
			 ". Too few minutes to say whether that is chance: it takes five of each.");
	else if (is_chance(d))
		snprintf(buf + at, REPORT_SENTENCE_SIZE - at,
			 ". That is no difference beyond chance (95 %% confidence: %+.0f to "
			 "%+.0f %%).",
			 100 * d->low, 100 * d->high);
	else
		snprintf(buf + at, REPORT_SENTENCE_SIZE - at,
			 ": %s (95 %% confidence: %+.0f to %+.0f %%).", change, 100 * d->low,
			 100 * d->high);
}

static void load_say(const struct difference *d, char *buf)
{
	char change[48];

	if (fabs(d->change) < 0.05)
		snprintf(
			buf, REPORT_SENTENCE_SIZE,
			"Forecast: a connection would find a load of %.1f requests, and found %.1f. "
			"Enforcing is not worth it by that.",
			d->after, d->before);
	else
		snprintf(buf, REPORT_SENTENCE_SIZE,
			 "Forecast: a connection would find a load of %.1f requests where the rule "
			 "sends it, and found %.1f: %s.",
			 d->after, d->before, more_or_less(d->change, change));
}

static void first_token_say(const struct difference *d, char *buf)
{
	char change[48], after[WORDS_SIZE], before[WORDS_SIZE];

	snprintf(buf, REPORT_SENTENCE_SIZE,
		 "Forecast: the mean time to first token would be %s, and was %s: %s, if each "
		 "endpoint answered as it did.",
		 wait_text(d->after, after), wait_text(d->before, before),
		 more_or_less(d->change, change));
}

/* What limits, quotas and access do, or would do, of which times and loads show nothing. Returns
 * false if they do nothing. */
static bool told_say(const uint64_t *n, uint64_t all, bool would, char *buf)
{
	double told, spilled;

	if (!all)
		return false;
	told = (double)outcomes_with(n, PINTLE_TOLD_NO) / (double)all;
	spilled = (double)n[PINTLE_OUTCOME_SPILLED] / (double)all;
	if (told + spilled > 0)
		snprintf(buf, REPORT_SENTENCE_SIZE,
			 "%s, %.1f %% of the connections %s told no, and %.1f %% %s to a fallback.",
			 would ? "Forecast" : "Enforcing", 100 * told, would ? "would be" : "are",
			 100 * spilled, would ? "would go" : "go");
	return told + spilled > 0;
}

/* The pool counts nothing of what its canary does. */
static bool canary_say(const struct report *r, char *buf)
{
	const struct pintle_other *o = &r->pool->others[PINTLE_OTHER_CANARY];
	const struct state_pool *to = state_pool_find(r->state, &o->pool);

	if (!to || !r->pool->canary_share)
		return false;
	snprintf(buf, REPORT_SENTENCE_SIZE,
		 "%.2f %% of the sessions are the canary's: `pintle report %s`.",
		 100 * r->pool->canary_share, to->name);
	return true;
}

bool report_sentence(const struct report *r, size_t i, char *buf)
{
	const struct report_mode *enforced = &r->modes[PINTLE_MODE_ENFORCE];
	const struct report_mode *shadowed = &r->modes[PINTLE_MODE_SHADOW];
	const struct {
		const struct difference *d;
		const char *what;
	} did[] = {{&r->did_mean, "mean"}, {&r->did_p95, "95th percentile"}};
	bool shadow = shadowed->shadows_total;
	bool forecast = r->would_load.known || r->would_first_token.known;
	size_t n = 0;

	for (size_t k = 0; k < ARRAY_SIZE(did); k++)
		/* Unjudged, one figure is enough. */
		if (did[k].d->known && (did[k].d->judged || !k) && n++ == i) {
			did_say(did[k].d, did[k].what, buf);
			return true;
		}
	if (r->would_load.known && n++ == i) {
		load_say(&r->would_load, buf);
		return true;
	}
	if (r->would_first_token.known && n++ == i) {
		first_token_say(&r->would_first_token, buf);
		return true;
	}
	if (shadow && !forecast && n++ == i) {
		snprintf(buf, REPORT_SENTENCE_SIZE,
			 "No forecast of loads yet: mode shadow has seen too little.");
		return true;
	}
	if (forecast && n++ == i) {
		snprintf(
			buf, REPORT_SENTENCE_SIZE,
			"A forecast is of the first step: the loads are those that came about without "
			"the rule.");
		return true;
	}
	if (!n && n++ == i) {
		snprintf(
			buf, REPORT_SENTENCE_SIZE,
			"Nothing to compare yet: run the pool in mode shadow, then in mode enforce.");
		return true;
	}
	if (told_say(enforced->decisions, enforced->decisions_total, false, buf) && n++ == i)
		return true;
	if (told_say(shadowed->shadows, shadowed->shadows_total, true, buf) && n++ == i)
		return true;
	if (canary_say(r, buf) && n++ == i)
		return true;
	if (r->sealed && n++ == i) {
		snprintf(
			buf, REPORT_SENTENCE_SIZE,
			"The servers speak TLS, by their pages: no times to first token are known.");
		return true;
	}
	return false;
}
