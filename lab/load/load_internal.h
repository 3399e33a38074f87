/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_internal.h - what the parts of a run share. One thread, one libuv loop.
 *
 *	load_run.c       phases, start and end
 *	load_clients.c   sessions: when they begin, ask, think and end
 *	load_request.c   a request, from its due time to its row in the statistics
 *
 * Every request has a due time: an arrival of the open loop, or the end of the turn before it plus
 * the time to think. All times are measured from the due time, not from when this process sent the
 * request. A request that is due at 10.0 s, sent at 10.3 s by a busy client and answered at 10.5 s
 * took 0.5 s: a user would have waited so long.
 */
#ifndef PINTLE_LOAD_INTERNAL_H
#define PINTLE_LOAD_INTERNAL_H

#include <sys/queue.h>

#include "load_answer.h"
#include "load_client.h"
#include "load_run.h"
#include "load_timers.h"

struct run;
struct client_session;

struct class_state {
	struct run *run;
	const struct workload_class *c;
	unsigned int index;
	struct rng arrivals;
	uint64_t arrived_ns; /* the newest arrival, from the start of the run */
	struct zipf groups;
	struct source_prefix source;
	struct load_timer timer;
	uint64_t sessions; /* begun so far */
};

struct client_session {
	struct load_timer timer; /* for its next turn; first, because it is cast to the session */
	struct class_state *class;
	LIST_ENTRY(client_session) all;
	struct session says;
	bool begun;
	uint64_t number; /* within its class */
	struct load_conn *kept;
	union load_address source;
};

struct request {
	struct exchange x; /* first, because it is cast to the request */
	struct client_session *s;
	LIST_ENTRY(request) all;
	struct load_timer timeout, again; /* `again` while it waits after it was told no */
	struct answer answer;
	struct stats_row *endpoint; /* NULL: the answer has not named it yet */
	uint64_t due_ns, first_ns, last_ns;
	uint32_t pieces, pieces_in_window;
	uint32_t told_no;
	bool measured;
};

struct run {
	const struct run_config *config;
	uv_loop_t loop;
	uv_signal_t signals[2];
	struct load_timers timers;
	struct load_client client;
	struct load_servers *servers;
	struct class_state *classes;
	LIST_HEAD(session_list, client_session) sessions;
	LIST_HEAD(request_list, request) requests;
	struct stats stats;
	uint64_t start_ns, from_ns, to_ns; /* the window is [from, to) */
	struct load_timer window_begins, window_ends, tick;
	unsigned int measured_live, live;
	/* with a trace */
	struct client_session **trace_sessions;
	size_t trace_next;
	struct load_timer trace_timer;
	bool started, stopping, reading, closing, interrupted;
	int error;
};

/* load_run.c */
/** Ends the run at once; requests under way are cancelled and not counted. */
void run_close(struct run *run);
/** Logs an error, and ends the run at once. */
void run_failed(struct run *run, int error);
/** Closes a run that is stopping once no measured request and no page is under way. */
void run_maybe_end(struct run *run);
/** load_timer_set() that ends the run when there is no memory. */
void run_set_timer(struct run *run, struct load_timer *timer, uint64_t at_ns);
/** Whether a time lies in the measured window. */
bool run_in_window(const struct run *run, uint64_t at_ns);

/* load_clients.c */
/** Schedules the first sessions of a class. */
void class_start(struct class_state *class);
void class_on_arrival(struct load_timer *t);
/** Replays the trace from its first request on. */
void trace_start(struct run *run);
void trace_on_due(struct load_timer *t);
/** The session's request has ended, well or not. */
void session_answered(struct client_session *s, enum load_outcome outcome,
		      const struct answer *answer);
/** Frees a session; none of its requests may be under way. */
void session_free(struct client_session *s);

/* load_request.c */
/** Sends a body that was due at due_ns; session_answered() may be called before this returns. */
void request_send(struct client_session *s, uint64_t due_ns, const struct buf *body,
		  bool keep_text);
/** Ends a request under way, and counts it with this outcome. */
void request_break(struct request *q, enum load_outcome outcome);
/** Ends a request under way, and counts it nowhere. */
void request_drop(struct request *q);

#endif
