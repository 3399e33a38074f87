// SPDX-License-Identifier: Apache-2.0
/* load_builtin.c - the files of lab/load/workloads, byte for byte in the program. */
#include "../../userspace/base/util.h"
#include "load_workload.h"

/* Every file in that folder needs its line here; a test finds a missing line. */
#define WORKLOADS(X)                                                                               \
	X(agents, "agents")                                                                        \
	X(batch, "batch")                                                                          \
	X(burst, "burst")                                                                          \
	X(chat_agents_batch, "chat-agents-batch")                                                  \
	X(chat_batch, "chat-batch")                                                                \
	X(chat_bursty, "chat-bursty")                                                              \
	X(rag, "rag")

#define INCLUDE(symbol, name)                                                                      \
	__asm__(".section .rodata\n"                                                               \
		"workload_" #symbol "_text:\n"                                                     \
		".incbin \"lab/load/workloads/" name ".yaml\"\n"                                   \
		"workload_" #symbol "_end:\n"                                                      \
		".byte 0\n"                                                                        \
		".previous\n");                                                                    \
	extern const char workload_##symbol##_text[], workload_##symbol##_end[];
WORKLOADS(INCLUDE)

#define ENTRY(symbol, name) {name, workload_##symbol##_text, workload_##symbol##_end},
const struct workload_builtin workload_builtins[] = {WORKLOADS(ENTRY)};
const size_t workload_builtin_count = ARRAY_SIZE(workload_builtins);

const struct workload_builtin *workload_find(const char *name)
{
	for (size_t i = 0; i < workload_builtin_count; i++)
		if (!strcmp(workload_builtins[i].name, name))
			return &workload_builtins[i];
	return NULL;
}

int workload_open(const char *name, const struct yaml_sink *sink, struct workload **out)
{
	const struct workload_builtin *b = workload_find(name);

	return b ? workload_parse(b->name, b->text, (size_t)(b->end - b->text), sink, out)
		 : workload_load(name, sink, out);
}
