/* SPDX-License-Identifier: Apache-2.0 */
/* load_trace.h - recorded requests, as JSON Lines or as CSV with a header: the lab's own form, or
 * that of a published trace. lab/docs/load-generator.md describes the forms. */
#ifndef PINTLE_LOAD_TRACE_H
#define PINTLE_LOAD_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "../../userspace/config/config.h"

#define TRACE_NONE UINT32_MAX
/* Tokens that a group's requests share where neither the trace nor a workload says how many. */
#define TRACE_SHARED_TOKENS 512
/* Tokens that one of Mooncake's hash_ids stands for. */
#define TRACE_ID_TOKENS 512

struct trace_request {
	uint64_t at_ns;   /* from the trace's first request */
	uint32_t session; /* from 0, in the order of the sessions' first requests */
	uint32_t group;   /* likewise; TRACE_NONE: in no group */
	uint32_t prompt_tokens, output_tokens;
	uint32_t shared_tokens; /* part of prompt_tokens; TRACE_NONE: the trace does not say */
	/* The prompt's blocks: ids[first_id] and so on in struct trace. Equal ids are equal texts,
	 * and so are the texts before them. The last block may end after the prompt. */
	uint32_t id_count; /* 0: the trace does not say */
	size_t first_id;
};

struct trace {
	struct trace_request *requests;
	size_t count, room;
	uint32_t sessions, groups;
	uint64_t *ids;
	size_t id_count, id_room;
	uint32_t id_tokens; /* tokens of a block of hash_ids, at least 1 */
};

/** Reads and checks a trace up to its first error. Messages are like those of config_load().
 * `id_tokens` is for the trace's
 * hash_ids. Returns 0 and *out, to be freed with trace_free(); or -EINVAL, -ENOMEM or -errno with
 * *out untouched. trace_parse() overwrites `text`. */
int trace_load(const char *path, uint32_t id_tokens, const struct yaml_sink *sink,
	       struct trace *out);
int trace_parse(const char *name, char *text, size_t size, uint32_t id_tokens,
		const struct yaml_sink *sink, struct trace *out);
void trace_free(struct trace *t);

#endif
