/* SPDX-License-Identifier: Apache-2.0 */
/* load_trace.h - recorded requests, as JSON Lines or as CSV with a header. */
#ifndef PINTLE_LOAD_TRACE_H
#define PINTLE_LOAD_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "../../userspace/config/config.h"

#define TRACE_NONE UINT32_MAX
/* Tokens that a group's requests share where neither the trace nor a workload says how many. */
#define TRACE_SHARED_TOKENS 512

struct trace_request {
	uint64_t at_ns;   /* from the trace's first request */
	uint32_t session; /* from 0, in the order of the sessions' first requests */
	uint32_t group;   /* likewise; TRACE_NONE: in no group */
	uint32_t prompt_tokens, output_tokens;
	uint32_t shared_tokens; /* part of prompt_tokens; TRACE_NONE: the trace does not say */
};

struct trace {
	struct trace_request *requests;
	size_t count, room;
	uint32_t sessions, groups;
};

/** Reads and checks a trace up to its first error. Messages are like those of config_load().
 * Returns 0 and *out, to be freed with trace_free(); or -EINVAL, -ENOMEM or -errno with *out
 * untouched. trace_parse() overwrites `text`. */
int trace_load(const char *path, const struct yaml_sink *sink, struct trace *out);
int trace_parse(const char *name, char *text, size_t size, const struct yaml_sink *sink,
		struct trace *out);
void trace_free(struct trace *t);

#endif
