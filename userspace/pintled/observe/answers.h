/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answers.h - ejects endpoints that answer their clients with errors, and lets them come back:
 * what is seen of each endpoint, kept for policy/failing.h, and the bounds of its pool.
 *
 * An ejection lasts ejection.time, and twice as long each time in a row, up to ejection.maxTime. It
 * ends sooner where the probe is answered well, or where the page counts requests that were done;
 * one for the page's own status ends with the next good page. No more than ejection.maxShare of a
 * pool's endpoints are ejected at a time, those that failed first; and none while every endpoint of
 * the pool that could be chosen fails: then it is more likely what they are asked.
 *
 * The kernel obeys through health.unfit, which fitness_publish() in poll.c writes.
 */
#ifndef PINTLE_PINTLED_ANSWERS_H
#define PINTLE_PINTLED_ANSWERS_H

#include <uv.h>

#include "../../config/config.h"
#include "../../maps/maps.h"
#include "../../policy/engines.h"
#include "../publish/publication.h"

struct answers;

/** Makes *out; `m` must outlive it. Returns 0 and *out (answers_free() it), or -ENOMEM. */
int answers_new(const struct maps *m, struct answers **out);
void answers_free(struct answers *a);

/** Keeps both by reference until the next call. What is known of endpoints that stay, stays. */
void answers_configure(struct answers *a, const struct config *c, const struct publication *p);

/** Takes in a good page of the endpoint that was asked for at `begun_ns`; NULL: it has none, and
 * its clients alone tell. `own`: its clients reach the server at the same port. */
void answers_page(struct answers *a, const struct pintle_ref *of, bool own, const char *page,
		  size_t size, const struct signals *signals, uint64_t begun_ns);

/** Takes in the HTTP status that a page of the endpoint's own port had instead of 200, or that the
 * probe got; 0: none, which says nothing here. retry_ns: for how long the server asks to be left
 * alone, by Retry-After; 0: it does not. */
void answers_status(struct answers *a, const struct pintle_ref *of, unsigned int status,
		    uint64_t retry_ns);
void answers_probed(struct answers *a, const struct pintle_ref *of, unsigned int status,
		    uint64_t retry_ns);

/** Returns whether there is a doubt that a probe could end: the endpoint is ejected, or clients had
 * bad answers since `since_ns`. */
bool answers_doubts(const struct answers *a, const struct pintle_ref *of, uint64_t since_ns);

/** Judges a member of a pool anew; both are indexes of the configuration. Returns whether ejections
 * of the pool's members have changed. To be called after each of the above. */
bool answers_judge(struct answers *a, size_t pool, size_t member);

/** Returns the enum pintle_failing for which the endpoint is ejected now; 0: it is not. */
uint32_t answers_failing(const struct answers *a, const struct pintle_ref *of);

#endif
