/* SPDX-License-Identifier: Apache-2.0 */
/* load_outcome.h - how a request ends: in exactly one of these ways. */
#ifndef PINTLE_LOAD_OUTCOME_H
#define PINTLE_LOAD_OUTCOME_H

/* X(symbol, key of -o json, what it means) */
#define LOAD_OUTCOMES(X)                                                                           \
	X(OK, "ok", "a whole stream with an answer in it")                                         \
	X(CONNECT, "connect", "no connection: refused, unreachable, no address or port to use")    \
	X(TIMEOUT, "timeout", "not over within --timeout")                                         \
	X(RESET, "reset", "the connection broke")                                                  \
	X(CLOSED, "closed", "the server closed before the answer was whole")                       \
	X(STATUS_429, "status_429", "too many requests")                                           \
	X(STATUS_4XX, "status_4xx", "another status from 400 to 499")                              \
	X(STATUS_5XX, "status_5xx", "a status from 500 on")                                        \
	X(STATUS_OTHER, "status_other", "any other status than 200")                               \
	X(PROTOCOL, "protocol", "no HTTP")                                                         \
	X(STREAM, "stream", "not the stream that was asked for, an error in it, no text, no end")  \
	X(ABORTED, "aborted", "the server broke the answer off: finish_reason abort")              \
	X(MEMORY, "memory", "this client had no memory")                                           \
	X(CANCELLED, "cancelled", "this client was ended first")

enum load_outcome {
#define X(symbol, key, says) LOAD_##symbol,
	LOAD_OUTCOMES(X)
#undef X
		LOAD_OUTCOME_COUNT,
};

extern const char *const load_outcome_keys[LOAD_OUTCOME_COUNT];

#endif
