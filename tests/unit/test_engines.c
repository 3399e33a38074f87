// SPDX-License-Identifier: Apache-2.0
/* Engines' pages: real pages to the last digit, the forms of engines and versions of which there is
 * no real page here, and pages of sick servers, which must not look idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../userspace/policy/engine_names.h"
#include "../../userspace/base/util.h"
#include "../../userspace/policy/engines.h"

#define PAGES "tests/data/pages/" /* tests run in the top directory */
#define NO    NAN                 /* the page lacks this signal */

static const char *const signal_names[SIGNAL_COUNT] = {
	"waiting", "running", "kv_cache", "prefix_hits", "prefix_queries",
	"prompt",  "output",  "started",  "asleep",
};

static void expect(const char *what, const char *engine, const char *page, size_t size,
		   const double *values)
{
	struct signals s;
	int r;

	/* A copy of the exact size on the heap: ASan and valgrind report any read behind it. */
	_cleanup_free_ char *copy = malloc(size ? size : 1);

	assert_non_null(copy);
	memcpy(copy, page, size);
	r = engine_read(engine_find(engine), copy, size, &s, NULL);
	if (r)
		fail_msg("%s: %s", what, strerror(-r));
	for (int i = 0; i < SIGNAL_COUNT; i++) {
		bool present = i == SIGNAL_STARTED  ? values[i] > 0
			       : i == SIGNAL_ASLEEP ? s.present[i]
						    : !isnan(values[i]);

		if (s.present[i] != present || s.value[i] != (present ? values[i] : 0))
			fail_msg("%s: %s is %s%.17g", what, signal_names[i],
				 s.present[i] ? "" : "absent, ", s.value[i]);
	}
}

static char *slurp(const char *name, size_t *size)
{
	char path[256];
	char *text = malloc(1 << 20);
	FILE *f;

	snprintf(path, sizeof(path), PAGES "%s", name);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(text);
	*size = fread(text, 1, 1 << 20, f);
	fclose(f);
	return text;
}

/* page; waiting, running, KV cache; prefix hits and queries; prompt and output tokens; when it
 * started, 0: it does not say */
static const struct {
	const char *engine, *page;
	double values[SIGNAL_COUNT];
} real[] = {
	{"vllm", "vllm-0.32.0-idle.txt", {0, 0, 0, 0, 0, 0, 0, 1795157870.75}},
	{"vllm",
	 "vllm-0.32.0-load.txt",
	 {0, 16, 0.0030521303870101324, 896, 2744, 2744, 253, 1795157870.75}},
	{"vllm", "vllm-0.32.0-after.txt", {0, 0, 0, 896, 2744, 2744, 4072, 1795157870.75}},
	{"vllm",
	 "vllm-0.32.0-queue.txt",
	 {167, 16, 0.06274509803921569, 0, 3240, 3240, 1961, 1795159334.24}},
	{"vllm",
	 "vllm-0.32.0-kvfull.txt",
	 {12, 5, 0.9841269841269842, 0, 23100, 23100, 24003, 1795160697.23}},
	{"sglang", "sglang-0.5.23-idle.txt", {0, 0, 0, 0, 29, 29, 8}},
	{"sglang", "sglang-0.5.23-load.txt", {0, 16, 0.04, 1292, 2773, 71, 240}},
	{"sglang", "sglang-0.5.23-after.txt", {0, 0, 0, 1292, 2773, 2773, 4080}},
	{"tgi", "tgi-3.3.7-idle.txt", {0, 0, NO, NO, NO, NO, NO}},
	{"tgi", "tgi-3.3.7-load.txt", {0, 16, NO, NO, NO, 2744, 232}},
	{"tgi", "tgi-3.3.7-after.txt", {0, 0, NO, NO, NO, 2744, 4072}},
	{"llamacpp", "llamacpp-0.5.0-dev-idle.txt", {0, 0, NO, 0, 0, 0, 0}},
	{"llamacpp", "llamacpp-0.5.0-dev-load.txt", {0, 2, NO, 1304, 2762, 2762, 3592}},
	{"llamacpp", "llamacpp-0.5.0-dev-after.txt", {0, 0, NO, 1304, 2762, 2762, 4072}},
	{"triton-trtllm", "triton-2.51.0-idle.txt", {0, NO, NO, NO, NO, NO, NO}},
	{"triton-trtllm", "triton-2.51.0-load.txt", {61, NO, NO, NO, NO, NO, NO}},
	{"triton-trtllm", "triton-2.51.0-after.txt", {0, NO, NO, NO, NO, NO, NO}},
};

static void test_real_pages(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(real); i++) {
		size_t size;
		_cleanup_free_ char *page = slurp(real[i].page, &size);

		expect(real[i].page, real[i].engine, page, size, real[i].values);
	}
}

/* A page of one engine is no page for another engine's entry. An empty page is a page only where
 * the table says so. */
static void test_real_pages_of_another(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(real); i++) {
		size_t size;
		_cleanup_free_ char *page = slurp(real[i].page, &size);

		for (size_t k = 0; engine_name(k); k++) {
			struct signals s;

			if (!strcmp(engine_name(k), real[i].engine) ||
			    !strcmp(engine_name(k), "auto") ||
			    (!size && !strcmp(engine_name(k), "tgi")) ||
			    (!size && !strcmp(engine_name(k), "trtllm")))
				continue;
			assert_int_equal(
				engine_read(engine_find(engine_name(k)), page, size, &s, NULL),
				-ENODATA);
		}
	}
}

#define OK "vllm:num_requests_waiting 1\n"

static const struct {
	const char *what, *engine, *page;
	double values[SIGNAL_COUNT];
} forms[] = {
	{"vLLM before 0.10: old names",
	 "vllm",
	 "# TYPE vllm:num_requests_running gauge\n"
	 "vllm:num_requests_running{model_name=\"m\"} 3.0\n"
	 "vllm:num_requests_swapped{model_name=\"m\"} 9.0\n"
	 "vllm:num_requests_waiting{model_name=\"m\"} 2.0\n"
	 "vllm:gpu_cache_usage_perc{model_name=\"m\"} 0.25\n"
	 "vllm:cpu_cache_usage_perc{model_name=\"m\"} 0.75\n"
	 "vllm:gpu_prefix_cache_hit_rate{model_name=\"m\"} -1.0\n"
	 "vllm:gpu_prefix_cache_queries_total{model_name=\"m\"} 100.0\n"
	 "vllm:gpu_prefix_cache_queries_created{model_name=\"m\"} 1.7e+09\n"
	 "vllm:gpu_prefix_cache_hits_total{model_name=\"m\"} 40.0\n"
	 "vllm:gpu_prefix_cache_hits_created{model_name=\"m\"} 1.7e+09\n"
	 "vllm:prompt_tokens_total{model_name=\"m\"} 500.0\n"
	 "vllm:generation_tokens_total{model_name=\"m\"} 50.0\n",
	 {2, 3, 0.25, 40, 100, 500, 50}},
	{"vLLM with both generations of names: the newer ones count, in either order",
	 "vllm",
	 "vllm:gpu_cache_usage_perc{engine=\"0\"} 0.5\n"
	 "vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\n"
	 "vllm:num_requests_waiting{engine=\"0\"} 0\n"
	 "vllm:prefix_cache_hits_total{engine=\"0\"} 1\n"
	 "vllm:gpu_prefix_cache_hits_total{engine=\"0\"} 2\n"
	 "vllm:gpu_prefix_cache_queries_total{engine=\"0\"} 4\n"
	 "vllm:prefix_cache_queries_total{engine=\"0\"} 3\n",
	 {0, NO, 0.25, 1, 3, NO, NO}},
	{"counters without _total",
	 "vllm",
	 "vllm:num_requests_waiting 0\nvllm:prefix_cache_hits 5\nvllm:prefix_cache_queries 6\n"
	 "vllm:prompt_tokens 7\nvllm:generation_tokens 8\n",
	 {0, NO, NO, 5, 6, 7, 8}},
	{"vLLM, four data-parallel ranks, one of them full: requests add up, shares are averaged",
	 "vllm",
	 "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 4.0\n"
	 "vllm:num_requests_running{engine=\"1\",model_name=\"m\"} 0.0\n"
	 "vllm:num_requests_running{engine=\"2\",model_name=\"m\"} 1.0\n"
	 "vllm:num_requests_running{engine=\"3\",model_name=\"m\"} 0.0\n"
	 "vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 7.0\n"
	 "vllm:num_requests_waiting{engine=\"1\",model_name=\"m\"} 0.0\n"
	 "vllm:num_requests_waiting{engine=\"2\",model_name=\"m\"} 0.0\n"
	 "vllm:num_requests_waiting{engine=\"3\",model_name=\"m\"} 1.0\n"
	 "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 1.0\n"
	 "vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"m\"} 0.0\n"
	 "vllm:kv_cache_usage_perc{engine=\"2\",model_name=\"m\"} 0.25\n"
	 "vllm:kv_cache_usage_perc{engine=\"3\",model_name=\"m\"} 0.0\n"
	 "vllm:prompt_tokens_total{engine=\"0\",model_name=\"m\"} 10.0\n"
	 "vllm:prompt_tokens_total{engine=\"1\",model_name=\"m\"} 20.0\n",
	 {8, 5, 0.3125, NO, NO, 30, NO}},
	{"vLLM: whole names only, and no twin of a counter",
	 "vllm",
	 "vllm:num_requests_waiting{engine=\"0\"} 3\n"
	 "vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"capacity\"} 3\n"
	 "vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"deferred\"} 50\n"
	 "vllm:num_requests_runnin 4\nvllm:num_requests_running_ 4\n"
	 "xvllm:num_requests_waiting 4\nVLLM:num_requests_waiting 4\n"
	 "vllm:prefix_cache_hits_total 1\nvllm:prefix_cache_hits_created 1.7e9\n"
	 "vllm:prefix_cache_queries_total 2\nvllm:prefix_cache_queries_created 1.7e9\n"
	 "vllm:prompt_tokens_total 3\nvllm:prompt_tokens_created 1.7e9\n"
	 "vllm:prompt_tokens_cached_total 9\n"
	 "vllm:generation_tokens_total 4\nvllm:generation_tokens_created 1.7e9\n",
	 {3, NO, NO, 1, 2, 3, 4}},
	{"rounding above 1 is 1",
	 "vllm",
	 "vllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 1.0000000000000002\n",
	 {0, NO, 1, NO, NO, NO, NO}},
	{"OpenMetrics, timestamps, exemplars, CR LF, no line end after EOF",
	 "vllm",
	 "# TYPE vllm:num_requests_waiting gauge\r\n"
	 "vllm:num_requests_waiting{engine=\"0\"} 2.0 1700000000.123\r\n"
	 "# UNIT vllm:prompt_tokens tokens\r\n"
	 "vllm:prompt_tokens_total{engine=\"0\"} 5.0 # {id=\"a b\"} 1.0 1700000000.1\r\n"
	 "# EOF",
	 {2, NO, NO, NO, NO, 5, NO}},
	{"a name in a label or a comment is no metric",
	 "vllm",
	 "# HELP x vllm:num_requests_waiting 9\n# vllm:num_requests_waiting 9\n"
	 "x{y=\"\\nvllm:num_requests_waiting 9\"} 1\n"
	 "vllm:num_requests_waiting{model_name=\"a } 9 \\\" # b\"} 1\n",
	 {1, NO, NO, NO, NO, NO, NO}},
	{"SGLang, two data-parallel ranks; of one's tensor, pipeline and priority series one counts",
	 "sglang",
	 "sglang:num_queue_reqs{dp_rank=\"0\",priority=\"\",tp_rank=\"0\"} 3.0\n"
	 "sglang:num_queue_reqs{dp_rank=\"0\",priority=\"1\",tp_rank=\"0\"} 2.0\n"
	 "sglang:num_queue_reqs{dp_rank=\"0\",priority=\"2\",tp_rank=\"0\"} 1.0\n"
	 "sglang:num_queue_reqs{dp_rank=\"1\",priority=\"\",tp_rank=\"1\"} 4.0\n"
	 "sglang:num_running_reqs{dp_rank=\"0\",tp_rank=\"0\"} 5.0\n"
	 "sglang:num_running_reqs{dp_rank=\"1\",tp_rank=\"1\"} 6.0\n"
	 "sglang:token_usage{dp_rank=\"0\",tp_rank=\"0\"} 0.25\n"
	 "sglang:token_usage{dp_rank=\"1\",tp_rank=\"1\"} 0.75\n"
	 "sglang:full_token_usage{dp_rank=\"1\"} 1\nsglang:swa_token_usage{dp_rank=\"1\"} 1\n"
	 "sglang:num_grammar_queue_reqs{dp_rank=\"1\"} 99\n",
	 {7, 11, 0.5, NO, NO, NO, NO}},
	{"SGLang, every scheduler of one replica reports the same requests",
	 "sglang",
	 "sglang:num_queue_reqs{pp_rank=\"0\",tp_rank=\"0\"} 3.0\n"
	 "sglang:num_queue_reqs{pp_rank=\"0\",tp_rank=\"1\"} 3.0\n"
	 "sglang:num_queue_reqs{pp_rank=\"1\",tp_rank=\"0\"} 2.0\n"
	 "sglang:num_running_reqs{pp_rank=\"0\",tp_rank=\"0\"} 8.0\n"
	 "sglang:num_running_reqs{pp_rank=\"0\",tp_rank=\"1\"} 8.0\n"
	 "sglang:token_usage{pp_rank=\"0\",tp_rank=\"0\"} 0.4\n"
	 "sglang:token_usage{pp_rank=\"0\",tp_rank=\"1\"} 0.5\n",
	 {3, 8, 0.5, NO, NO, NO, NO}},
	{"SGLang before prefill_effective_tokens: what finished requests found",
	 "sglang",
	 "sglang:num_queue_reqs 0\nsglang:num_running_reqs 0\nsglang:token_usage 0\n"
	 "sglang:prompt_tokens_total{is_streaming=\"false\"} 100\n"
	 "sglang:prompt_tokens_total{is_streaming=\"true\"} 200\n"
	 "sglang:cached_tokens_total{cache_source=\"device\"} 40\n"
	 "sglang:cached_tokens_total{cache_source=\"host\"} 2\n"
	 "sglang:cached_tokens_total{cache_source=\"total\"} 42\n",
	 {0, 0, 0, 42, 300, 300, NO}},
	{"SGLang, older still: one series",
	 "sglang",
	 "sglang:num_queue_reqs 0\nsglang:prompt_tokens_total 100\n"
	 "sglang:cached_tokens_total{model_name=\"m\"} 40\n",
	 {0, NO, NO, 40, 100, 100, NO}},
	{"trtllm-serve",
	 "trtllm",
	 "trtllm_request_success_total{engine_type=\"trtllm\",finished_reason=\"stop\"} 1.0\n"
	 "trtllm_num_requests_running{engine_type=\"trtllm\",model_name=\"m\"} 6.0\n"
	 "trtllm_num_requests_waiting{engine_type=\"trtllm\",model_name=\"m\"} 4.0\n"
	 "trtllm_num_requests_completed_total{engine_type=\"trtllm\",model_name=\"m\"} 77.0\n"
	 "trtllm_kv_cache_utilization{engine_type=\"trtllm\",model_name=\"m\"} 0.5\n"
	 "trtllm_kv_cache_host_utilization{engine_type=\"trtllm\",model_name=\"m\"} 0.9\n"
	 "trtllm_kv_cache_hit_rate{engine_type=\"trtllm\",model_name=\"m\"} 0.3\n"
	 "trtllm_kv_cache_reused_blocks_total{engine_type=\"trtllm\",model_name=\"m\"} 30.0\n"
	 "trtllm_kv_cache_missed_blocks_total{engine_type=\"trtllm\",model_name=\"m\"} 70.0\n"
	 "trtllm_kv_cache_tokens_per_block{engine_type=\"trtllm\",model_name=\"m\"} 32.0\n"
	 "trtllm_kv_cache_max_blocks{engine_type=\"trtllm\",model_name=\"m\"} 100.0\n"
	 "trtllm_prompt_tokens_total{engine_type=\"trtllm\",model_name=\"m\"} 1000.0\n"
	 "trtllm_generation_tokens_total{engine_type=\"trtllm\",model_name=\"m\"} 200.0\n",
	 {4, 6, 0.5, 30, 100, 1000, 200}},
	{"Triton with TensorRT-LLM: series by label, two models; Triton's own queue does not count",
	 "triton-trtllm",
	 "nv_inference_pending_request_count{model=\"ensemble\",version=\"1\"} 50\n"
	 "nv_trt_llm_request_metrics{model=\"a\",request_type=\"waiting\",version=\"1\"} 3\n"
	 "nv_trt_llm_request_metrics{model=\"a\",request_type=\"context\",version=\"1\"} 1\n"
	 "nv_trt_llm_request_metrics{model=\"a\",request_type=\"scheduled\",version=\"1\"} 4\n"
	 "nv_trt_llm_request_metrics{model=\"a\",request_type=\"max\",version=\"1\"} 512\n"
	 "nv_trt_llm_request_metrics{model=\"a\",request_type=\"active\",version=\"1\"} 7\n"
	 "nv_trt_llm_request_metrics{model=\"b\",request_type=\"waiting\",version=\"1\"} 1\n"
	 "nv_trt_llm_request_metrics{model=\"b\",request_type=\"scheduled\",version=\"1\"} 2\n"
	 "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\",model=\"a\"} 0.5\n"
	 "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"tokens_per\",model=\"a\"} 64\n"
	 "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"used\",model=\"a\"} 2000\n"
	 "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\",model=\"a\"} 8000\n"
	 "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\",model=\"b\"} 0.25\n",
	 {4, 6, 0.375, NO, NO, NO, NO}},
	{"Triton with TensorRT-LLM before it counted waiting requests: Triton's own queue",
	 "triton-trtllm",
	 "nv_inference_pending_request_count{model=\"ensemble\",version=\"1\"} 5\n"
	 "nv_inference_pending_request_count{model=\"tensorrt_llm\",version=\"1\"} 6\n"
	 "nv_trt_llm_request_metrics{model=\"a\",request_type=\"scheduled\",version=\"1\"} 4\n",
	 {11, 4, NO, NO, NO, NO, NO}},
	{"SGLang, the prefill side: requests that look for a decoding server, or send their cache there",
	 "sglang",
	 "sglang:num_running_reqs{engine_type=\"prefill\",tp_rank=\"0\"} 0\n"
	 "sglang:num_queue_reqs{engine_type=\"prefill\",tp_rank=\"0\"} 1\n"
	 "sglang:num_prefill_bootstrap_queue_reqs{engine_type=\"prefill\",tp_rank=\"0\"} 40\n"
	 "sglang:num_prefill_bootstrap_queue_reqs{engine_type=\"prefill\",tp_rank=\"1\"} 40\n"
	 "sglang:num_prefill_inflight_queue_reqs{engine_type=\"prefill\",tp_rank=\"0\"} 12\n"
	 "sglang:num_decode_prealloc_queue_reqs{tp_rank=\"0\"} 0\n"
	 "sglang:num_decode_transfer_queue_reqs{tp_rank=\"0\"} 0\n"
	 "sglang:token_usage{tp_rank=\"0\"} 0.2\n",
	 {41, 12, 0.2, NO, NO, NO, NO}},
	{"an earlier SGLang, the prefill side: the first of the queues has another name",
	 "sglang",
	 "sglang:num_running_reqs{tp_rank=\"0\"} 0\nsglang:num_queue_reqs{tp_rank=\"0\"} 1\n"
	 "sglang:num_prefill_prealloc_queue_reqs{tp_rank=\"0\"} 40\n"
	 "sglang:num_prefill_inflight_queue_reqs{tp_rank=\"0\"} 12\n",
	 {41, 12, NO, NO, NO, NO, NO}},
	{"SGLang, the decoding side, two ranks: requests that wait for room, or for their cache",
	 "sglang",
	 "sglang:num_running_reqs{dp_rank=\"0\"} 5\nsglang:num_running_reqs{dp_rank=\"1\"} 6\n"
	 "sglang:num_queue_reqs{dp_rank=\"0\"} 0\nsglang:num_queue_reqs{dp_rank=\"1\"} 1\n"
	 "sglang:num_decode_prealloc_queue_reqs{dp_rank=\"0\"} 7\n"
	 "sglang:num_decode_transfer_queue_reqs{dp_rank=\"1\"} 3\n",
	 {8, 14, NO, NO, NO, NO, NO}},
	{"SGLang, a model with Mamba layers: the fuller pool of each rank counts",
	 "sglang",
	 "sglang:num_queue_reqs{dp_rank=\"0\"} 0\nsglang:num_queue_reqs{dp_rank=\"1\"} 0\n"
	 "sglang:mamba_usage{dp_rank=\"0\"} 0.75\nsglang:mamba_usage{dp_rank=\"1\"} 0.1\n"
	 "sglang:token_usage{dp_rank=\"0\"} 0.25\nsglang:token_usage{dp_rank=\"1\"} 0.25\n",
	 {0, NO, 0.5, NO, NO, NO, NO}},
	{"SGLang that was given no request: the sizes of its pools alone",
	 "sglang",
	 "sglang:max_total_num_tokens{model_name=\"m\"} 32000.0\nsglang:page_size 1.0\n",
	 {0, 0, 0, NO, NO, NO, NO}},
	{"vLLM with several API servers, before the first request",
	 "vllm",
	 "vllm:engine_sleep_state{engine=\"0\",sleep_state=\"awake\"} 1.0\n"
	 "vllm:prompt_tokens_total{engine=\"0\"} 0.0\n"
	 "vllm:request_success_total{engine=\"0\",finished_reason=\"stop\"} 0.0\n"
	 "vllm:cache_config_info{block_size=\"16\",engine=\"0\"} 1.0\n",
	 {0, 0, 0, NO, NO, NO, NO}},
	{"trtllm-serve before its first request: an empty page",
	 "trtllm",
	 "\n",
	 {0, 0, 0, NO, NO, NO, NO}},
	{"trtllm-serve before its first request: how it is set up",
	 "trtllm",
	 "# TYPE trtllm_prompt_cached_tokens_total counter\n"
	 "trtllm_prompt_cached_tokens_total{engine_type=\"undefined\",model_name=\"undefined\"} 0.0\n"
	 "trtllm_model_config_info{dtype=\"bfloat16\",model_name=\"undefined\"} 1.0\n",
	 {0, 0, 0, NO, NO, NO, NO}},
	{"trtllm-serve that has refused requests and worked on none",
	 "trtllm",
	 "python_info{version=\"3.12\"} 1\n"
	 "trtllm_request_error_total{http_code=\"400\"} 3.0\n"
	 "trtllm_request_success_total{finished_reason=\"stop\"} 0.0\n",
	 {0, 0, 0, NO, NO, NO, NO}},
	{"a share that none can be costs itself alone",
	 "vllm",
	 OK "vllm:num_requests_running 2\nvllm:kv_cache_usage_perc NaN\n",
	 {1, 2, NO, NO, NO, NO, NO}},
	{"so does a share in percent",
	 "vllm",
	 OK "vllm:kv_cache_usage_perc 45.2\n",
	 {1, NO, NO, NO, NO, NO, NO}},
	{"so does one over 1",
	 "vllm",
	 OK "vllm:kv_cache_usage_perc 1.011\n",
	 {1, NO, NO, NO, NO, NO, NO}},
	{"so does a negative one",
	 "vllm",
	 OK "vllm:kv_cache_usage_perc -0.1\n",
	 {1, NO, NO, NO, NO, NO, NO}},
	{"so do the requests that run",
	 "vllm",
	 OK "vllm:num_requests_running -3\n",
	 {1, NO, NO, NO, NO, NO, NO}},
	{"so do those that wait",
	 "vllm",
	 "vllm:num_requests_waiting +Inf\nvllm:num_requests_running 3\n",
	 {NO, 3, NO, NO, NO, NO, NO}},
	{"so does what is no number",
	 "vllm",
	 OK "vllm:num_requests_running many\nvllm:kv_cache_usage_perc 0.5 x\n",
	 {1, NO, NO, NO, NO, NO, NO}},
	{"so do counters",
	 "vllm",
	 OK "vllm:prompt_tokens_total NaN\nvllm:generation_tokens_total 1e19\n"
	    "vllm:prefix_cache_hits_total -1\nvllm:prefix_cache_queries_total 5\n",
	 {1, NO, NO, NO, NO, NO, NO}},
	{"so does a sum",
	 "vllm",
	 "vllm:num_requests_waiting{engine=\"0\"} 1\nvllm:num_requests_waiting{engine=\"1\"} 2\n"
	 "vllm:num_requests_running{engine=\"0\"} 9e8\n"
	 "vllm:num_requests_running{engine=\"1\"} 9e8\n",
	 {3, NO, NO, NO, NO, NO, NO}},
	{"a newer name that is sick: the older one counts",
	 "vllm",
	 OK "vllm:kv_cache_usage_perc NaN\nvllm:gpu_cache_usage_perc 0.5\n",
	 {1, NO, 0.5, NO, NO, NO, NO}},
	{"an older name that is sick: the newer one counts",
	 "vllm",
	 OK "vllm:kv_cache_usage_perc 0.5\nvllm:gpu_cache_usage_perc NaN\n",
	 {1, NO, 0.5, NO, NO, NO, NO}},
	{"a rank that is sick counts as the others do, but no counter jumps",
	 "vllm",
	 "vllm:num_requests_waiting{engine=\"0\"} 2\nvllm:num_requests_waiting{engine=\"1\"} NaN\n"
	 "vllm:num_requests_waiting{engine=\"2\"} 4\n"
	 "vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\nvllm:kv_cache_usage_perc{engine=\"1\"} 7\n"
	 "vllm:kv_cache_usage_perc{engine=\"2\"} 0.25\n"
	 "vllm:prompt_tokens_total{engine=\"0\"} 5\nvllm:prompt_tokens_total{engine=\"1\"} NaN\n"
	 "vllm:generation_tokens_total{engine=\"0\"} 5\n",
	 {9, NO, 0.375, NO, NO, NO, 5}},
	{"SGLang: one scheduler of a rank is sick, and all of another's",
	 "sglang",
	 "sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"0\"} NaN\n"
	 "sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"1\"} 3\n"
	 "sglang:num_queue_reqs{dp_rank=\"1\",tp_rank=\"0\"} -1\n"
	 "sglang:num_running_reqs{dp_rank=\"0\"} 1\nsglang:num_running_reqs{dp_rank=\"1\"} 1\n",
	 {6, 2, NO, NO, NO, NO, NO}},
	{"names in quotation marks, another's and its own",
	 "vllm",
	 "# TYPE \"http.server.duration\" gauge\n{\"http.server.duration\",path=\"/v1\"} 1\n"
	 "{\"vllm:num_requests_waiting\",engine=\"0\"} 2\n"
	 "{\"vllm:num_requests_running\",engine=\"0\",\"a.b\"=\"c\"} 3\n",
	 {2, 3, NO, NO, NO, NO, NO}},
	{"vLLM awake",
	 "vllm",
	 OK "vllm:engine_sleep_state{engine=\"0\",sleep_state=\"awake\"} 1.0\n"
	    "vllm:engine_sleep_state{engine=\"0\",sleep_state=\"weights_offloaded\"} 0.0\n",
	 {1, NO, NO, NO, NO, NO, NO}},
	{"vLLM asleep, level 0: in no other state",
	 "vllm",
	 OK "vllm:engine_sleep_state{engine=\"0\",sleep_state=\"awake\"} 0.0\n"
	    "vllm:engine_sleep_state{engine=\"0\",sleep_state=\"weights_offloaded\"} 0.0\n"
	    "vllm:engine_sleep_state{engine=\"0\",sleep_state=\"discard_all\"} 0.0\n",
	 {1, NO, NO, NO, NO, NO, NO, 0, 1}},
	{"vLLM, three ranks, two of them asleep",
	 "vllm",
	 OK "vllm:engine_sleep_state{engine=\"0\",sleep_state=\"awake\"} 0\n"
	    "vllm:engine_sleep_state{engine=\"1\",sleep_state=\"awake\"} 1\n"
	    "vllm:engine_sleep_state{engine=\"2\",sleep_state=\"awake\"} 0\n"
	    "vllm:engine_sleep_state{engine=\"0\",sleep_state=\"discard_all\"} 1\n",
	 {1, NO, NO, NO, NO, NO, NO, 0, 2}},
	{"vLLM whose state of being awake is sick: the others tell",
	 "vllm",
	 OK "vllm:engine_sleep_state{sleep_state=\"awake\"} NaN\n"
	    "vllm:engine_sleep_state{sleep_state=\"weights_offloaded\"} 1\n"
	    "vllm:engine_sleep_state{sleep_state=\"discard_all\"} 0\n",
	 {1, NO, NO, NO, NO, NO, NO, 0, 1}},
	{"TGI: blank lines alone are an empty page", "tgi", "\n\n", {0, 0, NO, NO, NO, NO, NO}},
	{"TGI whose only requests were refused: no gauge yet",
	 "tgi",
	 "# TYPE tgi_request_count counter\ntgi_request_count 3\n\n"
	 "# TYPE tgi_request_failure counter\ntgi_request_failure{err=\"validation\"} 3\n\n",
	 {0, 0, NO, NO, NO, NO, NO}},
	{"older llama.cpp: a KV gauge, and no count of cached tokens",
	 "llamacpp",
	 "llamacpp:kv_cache_usage_ratio 0.5\nllamacpp:kv_cache_tokens 100\n"
	 "llamacpp:requests_processing 1\nllamacpp:requests_deferred 2\n"
	 "llamacpp:prompt_tokens_total 30\nllamacpp:prompt_tokens_seconds 5\n",
	 {2, 1, 0.5, NO, NO, 30, NO}},
};

static void test_forms(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		expect(forms[i].what, forms[i].engine, forms[i].page, strlen(forms[i].page),
		       forms[i].values);
}

static const struct {
	const char *what, *engine, *page;
	int error;
} hostile[] = {
	{"empty", "vllm", "", -ENODATA},
	{"blank", "vllm", "\n\n", -ENODATA},
	{"comments only", "vllm", "# HELP vllm:num_requests_waiting x\n", -ENODATA},
	{"comments only, TGI", "tgi", "# HELP tgi_queue_size x\n", -ENODATA},
	{"metrics of something else", "vllm", "python_info 1\n", -ENODATA},
	{"counters without a load", "vllm", "vllm:prompt_tokens_total 5\n", -ENODATA},
	{"TGI worked, and has no gauge", "tgi",
	 "tgi_request_count 3\ntgi_batch_inference_count{method=\"prefill\"} 1\n", -ENODATA},
	{"TGI of another server", "tgi", "vllm:num_requests_waiting 1\n", -ENODATA},
	{"HTML", "vllm", "<!doctype html>\n<title>Bad Gateway</title>\n", -EBADMSG},
	{"HTML, TGI", "tgi", "<!doctype html>\n<title>Bad Gateway</title>\n", -EBADMSG},
	{"JSON", "vllm", "{\"detail\":\"Not Found\"}\n", -EBADMSG},
	{"JSON in one cut line", "tgi", "{\"detail\":\"Not Found\"}", -EBADMSG},
	{"a line of text", "vllm", "Service Unavailable", -EBADMSG},
	{"compressed", "vllm", "\x1f\x8b\x08\x04\xff\n", -EBADMSG},
	{"waiting is NaN", "vllm", "vllm:num_requests_waiting NaN\n", -EBADMSG},
	{"waiting is infinite", "vllm", "vllm:num_requests_waiting +Inf\n", -EBADMSG},
	{"waiting is negative", "vllm", "vllm:num_requests_waiting -1\n", -EBADMSG},
	{"waiting is just negative", "vllm", "vllm:num_requests_waiting -0.0001\n", -EBADMSG},
	{"waiting is huge", "vllm", "vllm:num_requests_waiting 1000000001\n", -EBADMSG},
	{"waiting is beyond any number", "vllm", "vllm:num_requests_waiting 1e999\n", -EBADMSG},
	{"waiting is huge in sum", "vllm",
	 "vllm:num_requests_waiting{engine=\"0\"} 9e8\nvllm:num_requests_waiting{engine=\"1\"} 9e8\n",
	 -EBADMSG},
	{"waiting is no number", "vllm", "vllm:num_requests_waiting many\n", -EBADMSG},
	{"waiting has no value", "vllm", "vllm:num_requests_waiting\n", -EBADMSG},
	{"waiting with broken labels", "vllm", "vllm:num_requests_waiting{engine=0} 1\n", -EBADMSG},
	{"every load signal is sick", "vllm",
	 "vllm:num_requests_waiting NaN\nvllm:num_requests_running -3\n"
	 "vllm:kv_cache_usage_perc 45\nvllm:prompt_tokens_total 5\n",
	 -EBADMSG},
	{"every load signal is sick, and no request was worked on", "trtllm",
	 "trtllm_num_requests_waiting NaN\ntrtllm_prompt_cached_tokens_total 0\n", -EBADMSG},
	{"trtllm-serve worked, and has no gauge", "trtllm",
	 "trtllm_request_success_total{finished_reason=\"stop\"} 1\n"
	 "trtllm_prompt_cached_tokens_total 0\n",
	 -ENODATA},
	{"vLLM worked, and has no gauge", "vllm",
	 "vllm:cache_config_info{a=\"b\"} 1\nvllm:prompt_tokens_total 0\n"
	 "vllm:request_success_total{finished_reason=\"length\"} 2\n",
	 -ENODATA},
	{"a router's page, with vLLM's prefix", "vllm", "vllm:healthy_pods_total 4\n", -ENODATA},
	{"another program's, trtllm", "trtllm", "python_info 1\nnode_load1 0.5\n", -ENODATA},
	{"comments only, trtllm", "trtllm", "# TYPE trtllm_num_requests_waiting gauge\n", -ENODATA},
	{"no request yet, and a broken line", "trtllm",
	 "trtllm_prompt_cached_tokens_total{a=b} 0\n", -ENODATA},
	{"only queues that come besides", "sglang", "sglang:num_prefill_bootstrap_queue_reqs 5\n",
	 -ENODATA},
	{"cut inside the value", "vllm", "vllm:num_requests_waiting 1", -EBADMSG},
	{"cut inside another line", "vllm", OK "vllm:num_req", -EBADMSG},
	{"cut inside a comment", "vllm", OK "# HELP vllm:kv_c", -EBADMSG},
	{"cut behind CR", "vllm", "vllm:num_requests_waiting 1\r", -EBADMSG},
	{"two pages in one", "vllm", OK "# EOF\n" OK "# EOF\n", -EBADMSG},
	{"running, but nothing of waiting", "vllm", "vllm:num_requests_running 3\n", -EBADMSG},
	{"KV cache, but nothing of waiting", "vllm", "vllm:kv_cache_usage_perc 0.3\n", -EBADMSG},
	{"ranks lost between the gauges", "vllm",
	 "vllm:num_requests_running{engine=\"0\"} 1\nvllm:num_requests_running{engine=\"1\"} 1\n"
	 "vllm:num_requests_waiting{engine=\"0\"} 1\n",
	 -EBADMSG},
	{"ranks lost, SGLang", "sglang",
	 "sglang:num_running_reqs{dp_rank=\"0\"} 1\nsglang:num_running_reqs{dp_rank=\"1\"} 1\n"
	 "sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"0\"} 1\n"
	 "sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"1\"} 1\n",
	 -EBADMSG},
	{"rank is no number", "sglang", "sglang:num_queue_reqs{dp_rank=\"a\"} 1\n", -EBADMSG},
	{"rank is hexadecimal", "sglang", "sglang:num_queue_reqs{dp_rank=\"1a\"} 1\n", -EBADMSG},
	{"rank is empty", "sglang", "sglang:num_queue_reqs{dp_rank=\"\"} 1\n", -EBADMSG},
	{"rank is negative", "sglang", "sglang:num_queue_reqs{dp_rank=\"-1\"} 1\n", -EBADMSG},
	{"rank is too large", "sglang", "sglang:num_queue_reqs{dp_rank=\"128\"} 1\n", -EBADMSG},
	{"rank is huge", "sglang", "sglang:num_queue_reqs{dp_rank=\"99999999999999999999\"} 1\n",
	 -EBADMSG},
	{"NaN where the label says it is wanted", "triton-trtllm",
	 "nv_trt_llm_request_metrics{request_type=\"waiting\"} NaN\n", -EBADMSG},
};

static void test_hostile(void **state)
{
	struct signals before, s;

	(void)state;
	memset(&before, 0xa5, sizeof(before));
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		size_t size = strlen(hostile[i].page);
		_cleanup_free_ char *copy = malloc(size + 1);
		int r;

		assert_non_null(copy);
		memcpy(copy, hostile[i].page, size + 1);
		s = before;
		r = engine_read(engine_find(hostile[i].engine), copy, size, &s, NULL);
		if (r != hostile[i].error)
			fail_msg("%s: %d", hostile[i].what, r);
		assert_memory_equal(&s, &before, sizeof(s));
	}
}

/* Values of metrics that are not wanted may be anything: SGLang's idle page has a NaN. */
static void test_unwanted_is_ignored(void **state)
{
	static const char page[] = "sglang:fwd_occupancy NaN\nsglang:num_queue_reqs 2\n"
				   "sglang:num_retracted_reqs -1\nsglang:x{broken\n";
	static const double values[SIGNAL_COUNT] = {2, NO, NO, NO, NO, NO, NO};
	static const char labelled[] =
		"nv_trt_llm_request_metrics{request_type=\"waiting\"} 1\n"
		"nv_trt_llm_request_metrics{request_type=\"max\"} NaN\n"
		"nv_trt_llm_request_metrics{request_type=\"waiting_longer\"} NaN\n"
		"nv_trt_llm_request_metrics NaN\n";
	static const double one[SIGNAL_COUNT] = {1, NO, NO, NO, NO, NO, NO};

	(void)state;
	expect("unwanted", "sglang", page, sizeof(page) - 1, values);
	expect("other labels", "triton-trtllm", labelled, sizeof(labelled) - 1, one);
}

/* With `auto`, a page gives what it gives to its own engine. TGI's page before the first request is
 * empty, as a broken server's may be: it is no page then. */
static void test_auto(void **state)
{
	const struct engine *any = engine_find("auto");
	char fault[FAULT_SIZE];
	struct signals s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(real); i++) {
		size_t size;
		_cleanup_free_ char *page = slurp(real[i].page, &size);

		if (size)
			expect(real[i].page, "auto", page, size, real[i].values);
		else
			assert_int_equal(engine_read(any, page, 0, &s, fault), -ENODATA);
	}
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		if (forms[i].page[strspn(forms[i].page, "\r\n")])
			expect(forms[i].what, "auto", forms[i].page, strlen(forms[i].page),
			       forms[i].values);
	assert_int_equal(engine_read(any, "a 1\nb 2\n", 8, &s, fault), -ENODATA);
	assert_non_null(strstr(fault, "of any engine"));
	assert_int_equal(engine_read(any, "{\"gpu\": 1}\n", 11, &s, fault), -EBADMSG);
	assert_non_null(strstr(fault, "line 1"));
	assert_int_equal(engine_read(any, "a 1\nb", 5, &s, fault), -EBADMSG);
}

/* `auto` goes by the first load signal in a page, so no two engines may share one. */
static void test_auto_is_certain(void **state)
{
	struct engine_metric a, b;

	(void)state;
	for (size_t e = 0; e < ENGINE_COUNT; e++)
		for (size_t f = 0; f < e; f++)
			for (size_t i = 0; engine_metric(engine_find(engine_name(e)), i, &a); i++)
				for (size_t j = 0;
				     engine_metric(engine_find(engine_name(f)), j, &b); j++)
					assert_string_not_equal(a.name, b.name);
}

/* A page that is cut off is refused, unless the cut is between two lines. In that case numbers may
 * be missing, which the transfer reports, but none differs from the whole page's. */
static void test_cut_anywhere(void **state)
{
	static const char *const pages[][2] = {
		{"vllm", "vllm-0.32.0-queue.txt"},
		{"sglang", "sglang-0.5.23-load.txt"},
		{"llamacpp", "llamacpp-0.5.0-dev-load.txt"},
		{"triton-trtllm", "triton-2.51.0-load.txt"},
		{"auto", "vllm-0.32.0-queue.txt"},
	};

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(pages); p++) {
		const struct engine *e = engine_find(pages[p][0]);
		size_t size;
		_cleanup_free_ char *page = slurp(pages[p][1], &size);
		struct signals whole, s;
		int read = 0;

		assert_int_equal(engine_read(e, page, size, &whole, NULL), 0);
		for (size_t cut = 1; cut < size; cut++) {
			int r = engine_read(e, page, cut, &s, NULL);

			if (page[cut - 1] != '\n') {
				assert_int_equal(r, -EBADMSG);
				continue;
			}
			if (r < 0)
				continue;
			assert_true(s.present[SIGNAL_WAITING]);
			/* Before its gauges SGLang's page is like that of a server without work. */
			if (s.cold) {
				assert_null(memmem(page, cut, "\nsglang:num_queue_reqs{", 23));
				assert_string_equal(pages[p][0], "sglang");
				continue;
			}
			read++;
			for (int i = SIGNAL_WAITING; i <= SIGNAL_KV_CACHE; i++)
				assert_true(!s.present[i] || s.value[i] == whole.value[i]);
		}
		assert_true(read > 0);
	}
}

/* As many ranks as there is room for, each seen once. */
static void test_many_ranks(void **state)
{
	static char page[64 * 1024];
	size_t n = 0;
	struct signals s;

	(void)state;
	for (int round = 0; round < 2; round++)
		for (int rank = 127; rank >= 0; rank--)
			n += (size_t)snprintf(
				page + n, sizeof(page) - n,
				"sglang:num_queue_reqs{dp_rank=\"%d\",tp_rank=\"%d\"} %d\n"
				"sglang:num_running_reqs{dp_rank=\"%d\",tp_rank=\"%d\"} 1\n"
				"sglang:token_usage{dp_rank=\"%d\",tp_rank=\"%d\"} 0.5\n",
				rank, round, round ? rank : 1, rank, round, rank, round);
	assert_true(n < sizeof(page));
	assert_int_equal(engine_read(engine_find("sglang"), page, n, &s, NULL), 0);
	/* The largest value of rank 0 is 1, that of rank n is n. */
	assert_true(s.value[SIGNAL_WAITING] == 1 + 127 * 128 / 2);
	assert_true(s.value[SIGNAL_RUNNING] == 128);
	assert_true(s.value[SIGNAL_KV_CACHE] == 0.5);
}

static void test_names(void **state)
{
	(void)state;
	for (size_t i = 0; i < ENGINE_COUNT; i++) {
		assert_non_null(engine_name(i));
		assert_non_null(engine_find(engine_name(i)));
		for (size_t k = 0; k < i; k++)
			assert_ptr_not_equal(engine_find(engine_name(i)),
					     engine_find(engine_name(k)));
	}
	assert_null(engine_name(ENGINE_COUNT));
	assert_null(engine_find("vLLM"));
	assert_null(engine_find("vll"));
	assert_null(engine_find(""));
}

#define GPU0                                                                                       \
	"{gpu=\"0\",UUID=\"GPU-a\",device=\"nvidia0\",modelName=\"NVIDIA H100\",Hostname=\"n\"}"
#define GPU1 "{gpu=\"1\",UUID=\"GPU-b\",device=\"nvidia1\",namespace=\"x\",pod=\"llama-1\"}"

static void test_dcgm(void **state)
{
	static const char page[] = "# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).\n"
				   "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n"
				   "DCGM_FI_DEV_GPU_UTIL" GPU0 " 87\n"
				   "DCGM_FI_DEV_GPU_UTIL" GPU1 " 0\n"
				   "DCGM_FI_DEV_MEM_COPY_UTIL" GPU1 " 55\n"
				   "DCGM_FI_DEV_FB_FREE" GPU0 " 3000\n"
				   "DCGM_FI_DEV_FB_FREE" GPU1 " 60000\n"
				   "DCGM_FI_DEV_FB_USED" GPU0 " 6000\n"
				   "DCGM_FI_DEV_FB_USED" GPU1 " 20000\n"
				   "DCGM_FI_DEV_FB_RESERVED" GPU0 " 1000\n"
				   "DCGM_FI_DEV_XID_ERRORS" GPU1 " NaN\n";
	struct dcgm_gpu gpu[4];

	(void)state;
	assert_int_equal(dcgm_read(page, sizeof(page) - 1, gpu, 4, NULL), 2);
	assert_int_equal(gpu[0].index, 0);
	assert_string_equal(gpu[0].pod, "");
	assert_true(gpu[0].has_utilization && gpu[0].has_memory);
	assert_true(gpu[0].utilization == 0.87);
	assert_true(gpu[0].memory == 0.6);
	assert_int_equal(gpu[1].index, 1);
	assert_string_equal(gpu[1].pod, "llama-1");
	assert_string_equal(gpu[1].space, "x");
	assert_true(gpu[1].has_utilization && gpu[1].utilization == 0);
	assert_true(gpu[1].has_memory && gpu[1].memory == 0.25);
	/* No more GPUs than asked for; the others do no harm. */
	assert_int_equal(dcgm_read(page, sizeof(page) - 1, gpu, 1, NULL), 1);
	assert_true(gpu[0].utilization == 0.87);
	assert_int_equal(dcgm_read(page, sizeof(page) - 1, gpu, 0, NULL), 0);
	assert_int_equal(dcgm_read("", 0, gpu, 4, NULL), 0);
}

/* Errors: of XIDs only those after which the GPU must be reset. Values that are none are no fault
 * of the page. */
static void test_dcgm_errors(void **state)
{
	static const char page[] =
		"DCGM_FI_DEV_XID_ERRORS{gpu=\"0\",err_code=\"79\",err_msg=\"off the bus\"} 79\n"
		"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{gpu=\"0\"} 0\n"
		"DCGM_FI_DEV_XID_ERRORS{gpu=\"1\"} 31\n"
		"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{gpu=\"1\"} 2\n"
		"DCGM_FI_DEV_XID_ERRORS{gpu=\"2\"} 0\n"
		"DCGM_FI_DEV_GPU_UTIL{gpu=\"3\"} 5\n"
		"DCGM_FI_DEV_XID_ERRORS{gpu=\"3\"} NaN\n"
		"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{gpu=\"3\"} 9223372036854775792\n"
		"DCGM_FI_DEV_XID_ERRORS{gpu=\"4\",GPU_I_ID=\"1\"} 48\n"
		"DCGM_FI_DEV_XID_ERRORS{gpu=\"4\",GPU_I_ID=\"2\"} 94\n";
	static const struct {
		bool has;
		uint32_t xid;
		double dbe;
	} wanted[] = {{true, 79, 0}, {true, 0, 2}, {true, 0, 0}, {false, 0, 0}, {true, 48, 0}};
	struct dcgm_gpu gpu[8];

	(void)state;
	assert_int_equal(dcgm_read(page, sizeof(page) - 1, gpu, 8, NULL), ARRAY_SIZE(wanted));
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		assert_int_equal(gpu[i].index, i);
		assert_int_equal(gpu[i].has_errors, wanted[i].has);
		assert_int_equal(gpu[i].xid, wanted[i].xid);
		assert_true(gpu[i].dbe == wanted[i].dbe);
	}
	assert_true(dcgm_xid_ends_work(119));
	assert_false(dcgm_xid_ends_work(0) || dcgm_xid_ends_work(43) || dcgm_xid_ends_work(63) ||
		     dcgm_xid_ends_work(74) || dcgm_xid_ends_work(79.5));
}

static void test_dcgm_labels(void **state)
{
	/* MIG: instances of one pod together; exported_pod before pod; no labels at all */
	static const char page[] =
		"DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",GPU_I_ID=\"1\",pod=\"a\"} 30\n"
		"DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",GPU_I_ID=\"2\",pod=\"a\"} 10\n"
		"DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",GPU_I_ID=\"3\",pod=\"b\"} 20\n"
		"DCGM_FI_DEV_FB_USED{gpu=\"0\",GPU_I_ID=\"1\",pod=\"a\"} 1\n"
		"DCGM_FI_DEV_FB_USED{gpu=\"0\",GPU_I_ID=\"2\",pod=\"a\"} 2\n"
		"DCGM_FI_DEV_FB_FREE{gpu=\"0\",GPU_I_ID=\"1\",pod=\"a\"} 4\n"
		"DCGM_FI_DEV_FB_FREE{gpu=\"0\",GPU_I_ID=\"2\",pod=\"a\"} 5\n"
		"DCGM_FI_DEV_GPU_UTIL{gpu=\"2\",pod=\"dcgm-exporter-x\",exported_pod=\"c\"} 40\n"
		"DCGM_FI_DEV_FB_USED{gpu=\"2\",pod=\"dcgm-exporter-x\",exported_pod=\"c\"} 1\n"
		"DCGM_FI_DEV_GPU_UTIL 50\n"
		"DCGM_FI_DEV_GPU_UTIL{gpu=\"x\",pod=\"d\"} 60\n";
	struct dcgm_gpu gpu[8];

	(void)state;
	assert_int_equal(dcgm_read(page, sizeof(page) - 1, gpu, 8, NULL), 5);
	assert_string_equal(gpu[0].pod, "a");
	assert_true(gpu[0].utilization == 0.3 && gpu[0].memory == 0.25);
	assert_string_equal(gpu[1].pod, "b");
	assert_true(gpu[1].index == 0 && gpu[1].utilization == 0.2 && !gpu[1].has_memory);
	assert_string_equal(gpu[2].pod, "c");
	assert_true(gpu[2].index == 2 && !gpu[2].has_memory);
	assert_true(gpu[3].index == -1 && gpu[3].utilization == 0.5);
	assert_string_equal(gpu[3].pod, "");
	assert_true(gpu[4].index == -1 && gpu[4].utilization == 0.6);
}

/* A value that none can be costs itself alone; of a sum, the sum. */
static void test_dcgm_spoiled(void **state)
{
	static const char page[] = "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} NaN\n"
				   "DCGM_FI_DEV_FB_USED{gpu=\"0\"} 20\n"
				   "DCGM_FI_DEV_FB_FREE{gpu=\"0\"} 60\n"
				   "DCGM_FI_DEV_GPU_UTIL{gpu=\"1\"} 30\n"
				   "DCGM_FI_DEV_FB_USED{gpu=\"1\"} 9223372036854775794\n"
				   "DCGM_FI_DEV_FB_FREE{gpu=\"1\"} 60\n"
				   "DCGM_FI_DEV_XID_ERRORS{gpu=\"1\"} 79\n"
				   "DCGM_FI_DEV_GPU_UTIL{gpu=\"2\"} 101\n"
				   "DCGM_FI_DEV_FB_USED{gpu=\"2\",GPU_I_ID=\"1\"} 1\n"
				   "DCGM_FI_DEV_FB_USED{gpu=\"2\",GPU_I_ID=\"2\"} -1\n"
				   "DCGM_FI_DEV_FB_FREE{gpu=\"2\",GPU_I_ID=\"1\"} 1\n"
				   "DCGM_FI_DEV_XID_ERRORS{gpu=\"2\"} N/A\n"
				   "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{gpu=\"2\"} +Inf\n"
				   "DCGM_FI_DEV_GPU_UTIL{gpu=\"3\"} -1\n";
	static const char blank[] = "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 9.223372036854775794e+18\n";
	static const struct {
		double utilization, memory; /* -1: not known */
		uint32_t xid;
		bool has_errors;
	} wanted[] = {
		{-1, 0.25, 0, false}, {0.3, -1, 79, true}, {-1, -1, 0, false}, {-1, -1, 0, false}};
	char fault[FAULT_SIZE];
	struct dcgm_gpu gpu[8];

	(void)state;
	assert_int_equal(dcgm_read(page, sizeof(page) - 1, gpu, 8, fault), ARRAY_SIZE(wanted));
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		assert_int_equal(gpu[i].index, i);
		assert_int_equal(gpu[i].has_utilization, wanted[i].utilization >= 0);
		assert_true(!gpu[i].has_utilization || gpu[i].utilization == wanted[i].utilization);
		assert_int_equal(gpu[i].has_memory, wanted[i].memory >= 0);
		assert_true(!gpu[i].has_memory || gpu[i].memory == wanted[i].memory);
		assert_int_equal(gpu[i].has_errors, wanted[i].has_errors);
		assert_int_equal(gpu[i].xid, wanted[i].xid);
	}
	assert_string_equal(fault,
			    "line 1, DCGM_FI_DEV_GPU_UTIL: its value is nan; a number from 0 "
			    "to 100 can be");
	/* A number that means that it is not known is none to tell of. */
	assert_int_equal(dcgm_read(blank, sizeof(blank) - 1, gpu, 8, fault), 1);
	assert_false(gpu[0].has_utilization);
	assert_string_equal(fault, "");
}

/* Labels that cannot be read, such as those of an exporter that escapes nothing, cost no other
 * line's value. Nobody knows of which GPU theirs is: so sums and errors of that metric are not
 * known of any, but that an error is there is. */
static void test_dcgm_labels_lost(void **state)
{
	static const char page[] = "DCGM_FI_DEV_GPU_UTIL{gpu=0} 90\n"
				   "DCGM_FI_DEV_FB_USED{gpu=\"1\",pod=\"a\"b\"} 50\n"
				   "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 10\n"
				   "DCGM_FI_DEV_FB_USED{gpu=\"0\"} 20\n"
				   "DCGM_FI_DEV_FB_FREE{gpu=\"0\"} 60\n"
				   "DCGM_FI_DEV_XID_ERRORS{gpu=\"0\"} 79\n";
	static const char error[] = "DCGM_FI_DEV_XID_ERRORS{gpu=\"0\",a=\"\\\"} 79\n"
				    "DCGM_FI_DEV_XID_ERRORS{gpu=\"1\"} 0\n";
	char fault[FAULT_SIZE];
	struct dcgm_gpu gpu[8];

	(void)state;
	assert_int_equal(dcgm_read(page, sizeof(page) - 1, gpu, 8, fault), 1);
	assert_true(gpu[0].index == 0 && gpu[0].has_utilization && gpu[0].utilization == 0.1);
	assert_true(gpu[0].has_errors && !gpu[0].errors_spoiled && gpu[0].xid == 79);
	assert_false(gpu[0].has_memory);
	assert_string_equal(fault, "line 1, DCGM_FI_DEV_GPU_UTIL: its labels cannot be read; write "
				   "{name=\"value\",name=\"value\"}");
	assert_int_equal(dcgm_read(error, sizeof(error) - 1, gpu, 8, fault), 1);
	assert_true(gpu[0].index == 1 && gpu[0].has_errors && gpu[0].errors_spoiled && !gpu[0].xid);
}

static void test_dcgm_hostile(void **state)
{
	static const char *const pages[] = {
		"DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 1",
		"<html>\n",
	};
	static char many[128 * 1024];
	static struct dcgm_gpu gpu[2 * DCGM_MAX];
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		assert_int_equal(dcgm_read(pages[i], strlen(pages[i]), gpu, 8, NULL), -EBADMSG);
	for (int i = 0; i < 2 * DCGM_MAX; i++)
		n += (size_t)snprintf(many + n, sizeof(many) - n,
				      "DCGM_FI_DEV_GPU_UTIL{gpu=\"%d\",pod=\"%0400d\"} 1\n", i, i);
	assert_int_equal(dcgm_read(many, n, gpu, 2 * DCGM_MAX, NULL), DCGM_MAX);
	assert_int_equal(strlen(gpu[0].pod), sizeof(gpu[0].pod) - 1);
}

/* ---- messages about a page --------------------------------------------------- */

#define W "vllm:num_requests_waiting"

static const struct {
	const char *engine, *page, *fault;
} faults[] = {
	{"vllm", "\x1f\x8b\x08\x1b[31m", "line 1: it is compressed; serve the page as plain text"},
	{"vllm", "<html>\x1b[31m</html>\n",
	 "line 1: it is HTML; name the path of the metrics page"},
	{"vllm", "{\"token\": \"SECRET\"}",
	 "line 1: it is JSON; name the path of the metrics page"},
	{"llamacpp", "\"# HELP llamacpp:requests_deferred\\nllamacpp:requests_deferred 0\\n\"",
	 "line 1: it is a text within JSON; the server must send the page as it is"},
	{"vllm", W " 1\n{\"" W "\",engine=\"0\" 1\n",
	 "line 2, " W ": its labels cannot be read; write {name=\"value\",name=\"value\"}"},
	{"vllm", "{\"" W "\",engine=0} 1\n",
	 "line 1, " W ": its labels cannot be read; write {name=\"value\",name=\"value\"}"},
	{"vllm", W " 1\n\x1b]0;SECRET\x07\n",
	 "line 2: it begins as no metric's name does; write NAME{LABEL=\"VALUE\"} NUMBER"},
	{"vllm", "# HELP x\n" W " 1\n" W "{a=\"b\"} 15",
	 "line 3: the page ends inside it; end it with a line end"},
	{"vllm", W " NaN\n", "line 1, " W ": its value is nan; a number from 0 to 1e+09 can be"},
	{"vllm", "\n\n" W " -1\n",
	 "line 3, " W ": its value is -1; a number from 0 to 1e+09 can be"},
	{"vllm", "vllm:kv_cache_usage_perc 55\n" W " NaN\n",
	 "line 1, vllm:kv_cache_usage_perc: its value is 55; a number from 0 to 1.01 can be"},
	{"vllm", W " many\n", "line 1, " W ": its value is no number"},
	{"vllm", W "{a=\x1b[31m} 1\n",
	 "line 1, " W ": its labels cannot be read; write {name=\"value\",name=\"value\"}"},
	{"vllm", W " 1 SECRET\nvllm:kv_cache_usage_perc 7\n",
	 "line 1, " W ": behind its value stands something else than a timestamp"},
	{"vllm", W "\x1b[31m 1\n",
	 "line 1, " W ": its name ends with no blank; write NAME{LABEL=\"VALUE\"} NUMBER"},
	{"vllm", W " 1\n# EOF\n" W " 2\n",
	 "line 2: something follows # EOF; write that last, and once"},
	{"vllm", W " 9e8\n" W "{a=\"1\"} 9e8\n",
	 W ": its series add up to 1.8e+09; a number from 0 to 1e+09 can be"},
	{"vllm", W " 1\n" W "{engine=\"1\"} 1\nvllm:num_requests_running 0\n",
	 "it has vllm:num_requests_running 1 time, but " W
	 " 2 times; each of the server's ranks has "
	 "both"},
	{"vllm", "vllm:num_requests_running 1\n", "it has vllm:num_requests_running, but no " W},
	{"vllm", "",
	 "it has no " W ", nor another load signal of this engine; is the pool's engine "
	 "right, and does the server export metrics?"},
	{"trtllm", "trtllm_generation_tokens_total 5\n",
	 "it has no trtllm_num_requests_waiting, nor another load signal of this engine; is the "
	 "pool's engine right, and does the server export metrics, with enable_iter_perf_stats: "
	 "true?"},
	{"sglang", "sglang:num_queue_reqs{dp_rank=\"\x1b\"} 1\n",
	 "line 1, sglang:num_queue_reqs: its dp_rank is no number below 128"},
	/* The same series twice, whatever the order of its labels and its value. */
	{"vllm", W " 1\n" W " 1\n",
	 "line 2, " W
	 ": the series of line 1 again; a page has each name with the same labels once"},
	{"vllm",
	 W "{a=\"1\",b=\"2\"} 1\n# c\n" W "{a=\"2\",b=\"1\"} 1\n" W "{ b=\"2\" , a=\"1\", } 2\n",
	 "line 4, " W
	 ": the series of line 1 again; a page has each name with the same labels once"},
	{"sglang",
	 "sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"0\"} 1\n"
	 "sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"1\"} 1\n"
	 "sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"1\"} 1\n",
	 "line 3, sglang:num_queue_reqs: the series of line 2 again; a page has each name with the same "
	 "labels once"},
};

static void test_faults_are_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		char fault[FAULT_SIZE] = "";
		struct signals s;

		assert_true(engine_read(engine_find(faults[i].engine), faults[i].page,
					strlen(faults[i].page), &s, fault) < 0);
		assert_string_equal(fault, faults[i].fault);
	}
}

/* A page that counts names the first value that does not, and forgets it with the next page. */
static void test_spoiled_is_named(void **state)
{
	static const char sick[] = W " 1\nvllm:kv_cache_usage_perc 55\nvllm:prompt_tokens NaN\n";
	const struct engine *e = engine_find("vllm");
	char fault[FAULT_SIZE];
	struct signals s;

	(void)state;
	assert_int_equal(engine_read(e, sick, sizeof(sick) - 1, &s, fault), 0);
	assert_string_equal(fault,
			    "line 2, vllm:kv_cache_usage_perc: its value is 55; a number from "
			    "0 to 1.01 can be");
	assert_true(s.spoiled[SIGNAL_KV_CACHE] && s.spoiled[SIGNAL_PROMPT_TOKENS]);
	assert_false(s.spoiled[SIGNAL_WAITING] || s.spoiled[SIGNAL_RUNNING]);
	assert_int_equal(engine_read(e, sick, strlen(W " 1\n"), &s, fault), 0);
	assert_string_equal(fault, "");
	assert_false(s.spoiled[SIGNAL_KV_CACHE] || s.spoiled[SIGNAL_PROMPT_TOKENS]);
}

/* Series of many ranks that differ in one label are not the same series. */
static void test_many_series(void **state)
{
	enum { RANKS = 128, TP = 64 };
	size_t n = 0, room = (size_t)RANKS * TP * 80;
	_cleanup_free_ char *page = malloc(room);
	struct signals s;

	(void)state;
	assert_non_null(page);
	for (int rank = 0; rank < RANKS; rank++)
		for (int tp = 0; tp < TP; tp++)
			n += (size_t)snprintf(
				page + n, room - n,
				"sglang:num_queue_reqs{tp_rank=\"%d\",dp_rank=\"%d\"} 1\n", tp,
				rank);
	assert_int_equal(engine_read(engine_find("sglang"), page, n, &s, NULL), 0);
	assert_true(s.value[SIGNAL_WAITING] == RANKS);
}

/* Names of one's own stand for the engine's, signal by signal; of `auto` they are all that is. */
static void test_named(void **state)
{
	static const struct {
		const char *what, *base;
		char *names[ENGINE_NAMES];
		const char *page;
		int error;
		double values[SIGNAL_COUNT];
	} own[] = {
		{"NIM",
		 "auto",
		 {"num_requests_waiting", "num_requests_running", "gpu_cache_usage_perc"},
		 "num_requests_running{model_name=\"meta/llama\"} 3.0\n"
		 "num_requests_waiting{model_name=\"meta/llama\"} 1.0\n"
		 "num_requests_waiting_long 9\n"
		 "gpu_cache_usage_perc{model_name=\"meta/llama\"} 0.25\n",
		 0,
		 {1, 3, 0.25, NO, NO, NO, NO}},
		{"Ray Serve, the series of one replica",
		 "auto",
		 {"ray_vllm_num_requests_waiting{WorkerId=\"a\", engine=\"0\"}",
		  "ray_vllm_num_requests_running{WorkerId=\"a\"}"},
		 "ray_vllm_num_requests_waiting{Component=\"w\",WorkerId=\"a\",engine=\"0\"} 1\n"
		 "ray_vllm_num_requests_waiting{Component=\"w\",WorkerId=\"b\",engine=\"0\"} 50\n"
		 "ray_vllm_num_requests_waiting{Component=\"w\",WorkerId=\"a\",engine=\"1\"} 50\n"
		 "ray_vllm_num_requests_waiting 50\n"
		 "ray_vllm_num_requests_running{WorkerId=\"b\"} 50\n"
		 "ray_vllm_num_requests_running{engine=\"0\",WorkerId=\"a\"} 2\n"
		 "ray_vllm_num_requests_running{engine=\"1\",WorkerId=\"a\"} 4\n",
		 0,
		 {1, 6, NO, NO, NO, NO, NO}},
		{"one that the engine calls otherwise, and all others by the engine's names",
		 "vllm",
		 {NULL, NULL, "my.cache", NULL, NULL, NULL, "tokens_out"},
		 "vllm:num_requests_waiting 2\nvllm:num_requests_running 3\n"
		 "vllm:kv_cache_usage_perc 0.9\nvllm:generation_tokens_total 7\ntokens_out 5\n"
		 "vllm:engine_sleep_state{sleep_state=\"awake\"} 0\n",
		 -EINVAL,
		 {0}},
		{"the same, with the name in quotation marks",
		 "vllm",
		 {NULL, NULL, "{\"my.cache\"}", NULL, NULL, NULL, "tokens_out"},
		 "vllm:num_requests_waiting 2\nvllm:num_requests_running 3\n"
		 "{\"my.cache\",rank=\"0\"} 0.5\n{\"my.cache\",rank=\"1\"} 0\n"
		 "vllm:kv_cache_usage_perc 0.9\nvllm:generation_tokens_total 7\ntokens_out 5\n"
		 "vllm:engine_sleep_state{sleep_state=\"awake\"} 0\n",
		 0,
		 {2, 3, 0.25, NO, NO, NO, 5, 0, 1}},
		{"no number of waiting requests",
		 "auto",
		 {NULL, "running"},
		 "running 3\nvllm:num_requests_waiting 9\n",
		 0,
		 {NO, 3, NO, NO, NO, NO, NO}},
		{"labels that are none", "auto", {"a{b}"}, "", -EINVAL, {0}},
		{"something behind", "auto", {"a{b=\"c\"} 1"}, "", -EINVAL, {0}},
		{"a value", "auto", {"a 1"}, "", -EINVAL, {0}},
		{"nothing", "auto", {""}, "", -EINVAL, {0}},
	};
	char fault[FAULT_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		struct engine *e = NULL;
		struct signals s;

		assert_int_equal(engine_named(engine_find(own[i].base), own[i].names, &e),
				 own[i].error);
		if (own[i].error)
			continue;
		if (engine_read(e, own[i].page, strlen(own[i].page), &s, fault))
			fail_msg("%s: %s", own[i].what, fault);
		for (int k = 0; k < SIGNAL_COUNT; k++)
			if (s.value[k] != (isnan(own[i].values[k]) ? 0 : own[i].values[k]) ||
			    (k <= SIGNAL_OUTPUT_TOKENS && s.present[k] == isnan(own[i].values[k])))
				fail_msg("%s: %s is %g", own[i].what, signal_names[k], s.value[k]);
		assert_int_equal(engine_read(e, "up 1\n", 5, &s, fault), -ENODATA);
		assert_non_null(strstr(fault, "it has no "));
		engine_free(e);
	}
}

/* A page without a name of one's own is from before the first request, if other pages have had that
 * name; a name that none had may be wrong. */
static void test_own_names_before_the_first_request(void **state)
{
	enum { W1 = 1, R1 = 2, K1 = 4 };
	static const struct {
		const char *base;
		char *names[ENGINE_NAMES];
		unsigned int proven; /* bits */
		const char *page;
		int error;
		double values[3];
	} own[] = {
		{"auto", {"w", "r"}, W1 | R1, "up 1\n", 0, {0, 0, NO}},
		{"auto", {"w", "r", "k"}, W1 | R1, "up 1\n", 0, {0, 0, NO}},
		{"auto", {"w", "r", "k"}, W1 | R1 | K1, "# TYPE w gauge\n", 0, {0, 0, 0}},
		{"auto", {NULL, "r"}, R1, "up 1\n", 0, {NO, 0, NO}},
		{"auto", {NULL, NULL, "k"}, K1, "up 1\n", 0, {NO, NO, 0}},
		{"auto", {"w", "r"}, W1 | R1, "r 3\n", 0, {0, 3, NO}},
		{"auto", {"w", "r"}, W1 | R1, "w 3\n", 0, {3, NO, NO}},
		{"auto", {"w{a=\"1\"}", "r"}, W1 | R1, "w{a=\"2\"} 5\nr 1\n", 0, {0, 1, NO}},
		/* none proven, or not the one for want of which the page is refused */
		{"auto", {"w", "r"}, 0, "up 1\n", -ENODATA, {0}},
		{"auto", {"w", "r"}, R1, "up 1\n", -ENODATA, {0}},
		{"auto", {"w", "r"}, R1, "r 3\n", -EBADMSG, {0}},
		{"vllm", {NULL, "r"}, R1, "up 1\n", -ENODATA, {0}},
		{"vllm", {NULL, "r"}, R1, "r 1\n", -EBADMSG, {0}},
		/* no page of metrics, or one with values that none can be */
		{"auto", {"w", "r"}, W1 | R1, "", -ENODATA, {0}},
		{"auto", {"w", "r"}, W1 | R1, "\n\n", -ENODATA, {0}},
		{"auto", {"w", "r"}, W1 | R1, "# not ready\n", -ENODATA, {0}},
		{"auto", {"w", "r"}, W1 | R1, "OK\n", -ENODATA, {0}},
		{"auto", {"w", "r"}, W1 | R1, "<html>\n", -EBADMSG, {0}},
		{"auto", {"w", "r"}, W1 | R1, "up 1", -EBADMSG, {0}},
		{"auto", {"w", "r"}, W1 | R1, "w -1\n", -EBADMSG, {0}},
		/* of a server that has worked: its engine tells */
		{"trtllm", {"w", "r"}, W1 | R1, "trtllm_other 1\n", 0, {0, 0, 0}},
		{"trtllm", {"w", "r"}, W1 | R1, "trtllm_request_success_total 1\n", -ENODATA, {0}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		bool proven[ENGINE_NAMES] = {own[i].proven & W1, own[i].proven & R1,
					     own[i].proven & K1};
		char fault[FAULT_SIZE];
		struct signals s = {0};
		struct engine *e;
		int r;

		assert_int_equal(engine_named(engine_find(own[i].base), own[i].names, &e), 0);
		engine_prove(e, proven);
		r = engine_read(e, own[i].page, strlen(own[i].page), &s, fault);
		if (r != own[i].error || !*fault != !r)
			fail_msg("row %zu: %d, %s", i, r, fault);
		for (int k = 0; k <= SIGNAL_KV_CACHE && !r; k++)
			if (s.present[k] == isnan(own[i].values[k]) ||
			    s.value[k] != (isnan(own[i].values[k]) ? 0 : own[i].values[k]))
				fail_msg("row %zu: %s is %g", i, signal_names[k], s.value[k]);
		engine_free(e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_faults_are_named),
		cmocka_unit_test(test_many_series),
		cmocka_unit_test(test_real_pages),
		cmocka_unit_test(test_real_pages_of_another),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_unwanted_is_ignored),
		cmocka_unit_test(test_auto),
		cmocka_unit_test(test_auto_is_certain),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_many_ranks),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_dcgm),
		cmocka_unit_test(test_dcgm_errors),
		cmocka_unit_test(test_dcgm_labels),
		cmocka_unit_test(test_dcgm_spoiled),
		cmocka_unit_test(test_dcgm_labels_lost),
		cmocka_unit_test(test_dcgm_hostile),
		cmocka_unit_test(test_spoiled_is_named),
		cmocka_unit_test(test_named),
		cmocka_unit_test(test_own_names_before_the_first_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
