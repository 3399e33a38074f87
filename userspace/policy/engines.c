// SPDX-License-Identifier: Apache-2.0
#include "engines.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_names.h"
#include "../base/expfmt.h"
#include "../base/util.h"

#define NAME_SHOWN   80  /* characters of a metric's name in messages */
#define MAX_REPLICAS 128 /* data-parallel ranks of one server */

/* How the series of one metric become one number. */
enum combine {
	SUM,
	/* For the share of KV cache in use, as each rank has its own cache. The largest share would
	 * call a server of eight ranks full when one of them is, though its own balancer sends the
	 * next request to another rank. Requests that wait for the full rank count as waiting. */
	MEAN,
	/* Adds up the replicas, and takes only the largest series of each: the tensor and pipeline
	 * ranks of a replica may all report the same requests. */
	SUM_OF_REPLICAS,
	MEAN_OF_REPLICAS,
	/* Counts with the row before it: in each replica the larger of the two. */
	WITH_FORMER,
	/* How many series are 0, or are not. */
	COUNT_ZEROS,
	COUNT_OTHERS,
};

/* One metric. A signal is the sum of its rows with the lowest `choice` that the page has: newer
 * names have lower choices than older ones, and a signal may have several parts. */
struct row {
	enum signal signal;
	unsigned int choice;
	enum combine combine;
	const char *name;
	size_t name_len;
	const char *label, *label_value;  /* only series with this label; NULL: all */
	const struct expfmt_sample *with; /* only series with its labels; NULL: all */
	bool besides; /* adds to the rows before it, and says nothing where they are not there */
};

struct engine {
	bool any; /* stands for all others: a page tells by its metrics which one it is of */
	const char *replica_label; /* numbers the data-parallel ranks */
	/* Every replica has one series of each load signal: a page that has not lost lines. */
	bool even;
	/* Gauges may appear only with the first request that the server works on. Until then no
	 * request waits or runs. Such a page is empty; or it has metrics whose names begin with
	 * `cold`, and none of `worked` is more than 0. */
	bool empty_is_idle;
	const char *cold, *worked[3];
	const char *needs;   /* without which a server has no gauges, though it has the page */
	unsigned int proven; /* bit n: of signal n, see engine_prove() */
	const struct row *rows;
	size_t row_count;
};

#define NAME(text)      .name = (text), .name_len = sizeof(text) - 1
#define ONLY(key, text) .label = (key), .label_value = (text)
#define ROW(sig, how, ...)                                                                         \
	{                                                                                          \
		.signal = (sig), .combine = (how), __VA_ARGS__                                     \
	}
/* Metrics libraries that follow OpenMetrics append _total to a counter's name; others do not. */
#define COUNTER(sig, nth, text)                                                                    \
	ROW(sig, SUM, .choice = 2 * (nth), NAME(text "_total")),                                   \
		ROW(sig, SUM, .choice = 2 * (nth) + 1, NAME(text))

#define SLEEP_STATE(state) NAME("vllm:engine_sleep_state"), ONLY("sleep_state", state)

static const struct row vllm[] = {
	ROW(SIGNAL_WAITING, SUM, NAME("vllm:num_requests_waiting")),
	ROW(SIGNAL_RUNNING, SUM, NAME("vllm:num_requests_running")),
	ROW(SIGNAL_KV_CACHE, MEAN, NAME("vllm:kv_cache_usage_perc")),
	ROW(SIGNAL_KV_CACHE, MEAN, .choice = 1, NAME("vllm:gpu_cache_usage_perc")),
	COUNTER(SIGNAL_PREFIX_HITS, 0, "vllm:prefix_cache_hits"),
	COUNTER(SIGNAL_PREFIX_HITS, 1, "vllm:gpu_prefix_cache_hits"),
	COUNTER(SIGNAL_PREFIX_QUERIES, 0, "vllm:prefix_cache_queries"),
	COUNTER(SIGNAL_PREFIX_QUERIES, 1, "vllm:gpu_prefix_cache_queries"),
	COUNTER(SIGNAL_PROMPT_TOKENS, 0, "vllm:prompt_tokens"),
	COUNTER(SIGNAL_OUTPUT_TOKENS, 0, "vllm:generation_tokens"),
	ROW(SIGNAL_STARTED, SUM, NAME("process_start_time_seconds")),
	/* With level 0 a sleeping engine has neither of the other two states. */
	ROW(SIGNAL_ASLEEP, COUNT_ZEROS, SLEEP_STATE("awake")),
	ROW(SIGNAL_ASLEEP, COUNT_OTHERS, .choice = 1, SLEEP_STATE("weights_offloaded")),
	ROW(SIGNAL_ASLEEP, COUNT_OTHERS, .choice = 1, SLEEP_STATE("discard_all")),
};

/* Newer servers count tokens in prefill, as they are looked up. Older ones have only the tokens
 * that finished requests found (cached_tokens), out of their prompts. */
#define PREFILL(sig, mode)                                                                         \
	ROW(sig, SUM_OF_REPLICAS, NAME("sglang:prefill_effective_tokens_total"), ONLY("mode", mode))
#define CACHED(source)                                                                             \
	ROW(SIGNAL_PREFIX_HITS, SUM, .choice = 1, NAME("sglang:cached_tokens_total"),              \
	    ONLY("cache_source", source))

/* Where prefill and decode are servers of their own, requests stand in queues that the two numbers
 * above leave out: those for which the other side, or room for the cache, is still to be found
 * wait; those whose cache is on its way hold their room, as running ones do. */
#define QUEUE(sig, name) ROW(sig, SUM_OF_REPLICAS, .besides = true, NAME(name))

static const struct row sglang[] = {
	ROW(SIGNAL_WAITING, SUM_OF_REPLICAS, NAME("sglang:num_queue_reqs")),
	QUEUE(SIGNAL_WAITING, "sglang:num_prefill_bootstrap_queue_reqs"),
	QUEUE(SIGNAL_WAITING, "sglang:num_prefill_prealloc_queue_reqs"), /* its former name */
	QUEUE(SIGNAL_WAITING, "sglang:num_decode_prealloc_queue_reqs"),
	ROW(SIGNAL_RUNNING, SUM_OF_REPLICAS, NAME("sglang:num_running_reqs")),
	QUEUE(SIGNAL_RUNNING, "sglang:num_prefill_inflight_queue_reqs"),
	QUEUE(SIGNAL_RUNNING, "sglang:num_decode_transfer_queue_reqs"),
	ROW(SIGNAL_KV_CACHE, MEAN_OF_REPLICAS, NAME("sglang:token_usage")),
	ROW(SIGNAL_KV_CACHE, WITH_FORMER, NAME("sglang:mamba_usage")),
	PREFILL(SIGNAL_PREFIX_HITS, "device_hit"),
	PREFILL(SIGNAL_PREFIX_HITS, "host_hit"),
	PREFILL(SIGNAL_PREFIX_HITS, "storage_hit"),
	CACHED("device"),
	CACHED("host"),
	CACHED("storage"),
	ROW(SIGNAL_PREFIX_HITS, SUM, .choice = 2, NAME("sglang:cached_tokens_total")),
	PREFILL(SIGNAL_PREFIX_QUERIES, "input"),
	PREFILL(SIGNAL_PREFIX_QUERIES, "device_hit"),
	PREFILL(SIGNAL_PREFIX_QUERIES, "host_hit"),
	PREFILL(SIGNAL_PREFIX_QUERIES, "storage_hit"),
	ROW(SIGNAL_PREFIX_QUERIES, SUM, .choice = 1, NAME("sglang:prompt_tokens_total")),
	ROW(SIGNAL_PROMPT_TOKENS, SUM, NAME("sglang:prompt_tokens_total")),
	ROW(SIGNAL_OUTPUT_TOKENS, SUM, NAME("sglang:generation_tokens_total")),
};

static const struct row trtllm[] = {
	ROW(SIGNAL_WAITING, SUM, NAME("trtllm_num_requests_waiting")),
	ROW(SIGNAL_RUNNING, SUM, NAME("trtllm_num_requests_running")),
	ROW(SIGNAL_KV_CACHE, MEAN, NAME("trtllm_kv_cache_utilization")),
	/* Counted in blocks: the page has no such count of tokens. */
	ROW(SIGNAL_PREFIX_HITS, SUM, NAME("trtllm_kv_cache_reused_blocks_total")),
	ROW(SIGNAL_PREFIX_QUERIES, SUM, NAME("trtllm_kv_cache_reused_blocks_total")),
	ROW(SIGNAL_PREFIX_QUERIES, SUM, NAME("trtllm_kv_cache_missed_blocks_total")),
	COUNTER(SIGNAL_PROMPT_TOKENS, 0, "trtllm_prompt_tokens"),
	COUNTER(SIGNAL_OUTPUT_TOKENS, 0, "trtllm_generation_tokens"),
};

static const struct row triton_trtllm[] = {
	ROW(SIGNAL_WAITING, SUM, NAME("nv_trt_llm_request_metrics"),
	    ONLY("request_type", "waiting")),
	/* Triton's own queue: for other backends, and until this backend has the metric above. */
	ROW(SIGNAL_WAITING, SUM, .choice = 1, NAME("nv_inference_pending_request_count")),
	ROW(SIGNAL_RUNNING, SUM, NAME("nv_trt_llm_request_metrics"),
	    ONLY("request_type", "scheduled")),
	ROW(SIGNAL_KV_CACHE, MEAN, NAME("nv_trt_llm_kv_cache_block_metrics"),
	    ONLY("kv_cache_block_type", "fraction")),
};

static const struct row tgi[] = {
	ROW(SIGNAL_WAITING, SUM, NAME("tgi_queue_size")),
	ROW(SIGNAL_RUNNING, SUM, NAME("tgi_batch_current_size")),
	ROW(SIGNAL_PROMPT_TOKENS, SUM, NAME("tgi_request_input_length_sum")),
	ROW(SIGNAL_OUTPUT_TOKENS, SUM, NAME("tgi_request_generated_tokens_sum")),
};

static const struct row llamacpp[] = {
	ROW(SIGNAL_WAITING, SUM, NAME("llamacpp:requests_deferred")),
	ROW(SIGNAL_RUNNING, SUM, NAME("llamacpp:requests_processing")),
	ROW(SIGNAL_KV_CACHE, MEAN, NAME("llamacpp:kv_cache_usage_ratio")), /* not in newer ones */
	ROW(SIGNAL_PREFIX_HITS, SUM, NAME("llamacpp:prompt_tokens_cached_total")),
	/* prompt_tokens has only tokens that were computed, not those found in the cache. */
	ROW(SIGNAL_PREFIX_QUERIES, SUM, NAME("llamacpp:prompt_tokens_cached_total")),
	ROW(SIGNAL_PREFIX_QUERIES, SUM, NAME("llamacpp:prompt_tokens_total")),
	ROW(SIGNAL_PROMPT_TOKENS, SUM, NAME("llamacpp:prompt_tokens_cached_total")),
	ROW(SIGNAL_PROMPT_TOKENS, SUM, NAME("llamacpp:prompt_tokens_total")),
	ROW(SIGNAL_OUTPUT_TOKENS, SUM, NAME("llamacpp:tokens_predicted_total")),
};

#define MAX_ROWS 24
#define ROWS(table)                                                                                \
	.rows = (table),                                                                           \
	.row_count = sizeof(char[ARRAY_SIZE(table) <= MAX_ROWS ? 1 : -1]) * ARRAY_SIZE(table)

static const struct engine engines[ENGINE_COUNT] = {
	/* With several API servers the gauges are there only once they were set. */
	[ENGINE_VLLM] = {ROWS(vllm), .even = true, .cold = "vllm:cache_config_info",
			 .worked = {"vllm:request_success_total", "vllm:prompt_tokens_total",
				    "vllm:generation_tokens_total"}},
	[ENGINE_SGLANG] = {ROWS(sglang), .replica_label = "dp_rank", .even = true,
			   .cold = "sglang:max_total_num_tokens",
			   .worked = {"sglang:prompt_tokens_total",
				      "sglang:generation_tokens_total",
				      "sglang:prefill_effective_tokens_total"}},
	[ENGINE_TRTLLM] = {ROWS(trtllm), .empty_is_idle = true, .cold = "trtllm_",
			   .worked = {"trtllm_request_success_total",
				      "trtllm_generation_tokens_total",
				      "trtllm_num_requests_completed_total"},
			   .needs = "enable_iter_perf_stats: true"},
	[ENGINE_TRITON_TRTLLM] = {ROWS(triton_trtllm)},
	[ENGINE_TGI] = {ROWS(tgi), .empty_is_idle = true, .cold = "tgi_",
			.worked = {"tgi_batch_inference_count"}},
	[ENGINE_LLAMACPP] = {ROWS(llamacpp)},
	[ENGINE_AUTO] = {.any = true},
};

#define X(symbol, name, ...) [ENGINE_##symbol] = (name),
static const char *const engine_names[ENGINE_COUNT] = {PINTLE_ENGINES(X)};
#undef X

/* A larger value comes from a broken server, not from a busy one, or from no model server at
 * all. */
static const double signal_max[SIGNAL_COUNT] = {
	[SIGNAL_WAITING] = 1e9,        [SIGNAL_RUNNING] = 1e9,
	[SIGNAL_KV_CACHE] = 1.01, /* engines round, SGLang to hundredths */
	[SIGNAL_PREFIX_HITS] = 1e18,   [SIGNAL_PREFIX_QUERIES] = 1e18,
	[SIGNAL_PROMPT_TOKENS] = 1e18, [SIGNAL_OUTPUT_TOKENS] = 1e18,
	[SIGNAL_STARTED] = 1e12,       [SIGNAL_ASLEEP] = 1e9,
};

static bool in_range(enum signal signal, double value)
{
	return value >= 0 && value <= signal_max[signal]; /* not so for NaN */
}

static bool is_load(enum signal signal)
{
	return signal == SIGNAL_WAITING || signal == SIGNAL_RUNNING || signal == SIGNAL_KV_CACHE;
}

const struct engine *engine_find(const char *name)
{
	for (size_t i = 0; i < ENGINE_COUNT; i++)
		if (!strcmp(engine_names[i], name))
			return &engines[i];
	return NULL;
}

const char *engine_name(size_t i)
{
	return i < ENGINE_COUNT ? engine_names[i] : NULL;
}

/* ---- names of one's own ------------------------------------------------------ */

struct own_engine {
	struct engine engine;
	struct row rows[MAX_ROWS + ENGINE_NAMES];
	char *text[ENGINE_NAMES];
	struct expfmt_sample metric[ENGINE_NAMES]; /* within the text */
};

void engine_free(struct engine *e)
{
	struct own_engine *own = (struct own_engine *)e;

	for (size_t i = 0; own && i < ENGINE_NAMES; i++)
		free(own->text[i]);
	free(own);
}

/* A name is shown in messages, and looked for, up to its end. */
static int own_name(struct own_engine *own, enum signal signal, const char *text)
{
	struct expfmt_sample *m = &own->metric[signal];
	struct row *row = &own->rows[own->engine.row_count];
	size_t length = strlen(text) + 1;

	/* The name once more behind the text, and ended. */
	own->text[signal] = malloc(2 * length);
	if (!own->text[signal])
		return -ENOMEM;
	memcpy(own->text[signal], text, length);
	if (!expfmt_read_metric(own->text[signal], m))
		return -EINVAL;
	snprintf(own->text[signal] + length, length, "%.*s", (int)m->name_len, m->name);
	*row = (struct row){
		.signal = signal,
		.combine = signal == SIGNAL_KV_CACHE ? MEAN : SUM,
		.name = own->text[signal] + length,
		.name_len = m->name_len,
		.with = m->labels ? m : NULL,
	};
	own->engine.row_count++;
	return 0;
}

int engine_named(const struct engine *base, char *const names[ENGINE_NAMES], struct engine **out)
{
	struct own_engine *own = calloc(1, sizeof(*own));
	int r = own ? 0 : -ENOMEM;

	if (!own)
		return r;
	own->engine = *base;
	own->engine.any = false;
	own->engine.rows = own->rows;
	own->engine.row_count = 0;
	for (enum signal i = 0; i < ENGINE_NAMES && !r; i++) {
		if (!names[i])
			continue;
		r = own_name(own, i, names[i]);
		own->engine.even &= !is_load(i);
	}
	if (r) {
		engine_free(&own->engine);
		return r;
	}
	for (size_t i = 0; i < base->row_count; i++)
		if (base->rows[i].signal >= ENGINE_NAMES || !names[base->rows[i].signal])
			own->rows[own->engine.row_count++] = base->rows[i];
	*out = &own->engine;
	return 0;
}

void engine_prove(struct engine *own, const bool proven[ENGINE_NAMES])
{
	own->proven = 0;
	for (enum signal i = 0; i < ENGINE_NAMES; i++)
		if (proven[i] && is_load(i))
			own->proven |= 1U << i;
}

static bool is_proven(const struct engine *e, enum signal signal)
{
	return e->proven & 1U << signal;
}

bool engine_metric(const struct engine *e, size_t i, struct engine_metric *out)
{
	const struct row *r = &e->rows[i];

	if (i >= e->row_count)
		return false;
	*out = (struct engine_metric){.signal = r->signal,
				      .choice = r->choice,
				      .name = r->name,
				      .label = r->label,
				      .label_value = r->label_value,
				      .larger = r->combine == WITH_FORMER};
	return true;
}

/* ---- what is wrong with a page ---------------------------------------------- */

__attribute__((format(printf, 2, 3))) static int refuse(char *fault, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (fault)
		vsnprintf(fault, FAULT_SIZE, fmt, ap);
	va_end(ap);
	return -EBADMSG;
}

static int refuse_line(char *fault, const struct expfmt_reader *r)
{
	if (!r->name)
		return refuse(fault, "line %zu: %s", r->line, r->what);
	return refuse(fault, "line %zu, %.*s: %s", r->line,
		      (int)MIN(r->name_len, (size_t)NAME_SHOWN), r->name, r->what);
}

/* A value that none can be costs itself alone. The first one of a page is named. */
static void spoil_value(char *fault, size_t line, const char *name, const struct expfmt_sample *s,
			double max)
{
	if (fault && *fault)
		return;
	if (s->what)
		refuse(fault, "line %zu, %s: %s", line, name, s->what);
	else
		refuse(fault, "line %zu, %s: its value is %g; a number from 0 to %g can be", line,
		       name, s->value, max);
}

/* ---- series that must not come twice ---------------------------------------- */

struct series {
	uint64_t id;
	size_t line;
	const char *name; /* within the page */
	size_t name_len;
};

struct series_list {
	struct series *series;
	size_t count, room;
};

static void series_free(struct series_list *l)
{
	free(l->series);
}

static int series_add(struct series_list *l, const struct expfmt_sample *s, size_t line)
{
	if (!ROOM_FOR_ONE(l->series, l->count, l->room, 64))
		return -ENOMEM;
	l->series[l->count++] = (struct series){expfmt_series(s), line, s->name, s->name_len};
	return 0;
}

static int engines_by_id(const void *left, const void *right)
{
	const struct series *a = left, *b = right;

	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return a->line < b->line ? -1 : a->line > b->line;
}

/* Refuses a page that has a series twice: nothing tells which of the two values holds. */
static int series_check(struct series_list *l, char *fault)
{
	if (!l->count)
		return 0;
	qsort(l->series, l->count, sizeof(*l->series), engines_by_id);
	for (size_t i = 1; i < l->count; i++) {
		const struct series *a = &l->series[i - 1], *b = &l->series[i];

		if (a->id == b->id)
			return refuse(
				fault,
				"line %zu, %.*s: the series of line %zu again; a page has each "
				"name with the same labels once",
				b->line, (int)MIN(b->name_len, (size_t)NAME_SHOWN), b->name,
				a->line);
	}
	return 0;
}

/* ---- a page ------------------------------------------------------------------ */

#define TALLY_ROWS (MAX_ROWS + ENGINE_NAMES)

/* What has been read of one page. */
struct tally {
	const struct engine *engine;
	struct expfmt_filter filter;
	uint64_t lengths;          /* bit n: a wanted name has n (modulo 64) bytes */
	double total[TALLY_ROWS];  /* of the good ones */
	size_t series[TALLY_ROWS]; /* number of series; of replicas, in rows that combine these */
	size_t good[TALLY_ROWS];   /* those of which a value can be believed */
	double largest[TALLY_ROWS][MAX_REPLICAS]; /* by replica, or REPLICA_* */
};

enum { REPLICA_NONE = -2, REPLICA_SPOILED = -1 };

static bool by_replica(const struct row *row)
{
	return row->combine == SUM_OF_REPLICAS || row->combine == MEAN_OF_REPLICAS ||
	       row->combine == WITH_FORMER;
}

static uint64_t length_bit(size_t len)
{
	return 1ULL << (len % 64);
}

static void tally_want(struct tally *t, const char *name)
{
	expfmt_filter_add(&t->filter, name);
	t->lengths |= length_bit(strlen(name));
}

static void tally_init(struct tally *t, const struct engine *e)
{
	t->engine = e;
	t->filter = (struct expfmt_filter){};
	t->lengths = 0;
	for (size_t i = 0; i < e->row_count; i++) {
		assert(!by_replica(&e->rows[i]) || e->replica_label);
		tally_want(t, e->rows[i].name);
		t->total[i] = 0;
		t->series[i] = t->good[i] = 0;
		for (size_t n = 0; by_replica(&e->rows[i]) && n < MAX_REPLICAS; n++)
			t->largest[i][n] = REPLICA_NONE;
	}
}

static bool engines_is_named(const char *name, size_t len, const char *wanted)
{
	return wanted && strlen(wanted) == len && !memcmp(wanted, name, len);
}

static bool is_of_row(const char *name, size_t len, const struct row *row)
{
	return row->name_len == len && !memcmp(row->name, name, len);
}

static bool want_engine(const char *name, size_t len, void *arg)
{
	const struct tally *t = arg;
	const struct engine *e = t->engine;

	if (!(t->lengths & length_bit(len)))
		return false;
	for (size_t i = 0; i < e->row_count; i++)
		if (is_of_row(name, len, &e->rows[i]))
			return true;
	return false;
}

/* The number in a label; -1: the label holds no number below `limit`; without the label
 * `absent`. */
static int label_number(const struct expfmt_sample *s, const char *label, int limit, int absent)
{
	char text[16], *end;
	long n;

	if (!expfmt_label(s, label, text, sizeof(text)))
		return absent;
	if (text[0] < '0' || text[0] > '9') /* strtol() takes blanks and signs */
		return -1;
	n = strtol(text, &end, 10);
	return !*end && n < limit ? (int)n : -1;
}

/* Adds a series of the row, or of one that counts with it. */
static void tally_plain(struct tally *t, size_t row, double value, bool good)
{
	t->series[row]++;
	t->good[row] += good;
	if (!good)
		return;
	switch (t->engine->rows[row].combine) {
	case COUNT_ZEROS:
		t->total[row] += value == 0;
		break;
	case COUNT_OTHERS:
		t->total[row] += value != 0;
		break;
	default:
		t->total[row] += value;
	}
}

static void tally_replica(struct tally *t, size_t row, int replica, double value, bool good)
{
	double *largest = &t->largest[row][replica];

	if (*largest == REPLICA_NONE) {
		t->series[row]++;
		*largest = REPLICA_SPOILED;
	}
	if (good && *largest == REPLICA_SPOILED) {
		t->good[row]++;
		*largest = 0;
	}
	if (good && value > *largest) {
		t->total[row] += value - *largest;
		*largest = value;
	}
}

/* Adds the sample to the row. Returns false if its replica has no valid number. */
static bool tally_add(struct tally *t, size_t row, const struct expfmt_sample *s, bool good)
{
	const struct row *rows = t->engine->rows;
	int replica;

	if (!by_replica(&rows[row])) {
		tally_plain(t, row, s->value, good);
		return true;
	}
	replica = label_number(s, t->engine->replica_label, MAX_REPLICAS, 0);
	if (replica < 0)
		return false;
	tally_replica(t, rows[row].combine == WITH_FORMER ? row - 1 : row, replica, s->value, good);
	return true;
}

static bool has_label(const struct expfmt_sample *s, const struct row *row)
{
	char text[64];

	if (row->with && !expfmt_has_labels(s, row->with))
		return false;
	return !row->label ||
	       (expfmt_label(s, row->label, text, sizeof(text)) && !strcmp(text, row->label_value));
}

static int tally_sample(struct tally *t, const struct expfmt_sample *s, size_t line, char *fault)
{
	const struct engine *e = t->engine;

	for (size_t i = 0; i < e->row_count; i++) {
		const struct row *row = &e->rows[i];
		bool good = in_range(row->signal, s->value);

		if (!is_of_row(s->name, s->name_len, row) || !has_label(s, row))
			continue;
		if (!good)
			spoil_value(fault, line, row->name, s, signal_max[row->signal]);
		if (!tally_add(t, i, s, good))
			return refuse(fault, "line %zu, %s: its %s is no number below %d", line,
				      row->name, e->replica_label, MAX_REPLICAS);
	}
	return 0;
}

/* A signal as a page's rows give it. */
struct sum {
	double value;  /* 0 if the page lacks it, or it is spoiled */
	size_t series; /* from so many, or from so many replicas */
	bool spoiled;  /* the page has it, but no value that can be believed */
};

/* The lowest choice of which the page has a good value, else of which it has any. */
static unsigned int tally_choice(const struct tally *t, enum signal signal)
{
	const struct engine *e = t->engine;
	unsigned int good = UINT_MAX, any = UINT_MAX;

	for (size_t i = 0; i < e->row_count; i++) {
		const struct row *row = &e->rows[i];

		if (row->signal != signal || row->besides || !t->series[i])
			continue;
		any = MIN(any, row->choice);
		if (t->good[i])
			good = MIN(good, row->choice);
	}
	return good == UINT_MAX ? any : good;
}

/* The row's number. Where ranks have no good value, the others' mean stands for theirs. */
static double row_value(const struct tally *t, size_t row)
{
	enum combine how = t->engine->rows[row].combine;
	double good = (double)t->good[row];

	if (how == MEAN || how == MEAN_OF_REPLICAS)
		return t->total[row] / good;
	if (t->good[row] == t->series[row])
		return t->total[row];
	return t->total[row] / good * (double)t->series[row];
}

static struct sum tally_signal(const struct tally *t, enum signal signal)
{
	const struct engine *e = t->engine;
	unsigned int choice = tally_choice(t, signal);
	struct sum sum = {0};

	for (size_t i = 0; i < e->row_count; i++) {
		const struct row *row = &e->rows[i];
		/* A counter must not jump. */
		bool good = t->good[i] && (is_load(signal) || t->good[i] == t->series[i]);

		if (row->signal != signal || row->choice != choice || !t->series[i])
			continue;
		if (!row->besides) {
			sum.series = t->series[i];
			sum.spoiled |= !good;
		}
		if (good)
			sum.value += row_value(t, i);
	}
	if (sum.spoiled)
		sum.value = 0;
	return sum;
}

/* The name of a metric of the signal: one that the page has, else one that it should have. */
static const char *signal_name(const struct tally *t, enum signal signal)
{
	const struct engine *e = t->engine;
	const char *name = NULL;

	for (size_t i = 0; i < e->row_count; i++) {
		if (e->rows[i].signal != signal)
			continue;
		if (t->series[i])
			return e->rows[i].name;
		name = name ? name : e->rows[i].name;
	}
	return name;
}

static bool begins_with(const char *name, size_t len, const char *start)
{
	return strlen(start) <= len && !memcmp(name, start, strlen(start));
}

static bool is_worked(const struct engine *e, const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(e->worked); i++)
		if (engines_is_named(name, len, e->worked[i]))
			return true;
	return false;
}

static bool want_cold(const char *name, size_t len, void *arg)
{
	const struct engine *e = arg;

	return begins_with(name, len, e->cold) || is_worked(e, name, len);
}

/* Whether the page, which has no load signal, is the engine's, from before the first request that
 * the server worked on. */
static bool page_is_cold(const struct engine *e, const char *page, size_t size)
{
	struct expfmt_reader reader;
	struct expfmt_sample sample;
	bool own = false;

	if (!e->cold)
		return false;
	expfmt_init(&reader, page, size);
	while (expfmt_next(&reader, want_cold, (void *)e, &sample)) {
		if (sample.value > 0 && is_worked(e, sample.name, sample.name_len))
			return false;
		own |= begins_with(sample.name, sample.name_len, e->cold);
	}
	return own && !reader.bad;
}

static bool page_is_empty(const char *page, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (page[i] != '\n' && page[i] != '\r')
			return false;
	return true;
}

static bool page_is_idle(const struct engine *e, const char *page, size_t size)
{
	return (e->empty_is_idle && page_is_empty(page, size)) || page_is_cold(e, page, size);
}

static bool want_all(const char *name, size_t len, void *arg)
{
	(void)name;
	(void)len;
	(void)arg;
	return true;
}

/* Whether it is a page of metrics, of a server that has worked on no request as far as it says:
 * each line is what it should be, and it has a sample, or at least a metric's type. */
static bool page_is_unworked(const struct engine *e, const char *page, size_t size)
{
	bool any = begins_with(page, size, "# HELP ") || begins_with(page, size, "# TYPE ");
	struct expfmt_reader reader;
	struct expfmt_sample sample;

	expfmt_init(&reader, page, size);
	while (expfmt_next(&reader, want_all, NULL, &sample)) {
		if (sample.value > 0 && is_worked(e, sample.name, sample.name_len))
			return false;
		any = true;
	}
	return any && !reader.bad;
}

/* Whether the page, which has no load signal, lacks one that other pages of its pool have had under
 * its own name. */
static bool page_lacks_proven(const struct tally *t, const char *page, size_t size)
{
	for (enum signal i = 0; i <= SIGNAL_KV_CACHE; i++)
		if (signal_name(t, i))
			return is_proven(t->engine, i) && page_is_unworked(t->engine, page, size);
	return false;
}

/* Takes the page, which has no load signal, for one of a server that does nothing. Returns whether
 * it can be. */
static bool signals_set_idle(const struct tally *t, const char *page, size_t size,
			     struct signals *s)
{
	const struct engine *e = t->engine;
	bool idle = page_is_idle(e, page, size);

	if (!idle && !page_lacks_proven(t, page, size))
		return false;
	*s = (struct signals){.cold = true};
	for (size_t i = 0; i < e->row_count; i++)
		s->present[e->rows[i].signal] |=
			is_load(e->rows[i].signal) && (idle || is_proven(e, e->rows[i].signal));
	return true;
}

static int refuse_uneven(const struct tally *t, const struct sum *sums, enum signal signal,
			 char *fault)
{
	return refuse(
		fault,
		"it has %s %zu time%s, but %s %zu time%s; each of the server's ranks has both",
		signal_name(t, signal), sums[signal].series, plural(sums[signal].series),
		signal_name(t, SIGNAL_WAITING), sums[SIGNAL_WAITING].series,
		plural(sums[SIGNAL_WAITING].series));
}

/* Returns whether the signal's number can be believed: the sum may be too much where no part
 * was. */
static bool sum_is_good(const struct tally *t, enum signal signal, struct sum *sum, char *fault)
{
	if (sum->series && !sum->spoiled && !in_range(signal, sum->value)) {
		if (fault && !*fault)
			refuse(fault, "%s: its series add up to %g; a number from 0 to %g can be",
			       signal_name(t, signal), sum->value, signal_max[signal]);
		sum->spoiled = true;
		sum->value = 0;
	}
	return sum->series && !sum->spoiled;
}

/* Returns -ENODATA, with a fault, if the page has none of the load signals. */
static int refuse_no_load(const struct tally *t, const struct sum *sums, char *fault)
{
	const char *name = NULL;

	for (enum signal i = 0; i < SIGNAL_COUNT; i++)
		if (is_load(i) && sums[i].spoiled)
			return -EBADMSG; /* the fault is its value's */
	for (enum signal i = 0; i <= SIGNAL_KV_CACHE && !name; i++)
		name = signal_name(t, i);
	refuse(fault,
	       "it has no %s, nor another load signal of this engine; is the pool's engine right, "
	       "and does the server export metrics%s%s?",
	       name, t->engine->needs ? ", with " : "", t->engine->needs ?: "");
	return -ENODATA;
}

static int tally_signals(const struct tally *t, struct signals *s, char *fault)
{
	enum signal load = SIGNAL_COUNT;
	struct sum sums[SIGNAL_COUNT];

	for (enum signal i = 0; i < SIGNAL_COUNT; i++) {
		sums[i] = tally_signal(t, i);
		s->present[i] = sum_is_good(t, i, &sums[i], fault);
		s->spoiled[i] = sums[i].spoiled;
		s->value[i] = sums[i].value;
		if (load == SIGNAL_COUNT && is_load(i) && s->present[i])
			load = i;
	}
	if (load == SIGNAL_COUNT)
		return refuse_no_load(t, sums, fault);
	if (!sums[SIGNAL_WAITING].series && signal_name(t, SIGNAL_WAITING)) {
		if (!is_proven(t->engine, SIGNAL_WAITING))
			return refuse(fault, "it has %s, but no %s", signal_name(t, load),
				      signal_name(t, SIGNAL_WAITING));
		s->present[SIGNAL_WAITING] = s->cold = true;
	}
	for (enum signal i = 0; i < SIGNAL_COUNT; i++)
		if (t->engine->even && is_load(i) && sums[i].series &&
		    sums[i].series != sums[SIGNAL_WAITING].series)
			return refuse_uneven(t, sums, i, fault);
	return 0;
}

static void signals_tidy(struct signals *s)
{
	s->value[SIGNAL_KV_CACHE] = MIN(s->value[SIGNAL_KV_CACHE], 1.0);
	if (s->present[SIGNAL_PREFIX_HITS] && s->present[SIGNAL_PREFIX_QUERIES])
		return;
	for (enum signal i = SIGNAL_PREFIX_HITS; i <= SIGNAL_PREFIX_QUERIES; i++) {
		s->spoiled[i] = s->spoiled[SIGNAL_PREFIX_HITS] || s->spoiled[SIGNAL_PREFIX_QUERIES];
		s->present[i] = false;
		s->value[i] = 0;
	}
}

static int read_samples(struct tally *t, const char *page, size_t size, char *fault)
{
	_cleanup_(series_free) struct series_list list = {0};
	struct expfmt_reader reader;
	struct expfmt_sample sample;
	int r = 0;

	expfmt_init(&reader, page, size);
	reader.filter = &t->filter;
	while (!r && expfmt_next(&reader, want_engine, t, &sample)) {
		r = series_add(&list, &sample, reader.line);
		if (!r)
			r = tally_sample(t, &sample, reader.line, fault);
		else
			refuse(fault, "no memory for its series");
	}
	if (!r && reader.bad)
		r = refuse_line(fault, &reader);
	return r ? r : series_check(&list, fault);
}

/* ---- whose page it is ---------------------------------------------------------- */

/* Whether the page of such an engine alone has that metric. No two engines have a name in common,
 * which tests/unit/test_engines.c checks. */
static bool is_of_engine(const struct engine *e, const char *name, size_t len)
{
	for (size_t i = 0; i < e->row_count; i++)
		if (is_load(e->rows[i].signal) && is_of_row(name, len, &e->rows[i]))
			return true;
	return false;
}

static const struct engine *engine_of_metric(const char *name, size_t len)
{
	for (size_t i = 0; i < ENGINE_COUNT; i++)
		if (is_of_engine(&engines[i], name, len))
			return &engines[i];
	return NULL;
}

static bool want_any(const char *name, size_t len, void *arg)
{
	(void)arg;
	return engine_of_metric(name, len);
}

static void want_names(const struct engine *e, struct expfmt_filter *filter)
{
	for (size_t i = 0; i < e->row_count; i++)
		if (is_load(e->rows[i].signal))
			expfmt_filter_add(filter, e->rows[i].name);
}

/* The engine whose page without a load signal it is; NULL: none. */
static const struct engine *engine_cold(const char *page, size_t size)
{
	for (size_t i = 0; i < ENGINE_COUNT; i++)
		if (page_is_cold(&engines[i], page, size))
			return &engines[i];
	return NULL;
}

/* The engine of the first load signal in the page, so that reading ends there; NULL: none has it,
 * or a line before it is wrong. An empty page is nobody's: a broken server must not look idle. */
static const struct engine *engine_recognize(const char *page, size_t size)
{
	struct expfmt_filter filter = {};
	struct expfmt_reader reader;
	struct expfmt_sample sample;

	for (size_t i = 0; i < ENGINE_COUNT; i++)
		want_names(&engines[i], &filter);
	expfmt_init(&reader, page, size);
	reader.filter = &filter;
	if (!expfmt_next(&reader, want_any, NULL, &sample))
		return reader.bad ? NULL : engine_cold(page, size);
	return engine_of_metric(sample.name, sample.name_len);
}

/* Returns -ENODATA or -EBADMSG, as engine_read() does. */
static int refuse_page(const char *page, size_t size, char *fault)
{
	struct expfmt_reader reader;
	struct expfmt_sample sample;

	expfmt_init(&reader, page, size);
	while (expfmt_next(&reader, want_any, NULL, &sample))
		;
	if (reader.bad)
		return refuse_line(fault, &reader);
	refuse(fault, "it has no load signal of any engine; does the server export metrics, and is "
		      "this their page?");
	return -ENODATA;
}

int engine_read(const struct engine *e, const char *page, size_t size, struct signals *out,
		char *fault)
{
	struct signals s = {};
	struct tally t;
	int r;

	if (fault)
		*fault = '\0';
	if (e->any)
		e = engine_recognize(page, size);
	if (!e)
		return refuse_page(page, size, fault);
	tally_init(&t, e);
	r = read_samples(&t, page, size, fault);
	if (r < 0)
		return r;
	r = tally_signals(&t, &s, fault);
	if (r == -ENODATA && signals_set_idle(&t, page, size, &s)) {
		if (fault)
			*fault = '\0';
		r = 0;
	}
	if (r < 0)
		return r;
	signals_tidy(&s);
	*out = s;
	return 0;
}

/* ---- DCGM exporter --------------------------------------------------------- */

enum dcgm_metric { GPU_UTIL, FB_USED, FB_FREE, FB_RESERVED, XID_ERRORS, ECC_DBE, DCGM_COUNT };

static const struct {
	const char *name;
	double max;
} dcgm_metrics[DCGM_COUNT] = {
	[GPU_UTIL] = {"DCGM_FI_DEV_GPU_UTIL", 100}, /* percent */
	/* MiB, and so the others of the memory. */
	[FB_USED] = {"DCGM_FI_DEV_FB_USED", 1e9},
	[FB_FREE] = {"DCGM_FI_DEV_FB_FREE", 1e9},
	[FB_RESERVED] = {"DCGM_FI_DEV_FB_RESERVED", 1e9},
	[XID_ERRORS] = {"DCGM_FI_DEV_XID_ERRORS", 65535}, /* the newest; 0: none */
	[ECC_DBE] = {"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", 1e12},
};

/* DCGM's numbers for "not known", "not supported" and the like are this and a few more. */
#define DCGM_BLANK 0x7ffffffffffffff0

/* The XIDs for which NVIDIA's catalogue has the immediate action RESET_GPU or RESTART_BM
 * (docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html), and 48, which it says only a
 * reset clears. Those of NVLink (74, 136, 144 to 150, 155) are left out, because a GPU reports
 * them, too, when another one fails; and so are those that only the application's end follows (13,
 * 31, 43, 94). */
static const uint16_t fatal_xids[] = {46,  48,  62,  64,  79,  95,  109,
				      110, 119, 120, 140, 143, 156, 158};

bool dcgm_xid_ends_work(double xid)
{
	for (size_t i = 0; i < ARRAY_SIZE(fatal_xids); i++)
		if (xid == fatal_xids[i])
			return true;
	return false;
}

static int dcgm_metric(const char *name, size_t len)
{
	for (int i = 0; i < DCGM_COUNT; i++)
		if (engines_is_named(name, len, dcgm_metrics[i].name))
			return i;
	return -1;
}

static bool want_dcgm(const char *name, size_t len, void *arg)
{
	(void)arg;
	return dcgm_metric(name, len) >= 0;
}

static void dcgm_identify(const struct expfmt_sample *s, struct dcgm_gpu *gpu)
{
	*gpu = (struct dcgm_gpu){.index = label_number(s, "gpu", INT_MAX, -1)};
	/* Prometheus renames the exporter's label when its own target is a pod. */
	if (!expfmt_label(s, "exported_pod", gpu->pod, sizeof(gpu->pod)))
		expfmt_label(s, "pod", gpu->pod, sizeof(gpu->pod));
	if (!expfmt_label(s, "exported_namespace", gpu->space, sizeof(gpu->space)))
		expfmt_label(s, "namespace", gpu->space, sizeof(gpu->space));
}

/* The figures of one GPU and pod, all its MIG instances together. */
struct dcgm_tally {
	bool has[DCGM_COUNT], spoiled[DCGM_COUNT];
	double value[DCGM_COUNT];
};

/* The index in `out` of that GPU and pod, which are added if they are new; -1: there is no room. */
static int dcgm_place(const struct dcgm_gpu *gpu, struct dcgm_gpu *out, size_t *count, size_t max)
{
	for (size_t i = 0; i < *count; i++)
		if (out[i].index == gpu->index && !strcmp(out[i].pod, gpu->pod) &&
		    !strcmp(out[i].space, gpu->space))
			return (int)i;
	if (*count == max)
		return -1;
	out[*count] = *gpu;
	return (int)(*count)++;
}

static void dcgm_add(struct dcgm_tally *t, int metric, double value)
{
	t->has[metric] = true;
	if (metric == XID_ERRORS && !dcgm_xid_ends_work(value))
		return;
	if (metric == GPU_UTIL || metric == XID_ERRORS || metric == ECC_DBE)
		t->value[metric] = MAX(t->value[metric], value);
	else
		t->value[metric] += value;
}

/* Whether the number is known: a sum is not, of which a part is not. */
static bool dcgm_has(const struct dcgm_tally *t, int metric)
{
	return t->has[metric] && !t->spoiled[metric];
}

/* `lost`: of which metrics there were values of nobody knows which GPU. */
static void dcgm_finish(struct dcgm_tally *t, const bool *lost, struct dcgm_gpu *gpu)
{
	double total = t->value[FB_USED] + t->value[FB_FREE] + t->value[FB_RESERVED];

	for (int i = 0; i < DCGM_COUNT; i++)
		t->spoiled[i] |= lost[i];
	gpu->has_utilization = t->has[GPU_UTIL];
	gpu->utilization = t->value[GPU_UTIL] / 100;
	gpu->has_memory = dcgm_has(t, FB_USED) && dcgm_has(t, FB_FREE) &&
			  !t->spoiled[FB_RESERVED] && total > 0;
	if (gpu->has_memory)
		gpu->memory = t->value[FB_USED] / total;
	gpu->has_errors = t->has[XID_ERRORS] || t->has[ECC_DBE];
	gpu->errors_spoiled = t->spoiled[XID_ERRORS] || t->spoiled[ECC_DBE];
	gpu->xid = (uint32_t)t->value[XID_ERRORS];
	gpu->dbe = t->value[ECC_DBE];
}

int dcgm_read(const char *page, size_t size, struct dcgm_gpu *out, size_t max, char *fault)
{
	struct dcgm_tally tally[DCGM_MAX] = {};
	struct expfmt_filter filter = {};
	struct expfmt_reader reader;
	struct expfmt_sample sample;
	struct dcgm_gpu gpu;
	bool lost[DCGM_COUNT] = {};
	size_t count = 0;

	if (fault)
		*fault = '\0';
	max = MIN(max, (size_t)DCGM_MAX);
	for (int i = 0; i < DCGM_COUNT; i++)
		expfmt_filter_add(&filter, dcgm_metrics[i].name);
	expfmt_init(&reader, page, size);
	reader.filter = &filter;
	reader.goes_on = true;
	while (expfmt_next(&reader, want_dcgm, NULL, &sample)) {
		int metric = dcgm_metric(sample.name, sample.name_len), i;
		bool good = sample.value >= 0 && sample.value <= dcgm_metrics[metric].max;

		lost[metric] |= sample.lost;
		if (!good && !(sample.value >= (double)DCGM_BLANK && isfinite(sample.value)))
			spoil_value(fault, reader.line, dcgm_metrics[metric].name, &sample,
				    dcgm_metrics[metric].max);
		if (sample.lost)
			continue;
		dcgm_identify(&sample, &gpu);
		i = dcgm_place(&gpu, out, &count, max);
		if (i >= 0 && good)
			dcgm_add(&tally[i], metric, sample.value);
		else if (i >= 0)
			tally[i].spoiled[metric] = true;
	}
	if (reader.bad)
		return refuse_line(fault, &reader);
	for (size_t i = 0; i < count; i++)
		dcgm_finish(&tally[i], lost, &out[i]);
	return (int)count;
}
