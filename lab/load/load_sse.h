/* SPDX-License-Identifier: Apache-2.0 */
/* load_sse.h - server-sent events, in whatever pieces they arrive, as the HTML standard has it. */
#ifndef PINTLE_LOAD_SSE_H
#define PINTLE_LOAD_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "../base/buf.h"

#define SSE_MAX (1U << 20) /* bytes of a line, and of an event */

/* Starts as all zeros but `event` and `arg`. */
struct sse {
	/* The data of an event: its `data` lines joined by line feeds, and a NUL behind them that
	 * `size` does not count. What it returns, if not 0, ends the parsing. */
	int (*event)(void *arg, char *data, size_t size);
	void *arg;
	struct buf line, data;
	bool has_data, after_cr, begun;
};

/** Returns 0; -EMSGSIZE when a line or event is longer than SSE_MAX; -ENOMEM; or what `event`
 * returned. */
int sse_feed(struct sse *s, const char *bytes, size_t size);
void sse_free(struct sse *s);

#endif
