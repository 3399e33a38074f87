// SPDX-License-Identifier: Apache-2.0
#include "engine_run.h"

#define SAME_MS 1000

struct engine_run engine_run_of(const struct signals *page)
{
	return (struct engine_run){
		.started_ms = (uint64_t)(page->value[SIGNAL_STARTED] * 1000),
		.tokens = (uint64_t)page->value[SIGNAL_PROMPT_TOKENS] +
			  (uint64_t)page->value[SIGNAL_OUTPUT_TOKENS],
	};
}

bool engine_run_is_new(const struct engine_run *before, const struct engine_run *now)
{
	uint64_t apart = now->started_ms > before->started_ms
				 ? now->started_ms - before->started_ms
				 : before->started_ms - now->started_ms;

	return now->tokens < before->tokens ||
	       (before->started_ms && now->started_ms && apart > SAME_MS);
}
