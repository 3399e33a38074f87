/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_internal.h - what the parts of an experiment share: an event queue over sessions, scrapes
 * and engines.
 *
 *	lab_run.c       from the options to the result; scrapes, looks, the loop
 *	lab_events.c    the queue of future events
 *	lab_engines.c   the engines, and what their events change
 *	lab_sessions.c  what a session asks, and where its requests go
 *	lab_arrivals.c  when sessions begin
 *	lab_load.c      pintle-load's sessions, instead of the last two
 *	lab_trace.c     recorded requests, instead of lab_sessions.c and lab_arrivals.c
 *	lab_verdicts.c  what the session classifier makes of them
 *
 * What must stay true: only the loop calls engines, never an engine's event; and after every call
 * to an engine its entry in the heap has the time of its next event.
 */
#ifndef PINTLE_SIM_LAB_INTERNAL_H
#define PINTLE_SIM_LAB_INTERNAL_H

#include "../../userspace/base/util.h"
#include "lab.h"
#include "lab_verdicts.h"
#include "../base/heap.h"
#include "../policies/lab_policy.h"
#include "../load/load_session.h"

#define NEVER MODEL_NEVER

enum what { SESSION_BEGINS, TURN, AGAIN, SCRAPE, LOOK, CLOSE, REPLAY, LOAD_BEGINS };

struct event {
	enum what what;
	uint32_t which;
	uint32_t stamp; /* CLOSE: the `connection` to close; SESSION_BEGINS: 1, only a new pace */
};

/* A client's conversation. The blocks of its request are the first ones in `blocks`. */
struct lab_session {
	struct lab_request r;
	uint64_t number; /* serial of the session, from 1 */
	uint32_t group;  /* whose system prompt it has, whether or not its address shows that */
	/* A stream of its own, so that the same sessions ask the same under any policy. */
	struct rng random;
	uint64_t *blocks;
	uint32_t block_count, block_room;
	uint64_t last_block; /* hash of the newest in the array */
	uint64_t content;    /* identifies the text after the system prompt */
	uint32_t history;    /* tokens before the next message */
	uint32_t turns_left;
	/* with pintle-load's workload; says.c is NULL in a session of any other */
	struct session says;
	uint32_t class;
	bool connected;
	uint32_t connection; /* changes whenever the connection is used or closed */
	uint32_t beside;     /* for lab_verdicts_end() */
	uint32_t next_free;
};

/* A part of a prompt and its answer: its content, and the token at which it ends. */
struct lab_text {
	uint32_t end;
	uint64_t content;
};

struct engine_slot {
	struct model *model;
	struct lab *lab;
	uint32_t place; /* in lab->next */
	uint32_t requests;
	struct model_stats before; /* when measuring began */
};

struct lab {
	const struct lab_options *o;
	const struct lab_workload *w;
	const struct lab_policy *policy;
	struct lab_result *out;
	void *self;
	struct rng arrivals;
	uint32_t blocks; /* of an engine */
	uint64_t now_ns, from_ns, to_ns, give_up_ns;
	int err;

	struct engine_slot *engines;
	struct heap next; /* engines, by model_next(); at the same time, by number */

	struct heap events; /* by time; at the same time, in the order in which they were put */
	uint64_t serial;

	struct lab_session **sessions;
	uint32_t session_count, session_room, free_session; /* +1 */
	uint64_t session_serial, job_serial;

	struct zipf groups[LAB_MAX_PARTS]; /* by popularity */
	double part_rate[LAB_MAX_PARTS];   /* jobs a second between bursts */
	bool bursting;
	uint64_t burst_ends_ns, surge_begins_ns, surge_ends_ns;

	struct lab_class *classes;     /* of pintle-load's workload */
	struct rng deal;               /* of a trace's requests to clients */
	struct lab_verdicts *verdicts; /* or NULL */

	struct lab_herd herd;
	uint32_t *counts;
	uint64_t open; /* measured requests under way */
	uint64_t late; /* measured requests with a TTFT above hopeless_ms */
	bool hopeless;
	double spread, peak;
	uint32_t moments;
};

/* lab_events.c */
/** Adds an event; without memory, sets lab->err. */
void lab_event_put(struct lab *lab, uint64_t at_ns, enum what what, uint32_t which, uint32_t stamp);
/** Takes out the earliest event; the queue must not be empty. */
struct event lab_event_take(struct lab *lab);

/* lab_engines.c */
int lab_engines_init(struct lab *lab);
void lab_engines_fini(struct lab *lab);
/** Must follow every call to engine `e`: moves it to the time of its next event. */
void lab_engine_reschedule(struct lab *lab, uint32_t e);
/** Whether the measured time has begun and has not ended. */
bool lab_measuring(const struct lab *lab);
void lab_ttft_add(struct lab *lab, const struct lab_request *r, uint64_t ttft_ns);

/** What the session belongs to: a class of pintle-load's workload, or a part of the lab's. */
const char *lab_label(const struct lab *lab, const struct lab_session *s);

/* lab_sessions.c */
/** A session of which only r.id is set; NULL without memory. */
struct lab_session *lab_session_new(struct lab *lab);
/** Begins a session of this part now. */
void lab_session_begin(struct lab *lab, uint32_t part, uint64_t job, uint32_t group);
void lab_session_end(struct lab *lab, struct lab_session *s);
/** Closes the session's connection, if it has one. */
void lab_disconnect(struct lab *lab, struct lab_session *s);
/** Names the blocks of the prompt and the answer in s->r. Each block is named by the text in which
 * its last token lies; the third text has no end. 0 or -ENOMEM. */
int lab_blocks_name(const struct lab *lab, struct lab_session *s, const struct lab_text texts[3]);
/** Schedules the next turn. With `keep`, the connection stays open meanwhile if the policy and the
 * options allow it. */
void lab_turn_wait(struct lab *lab, struct lab_session *s, uint64_t think_ns, bool keep);
/** Sends the session's next request, or ends the session if its context is full. */
void lab_turn(struct lab *lab, struct lab_session *s);
/** Sends the request s->r, whose lengths and blocks are set. */
void lab_submit(struct lab *lab, struct lab_session *s);
/** Sends the request again, which the policy has refused. */
void lab_submit_again(struct lab *lab, struct lab_session *s);
/** Called from an engine's event: must call no engine, only put events into the queue. */
void lab_request_ended(struct lab *lab, struct lab_session *s);

/* lab_arrivals.c */
int lab_arrivals_init(struct lab *lab);
/** A job of this part arrives; with `only_pace`, a burst begins or ends instead. */
void lab_arrive(struct lab *lab, uint32_t part, bool only_pace);

/* lab_load.c */
int lab_load_init(struct lab *lab);
void lab_load_fini(struct lab *lab);
/** Begins a session of this class with its first request. */
void lab_load_begin(struct lab *lab, uint32_t class);
void lab_load_turn(struct lab *lab, struct lab_session *s);
/** The session's request has ended. */
void lab_load_ended(struct lab *lab, struct lab_session *s);

/* lab_trace.c */
void lab_trace_init(struct lab *lab);
/** Sends the i-th request of the trace, which is due. */
void lab_trace_due(struct lab *lab, uint32_t i);

#endif
