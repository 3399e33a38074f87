/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_client.h - HTTP/1.1 requests to one address, and their streamed answers.
 *
 * A connection belongs to its exchange. An idle connection belongs to the slot in which it is kept,
 * and the slot is emptied when the connection closes. A server may close a kept connection just as
 * a request is sent on it. If no byte of an answer has come, the request is sent again on a new
 * connection, once.
 */
#ifndef PINTLE_LOAD_CLIENT_H
#define PINTLE_LOAD_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "load_outcome.h"
#include "load_source.h"
#include "load_sse.h"

struct load_conn;

struct load_client {
	uv_loop_t *loop;
	union load_address target;
	struct load_conn *conns;
	uint64_t now_ns;  /* when the newest bytes were read; the time of their events */
	uint64_t made;    /* connections established */
	uint64_t reused;  /* requests sent on a kept connection */
	uint64_t retried; /* requests sent again */
	char buffer[65536];
};

struct exchange {
	/* Set by the caller. `out` is the request, and must not change before the end. */
	struct buf out;
	const union load_address *source; /* NULL: the kernel chooses */
	struct load_conn **slot;          /* a kept connection comes from here and goes back */
	bool keep;                        /* keep the connection, if the server keeps it */
	/* Handles an event of the stream. A value other than LOAD_OK ends the exchange with it. */
	enum load_outcome (*event)(struct exchange *x, char *data, size_t size);
	/* Called at the end, and may free the exchange. */
	void (*end)(struct exchange *x, enum load_outcome outcome);

	/* The answer so far. */
	unsigned int status;
	uint32_t retry_after_s; /* the header of this name; 0: none, or no number */
	char endpoint[64];      /* the value of x-inference-pod; empty without that header */
	char problem[160];      /* for people: what went wrong */

	struct load_client *client;
	struct load_conn *conn;
	struct sse sse;
	enum load_outcome early; /* LOAD_OK, or why the answer is not read to its end */
	char header[20];         /* name of the header being read, cut to fit */
	size_t header_size, value_size;
	bool is_stream, again, any, complete;
};

/** `c` must be all zeros, except for `loop` and `target`. */
void client_init(struct load_client *c);
/** Closes every connection; no exchange may be under way. */
void client_close(struct load_client *c);

/** Sends the request; x->end may be called before this returns. */
void exchange_start(struct load_client *c, struct exchange *x);
/** Forgets the answer of an exchange that has ended, so that it can be started again. */
void exchange_reset(struct exchange *x);
/** Ends the exchange without calling x->end. */
void exchange_cancel(struct exchange *x);
/** Frees what the exchange owns, not the exchange itself. */
void exchange_free(struct exchange *x);

/** Closes the slot's kept connection, if it has one. */
void slot_clear(struct load_conn **slot);

#endif
