/* SPDX-License-Identifier: Apache-2.0 */
/*
 * classify.h - whether a session behaves like a person, an agent or a batch job: pure functions,
 * fed with its requests as the kernel saw them.
 *
 * Naive Bayes (Maron, "Automatic Indexing: An Experimental Inquiry", J. ACM 8(3), 1961) with a
 * bounded memory. Each request shows some features. The table in classify.c says how often, in a
 * thousand, each class shows each value of a feature; the logarithms add up to one score for each
 * class. After each request the scores are moved so that the best one is 0, and none stays below
 * -CLASSIFY_FLOOR. That floor is what forgets, as in the cumulative sum test (Page, "Continuous
 * Inspection Schemes", Biometrika 41, 1954): evidence of hours ago weighs no more than that of the
 * last requests, so a session that changes its ways changes its class.
 *
 * The features compare a session with itself and with the clock: how many requests it has at once;
 * how long it waits after an answer, and whether always about so long; whether its request grew.
 * The size of a request alone says nothing: whoever pastes a book is not a batch job.
 *
 * lab/docs/classifier.md shows the table, docs/limits.md what the method cannot tell.
 */
#ifndef PINTLE_CLASSIFY_H
#define PINTLE_CLASSIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "classify_names.h"

#define X(symbol, name) CLASSIFY_##symbol,
enum classify_class { CLASSIFY_NAMES(X) CLASSIFY_CLASSES };
#undef X
#define CLASSIFY_UNKNOWN CLASSIFY_CLASSES

/* No verdict before so many requests. */
#define CLASSIFY_LEAST 5
/* Scores are in nats: a lead of 1 makes a class e times as likely. The first verdict takes the
 * agent only if it leads the person by so much, and the batch job only if it leads the better of
 * the two: a person who is taken for a batch job waits, a batch job that is taken for a person only
 * goes on. */
#define CLASSIFY_FIRST 1.0f
/* A verdict changes if the best class leads the present one by so much. The way back is as long. */
#define CLASSIFY_CHANGE 4.0f
/* A class that the requests speak against is as far behind as this, and no further. */
#define CLASSIFY_FLOOR 12.0f

/* So many of the newest pauses are kept, to compare the next one with; and so many ends, because
 * requests overlap, so that the newest end may be later than a request's beginning. */
#define CLASSIFY_KEPT 8
#define CLASSIFY_ENDS 4

/* What is known of one session. Must begin as zeros. */
struct classify {
	float score[CLASSIFY_CLASSES]; /* -CLASSIFY_FLOOR..0; the best is 0 */
	uint32_t requests;             /* so far; stays near the type's end */
	uint64_t end_ns[CLASSIFY_ENDS];
	uint32_t pause_ms[CLASSIFY_KEPT];
	uint32_t request_bytes;         /* of the newest request */
	uint8_t at_once[CLASSIFY_KEPT]; /* of the newest requests; 255: so many or more */
	uint8_t pauses;                 /* how many pause_ms hold */
	uint8_t next_pause;             /* where the next one goes */
	bool judged;                    /* `is` holds */
	uint8_t is;                     /* enum classify_class */
};

/* A request that ended. */
struct classify_request {
	uint64_t begun_ns, ended_ns; /* monotonic: its first byte, and its answer's last */
	uint64_t request_bytes;
	uint32_t beside; /* other requests of the session that were under way when it began */
};

/** Takes in a session's next request, in the order in which they ended. Any values are harmless: a
 * request that ended before it began took no time. Returns whether the verdict changed. */
bool classify_request(struct classify *c, const struct classify_request *r);

/** Returns the verdict: an enum classify_class, or CLASSIFY_UNKNOWN before CLASSIFY_LEAST
 * requests. */
unsigned int classify_verdict(const struct classify *c);

/** Returns "interactive", "agent", "batch"; "unknown" for any other number. */
const char *classify_name(unsigned int class);

#define CLASSIFY_REASON_SIZE 100
/** Writes what the newest requests show, for people: "24 at once, no pause between them". Returns
 * buf. */
const char *classify_reason(const struct classify *c, char buf[CLASSIFY_REASON_SIZE]);

/* A row of the table: of a thousand requests of each class, how many have a value of the feature
 * above the row's before and up to this one. */
struct classify_row {
	uint32_t up_to; /* UINT32_MAX in a feature's last row */
	uint16_t per_mille[CLASSIFY_CLASSES];
};
struct classify_feature {
	const char *name, *unit;
	const struct classify_row *rows;
	size_t count;
};
extern const struct classify_feature classify_features[];
extern const size_t classify_feature_count;

#endif
