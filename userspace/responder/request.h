/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - finds the end of an HTTP/1 request as its bytes come, and keeps none of them.
 *
 * The answer is the same whatever the request says. So the reader is lenient: where the length of
 * the body cannot be told, the request counts as whole when its head is. Pure (fuzzed).
 */
#ifndef PINTLE_REQUEST_H
#define PINTLE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_HEAD_MAX (64U << 10) /* a longer head is not read to its end */
#define REQUEST_LINE     64          /* so much of a header line is looked at */

enum request_state {
	REQUEST_READING, /* more is to come */
	REQUEST_WHOLE,   /* it may be answered */
	REQUEST_FOREIGN, /* it is none of HTTP/1 */
};

/* Begins as zeros. */
struct request {
	uint64_t left;  /* bytes of the body, or of the chunk */
	uint32_t head;  /* bytes of the head so far */
	uint8_t step;   /* what comes next */
	uint8_t length; /* of what is in `line` */
	bool begun;     /* the request line came, and it is one of HTTP/1 */
	bool is_head;   /* the method is HEAD: the answer has no body */
	bool sized, chunked, expects, unclear;
	char line[REQUEST_LINE]; /* in small letters */
};

/** Reads on. Once it returned something else than REQUEST_READING, it returns that again. */
enum request_state request_read(struct request *r, const uint8_t *data, size_t size);

#endif
