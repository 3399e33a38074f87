/* SPDX-License-Identifier: Apache-2.0 */
/* load_sse.h - server-sent events as the HTML standard defines them, fed in pieces of any size. */
#ifndef PINTLE_LOAD_SSE_H
#define PINTLE_LOAD_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "../base/buf.h"

#define SSE_MAX (1U << 20) /* bytes of a line, and of an event */

/* Starts as all zeros, except for `event` and `arg`. */
struct sse {
	/* Gets an event's `data` lines, joined by line feeds. A NUL follows, which `size` does not
	 * count. A return value other than 0 ends the parsing. */
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
