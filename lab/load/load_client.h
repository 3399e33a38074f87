/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_client.h - HTTP/1.1 requests to one address, and their streamed answers.
 *
 * A connection belongs to the exchange on it, or, idle, to the slot in which it is kept; whoever
 * closes it empties the slot. What is sent over a kept connection that turns out
 * to be closed, before a byte of an answer came, is sent again over a new one: once.
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
	uint64_t now_ns;  /* when what is being handled was read */
	uint64_t made;    /* connections */
	uint64_t reused;  /* requests on a connection that had had another */
	uint64_t retried; /* requests sent again */
	char buffer[65536];
};

struct exchange {
	/* Set by the caller; `out` is the request and stays until the end. */
	struct buf out;
	const union load_address *source; /* NULL: the kernel chooses */
	struct load_conn **slot;          /* to take a kept connection from, and to put it into */
	bool keep;                        /* keep it, if the server does */
	/* An event of the stream; ends the exchange unless it returns LOAD_OK. */
	enum load_outcome (*event)(struct exchange *x, char *data, size_t size);
	/* Over. The exchange may be freed. */
	void (*end)(struct exchange *x, enum load_outcome outcome);

	/* The answer so far. */
	unsigned int status;
	char endpoint[64]; /* what x-inference-pod says, else empty */
	char problem[160]; /* what went wrong, for people */

	struct load_client *client;
	struct load_conn *conn;
	struct sse sse;
	enum load_outcome early; /* why the answer was not read to its end */
	char header[20];         /* name of the header being read, cut */
	size_t header_size, value_size;
	bool is_stream, again, any, complete;
};

/** All zeros but loop and target before it. */
void client_init(struct load_client *c);
/** Closes every connection; exchanges must be over. */
void client_close(struct load_client *c);

/** x->end may be called before this returns. */
void exchange_start(struct load_client *c, struct exchange *x);
/** Ends it without a call of x->end. */
void exchange_cancel(struct exchange *x);
void exchange_free(struct exchange *x); /* what it owns */

/** Closes a kept connection, if there is one. */
void slot_clear(struct load_conn **slot);

#endif
