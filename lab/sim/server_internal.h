/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_internal.h - what server*.c share. One thread, one libuv loop.
 *
 *	server.c       servers, the passing of time, start and end
 *	server_http.c  connections: parsing, keep-alive, writing
 *	server_api.c   paths: which there are, and the short answers
 *	server_jobs.c  completions: from JSON to the model, from its events to the stream
 *
 * The model reports events from within its own calls, and must not be called from there. So an
 * event only writes into connections' buffers and marks them dirty; server_settle(),
 * after every call to the model, sends those and lets their next request begin.
 */
#ifndef PINTLE_SIM_SERVER_INTERNAL_H
#define PINTLE_SIM_SERVER_INTERNAL_H

#include <http_parser.h>
#include <uv.h>

#include "server.h"
#include "../base/buf.h"
#include "server_metrics.h"

#define MAX_BODY   (64U << 20)
#define MAX_UNREAD (64U << 20) /* of an answer whose client does not read */

struct job;
struct sim;

struct conn {
	uv_tcp_t tcp;
	uv_write_t write;
	struct server *server;
	struct conn *prev, *next; /* of the server */
	struct conn *idle_prev, *idle_next;
	struct conn *dirty_next;
	uint64_t idle_until_ms; /* 0: not in the idle list */
	bool dirty, closing, writing;

	http_parser parser;
	struct buf in; /* not parsed yet */
	struct buf path, body;
	char field[16]; /* name of the header being read, cut */
	size_t field_size;
	bool expects;  /* 100-continue */
	bool complete; /* a whole request is there */
	bool busy;     /* its answer is not */
	bool keep;     /* the connection lives after it */
	bool too_large;

	struct buf out, sending;
	struct job *job;
	enum metrics_handler handler;
	unsigned int status;
	uint64_t began_ns;
	size_t answer_bytes;
};

struct server {
	struct sim *sim;
	const struct server_config *c;
	struct model *model;
	struct sim_metrics metrics;
	struct conn *conns, *dirty;
	uv_tcp_t listener;
	uv_poll_t wake;
	uv_timer_t startup;
	int timer_fd;
	uint64_t armed_ns; /* virtual time the timer is set to */
	bool ready;
	uint64_t serial; /* of requests */
};

struct sim {
	const struct sim_config *c;
	uv_loop_t loop;
	struct server *servers;
	uv_signal_t term, interrupt;
	uv_timer_t idle_timer, deadline;
	struct conn *idle_first, *idle_last;
	uint64_t start_ns;
	bool stopping;
	int error;
};

/* server.c */
uint64_t server_now(const struct server *s); /* virtual nanoseconds */
/** Sends what events have left in buffers, and sets the timer for the next event. */
void server_settle(struct server *s);
/** Ends the loop if it is to end and no connection is left. */
void sim_maybe_end(struct sim *sim);

/* server_http.c */
void conn_accept(uv_stream_t *listener, int status);
void conn_close(struct conn *c);
void conn_mark(struct conn *c); /* dirty */
void conn_settle(struct conn *c);
void conn_idle_timer(uv_timer_t *timer);
/** A whole answer. */
void answer(struct conn *c, unsigned int status, const char *type, const char *body, size_t size);
/** An answer in parts: the head goes out at once; every part is one chunk. */
void answer_begin(struct conn *c, const char *type);
void answer_end(struct conn *c);
/** Opens a chunk of exactly `size` bytes, to be added to c->out, then chunk_close(). */
void chunk_open(struct conn *c, size_t size);
void chunk_close(struct conn *c);

/* server_api.c */
void api_request(struct conn *c);
/** OpenAI's form of an error. `param` may be NULL. */
void answer_error(struct conn *c, unsigned int status, const char *type, const char *param,
		  const char *message);

/* server_jobs.c */
void job_completion(struct conn *c);
void job_chat(struct conn *c);
void job_tokenize(struct conn *c);
/** The client has gone. */
void job_cancel(struct job *j);
/** The server ends: the stream gets a clean end. */
void job_cut(struct job *j);
void job_event(void *server, const struct model_event *e);
void job_steps(void *server, const struct model_steps *s);

#endif
