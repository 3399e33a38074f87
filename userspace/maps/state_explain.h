/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_explain.h - which endpoint a connection would go to now, and why. The maps are only read.
 *
 * The kernel's own text decides. Where equal loads, or the sample of a large pool, leave the choice
 * to chance, many decisions are made, each with its own random numbers.
 */
#ifndef PINTLE_STATE_EXPLAIN_H
#define PINTLE_STATE_EXPLAIN_H

#include <pintle/abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "maps.h"
#include "state.h"

/* So many decisions that what has a chance of 1 in 1,000 is missing once in 20,000 explanations. */
#define EXPLAIN_TRIES 10000

/* What a pool makes of the connection. */
struct explain_keys {
	struct pintle_session_key session; /* kind NONE: it has none */
	struct pintle_session_key group;   /* likewise */
};

/* The connection. */
struct explain_asked {
	struct pintle_ref pool;
	struct explain_keys keys[1 + PINTLE_MAX_OTHERS]; /* by enum tier */
	uint32_t family;                                 /* PINTLE_FAMILY_*: one of these */
	uint32_t class_id;                               /* of the pool's classes */
	bool forbidden;                                  /* the client may not connect */
	bool over_quota;                                 /* of the pool, which is asked first */
	uint32_t adapter; /* that the request names: its number; 0: none */
	bool has_context;
	uint32_t context_bytes;            /* with has_context: in place of the binding's */
	const struct state_prompt *prompt; /* of the request, to `pool`; NULL: not known */
	uint64_t now_ns;
	uint32_t tries; /* decisions to make, at least 1: EXPLAIN_TRIES */
	/* For tests: the random number that the decision begins with that is noted, and where the
	 * note goes; NULL: nowhere. */
	uint64_t seed;
	struct pintle_trace *note;
};

/* Why the session's bound endpoint, or the home of its group, is preferred or not: the first row
 * that applies. X(symbol, name) */
#define EXPLAIN_PREFERENCES(X)                                                                     \
	X(NO_KEY, "no_key")      /* the connection has no session, or no group */                  \
	X(MODE, "mode")          /* the mode prefers no endpoint */                                \
	X(NONE, "none")          /* not bound, or no home */                                       \
	X(EXPIRED, "expired")    /* the binding was used last longer ago than stickiness.ttl */    \
	X(OTHER, "other_prompt") /* the prompt does not continue what the session said before */   \
	X(CROWD, "crowd")        /* the session has more than DECIDE_MAX_BUSY busy connections */  \
	X(INELIGIBLE, "ineligible") /* that endpoint may not be chosen */                          \
	X(SECOND, "second")         /* the bound endpoint comes before the home */                 \
	X(LOST, "lost")             /* that endpoint's score has been old for long */              \
	X(TOO_LOADED, "too_loaded") /* its load is too far ahead of the least */                   \
	X(FULL, "full")             /* for the class; another one is not */                        \
	X(HOLDS, "holds")           /* it is chosen */

enum explain_preference {
#define X(symbol, name) EXPLAIN_##symbol,
	EXPLAIN_PREFERENCES(X)
#undef X
		EXPLAIN_PREFERENCE_COUNT
};

/** Static, never NULL. */
const char *explain_preference_name(enum explain_preference p);

/* Why an endpoint is full for the class: the first row that applies. X(symbol, name) */
#define EXPLAIN_FULLS(X)                                                                           \
	X(NOT, "")                                                                                 \
	X(CONNECTIONS, "connections") /* the class has all there that it may have */               \
	X(RESERVED, "reserved")       /* for classes of higher priority */                         \
	X(POOL, "pool")               /* the class has all in the pool that it may have */         \
	X(QUOTA, "quota")             /* the tenant has all that it may have */                    \
	X(SHARE, "share")             /* so has the session, which comes back without a pause */   \
	X(LOAD, "load")               /* has reached the limit */                                  \
	X(BEFORE, "was full")         /* it had reached the limit, and has no room yet */

enum explain_full {
#define X(symbol, name) EXPLAIN_FULL_##symbol,
	EXPLAIN_FULLS(X)
#undef X
		EXPLAIN_FULL_COUNT
};

/** Static, never NULL. */
const char *explain_full_name(enum explain_full full);

struct explain_preferred {
	enum explain_preference why;
	struct pintle_ref endpoint; /* generation 0: there is none */
	uint32_t ineligible;        /* with INELIGIBLE: enum ineligible; INELIGIBLE_COUNT: gone */
	/* of a binding: */
	uint64_t used_ns, bound_ns;
	uint32_t open, idle;    /* idle 0 where no pass counted them lately */
	uint32_t context_bytes; /* 0: not known */
	/* the endpoint's load in milli-requests, as this session sees it; set from LOST on */
	uint32_t load;
	enum explain_full full; /* likewise */
};

/* What an endpoint's page said, which the rule does not read itself. */
struct explain_signals {
	uint64_t scraped_ns; /* 0: it never came */
	uint32_t flags;      /* PINTLE_SIGNAL_* of those that it had */
	uint32_t waiting, running;
	uint32_t kv_cache, gpu; /* in millionths */
};

struct explain_candidate {
	struct pintle_ref endpoint;
	uint32_t ineligible; /* enum ineligible, NOT: it may be chosen; INELIGIBLE_COUNT: gone */
	bool due;            /* it stands still, and a connection that draws it is to try it */
	bool fresh;          /* its score is believed */
	bool passed;         /* so is what the newest pass found; else own and prompts are 0 */
	/* Milli-requests. load is what the rule compares; where all are compared and its score is
	 * fresh, it is max(page, own) + prompts, divided by the rate. */
	uint32_t load, page, own, prompts;
	uint32_t published;           /* the part of page that the scrape found */
	uint32_t came, ended, placed; /* connections since the scrape */
	uint32_t newcomers, closed;   /* connections since the pass */
	uint32_t rate;                /* by which load is divided, in hundredths */
	uint32_t chosen;              /* in so many of the tries */
	enum explain_full full;       /* NOT also where it may not be chosen */
	uint32_t adapter;             /* enum adapters_state, of a request for an adapter */
	uint32_t have;                /* bytes of the prompt that are cached there */
	/* What the adapter, and the rest of the prompt, add where loads are compared, in
	 * milli-requests. */
	uint32_t missing;
	struct explain_signals signals;
};

struct explain {
	/* The pool that decides, most often: that which is asked, its canary or a fallback (enum
	 * tier); the session and the class of the connection there. All below is of that pool, but
	 * for the outcomes. */
	struct pintle_ref pool;
	uint32_t tier;
	uint32_t class_id;
	struct pintle_session_key session;
	/* Connections without a session are drawn for the canary: this is one that is not. */
	bool canary_drawn;
	uint32_t mode;   /* enum pintle_mode that holds */
	bool daemonless; /* no daemon scrapes: readiness is not known, and does not count */
	bool passes;     /* the hook leaves the connection alone: mode off, or no daemon for long */
	uint32_t sample; /* so many are drawn and compared; 0: all members are */
	struct explain_preferred bound, home;
	struct explain_candidate *candidates; /* the members; what is preferred and is none, last */
	size_t count;
	uint32_t tries;
	uint32_t outcomes[PINTLE_OUTCOME_COUNT];   /* as hooks count them, in so many tries */
	const struct explain_candidate *likeliest; /* NULL: no endpoint is chosen */
	uint32_t outcome;                          /* the likeliest enum pintle_outcome */
	/* Milli-requests. Without a sample: the least load, and how far ahead of it the preferred
	 * endpoint may be. */
	uint32_t least;
	uint64_t extra;
	bool by_context; /* extra follows from the session's context, not from maxExtraLoad */
	uint32_t limit;  /* of the class, in milli-requests; 0: none */
	/* of the class: connections that it may have at an endpoint and in the pool, 0: any number;
	 * and those that it has in the pool, if they are bounded */
	uint32_t connections, pool_connections;
	uint64_t pool_in_flight;
	/* What the class's sessions share, 0: nothing; and how many there are. An eighth of each of
	 * these bounds is left for sessions that are not over their share. */
	uint32_t places;
	uint64_t sessions;
	uint32_t open;   /* connections of this session */
	bool over;       /* these are more than its share */
	bool over_quota; /* its tenant has all that it may have */
	bool suspected;  /* it comes back without a pause, and gets no more than its share */
	/* How much more load the chosen one could have, and be chosen all the same, and not be full
	 * for the class; false: it is left to chance, or there is no other. */
	bool has_margin;
	uint64_t margin;
};

/** Returns 0 with *out, which the caller frees (explain_free()); -ESTALE if the pool is gone;
 * -EPERM if it, or one of its others, has homes, which only root may read; or another -errno. *out
 * is untouched on failure. Does not log. */
int explain_read(const struct maps *m, const struct explain_asked *asked, struct explain **out);
/** Explains a decision that the kernel made and traced: with one try, and the candidates that the
 * rule looked at. The policy is the one that holds now. Returns as explain_read(). */
int explain_traced(const struct maps *m, const struct pintle_trace *t, struct explain **out);
void explain_free(struct explain *x);
static inline void explain_freep(struct explain **x)
{
	explain_free(*x);
}

#endif
