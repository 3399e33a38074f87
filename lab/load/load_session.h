/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_session.h - what a session says: its prompts, turn by turn, as bodies of requests.
 *
 * All of it follows from the seed, the class and the session's number; but for the answers, which
 * are the server's and come back in the next prompt.
 */
#ifndef PINTLE_LOAD_SESSION_H
#define PINTLE_LOAD_SESSION_H

#include "load_trace.h"
#include "load_workload.h"
#include "../base/buf.h"

/* How requests are put. */
struct session_form {
	bool chat;         /* /v1/chat/completions, else /v1/completions */
	const char *model; /* NULL: none is named */
	bool natural_end;  /* the answer may end before max_tokens */
};

struct session {
	const struct workload_class *c;
	struct rng rng;
	uint64_t shared_seed, own_seed; /* of texts */
	uint32_t group, shared_tokens, context_tokens;
	uint32_t turns_left;
	uint64_t said;      /* tokens of its own text used so far */
	struct buf history; /* in the form's JSON */
	struct buf asked;   /* the newest prompt, in the same */
};

/** Starts from any bytes. `groups` chooses one of c->groups. */
void session_begin(struct session *s, const struct workload_class *c, unsigned int class_index,
		   const struct zipf *groups, uint64_t seed, uint64_t number);
/** The lengths of the next turn, which session_ask() draws itself; turns_left falls by one. */
void session_draw(struct session *s, uint32_t *prompt, uint32_t *output);
/** Adds the body of the next turn's request; turns_left falls by one. */
void session_ask(struct session *s, const struct session_form *form, struct buf *body);
/** What came back; needed only if there are turns left and c->history. */
void session_heard(struct session *s, const struct session_form *form, const char *text,
		   size_t size);
void session_end(struct session *s);
/** How long it thinks before the next turn. */
uint64_t session_think_ns(struct session *s);

/** Adds the body of a trace's request. */
void trace_ask(const struct trace_request *r, const struct workload_class *c,
	       const struct session_form *form, uint64_t seed, struct buf *body);

#endif
