// SPDX-License-Identifier: Apache-2.0
#include "lab_workload.h"

#include <string.h>

#include "../../userspace/base/util.h"

/* Lengths are round numbers near those of public traces (ShareGPT for chat, BurstGPT for bursts),
 * not measurements of any one service. */
#define CHAT_FROM(whom)                                                                            \
	.name = "chat", .turns = 6, .turns_max = 40, .think_s = 15, .width = 1, .groups = 1,       \
	.system = 400, .client = (whom), .first = {120, 0.9, 4000}, .message = {60, 0.8, 2000},    \
	.answer = {220, 0.7, 1500}, .context = 16000
#define CHAT CHAT_FROM(LAB_CLIENT_SESSION)

#define RAG                                                                                        \
	.name = "rag", .turns = 1, .turns_max = 1, .width = 1, .groups = 400, .zipf = 0.9,         \
	.system = 4000, .document = true, .first = {300, 0.5, 3000}, .message = {300, 0.5, 3000},  \
	.answer = {150, 0.6, 1000}, .context = 16000
#define AGENTS                                                                                     \
	.name = "agents", .turns = 14, .turns_max = 60, .think_s = 3, .width = 1, .groups = 4,     \
	.zipf = 0.5, .system = 4000, .client = LAB_CLIENT_SESSION, .first = {6000, 0.7, 40000},    \
	.message = {900, 0.8, 12000}, .answer = {140, 0.7, 1500}, .context = 64000
/* Jobs that summarise documents of so many tokens, 24 requests at a time. */
#define BATCH_OF(tokens)                                                                           \
	.name = "batch", .turns = 8, .turns_max = 60, .think_s = 0.01, .forgets = true,            \
	.width = 24, .groups = 1, .system = 200, .first = {(tokens), 0.6, 4 * (tokens)},           \
	.message = {(tokens), 0.6, 4 * (tokens)}, .answer = {200, 0.5, 800},                       \
	.context = 16000 + 4 * (tokens)-12000
#define BATCH BATCH_OF(3000)

static const struct lab_workload workloads[] = {
	{
		.name = "chat",
		.says = "conversations of six turns on average, one system prompt for all",
		.parts = 1,
		.part = {{CHAT, .share = 1}},
		.burst = 1,
		.rate = 8.5,
		.slo_ms = 500,
	},
	{
		.name = "rag",
		.says = "questions on 400 tenants' documents (Zipf), from four application pods each",
		.parts = 1,
		.part = {{RAG, .share = 1, .client = LAB_CLIENT_APP, .apps = 4}},
		.burst = 1,
		.rate = 9,
		.slo_ms = 1000,
	},
	{
		.name = "agents",
		.says = "agents with long contexts that grow by tool results, 14 turns on average",
		.parts = 1,
		.part = {{AGENTS, .share = 1}},
		.burst = 1,
		.rate = 1.6,
		.slo_ms = 2000,
	},
	{
		.name = "batch",
		.says = "jobs that summarise documents, 24 at a time, each job from one address",
		.parts = 1,
		.part = {{BATCH, .share = 1, .client = LAB_CLIENT_JOB}},
		.burst = 1,
		.rate = 4,
		.slo_ms = 5000,
	},
	{
		.name = "bursts",
		.says = "chat whose sessions come eight times as fast for 3 s, every 20 s or so",
		.parts = 1,
		.part = {{CHAT, .share = 1}},
		.burst = 8,
		.burst_s = 3,
		.calm_s = 20,
		.rate = 7.5,
		.slo_ms = 1000,
	},
	{
		.name = "mixed",
		.says = "chat (seven requests of ten; TTFT is its) beside batch jobs, an address each",
		.parts = 2,
		.part = {{CHAT, .share = 0.7}, {BATCH, .share = 0.3, .client = LAB_CLIENT_JOB}},
		.burst = 1,
		.rate = 6,
		.slo_ms = 1000,
	},
	{
		.name = "mixed-job",
		.says = "chat (TTFT is its) beside batch jobs that all come from one address",
		.parts = 2,
		.part = {{CHAT, .share = 0.7}, {BATCH, .share = 0.3, .client = LAB_CLIENT_GATEWAY}},
		.burst = 1,
		.rate = 6,
		.slo_ms = 1000,
	},
	{
		.name = "chat-agents-batch",
		.says = "chat (six requests of ten; TTFT is its), agents (one), and batch jobs",
		.parts = 3,
		.part = {{CHAT, .share = 0.6},
			 {AGENTS, .share = 0.1},
			 {BATCH, .share = 0.3, .client = LAB_CLIENT_JOB}},
		.burst = 1,
		.rate = 4,
		.slo_ms = 1000,
	},
	{
		.name = "chat-documents",
		.says = "chat (15 requests of 16; TTFT is its) beside jobs on documents of 12,000 tokens",
		.parts = 2,
		.part = {{CHAT, .share = 0.9375},
			 {BATCH_OF(12000), .share = 0.0625, .client = LAB_CLIENT_JOB}},
		.burst = 1,
		.rate = 3.5,
		.slo_ms = 1000,
	},
	{
		.name = "rag-batch",
		.says = "rag (nine requests of ten; TTFT is its) beside jobs on documents of 8,000 tokens",
		.parts = 2,
		.part = {{RAG, .client = LAB_CLIENT_APP, .apps = 4, .share = 0.9},
			 {BATCH_OF(8000), .share = 0.1, .client = LAB_CLIENT_JOB}},
		.burst = 1,
		.rate = 3.5,
		.slo_ms = 1000,
	},
	{
		.name = "chat-gateway",
		.says = "chat, all of it from one gateway's address",
		.parts = 1,
		.part = {{CHAT_FROM(LAB_CLIENT_GATEWAY), .share = 1}},
		.burst = 1,
		.rate = 8.5,
		.slo_ms = 500,
	},
	{
		.name = "rag-gateway",
		.says = "rag, all of it from one gateway's address",
		.parts = 1,
		.part = {{RAG, .share = 1, .client = LAB_CLIENT_GATEWAY}},
		.burst = 1,
		.rate = 6, /* at rag's 9, who cannot see the prompt is overloaded */
		.slo_ms = 1000,
	},
};

const struct lab_workload lab_workload_foreign = {
	.name = "file",
	.says = "what a file says",
	.parts = 1,
	.part = {{.name = "file", .share = 1, .turns = 1, .turns_max = 1, .width = 1}},
	.burst = 1,
	.rate = 1,
	.slo_ms = 1000,
};

const struct lab_workload *lab_workload_list(uint32_t *count)
{
	*count = ARRAY_SIZE(workloads);
	return workloads;
}

const struct lab_workload *lab_workload_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(workloads); i++)
		if (!strcmp(workloads[i].name, name))
			return &workloads[i];
	return NULL;
}
