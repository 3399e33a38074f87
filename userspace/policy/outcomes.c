// SPDX-License-Identifier: Apache-2.0
#include "outcomes.h"

#include <stdint.h>
#include <string.h>

#include "../base/expfmt.h"
#include "../base/util.h"

#define COUNT_MAX 1e18

enum outcome { OUTCOME_OK, OUTCOME_REFUSED, OUTCOME_FAILED, OUTCOME_NONE };

/* How a value of the label tells the outcome; without a label each series is OK. */
typedef enum outcome (*outcome_of)(const char *value);

/* "2xx" and "200": prometheus_fastapi_instrumentator may group. */
static enum outcome of_status(const char *value)
{
	switch (*value) {
	case '2':
		return OUTCOME_OK;
	case '4':
		return OUTCOME_REFUSED;
	case '5':
		return OUTCOME_FAILED;
	}
	return OUTCOME_NONE;
}

static enum outcome of_reason(const char *value)
{
	if (!strcmp(value, "abort"))
		return OUTCOME_NONE; /* the client went away */
	return strcmp(value, "error") ? OUTCOME_OK : OUTCOME_FAILED;
}

/* TGI's router: `validation`, `overloaded`, `dropped` and the rest are 4xx, or nobody's. */
static enum outcome of_tgi(const char *value)
{
	return !strcmp(value, "generation") || !strncmp(value, "incomplete", 10) ? OUTCOME_FAILED
										 : OUTCOME_REFUSED;
}

static enum outcome of_triton(const char *value)
{
	if (!strcmp(value, "CANCELED"))
		return OUTCOME_NONE;
	return strcmp(value, "REJECTED") ? OUTCOME_FAILED : OUTCOME_REFUSED;
}

/* `choice`: 0 is what clients got, by their status, and 1 what the engine did, which may miss what
 * its front end answered. SGLang counts no status of a stream, so the larger number of good ones
 * holds. */
struct row {
	struct outcome_metric is;
	unsigned int choice;
	const char *label;
	outcome_of of;
	const char *path; /* the label that has the path */
};

#define IS(engine, name, nth, ...) .is = {engine, name, __VA_ARGS__}, .choice = (nth)

/* Metrics libraries that follow OpenMetrics append _total to a counter's name; others do not. */
#define REASONS(engine, name)                                                                      \
	{                                                                                          \
		IS(engine, name, 1, "any other reason", NULL, "finished_reason error"),            \
			.label = "finished_reason", .of = of_reason                                \
	}

static const struct row rows[] = {
	{IS("vllm", "http_requests_total", 0, "status 2xx", "status 4xx", "status 5xx"),
	 .label = "status", .of = of_status, .path = "handler"},
	REASONS("vllm", "vllm:request_success_total"),
	REASONS("vllm", "vllm:request_success"),
	{IS("sglang", "sglang:http_responses_total", 0, "status_code 2xx", "status_code 4xx",
	    "status_code 5xx"),
	 .label = "status_code", .of = of_status, .path = "endpoint"},
	{IS("sglang", "sglang:num_requests_total", 1, "each", NULL, NULL)},
	REASONS("trtllm", "trtllm_request_success_total"),
	REASONS("trtllm", "trtllm_request_success"),
	{IS("triton-trtllm", "nv_inference_request_success", 0, "each", NULL, NULL)},
	{IS("triton-trtllm", "nv_inference_request_failure", 0, NULL, "reason REJECTED",
	    "reason BACKEND, OTHER"),
	 .label = "reason", .of = of_triton},
	{IS("tgi", "tgi_request_success", 0, "each", NULL, NULL)},
	{IS("tgi", "tgi_request_failure", 0, NULL, "any other err", "err generation, incomplete"),
	 .label = "err", .of = of_tgi},
};

bool outcome_metric(size_t i, struct outcome_metric *out)
{
	if (i >= ARRAY_SIZE(rows))
		return false;
	*out = rows[i].is;
	return true;
}

static const struct row *outcomes_row_of(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (strlen(rows[i].is.name) == len && !memcmp(rows[i].is.name, name, len))
			return &rows[i];
	return NULL;
}

/* Most lines of a page are of histograms, and their names have other lengths. */
static bool want_row(const char *name, size_t len, void *arg)
{
	const uint64_t *lengths = arg;

	return *lengths >> (len % 64) & 1 && outcomes_row_of(name, len);
}

/* What is asked by those who watch a server says nothing of its work. */
static bool is_watched(const char *path)
{
	static const char *const paths[] = {"/metrics", "/health",  "/ready",      "/ping",
					    "/load",    "/version", "/server_info"};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (!strncmp(path, paths[i], strlen(paths[i])))
			return true;
	return false;
}

/* What the engine works on, and counts itself. */
static bool is_worked_on(const char *path)
{
	static const char *const paths[] = {"/v1/completions", "/v1/chat/completions",
					    "/v1/responses",   "/v1/messages",
					    "/generate",       "/inference/v1/generate"};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (!strcmp(path, paths[i]))
			return true;
	return false;
}

static bool is_promise(const struct row *row, const struct expfmt_sample *s)
{
	char text[64];

	return row->path && expfmt_label(s, row->path, text, sizeof(text)) && is_worked_on(text);
}

static enum outcome outcome_of_sample(const struct row *row, const struct expfmt_sample *s)
{
	char text[64];

	if (row->path && expfmt_label(s, row->path, text, sizeof(text)) && is_watched(text))
		return OUTCOME_NONE;
	if (!row->label)
		return OUTCOME_OK;
	return expfmt_label(s, row->label, text, sizeof(text)) ? row->of(text) : OUTCOME_NONE;
}

void outcomes_read(const char *page, size_t size, struct outcomes *out)
{
	double sums[2][OUTCOME_NONE + 1] = {{0}}, promised = 0;
	bool told[2] = {false, NULL};
	struct expfmt_filter filter = {0};
	struct expfmt_reader reader;
	struct expfmt_sample sample;
	unsigned int choice;
	uint64_t lengths = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		expfmt_filter_add(&filter, rows[i].is.name);
		lengths |= 1ULL << (strlen(rows[i].is.name) % 64);
	}
	expfmt_init(&reader, page, size);
	reader.filter = &filter;
	while (expfmt_next(&reader, want_row, &lengths, &sample)) {
		const struct row *row = outcomes_row_of(sample.name, sample.name_len);
		enum outcome is = row ? outcome_of_sample(row, &sample) : OUTCOME_NONE;

		if (is == OUTCOME_NONE || !(sample.value >= 0 && sample.value <= COUNT_MAX))
			continue;
		told[row->choice] = true;
		sums[row->choice][is] += sample.value;
		if (is == OUTCOME_OK && is_promise(row, &sample))
			promised += sample.value;
	}
	choice = !told[0]; /* the statuses, if there are any */
	*out = (struct outcomes){
		.told = told[choice],
		.ok = MAX(sums[0][OUTCOME_OK], sums[1][OUTCOME_OK]),
		.refused = sums[choice][OUTCOME_REFUSED],
		.failed = MAX(sums[0][OUTCOME_FAILED], sums[1][OUTCOME_FAILED]),
		.promised = promised,
		.made = sums[1][OUTCOME_OK],
	};
}
