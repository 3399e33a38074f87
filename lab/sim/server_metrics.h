/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_metrics.h - the /metrics page of vLLM 0.32, with the names, labels, types, buckets and
 * order of the real page. Times are in the server's own time (see --speed).
 */
#ifndef PINTLE_SIM_SERVER_METRICS_H
#define PINTLE_SIM_SERVER_METRICS_H

#include <stdint.h>

#include "../engine/model.h"
#include "../base/buf.h"

#define METRICS_MAX_BOUNDS 24

struct histogram {
	const double *bounds; /* ascending, then 0; at most METRICS_MAX_BOUNDS - 1 of them */
	uint64_t counts[METRICS_MAX_BOUNDS];
	uint64_t count;
	double sum;
};

void histogram_add(struct histogram *h, double value, uint64_t times);

enum metrics_finish { FINISH_STOP, FINISH_LENGTH, FINISH_ABORT, FINISH_ERROR, FINISH_REASONS = 5 };

/* The label `handler` of the HTTP metrics. */
enum metrics_handler {
	HANDLER_MODELS,
	HANDLER_COMPLETIONS,
	HANDLER_CHAT,
	HANDLER_TOKENIZE,
	HANDLER_NONE, /* "none": a path that does not exist */
	HANDLERS,
	HANDLER_UNCOUNTED, /* /health, /metrics and the like */
};

struct http_counts {
	uint64_t requests[3]; /* 2xx, 4xx, 5xx */
	double created[3];
	uint64_t request_bytes, response_bytes;
	struct histogram seconds;
};

struct sim_metrics {
	double created; /* Unix time */
	uint64_t finished[FINISH_REASONS];
	uint64_t prompt_tokens, cached_tokens;
	struct histogram prompt, generation, iteration, max_generation, params_n, params_max, ttft,
		itl, per_token, e2e, queue, inference, prefill, decode, preemptions, computed;
	struct histogram http_seconds;
	struct http_counts http[HANDLERS];
};

/* LoRA adapters that were used at the same time. */
struct adapter_series {
	char *labels; /* running_lora_adapters="...",waiting_lora_adapters="..." */
	double when;  /* Unix time when that was last */
};

/* What the page shows besides struct sim_metrics. */
struct metrics_view {
	const char *model_name;
	uint32_t engine; /* the data-parallel rank */
	const struct model_config *config;
	const struct model_stats *stats;
	const struct adapter_series *series;
	size_t series_count;
};

void metrics_init(struct sim_metrics *m);
/** Counts a request that ended, from the event of its end. */
void metrics_request(struct sim_metrics *m, const struct model_event *e, enum metrics_finish how,
		     uint32_t max_tokens, bool has_max_tokens);
void metrics_steps(struct sim_metrics *m, const struct model_steps *s);
/** Counts an HTTP request; `handler` is below HANDLERS. */
void metrics_http(struct sim_metrics *m, enum metrics_handler handler, unsigned int status,
		  size_t request_bytes, size_t response_bytes, double seconds);
/** Writes the page. */
void metrics_page(const struct sim_metrics *m, const struct metrics_view *v, struct buf *b);

#endif
