// SPDX-License-Identifier: Apache-2.0
#include "profiles.h"

#include <string.h>

#include "../../userspace/base/util.h"

#define US(x) ((uint64_t)((x)*1000000.0)) /* picoseconds */
#define NS(x) ((uint64_t)((x)*1000.0))
#define MS_NS 1000000ULL
/*
 * A pair of prompt token and context token costs two products of the hidden size in each layer, a
 * query with a key and a weight with a value: 4 x hidden FLOP (FlashAttention counts so, too). GPUs
 * that share the heads share the pair. `tflops` is what a GPU's attention kernel reaches with long
 * prompts, in BF16 with heads of 128:
 *
 *	H100 SXM	655 of 989: FlashAttention-3, between 621 (github.com/pytorch/benchmark
 *2391, 16k tokens) and 740 (arxiv.org/abs/2407.08608) A100 SXM	195 of 312: FlashAttention-2, 50 to
 *73 % (arxiv.org/abs/2307.08691) L40S		217 of 362: the same kernel, assumed at 60 %
 */
#define ATTN(layers, hidden, gpus, tflops)                                                         \
	((uint64_t)(4.0 * (layers) * (hidden) / (gpus) / (tflops) + 0.5))

#define LAMBDA                                                                                     \
	"github.com/LambdaLabsML/vllm-benchmark 2024-09-08, results/prompt_10: ten prompts of "    \
	"ShareGPT at once (ITL there is for ten tokens, one multi-step)"
#define SIM_TABLE                                                                                  \
	"github.com/llm-d/llm-d-inference-sim docs/latency-profiles.md, middle of the range given "

/* vLLM's defaults for a server on a GPU of 70 GB or more, and for one on a smaller GPU. */
#define LARGE_GPU .max_seqs = 1024, .max_batched_tokens = 8192
#define SMALL_GPU .max_seqs = 256, .max_batched_tokens = 2048

static const struct profile profiles[] = {
	{
		.name = "llama-8b-h100",
		.says = "Llama 3.1 8B, BF16, one H100 SXM 80 GB",
		.source =
			"weights 16 GB at 3.35 TB/s x 0.8; KV 128 KiB a token at the same; blocks: "
			"90 % of 80 GB less weights and 7 GB of activations and graphs",
		.config =
			{
				.costs = {.step_ps = US(600),
					  .weights_ps = US(5990),
					  .token_ps = US(36),
					  .seq_ps = US(30),
					  .kv_ps = NS(49),
					  .attn_ps = ATTN(32, 4096, 1, 655)},
				.block_tokens = 16,
				.blocks = 27000,
				.max_len = 131072,
				.frontend_ns = 7 * MS_NS,
				LARGE_GPU,
			},
		.checks =
			{
				{
					.source = LAMBDA ", 1xH100, Meta-Llama-3-8B-Instruct",
					.requests = 10,
					.prompt = {13, 25, 27, 10, 329, 29, 399, 328, 4, 205},
					.output = {120, 393, 233, 194, 101, 741, 9, 3, 6, 31},
					.ttft_ms = 62.87,
					.itl_ms = 7.22,
				},
				{
					.source = "InferenceBench concurrency sweep, vLLM 0.21.0, "
						  "H100, FP16, one at a time (short chat prompts)",
					.requests = 1,
					.prompt = {64},
					.output = {128},
					.ttft_ms = 13.98,
					.itl_ms = 6.48,
				},
			},
	},
	{
		.name = "llama-70b-h100-tp8",
		.says = "Llama 3 70B, BF16, tensor-parallel on eight H100 SXM 80 GB",
		.source =
			"weights 141 GB over 8 x 3.35 TB/s x 0.8, KV 320 KiB a token over the same; "
			"two collectives in each of 80 layers make the fixed part; blocks: 90 % of "
			"640 GB less weights and 5 GB a GPU",
		.config =
			{
				.costs = {.step_ps = US(4500),
					  .weights_ps = US(6600),
					  .token_ps = US(75),
					  .seq_ps = US(60),
					  .kv_ps = NS(15),
					  .attn_ps = ATTN(80, 8192, 8, 655)},
				.block_tokens = 16,
				.blocks = 75000,
				.max_len = 131072,
				.frontend_ns = 8 * MS_NS,
				LARGE_GPU,
			},
		.checks =
			{
				{
					.source = LAMBDA ", 8xH100, Meta-Llama-3-70B-Instruct tp8 "
							 "(the two prompts without an answer: one "
							 "token; TTFT over the others)",
					.requests = 10,
					.prompt = {13, 25, 27, 10, 329, 29, 399, 328, 4, 205},
					.output = {120, 629, 233, 194, 101, 741, 1, 1, 6, 35},
					.ttft_ms = 121.2,
					.itl_ms = 11.95,
				},
			},
	},
	{
		.name = "llama-8b-a100-40g",
		.says = "Llama 3.1 8B, BF16, one A100 SXM 40 GB",
		.source =
			"weights 16 GB at 1.555 TB/s x 0.82; KV 128 KiB a token; blocks: 90 % of 40 GB "
			"less weights and 3 GB",
		.config =
			{
				.costs = {.step_ps = US(700),
					  .weights_ps = US(12500),
					  .token_ps = US(80),
					  .seq_ps = US(50),
					  .kv_ps = NS(103),
					  .attn_ps = ATTN(32, 4096, 1, 195)},
				.block_tokens = 16,
				.blocks = 8000,
				.max_len = 131072,
				.frontend_ns = 7 * MS_NS,
				SMALL_GPU,
			},
		.checks =
			{
				{
					.source = "docs.nvidia.com, Nemotron Safety Guard 8B NIM "
						  "1.10.1, performance: A100, BF16, 500 tokens in, "
						  "10 out, one at a time",
					.requests = 1,
					.prompt = {500},
					.output = {10},
					.ttft_ms = 48.3,
				},
				{
					.source = "johnmusgrave.com, throughput-latency sweep: "
						  "A100 40 GB, vLLM 0.23.0, 1024 in, 128 out, one "
						  "at a time: 75 tokens/s",
					.requests = 1,
					.prompt = {1024},
					.output = {128},
					.itl_ms = 13.3,
				},
			},
	},
	{
		.name = "llama-8b-l40s",
		.says = "Llama 3.1 8B, BF16, one L40S 48 GB",
		.source =
			"weights 16 GB at 864 GB/s x 0.73; KV 128 KiB a token; blocks: 90 % of 48 GB "
			"less weights and 3 GB",
		.config =
			{
				.costs = {.step_ps = US(1500),
					  .weights_ps = US(25300),
					  .token_ps = US(800),
					  .seq_ps = US(70),
					  .kv_ps = NS(200),
					  .attn_ps = ATTN(32, 4096, 1, 217)},
				.block_tokens = 16,
				.blocks = 11500,
				.max_len = 131072,
				.frontend_ns = 8 * MS_NS,
				SMALL_GPU,
			},
		.checks =
			{
				{
					.source =
						SIM_TABLE "for 7-8B on an L40S, 256 tokens, batch "
							  "of one: 180-280 ms and 25-35 ms",
					.requests = 1,
					.prompt = {256},
					.output = {100},
					.ttft_ms = 230,
					.itl_ms = 30,
				},
			},
	},
	{
		.name = "tiny",
		.says = "a toy for tests: fast, with a KV cache that is soon full",
		.source = "invented",
		.config =
			{
				.costs = {.step_ps = US(200),
					  .weights_ps = US(800),
					  .token_ps = US(4),
					  .seq_ps = US(5)},
				.block_tokens = 16,
				.blocks = 512,
				.max_len = 4096,
				.max_seqs = 16,
				.max_batched_tokens = 2048,
				.frontend_ns = MS_NS / 2,
			},
	},
};

const struct profile *profile_list(size_t *count)
{
	*count = ARRAY_SIZE(profiles);
	return profiles;
}

const struct profile *profile_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(profiles); i++)
		if (!strcmp(profiles[i].name, name))
			return &profiles[i];
	return NULL;
}
