/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_names.h - the engines' names, once: the configuration accepts these, and the
 * engine table (pintled/engines.c) has one entry for each.
 */
#ifndef PINTLE_ENGINE_NAMES_H
#define PINTLE_ENGINE_NAMES_H

/* X(symbol, name, what it is) */
#define PINTLE_ENGINES(X)                                                                          \
	X(VLLM, "vllm", "vLLM, old and new metric names")                                          \
	X(SGLANG, "sglang", "SGLang")                                                              \
	X(TRTLLM, "trtllm", "TensorRT-LLM's own server, trtllm-serve")                             \
	X(TRITON_TRTLLM, "triton-trtllm", "Triton with the TensorRT-LLM backend")                  \
	X(TGI, "tgi", "Text Generation Inference")                                                 \
	X(LLAMACPP, "llamacpp", "llama.cpp's llama-server, started with --metrics")

#define X(symbol, name, says) ENGINE_##symbol,
enum engine_id { PINTLE_ENGINES(X) ENGINE_COUNT };
#undef X

#endif
