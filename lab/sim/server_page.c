// SPDX-License-Identifier: Apache-2.0
/* server_page.c - the text of the /metrics page. */
#include "server_metrics.h"

#include <math.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#include "../../userspace/base/util.h"

struct page {
	const struct sim_metrics *m;
	const struct metrics_view *v;
	struct buf *b;
	char engine[16];
	struct buf model; /* the model's name in quotes */
};

/* Prints a number as Python's client does: 16.0, 0.25, 1.79515787075e+09. */
static void number(struct buf *b, double value)
{
	char digits[40], *e;
	int precision = 0;

	if (fabs(value) < 1e6 && value == floor(value)) {
		buf_printf(b, "%.1f", value);
		return;
	}
	do
		snprintf(digits, sizeof(digits), "%.*e", precision, value);
	while (strtod(digits, NULL) != value && ++precision < 17);
	e = strchr(digits, 'e');
	if (e && fabs(value) < 1e6 && fabs(value) >= 1e-4)
		buf_printf(b, "%.*f", MAX(precision - atoi(e + 1), 1), value);
	else
		buf_puts(b, digits);
}

typedef double (*value_fn)(const struct page *p, unsigned int index);

static double zero(const struct page *p, unsigned int index)
{
	(void)p;
	(void)index;
	return 0;
}

static double first_is_one(const struct page *p, unsigned int index)
{
	(void)p;
	return !index;
}

static double running(const struct page *p, unsigned int index)
{
	(void)index;
	return p->v->stats->running;
}

static double waiting(const struct page *p, unsigned int index)
{
	return index ? 0 : p->v->stats->waiting; /* all wait for capacity, none is deferred */
}

static double kv_usage(const struct page *p, unsigned int index)
{
	(void)index;
	return (double)p->v->stats->blocks_used / p->v->config->blocks;
}

static double cache_queries(const struct page *p, unsigned int index)
{
	(void)index;
	return (double)p->v->stats->query_tokens;
}

static double cache_hits(const struct page *p, unsigned int index)
{
	(void)index;
	return (double)p->v->stats->hit_tokens;
}

static double preemptions(const struct page *p, unsigned int index)
{
	(void)index;
	return (double)p->v->stats->preemptions;
}

static double prompt_tokens(const struct page *p, unsigned int index)
{
	(void)index;
	return (double)p->m->prompt_tokens;
}

static double prompt_by_source(const struct page *p, unsigned int index)
{
	uint64_t values[] = {p->m->prompt_tokens - p->m->cached_tokens, p->m->cached_tokens, 0};

	return (double)values[index];
}

static double cached_tokens(const struct page *p, unsigned int index)
{
	return index ? 0 : (double)p->m->cached_tokens; /* all are on the device */
}

static double generated(const struct page *p, unsigned int index)
{
	(void)index;
	return (double)p->v->stats->generated_tokens;
}

static double finished(const struct page *p, unsigned int index)
{
	return (double)p->m->finished[index];
}

static double refused(const struct page *p, unsigned int index)
{
	return index ? 0 : (double)p->v->stats->refused;
}

enum family_kind { COUNTER, GAUGE, HISTOGRAM };

#define FAMILY_VALUES 5

struct family {
	const char *name, *help;
	enum family_kind kind;
	value_fn value;
	const char *label; /* besides engine and model_name; NULL: none */
	const char *values[FAMILY_VALUES];
	size_t histogram; /* offset in struct sim_metrics */
	bool no_engine;
};

/* In the order of the real page. Counters' names stand here without "_total". */
#define PLAIN(k, n, v, ...)                                                                        \
	{                                                                                          \
		.kind = k, .name = n, .value = v, __VA_ARGS__                                      \
	}
#define HIST(member, n, h)                                                                         \
	{                                                                                          \
		.kind = HISTOGRAM, .name = n, .help = h,                                           \
		.histogram = offsetof(struct sim_metrics, member)                                  \
	}
static const struct family families[] = {
	PLAIN(COUNTER, "vllm:estimated_flops_per_gpu", zero,
	      .help = "Floating point operations estimated, per GPU; none here."),
	PLAIN(COUNTER, "vllm:estimated_read_bytes_per_gpu", zero,
	      .help = "Bytes read from memory, estimated, per GPU; none here."),
	PLAIN(COUNTER, "vllm:estimated_write_bytes_per_gpu", zero,
	      .help = "Bytes written to memory, estimated, per GPU; none here."),
	PLAIN(GAUGE, "vllm:num_requests_running", running, .help = "Requests in the batch."),
	PLAIN(GAUGE, "vllm:num_requests_waiting", waiting, .help = "Requests in the queue."),
	PLAIN(GAUGE, "vllm:num_requests_waiting_by_reason", waiting,
	      .help = "Requests in the queue by what they wait for: 'capacity' is room in the batch "
		      "or the KV cache, 'deferred' anything else that keeps the scheduler from "
		      "taking them.",
	      .label = "reason", .values = {"capacity", "deferred"}),
	PLAIN(GAUGE, "vllm:engine_sleep_state", first_is_one,
	      .help = "Whether the engine sleeps: awake, weights_offloaded (level 1) or discard_all "
		      "(level 2); 1 is the state that holds.",
	      .label = "sleep_state", .values = {"awake", "weights_offloaded", "discard_all"}),
	PLAIN(GAUGE, "vllm:kv_cache_usage_perc", kv_usage,
	      .help = "KV-cache blocks in use; 1 is all."),
	PLAIN(COUNTER, "vllm:prefix_cache_queries", cache_queries,
	      .help = "Prompt tokens looked up in the prefix cache."),
	PLAIN(COUNTER, "vllm:prefix_cache_hits", cache_hits,
	      .help = "Prompt tokens found in the prefix cache."),
	PLAIN(COUNTER, "vllm:external_prefix_cache_queries", zero,
	      .help = "Prompt tokens looked up in a cache shared between instances; none here."),
	PLAIN(COUNTER, "vllm:external_prefix_cache_hits", zero,
	      .help = "Prompt tokens found in a cache shared between instances; none here."),
	PLAIN(COUNTER, "vllm:mm_cache_queries", zero,
	      .help = "Items looked up in the multi-modal cache."),
	PLAIN(COUNTER, "vllm:mm_cache_hits", zero, .help = "Items found in the multi-modal cache."),
	PLAIN(COUNTER, "vllm:num_preemptions", preemptions,
	      .help = "Requests thrown out of the batch."),
	PLAIN(COUNTER, "vllm:prompt_tokens", prompt_tokens, .help = "Prompt tokens processed."),
	PLAIN(COUNTER, "vllm:prompt_tokens_by_source", prompt_by_source,
	      .help = "Prompt tokens by origin.", .label = "source",
	      .values = {"local_compute", "local_cache_hit", "external_kv_transfer"}),
	PLAIN(COUNTER, "vllm:prompt_tokens_cached", cached_tokens,
	      .help = "Prompt tokens from any cache."),
	PLAIN(COUNTER, "vllm:prompt_tokens_cached_by_source", cached_tokens,
	      .help = "Prompt tokens from a cache, by where it lies: 'device' is the GPU's own "
		      "memory, 'host' the machine's, 'p2p' another instance's, 'disk' a file; what "
		      "a connector does not name counts as 'external_unspecified'. Here all are on "
		      "the device.",
	      .label = "source",
	      .values = {"device", "host", "p2p", "disk", "external_unspecified"}),
	PLAIN(COUNTER, "vllm:generation_tokens", generated, .help = "Output tokens generated."),
	PLAIN(COUNTER, "vllm:request_success", finished, .help = "Requests that ended.",
	      .label = "finished_reason",
	      .values = {"stop", "length", "abort", "error", "repetition"}),
	PLAIN(COUNTER, "vllm:admission_rejections", refused,
	      .help = "Requests refused on arrival, by limit.", .label = "reason",
	      .values = {"max_num_queued_reqs", "max_num_queued_tokens"}, .no_engine = true),
	HIST(prompt, "vllm:request_prompt_tokens", "Prompt tokens of a request."),
	HIST(generation, "vllm:request_generation_tokens", "Output tokens of a request."),
	HIST(iteration, "vllm:iteration_tokens_total", "Tokens computed in one step."),
	HIST(max_generation, "vllm:request_max_num_generation_tokens",
	     "Most output tokens that a request got, over its choices."),
	HIST(params_n, "vllm:request_params_n", "The parameter n of a request."),
	HIST(params_max, "vllm:request_params_max_tokens",
	     "The parameter max_tokens of a request."),
	HIST(ttft, "vllm:time_to_first_token_seconds", "From arrival to the first token."),
	HIST(itl, "vllm:inter_token_latency_seconds", "Between two tokens of a request."),
	HIST(per_token, "vllm:request_time_per_output_token_seconds",
	     "Mean time between the tokens of a request."),
	HIST(e2e, "vllm:e2e_request_latency_seconds", "From arrival to the last token."),
	HIST(queue, "vllm:request_queue_time_seconds", "Spent in the queue by a request."),
	HIST(inference, "vllm:request_inference_time_seconds", "Spent in the batch by a request."),
	HIST(prefill, "vllm:request_prefill_time_seconds", "From the queue to the first token."),
	HIST(decode, "vllm:request_decode_time_seconds", "From the first token to the last."),
	HIST(preemptions, "vllm:request_num_preemptions", "How often a request was preempted."),
	HIST(computed, "vllm:request_prefill_kv_computed_tokens",
	     "Prompt tokens computed for a request, without what came from a cache."),
};

static void head(struct buf *b, const char *name, const char *suffix, const char *type,
		 const char *help)
{
	buf_printf(b, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, suffix, help, name, suffix, type);
}

/* Writes one sample of a family, with its labels in alphabetical order. */
static void sample(const struct page *p, const struct family *f, const char *suffix,
		   const char *label, const char *value, double number_)
{
	bool before = label && strcmp(label, "model_name") < 0;

	buf_printf(p->b, "%s%s{", f->name, suffix);
	if (!f->no_engine)
		buf_printf(p->b, "engine=\"%s\",", p->engine);
	if (before)
		buf_printf(p->b, "%s=\"%s\",", label, value);
	buf_puts(p->b, "model_name=");
	buf_add(p->b, p->model.data, p->model.size);
	if (label && !before)
		buf_printf(p->b, ",%s=\"%s\"", label, value);
	buf_puts(p->b, "} ");
	number(p->b, number_);
	buf_puts(p->b, "\n");
}

static void plain_family(const struct page *p, const struct family *f)
{
	const char *suffix = f->kind == COUNTER ? "_total" : "";

	head(p->b, f->name, suffix, f->kind == COUNTER ? "counter" : "gauge", f->help);
	for (unsigned int i = 0; i < FAMILY_VALUES && (!i || f->values[i]); i++)
		sample(p, f, suffix, f->label, f->values[i], f->value(p, i));
	if (f->kind != COUNTER)
		return;
	head(p->b, f->name, "_created", "gauge", f->help);
	for (unsigned int i = 0; i < FAMILY_VALUES && (!i || f->values[i]); i++)
		sample(p, f, "_created", f->label, f->values[i], p->m->created);
}

static void bound_text(double bound, char *text, size_t size)
{
	struct buf b = {};

	number(&b, bound);
	snprintf(text, size, "%.*s", (int)b.size, b.data ? b.data : "");
	buf_free(&b);
}

static void histogram_family(const struct page *p, const struct family *f)
{
	const struct histogram *h = (const struct histogram *)((const char *)p->m + f->histogram);
	uint64_t sum = 0;
	char le[32];

	head(p->b, f->name, "", "histogram", f->help);
	for (unsigned int i = 0; h->bounds[i] > 0; i++) {
		sum += h->counts[i];
		bound_text(h->bounds[i], le, sizeof(le));
		sample(p, f, "_bucket", "le", le, (double)sum);
	}
	sample(p, f, "_bucket", "le", "+Inf", (double)h->count);
	sample(p, f, "_count", NULL, NULL, (double)h->count);
	sample(p, f, "_sum", NULL, NULL, h->sum);
	head(p->b, f->name, "_created", "gauge", f->help);
	sample(p, f, "_created", NULL, NULL, p->m->created);
}

/* The metrics that Python's client adds for the interpreter and the process. The simulator is no
 * Python program, so the garbage collector's counters stay 0. */
static void process_families(struct buf *b, double created)
{
	static const struct {
		const char *name, *help;
	} gc[] = {
		{"python_gc_objects_collected_total", "Objects collected."},
		{"python_gc_objects_uncollectable_total", "Objects not collectable."},
		{"python_gc_collections_total", "Collections of a generation."},
	};
	struct rlimit files = {};
	struct rusage usage = {};
	unsigned long pages = 0, resident = 0;
	_cleanup_fclose_ FILE *statm = fopen("/proc/self/statm", "re");

	for (size_t i = 0; i < ARRAY_SIZE(gc); i++) {
		head(b, gc[i].name, "", "counter", gc[i].help);
		for (int g = 0; g < 3; g++)
			buf_printf(b, "%s{generation=\"%d\"} 0.0\n", gc[i].name, g);
	}
	head(b, "python_info", "", "gauge", "Platform.");
	buf_puts(b, "python_info{implementation=\"pintle-sim\",major=\"3\",minor=\"11\","
		    "patchlevel=\"0\",version=\"3.11.0\"} 1.0\n");
	if (statm && fscanf(statm, "%lu %lu", &pages, &resident) != 2)
		pages = resident = 0;
	getrusage(RUSAGE_SELF, &usage);
	getrlimit(RLIMIT_NOFILE, &files);
	const struct {
		const char *name, *help, *type;
		double value;
	} process[] = {
		{"process_virtual_memory_bytes", "Address space, in bytes.", "gauge",
		 (double)pages * (double)sysconf(_SC_PAGESIZE)},
		{"process_resident_memory_bytes", "Memory held, in bytes.", "gauge",
		 (double)resident * (double)sysconf(_SC_PAGESIZE)},
		{"process_start_time_seconds", "Unix time at which it began.", "gauge", created},
		{"process_cpu_seconds_total", "CPU time used, in seconds.", "counter",
		 (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
			 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6},
		/* Counting open files would read a directory for each page. */
		{"process_open_fds", "Files open.", "gauge", 0},
		{"process_max_fds", "Files that may be open.", "gauge", (double)files.rlim_cur},
	};

	for (size_t i = 0; i < ARRAY_SIZE(process); i++) {
		head(b, process[i].name, "", process[i].type, process[i].help);
		buf_printf(b, "%s ", process[i].name);
		number(b, process[i].value);
		buf_puts(b, "\n");
	}
}

/* Labels for settings that the simulator does not have show vLLM's values in a default set-up. */
static void cache_config(const struct page *p)
{
	const struct model_config *c = p->v->config;
	uint64_t tokens = (uint64_t)c->blocks * c->block_tokens;

	head(p->b, "vllm:cache_config_info", "", "gauge", "How the KV cache is set up.");
	buf_printf(
		p->b,
		"vllm:cache_config_info{_block_size_resolved=\"True\",block_size=\"%u\","
		"cache_dtype=\"auto\",cache_hit_alignment_tokens=\"None\","
		"effective_attention_block_size=\"%u\",enable_mamba_shared_prefix_checkpoint="
		"\"False\",enable_prefix_caching=\"%s\",engine=\"%s\",gpu_memory_utilization=\"0.9\","
		"hash_block_size=\"None\",is_attention_free=\"False\",kv_cache_dtype_skip_layers="
		"\"[]\",kv_cache_layout=\"None\",kv_cache_max_concurrency=\"%.2f\","
		"kv_cache_memory_bytes=\"None\",kv_cache_size_tokens=\"%lu\","
		"kv_offloading_backend=\"native\",kv_offloading_size=\"None\","
		"kv_sharing_fast_prefill=\"False\",mamba_block_size=\"None\",mamba_cache_dtype="
		"\"auto\",mamba_cache_mode=\"none\",mamba_page_size_padded=\"None\","
		"mamba_ssm_cache_dtype=\"float32\",num_cpu_blocks=\"None\",num_gpu_blocks=\"%u\","
		"num_gpu_blocks_override=\"None\",prefix_cache_retention_interval=\"0\","
		"prefix_caching_hash_algo=\"sha256\",prefix_match_unit=\"None\","
		"replayssm_buffer_len=\"16\",skip_page_size_padded=\"None\",sliding_window=\"None\","
		"swa_bounded_replay=\"True\",use_kda_recoverssm=\"False\",use_replayssm=\"False\","
		"user_specified_block_size=\"False\"} 1.0\n",
		c->block_tokens, c->block_tokens, c->no_prefix_cache ? "False" : "True", p->engine,
		(double)tokens / c->max_len, (unsigned long)tokens, c->blocks);
}

/* As of vLLM: a series for each combination that there was. */
static void lora_family(const struct page *p)
{
	if (!p->v->series_count)
		return;
	head(p->b, "vllm:lora_requests_info", "", "gauge",
	     "LoRA adapters that run and that wait; the value is the time when that was last.");
	for (size_t i = 0; i < p->v->series_count; i++)
		buf_printf(p->b, "vllm:lora_requests_info{max_lora=\"%u\",%s} %.3f\n",
			   p->v->config->adapter_slots, p->v->series[i].labels,
			   p->v->series[i].when);
}

static const struct {
	const char *path, *method;
} handlers[HANDLERS] = {
	[HANDLER_MODELS] = {"/v1/models", "GET"},
	[HANDLER_COMPLETIONS] = {"/v1/completions", "POST"},
	[HANDLER_CHAT] = {"/v1/chat/completions", "POST"},
	[HANDLER_TOKENIZE] = {"/tokenize", "POST"},
	[HANDLER_NONE] = {"none", "GET"},
};

static bool handler_used(const struct http_counts *h)
{
	return h->requests[0] || h->requests[1] || h->requests[2];
}

static void http_requests(const struct page *p, const char *suffix, const char *type, bool created)
{
	static const char *const kinds[] = {"2xx", "4xx", "5xx"};

	head(p->b, "http_requests", suffix, type, "Requests by method, status and handler.");
	for (unsigned int i = 0; i < HANDLERS; i++) {
		const struct http_counts *h = &p->m->http[i];

		for (unsigned int k = 0; k < ARRAY_SIZE(kinds); k++) {
			if (!h->requests[k])
				continue;
			buf_printf(p->b,
				   "http_requests%s{handler=\"%s\",method=\"%s\",status=\"%s\"} ",
				   suffix, handlers[i].path, handlers[i].method, kinds[k]);
			number(p->b, created ? h->created[k] : (double)h->requests[k]);
			buf_puts(p->b, "\n");
		}
	}
}

static void http_size(const struct page *p, const char *name, const char *help, bool response)
{
	head(p->b, name, "", "summary", help);
	for (unsigned int i = 0; i < HANDLERS; i++) {
		const struct http_counts *h = &p->m->http[i];

		if (!handler_used(h))
			continue;
		buf_printf(p->b, "%s_count{handler=\"%s\"} ", name, handlers[i].path);
		number(p->b, (double)h->seconds.count);
		buf_printf(p->b, "\n%s_sum{handler=\"%s\"} ", name, handlers[i].path);
		number(p->b, (double)(response ? h->response_bytes : h->request_bytes));
		buf_puts(p->b, "\n");
	}
	head(p->b, name, "_created", "gauge", help);
	for (unsigned int i = 0; i < HANDLERS; i++) {
		if (!handler_used(&p->m->http[i]))
			continue;
		buf_printf(p->b, "%s_created{handler=\"%s\"} ", name, handlers[i].path);
		number(p->b, p->m->created);
		buf_puts(p->b, "\n");
	}
}

static void bare_histogram(struct buf *b, const char *name, const char *before, const char *after,
			   const struct histogram *h)
{
	bool labels = *before || *after;
	uint64_t sum = 0;
	char le[32];

	for (unsigned int i = 0; h->bounds[i] > 0; i++) {
		sum += h->counts[i];
		bound_text(h->bounds[i], le, sizeof(le));
		buf_printf(b, "%s_bucket{%sle=\"%s\"%s%s} ", name, before, le, *after ? "," : "",
			   after);
		number(b, (double)sum);
		buf_puts(b, "\n");
	}
	buf_printf(b, "%s_bucket{%sle=\"+Inf\"%s%s} ", name, before, *after ? "," : "", after);
	number(b, (double)h->count);
	buf_printf(b, "\n%s_count%s%s%s%s ", name, labels ? "{" : "", before, after,
		   labels ? "}" : "");
	number(b, (double)h->count);
	buf_printf(b, "\n%s_sum%s%s%s%s ", name, labels ? "{" : "", before, after,
		   labels ? "}" : "");
	number(b, h->sum);
	buf_puts(b, "\n");
}

static void http_families(const struct page *p)
{
	static const char highr[] = "http_request_duration_highr_seconds";
	static const char lowr[] = "http_request_duration_seconds";
	char before[64], after[32];

	http_requests(p, "_total", "counter", false);
	http_requests(p, "_created", "gauge", true);
	http_size(p, "http_request_size_bytes", "Bytes of the requests to a handler.", false);
	http_size(p, "http_response_size_bytes", "Bytes of the answers of a handler.", true);
	head(p->b, highr, "", "histogram",
	     "Time taken by requests, all handlers, in fine buckets.");
	bare_histogram(p->b, highr, "", "", &p->m->http_seconds);
	head(p->b, highr, "_created", "gauge", "Time taken by requests, all handlers.");
	buf_printf(p->b, "%s_created ", highr);
	number(p->b, p->m->created);
	buf_puts(p->b, "\n");
	head(p->b, lowr, "", "histogram", "Time taken by requests, by handler, in few buckets.");
	for (unsigned int i = 0; i < HANDLERS; i++) {
		if (!handler_used(&p->m->http[i]))
			continue;
		snprintf(before, sizeof(before), "handler=\"%s\",", handlers[i].path);
		snprintf(after, sizeof(after), "method=\"%s\"", handlers[i].method);
		bare_histogram(p->b, lowr, before, after, &p->m->http[i].seconds);
	}
	head(p->b, lowr, "_created", "gauge", "Time taken by requests, by handler.");
	for (unsigned int i = 0; i < HANDLERS; i++) {
		if (!handler_used(&p->m->http[i]))
			continue;
		buf_printf(p->b, "%s_created{handler=\"%s\",method=\"%s\"} ", lowr,
			   handlers[i].path, handlers[i].method);
		number(p->b, p->m->created);
		buf_puts(p->b, "\n");
	}
}

void metrics_page(const struct sim_metrics *m, const struct metrics_view *v, struct buf *b)
{
	struct page p = {.m = m, .v = v, .b = b};

	snprintf(p.engine, sizeof(p.engine), "%u", v->engine);
	buf_json(&p.model, v->model_name);
	process_families(b, m->created);
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		if (families[i].kind == HISTOGRAM)
			histogram_family(&p, &families[i]);
		else
			plain_family(&p, &families[i]);
	}
	lora_family(&p);
	cache_config(&p);
	http_families(&p);
	buf_free(&p.model);
}
