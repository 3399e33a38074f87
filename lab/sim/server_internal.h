/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_internal.h - what server*.c share. One thread, one libuv loop.
 *
 *	server.c       servers, the passing of time, start and end
 *	server_http.c  connections: parsing, keep-alive, writing
 *	server_api.c   the paths, and the short answers
 *	server_adapters.c  which LoRA adapters were used when
 *	server_jobs.c  completions: from JSON to the model, from its events to the stream
 *
 * The model reports events from within its own calls, and an event's handler must not call the
 * model. So a handler only writes into its connection's buffer and marks the connection dirty.
 * After every call to the model, server_settle() sends the buffers of all dirty connections and
 * begins their next requests.
 */
#ifndef PINTLE_SIM_SERVER_INTERNAL_H
#define PINTLE_SIM_SERVER_INTERNAL_H

#include <http_parser.h>
#include <uv.h>

#include "server.h"
#include "../base/buf.h"
#include "server_metrics.h"

#define MAX_BODY   (64U << 20)
#define MAX_UNREAD (64U << 20) /* bytes kept for a client that does not read its answer */

struct job;
struct sim;

struct conn {
	uv_tcp_t tcp;
	uv_write_t write;
	struct server *server;
	struct conn *prev, *next; /* in server->conns */
	struct conn *idle_prev, *idle_next;
	struct conn *dirty_next;
	uint64_t idle_until_ms; /* 0: not in the idle list */
	bool dirty, closing, writing;

	http_parser parser;
	struct buf in; /* read, not parsed yet */
	struct buf path, body;
	char field[16]; /* name of the header being read, cut to fit */
	size_t field_size;
	bool expects;  /* the request has "Expect: 100-continue" */
	bool complete; /* the request has been parsed to its end */
	bool busy;     /* the request's answer is not complete */
	bool keep;     /* the connection stays open after the answer */
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
	uint64_t armed_ns; /* virtual time for which the timer is set */
	bool ready;
	uint64_t serial;               /* requests so far */
	struct adapter_series *series; /* a server with adapters: in the order in which they came */
	size_t series_count;
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
/** Sends what events have written into buffers, and sets the timer for the next event. */
void server_settle(struct server *s);
/** For a simulation that is stopping: closes everything once no connection is left. */
void sim_maybe_end(struct sim *sim);

/* server_http.c */
void conn_accept(uv_stream_t *listener, int status);
void conn_close(struct conn *c);
void conn_mark(struct conn *c); /* marks it dirty */
void conn_settle(struct conn *c);
void conn_idle_timer(uv_timer_t *timer);
/** Writes a whole answer. */
void answer(struct conn *c, unsigned int status, const char *type, const char *body, size_t size);
/** Begins an answer in chunks with its head; answer_end() writes its end. */
void answer_begin(struct conn *c, const char *type);
void answer_end(struct conn *c);
/** Opens a chunk of `size` bytes. The caller adds exactly so many to c->out, then calls
 * chunk_close(). */
void chunk_open(struct conn *c, size_t size);
void chunk_close(struct conn *c);

/* server_adapters.c */
/** Notes which adapters are used now; nothing without adapters. */
void adapters_note(struct server *s);
void adapters_free(struct server *s);

/* server_api.c */
void api_request(struct conn *c);
/** Answers with an error in OpenAI's form. `param` may be NULL. */
void answer_error(struct conn *c, unsigned int status, const char *type, const char *param,
		  const char *message);

/* server_jobs.c */
void job_completion(struct conn *c);
void job_chat(struct conn *c);
void job_tokenize(struct conn *c);
/** Aborts a job whose client has gone. */
void job_cancel(struct job *j);
/** Cuts a job short because the server ends; its stream gets a clean end. */
void job_cut(struct job *j);
void job_event(void *server, const struct model_event *e);
void job_steps(void *server, const struct model_steps *s);

#endif
