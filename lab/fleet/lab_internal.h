/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_internal.h - what the parts of an experiment share: an event queue over sessions, scrapes
 * and engines.
 *
 *	lab_run.c       from the options to the result; scrapes, looks, the loop
 *	lab_events.c    what is to happen, by time
 *	lab_engines.c   the engines, by when each goes on; what their events say
 *	lab_sessions.c  what a session asks, and where its requests go
 *	lab_arrivals.c  when sessions begin
 *	lab_load.c      pintle-load's sessions instead of both
 *	lab_trace.c     recorded requests instead of both
 *
 * What must stay true: engines are only called from the loop, never out of their own
 * events; and an engine's entry in the engine heap is right after every call to it.
 */
#ifndef PINTLE_SIM_LAB_INTERNAL_H
#define PINTLE_SIM_LAB_INTERNAL_H

#include "../../userspace/base/util.h"
#include "lab.h"
#include "../base/heap.h"
#include "../policies/lab_policy.h"
#include "../load/load_session.h"

#define NEVER MODEL_NEVER

enum what { SESSION_BEGINS, TURN, SCRAPE, LOOK, CLOSE, REPLAY, LOAD_BEGINS };

struct event {
	enum what what;
	uint32_t which;
	uint32_t stamp; /* CLOSE: of the connection meant */
};

/* A client's conversation. Its request's blocks are this array's beginning. */
struct lab_session {
	struct lab_request r;
	uint64_t number; /* serial of the session, from 1 */
	/* Of its own, so that the same sessions ask the same under any policy. */
	struct rng random;
	uint64_t *blocks;
	uint32_t block_count, block_room;
	uint64_t last_block; /* hash of the newest in the array */
	uint64_t content;    /* what makes the blocks beyond the system prompt differ */
	uint32_t history;    /* tokens before the next message */
	uint32_t turns_left;
	/* of pintle-load's */
	struct session says;
	uint32_t class;
	bool connected;
	uint32_t connection;
	uint32_t next_free;
};

/* Up to which token of a prompt and its answer what is said. */
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
	struct heap next; /* engines, by when each goes on; of one time the first */

	struct heap events; /* of one time the one that was put first */
	uint64_t serial;

	struct lab_session **sessions;
	uint32_t session_count, session_room, free_session; /* +1 */
	uint64_t session_serial, job_serial;

	struct zipf groups[LAB_MAX_PARTS]; /* by popularity */
	double part_rate[LAB_MAX_PARTS];   /* jobs a second when calm */
	bool bursting;
	uint64_t burst_ends_ns;

	struct lab_class *classes; /* of pintle-load's workload */

	struct lab_herd herd;
	uint32_t *counts;
	uint64_t open; /* measured and not ended */
	uint64_t late; /* measured, with a TTFT above hopeless_ms */
	bool hopeless;
	double spread, peak;
	uint32_t moments;
};

/* lab_events.c */
/** Out of memory shows in lab->err. */
void lab_event_put(struct lab *lab, uint64_t at_ns, enum what what, uint32_t which, uint32_t stamp);
/** The earliest; there must be one. Of two at one time the one that was put first. */
struct event lab_event_take(struct lab *lab);

/* lab_engines.c */
int lab_engines_init(struct lab *lab);
void lab_engines_fini(struct lab *lab);
/** After every call to an engine. */
void lab_engine_reschedule(struct lab *lab, uint32_t e);
/** Whether what happens now counts. */
bool lab_measuring(const struct lab *lab);
void lab_ttft_add(struct lab *lab, const struct lab_request *r, uint64_t ttft_ns);

/* lab_sessions.c */
/** One to be filled, r.id alone set; NULL: no memory. */
struct lab_session *lab_session_new(struct lab *lab);
/** A session of this part begins, now. */
void lab_session_begin(struct lab *lab, uint32_t part, uint64_t job, uint32_t group);
void lab_session_end(struct lab *lab, struct lab_session *s);
/** Its connection is closed, if there is one. */
void lab_disconnect(struct lab *lab, struct lab_session *s);
/** Names the blocks of the prompt and the answer in s->r by the text that each ends in; the last of
 * the three goes on for ever. 0 or -ENOMEM. */
int lab_blocks_name(const struct lab *lab, struct lab_session *s, const struct lab_text texts[3]);
/** The next turn is due after so long; the connection may be kept meanwhile, if the options say so.
 */
void lab_turn_wait(struct lab *lab, struct lab_session *s, uint64_t think_ns, bool keep);
/** Asks the next question. */
void lab_turn(struct lab *lab, struct lab_session *s);
/** Sends the request s->r, whose lengths and blocks are set. */
void lab_submit(struct lab *lab, struct lab_session *s);
/** Called out of an engine: whatever follows is put into the queue. */
void lab_request_ended(struct lab *lab, struct lab_session *s);

/* lab_arrivals.c */
int lab_arrivals_init(struct lab *lab);
void lab_arrive(struct lab *lab, uint32_t part, bool only_pace);

/* lab_load.c */
int lab_load_init(struct lab *lab);
void lab_load_fini(struct lab *lab);
/** A session of this class begins, and asks. */
void lab_load_begin(struct lab *lab, uint32_t class);
void lab_load_turn(struct lab *lab, struct lab_session *s);
/** Its request has ended. */
void lab_load_ended(struct lab *lab, struct lab_session *s);

/* lab_trace.c */
void lab_trace_init(struct lab *lab);
/** The i-th request of the trace is due. */
void lab_trace_due(struct lab *lab, uint32_t i);

#endif
