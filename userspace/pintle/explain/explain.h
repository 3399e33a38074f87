/* SPDX-License-Identifier: Apache-2.0 */
/* explain.h - a decision with its reasons as data: one that would be made (verb_explain.c), or one
 * that was (verb_trace.c). */
#ifndef PINTLE_EXPLAIN_H
#define PINTLE_EXPLAIN_H

#include "../../maps/state_explain.h"
#include "../output.h"

/* What is explained. */
struct explanation {
	const struct cli *cli;
	const struct state *state;
	const struct state_pool *pool;
	const struct explain *x;
	uint64_t now_ns;                      /* of the decision */
	bool made;                            /* by the kernel, for a connection that came */
	const char *client;                   /* as it was given; NULL: it was not */
	char client_pod[64 + STATE_POD_SIZE]; /* with the pod's name; "": as given */
	bool has_request;                     /* --header: */
	struct state_request request;
	bool has_prompt; /* --prompt: */
	struct state_prompt prompt;
	char session[STATE_KEY_SIZE]; /* ""; none */
	bool session_unknown;         /* of a client that is named otherwise */
	bool group_known;
	bool own_source;   /* the session is an address of this machine */
	bool access_known; /* the client is named, so the pool's access can judge it */
	bool left_alone;   /* the client's connections go on as they came */
	bool is_pod;       /* the client is a pod of the cluster */
	bool forbidden;
	struct state_tenant tenant; /* of the pool that is asked; kind NONE: none, or not known */
	enum state_giver by;        /* of the class; nobody: --class was given */
	const struct state_pool *asked; /* the pool whose frontend the client asks for */
	uint32_t adapter; /* that the request names: its number; 0: none that counts */
};

/* Rows are struct explain_candidate, the argument is a struct explanation. */
extern const struct columns explain_columns;

/** Returns the name of an enum adapters_state; static. */
const char *explain_adapter_name(uint32_t state);
/** Returns the object of `pintle explain -o json`, which the caller frees; NULL: no memory. */
cJSON *explain_object(const struct explanation *e);

#endif
