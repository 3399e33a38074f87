/* SPDX-License-Identifier: Apache-2.0 */
/* kube_lines.h - cuts a stream, which comes in pieces of any size, into lines. */
#ifndef PINTLE_KUBE_LINES_H
#define PINTLE_KUBE_LINES_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of a line, or of a page of a list. The API server takes objects of up to 1.5 MiB; what it
 * adds itself makes 1.6 MB of them. */
#define KUBE_MAX_TEXT (4U << 20)

/* Starts as {0}; kube_lines_free() it. */
struct kube_lines {
	char *text; /* of the line that has not ended */
	size_t size, room;
	bool skipping; /* the line is longer than KUBE_MAX_TEXT: the rest of it is passed over */
};

/** A line without its end; valid during the call. False ends kube_lines_feed(). */
typedef bool (*kube_line_fn)(const char *line, size_t size, void *arg);

/** Takes the next piece of the stream, and calls `each` for each line that ends in it, but for
 * empty ones. Returns 0; -EFBIG: a line was longer than KUBE_MAX_TEXT and is left out, the others
 * came; -ECANCELED: `each` returned false; or -ENOMEM. After the last two the rest of the piece is
 * lost.
 */
int kube_lines_feed(struct kube_lines *l, const char *data, size_t size, kube_line_fn each,
		    void *arg);
/** Forgets the line that has not ended, for the next stream. */
void kube_lines_reset(struct kube_lines *l);
void kube_lines_free(struct kube_lines *l);

#endif
