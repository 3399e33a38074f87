/* SPDX-License-Identifier: Apache-2.0 */
/* board.h - the memory that pintled and the overload responder share. */
#ifndef PINTLE_BOARD_H
#define PINTLE_BOARD_H

#include <pintle/abi.h>

/* X(symbol, name, what it says): what became of a connection to the responder. */
#define RESPONDER_RESULTS(X)                                                                       \
	X(ANSWERED, "answered", "429, with Retry-After")                                           \
	X(NO_MODEL, "no_model", "404: its request names no model that there is")                   \
	X(NOT_HTTP, "not_http", "reset: its first bytes are no request of HTTP/1")                 \
	X(FULL, "full", "reset: 1,024 were open")                                                  \
	X(CLIENT_FULL, "client_full", "reset: 16 of its client's address were open")               \
	X(NOT_DIVERTED, "not_diverted", "reset: no hook had sent it")                              \
	X(UNFINISHED, "unfinished", "closed: it sent no request line within 5 s, or left before")
#define X(symbol, name, says) RESPONDER_##symbol,
enum responder_result { RESPONDER_RESULTS(X) RESPONDER_RESULT_COUNT };
#undef X

/* What the answer says to clients of one class of a pool. Writer: pintled. */
struct board_row {
	__u32 generation; /* the pool's; written last */
	__u32 seconds;    /* Retry-After, before chance makes it longer */
	char name[PINTLE_CLASS_NAME_SIZE];
};

struct board {
	struct board_row rows[PINTLE_MAX_POOLS][PINTLE_MAX_CLASSES];
	/* Written by the responder; the counts only grow, also over restarts of it. */
	__u64 counts[RESPONDER_RESULT_COUNT];
	__u32 open;  /* connections */
	__u32 ready; /* pid of the responder that accepts; 0: none does yet */
};

/* Retry-After where nothing is known of the load. */
#define BOARD_SECONDS_UNKNOWN 5
#define BOARD_SECONDS_MAX     60

#endif
