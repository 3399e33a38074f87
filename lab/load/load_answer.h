/* SPDX-License-Identifier: Apache-2.0 */
/* load_answer.h - what the events of a streamed completion say. */
#ifndef PINTLE_LOAD_ANSWER_H
#define PINTLE_LOAD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/buf.h"

#define ANSWER_MAX (16U << 20) /* bytes of text that are kept */

/* Starts as all zeros. */
struct answer {
	bool keep_text;
	struct buf text; /* so far, if it is kept */
	bool done;       /* "[DONE]" */
	bool aborted;    /* the server said that it broke off */
	bool has_usage;
	uint32_t prompt_tokens, cached_tokens, output_tokens; /* as the usage says */
	char problem[160];                                    /* what was wrong, for people */
};

enum answer_event {
	ANSWER_TEXT,  /* brought some of the answer */
	ANSWER_OTHER, /* did not */
	ANSWER_BAD,   /* is none of a completion, or an error: see problem */
};

/** data[size] is NUL. */
enum answer_event answer_read(struct answer *a, const char *data, size_t size);
void answer_free(struct answer *a);

#endif
