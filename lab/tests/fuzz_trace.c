/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_trace.c - any text as a trace: it is refused with one message, or its requests keep what
 * load_trace.h promises.
 *
 * sources: lab/load/load_trace.c userspace/base/text.c
 */
#include <string.h>

#include "../../lab/load/load_trace.h"
#include "../../lab/load/load_workload.h"
#include "../../userspace/base/util.h"
#include "../../tests/fuzz/fuzz.h"

static void count(void *arg, const char *file, int line, int column, const char *message)
{
	(void)file;
	(void)column;
	PROMISE(line >= 1 && *message);
	++*(int *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = malloc(size + 1);
	int said = 0;
	const struct yaml_sink sink = {.error = count, .arg = &said};
	struct trace t = {0};
	int err;

	PROMISE(text);
	memcpy(text, data, size);
	err = trace_parse("t", text, size, size % 2 ? 16 : TRACE_ID_TOKENS, &sink, &t);
	PROMISE(said == !!err && (err == 0 || err == -EINVAL) && !t.count == !!err);
	for (size_t i = 0; i < t.count; i++) {
		const struct trace_request *q = &t.requests[i];

		PROMISE(!i || q->at_ns >= q[-1].at_ns);
		PROMISE(q->session < t.sessions);
		PROMISE(q->group < t.groups || q->group == TRACE_NONE);
		PROMISE(q->prompt_tokens >= 1 && q->prompt_tokens <= WORKLOAD_MAX_TOKENS);
		PROMISE(q->output_tokens >= 1 && q->output_tokens <= WORKLOAD_MAX_TOKENS);
		PROMISE(q->shared_tokens <= q->prompt_tokens || q->shared_tokens == TRACE_NONE);
		PROMISE(q->first_id + q->id_count <= t.id_count);
	}
	trace_free(&t);
	return 0;
}
