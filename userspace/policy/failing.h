/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failing.h - whether a server that takes requests answers them with errors: pure functions.
 *
 * Such a server is always the least loaded: it answers at once, so without this it draws everybody.
 * No program reads answers. What tells is, for the answers between two looks at the endpoint,
 *
 *   their shape     brief answers (PINTLE_BRIEF_BYTES, at once), or none at all, and who got them
 *   its page        whether it counts them as errors (outcomes.h); or counts no output token and no
 *                   request for all these answers, though it has counted some before
 *   other members   whether these give large answers, where this one gives brief ones
 *   a probe         one request of pintled's own, where the pool asks for it
 *
 * The shape alone says little: one token, a refused request (400) and a rotated token (401) are
 * brief, too. Nor do errors alone: some engines answer 500 to bad input. So
 *
 *   - several clients must say so, and the page or the other members agree; nobody has to agree
 *     where answers are missing altogether
 *   - where nobody but their shape and the others' speaks, the word of a few clients that are never
 *     answered otherwise, while others are, is none: they may ask for what is brief (GET
 * /v1/models)
 *   - one client's word counts where the page counts errors, if it is the only client there is (a
 *     gateway), or is answered well by another member
 *   - what the page counts as done or refused speaks against it
 *   - the probe's word outweighs both
 *
 * A server that counts as failing is ejected for a time that doubles:
 * userspace/pintled/observe/answers.h.
 */
#ifndef PINTLE_FAILING_H
#define PINTLE_FAILING_H

#include <pintle/abi.h>
#include <stdbool.h>
#include <stddef.h>

#include "../base/util.h"
#include "engines.h"
#include "outcomes.h"

/* So many answers are judged together, or ejection.failures of them if that is more; after an
 * ejection, fewer. */
#define FAILING_LEAST       5
#define FAILING_LEAST_AGAIN 3
/* A client may have an answer so long before the page counts it, or the kernel notes its end. */
#define FAILING_LAG_NS (600 * NSEC_PER_MSEC)
/* What is older says nothing. */
#define FAILING_WINDOW_NS (60 * NSEC_PER_SEC)
/* A page may be a copy that is made anew only so often: Ray's each 10 s. */
#define FAILING_COPY_NS (15 * NSEC_PER_SEC)
/* Looks that are less apart are one. */
#define FAILING_APART_NS (100 * NSEC_PER_MSEC)
#define FAILING_LOOKS    16
/* So many clients with nothing but brief answers are not only those who watch a server. */
#define FAILING_MANY 5

/* What the endpoint's page counts. */
struct failing_page {
	struct outcomes outcomes;
	bool counts_tokens;
	double tokens; /* of answers */
	double prompt_tokens;
};

/* What there was to see of an endpoint at one time: sums that only grow, unless it was restarted.
 */
struct failing_look {
	uint64_t brief, large, slow, none;
	uint64_t first_ns, last_ns;      /* when these sums were seen first, and last */
	struct failing_page first, last; /* the pages then */
};

/* The newest looks; those with the same answers are one. Must begin as zeros. */
struct failing {
	struct failing_look looks[FAILING_LOOKS];
	size_t count, newest;
	struct failing_page page; /* the newest */
	uint64_t still_ns;        /* since when it counts the same */
};

/* What an endpoint's looks show of its newest answers. */
struct failing_shown {
	uint64_t since_ns; /* none of these answers came before */
	uint64_t answers, bad, none, large;
	bool errors;      /* the page counts them as errors */
	bool only_errors; /* as many as there are: what their shape is, is no matter then */
	bool idle;        /* the page counts nothing for them */
	bool still;       /* and has counted nothing for so long that it is no old copy */
	bool opposed;     /* the page counts as many requests that were done, or refused */
};

/* What the pool's other members and clients add to it. */
struct failing_witnesses {
	unsigned int answered;   /* clients that were answered since then, well or not */
	unsigned int clients;    /* of these, those that had bad answers since then, and no other
				    answer since */
	bool alone_believed;     /* one client's word counts: see above */
	bool known;              /* one of them was answered otherwise, here or by other members */
	bool others_served;      /* other clients are answered otherwise meanwhile */
	uint64_t answers, large; /* of other members, in the same window */
};

/** Takes in a look at the endpoint's sums of answers `a`, whose page was asked for at `at_ns`; all
 * zero: it has none. */
void failing_see(struct failing *f, const struct pintle_answers *a, const struct failing_page *page,
		 uint64_t at_ns);

/** Fills in what the looks show of the newest answers, at least `least` of them. Returns false if
 * there are not so many. */
bool failing_shows(const struct failing *f, uint64_t least, uint64_t now,
		   struct failing_shown *out);

/** Returns when the newest answers were seen first; 0: there are none. */
uint64_t failing_newest_ns(const struct failing *f);

/** Returns what of the newest answers is bad enough to ask others about. */
bool failing_suspects(const struct failing_shown *s);

/** Returns the enum pintle_failing that follows; 0: the endpoint does not fail. */
enum pintle_failing failing_judge(const struct failing_shown *s, const struct failing_witnesses *w);

/** Returns whether the newest answers were good, or the page says so: the row of ejections ends. */
bool failing_recovered(const struct failing_shown *s);

/** Adds the endpoint's answers of the window to those of other members. */
void failing_witness(const struct failing *f, uint64_t now, struct failing_witnesses *to);

/** Returns whether the newest page counts at least `least` requests that were done since `before`,
 * and no more errors than these: so it serves others. */
bool failing_serves(const struct failing *f, const struct failing_page *before, uint64_t least);

/** Returns how long the endpoint is ejected that was so many times in a row before. */
uint64_t failing_time_ns(uint64_t first_ns, unsigned int before, uint64_t most_ns);

#endif
