/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_names.h - the names of the engines: the configuration takes these, and the engine table
 * (engines.c) has one entry for each.
 */
#ifndef PINTLE_ENGINE_NAMES_H
#define PINTLE_ENGINE_NAMES_H

/* X(symbol, name, what it is, what its server must be started with, where its page is) */
#define PINTLE_ENGINES(X)                                                                          \
	X(VLLM, "vllm", "vLLM, old and new metric names", "nothing",                               \
	  "`/metrics` on the API's port")                                                          \
	X(SGLANG, "sglang", "SGLang", "`--enable-metrics`", "`/metrics` on the API's port")        \
	X(TRTLLM, "trtllm", "TensorRT-LLM's own server, trtllm-serve",                             \
	  "`return_perf_metrics: true` and `enable_iter_perf_stats: true` in its YAML options",    \
	  "`/prometheus/metrics` on the API's port: set `scrape.path`; its `/metrics` is JSON")    \
	X(TRITON_TRTLLM, "triton-trtllm", "Triton with the TensorRT-LLM backend", "nothing",       \
	  "`/metrics` on a port of its own, 8002: give each endpoint a `metrics` URL")             \
	X(TGI, "tgi", "Text Generation Inference", "nothing", "`/metrics` on the API's port")      \
	X(LLAMACPP, "llamacpp", "llama.cpp's llama-server", "`--metrics`",                         \
	  "`/metrics` on the API's port")                                                          \
	X(AUTO, "auto", "whichever of these engines each endpoint's page is of",                   \
	  "what that engine must be started with",                                                 \
	  "where that engine's is: `/metrics` on the API's port unless the pool says otherwise")

#define X(symbol, ...) ENGINE_##symbol,
enum engine_id { PINTLE_ENGINES(X) ENGINE_COUNT };
#undef X

#endif
