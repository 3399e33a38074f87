/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_request.c - any bytes as a request to the overload responder. However they are cut into
 * pieces, the reader says the same at the same byte; a body is as long as its head says; and the
 * answer is whole, whatever the class is called.
 *
 * sources: userspace/responder/request.c userspace/responder/answer.c
 */
#include <string.h>

#include "../../userspace/base/util.h"
#include "../../userspace/responder/answer.h"
#include "../../userspace/responder/board.h"
#include "../../userspace/responder/request.h"
#include "fuzz.h"

/* Reads in pieces of up to `most` bytes, in memory of their own. Returns after how many bytes the
 * state was no longer REQUEST_READING, or `size`. */
static size_t read_in_pieces(const uint8_t *data, size_t size, size_t most, struct request *r,
			     enum request_state *state)
{
	size_t at = 0;

	memset(r, 0, sizeof(*r));
	*state = REQUEST_READING;
	while (at < size && *state == REQUEST_READING) {
		size_t n = MIN(most, size - at);
		_cleanup_free_ uint8_t *piece = malloc(n);

		memcpy(piece, data + at, n);
		*state = request_read(r, piece, n);
		at += n;
	}
	return at;
}

/* A whole request, and so any longer one, stays so. */
static void check_end(struct request *r, enum request_state state)
{
	const uint8_t more[] = "GET / HTTP/1.1\r\n\r\n";

	if (state != REQUEST_READING)
		PROMISE(request_read(r, more, sizeof(more) - 1) == state);
	PROMISE(state == REQUEST_FOREIGN ? !r->begun : r->begun || state != REQUEST_WHOLE);
	PROMISE(r->head <= REQUEST_HEAD_MAX + 1);
}

/* A request of which nothing but the length of its body is told ends right there. */
static void check_length(size_t body)
{
	char head[128];
	int n = snprintf(head, sizeof(head), "POST /v1 HTTP/1.1\r\nContent-Length: %zu\r\n\r\n",
			 body);
	_cleanup_free_ uint8_t *all = calloc(1, (size_t)n + body + 1);
	enum request_state state;
	struct request r;

	memcpy(all, head, (size_t)n);
	PROMISE(read_in_pieces(all, (size_t)n + body + 1, 1, &r, &state) == (size_t)n + body);
	PROMISE(state == REQUEST_WHOLE && r.begun && !r.is_head);
}

static void check_answer(const uint8_t *data, size_t size)
{
	char name[PINTLE_CLASS_NAME_SIZE] = "", text[ANSWER_SIZE + 1], *body;
	uint32_t seconds = answer_seconds(size ? data[0] : 0, size > 1 ? data[1] : 0);
	size_t n;

	PROMISE(seconds >= 1 && seconds <= BOARD_SECONDS_MAX);
	memcpy(name, data, MIN(size, sizeof(name) - 1));
	n = answer_write(text, seconds, name, false, 1700000000);
	PROMISE(n < ANSWER_SIZE && strlen(text) == n);
	body = strstr(text, "\r\n\r\n");
	PROMISE(body &&
		strtoul(strstr(text, "Content-Length: ") + 16, NULL, 10) == strlen(body + 4));
	PROMISE(!strchr(body, '\\') && answer_write(text, seconds, name, true, 0) < n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct request whole, bytes, pieces;
	enum request_state by_whole, by_bytes, by_pieces;
	size_t end;

	read_in_pieces(data, size, size, &whole, &by_whole);
	end = read_in_pieces(data, size, 1, &bytes, &by_bytes);
	PROMISE(read_in_pieces(data, size, 7, &pieces, &by_pieces) >= end);
	PROMISE(by_whole == by_bytes && by_whole == by_pieces);
	PROMISE(whole.is_head == bytes.is_head && whole.begun == bytes.begun);
	/* What comes before the end does not end it. */
	if (by_bytes != REQUEST_READING && end > 1) {
		read_in_pieces(data, end - 1, size, &pieces, &by_pieces);
		PROMISE(by_pieces == REQUEST_READING);
	}
	check_end(&whole, by_whole);
	check_length(size);
	check_answer(data, size);
	return 0;
}
