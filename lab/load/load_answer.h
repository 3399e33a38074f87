/* SPDX-License-Identifier: Apache-2.0 */
/* load_answer.h - reads the events of a streamed completion. */
#ifndef PINTLE_LOAD_ANSWER_H
#define PINTLE_LOAD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/buf.h"

#define ANSWER_MAX (16U << 20) /* bytes of text; a longer answer is ANSWER_BAD */

/* Starts as all zeros. */
struct answer {
	bool keep_text;
	struct buf text; /* the answer so far, with keep_text */
	bool done;       /* "[DONE]" has come */
	bool aborted;    /* the finish_reason is "abort" */
	bool has_usage;
	uint32_t prompt_tokens, cached_tokens, output_tokens; /* from the usage; else 0 */
	char problem[160];                                    /* for people, after ANSWER_BAD */
};

enum answer_event {
	ANSWER_TEXT,  /* carries text of the answer */
	ANSWER_OTHER, /* carries no text */
	ANSWER_BAD,   /* is no event of a completion, or an error: see `problem` */
};

/** Reads the data of one event; data[size] must be NUL. */
enum answer_event answer_read(struct answer *a, const char *data, size_t size);
void answer_free(struct answer *a);

#endif
