/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_session.h - a session's prompts, turn by turn, as bodies of requests.
 *
 * The prompts follow from the seed, the class and the session's number, except for the server's
 * answers that they repeat.
 */
#ifndef PINTLE_LOAD_SESSION_H
#define PINTLE_LOAD_SESSION_H

#include "load_trace.h"
#include "load_workload.h"
#include "../base/buf.h"

/* The form of requests. */
struct session_form {
	bool chat;         /* /v1/chat/completions, else /v1/completions */
	const char *model; /* NULL: requests name no model */
	bool natural_end;  /* the answer may end before max_tokens */
};

struct session {
	const struct workload_class *c;
	struct rng rng;
	uint64_t shared_seed, own_seed; /* of texts */
	uint32_t group, shared_tokens, context_tokens;
	uint32_t turns_left;
	uint64_t said;      /* tokens of its own text that prompts have used */
	struct buf history; /* all turns so far, as JSON of the form */
	struct buf asked;   /* the newest prompt, likewise */
};

/** Initializes *s, whatever it held. The session's group is drawn from `groups`. */
void session_begin(struct session *s, const struct workload_class *c, unsigned int class_index,
		   const struct zipf *groups, uint64_t seed, uint64_t number);
/** Draws the lengths of the next turn in tokens, and takes one off turns_left, which must not be 0.
 * session_ask() calls this. */
void session_draw(struct session *s, uint32_t *prompt, uint32_t *output);
/** Adds the body of the next turn's request, and takes one off turns_left, which must not be 0. */
void session_ask(struct session *s, const struct session_form *form, struct buf *body);
/** Adds the newest prompt and its answer to the history. Needed only with c->history and turns
 * left. */
void session_heard(struct session *s, const struct session_form *form, const char *text,
		   size_t size);
void session_end(struct session *s);
/** Draws how long the session's user thinks before the next turn. */
uint64_t session_think_ns(struct session *s);

/** Adds the body of a trace's request. */
void trace_ask(const struct trace_request *r, const struct workload_class *c,
	       const struct session_form *form, uint64_t seed, struct buf *body);

#endif
