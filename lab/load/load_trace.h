/* SPDX-License-Identifier: Apache-2.0 */
/* load_trace.h - requests that somebody recorded: JSON Lines, or CSV with a header. */
#ifndef PINTLE_LOAD_TRACE_H
#define PINTLE_LOAD_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "../../userspace/config/config.h"

#define TRACE_NONE UINT32_MAX
/* What a group shares where neither the trace nor a workload says. */
#define TRACE_SHARED_TOKENS 512

struct trace_request {
	uint64_t at_ns;   /* from the first one */
	uint32_t session; /* from 0, in the order of their first requests */
	uint32_t group;   /* likewise; TRACE_NONE: in none */
	uint32_t prompt_tokens, output_tokens;
	uint32_t shared_tokens; /* of the prompt, the group's; TRACE_NONE: not said */
};

struct trace {
	struct trace_request *requests;
	size_t count, room;
	uint32_t sessions, groups;
};

/** Reads and validates; messages as those of config_load(), the first error ends it. Returns 0, or
 * -EINVAL, -ENOMEM or -errno with *out untouched. */
int trace_load(const char *path, const struct yaml_sink *sink, struct trace *out);
int trace_parse(const char *name, char *text, size_t size, const struct yaml_sink *sink,
		struct trace *out);
void trace_free(struct trace *t);

#endif
