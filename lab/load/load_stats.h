/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_stats.h - what clients saw.
 *
 * A request counts where its intended start lies within the measured window, whenever it ends.
 * Rates (requests and tokens a second) are of what ended or arrived within the window, whenever it
 * began.
 */
#ifndef PINTLE_LOAD_STATS_H
#define PINTLE_LOAD_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "../base/durations.h"
#include "load_outcome.h"

#define STATS_MAX_ENDPOINTS 256 /* what is beyond goes into the last one */
#define STATS_MAX_SECONDS   (7 * 24 * 3600)

struct stats_row {
	char name[64];
	uint64_t sessions; /* begun within the window */
	uint64_t outcomes[LOAD_OUTCOME_COUNT];
	uint64_t prompt_tokens, cached_tokens, output_tokens; /* of the requests that ended well */
	uint64_t ended_in_window;                             /* well */
	double tokens_in_window;
	struct durations ttft, itl, tpot, e2e;
};

struct stats_second {
	uint32_t started, ended, errors, pieces;
	uint32_t first_tokens;
	double ttft_sum; /* seconds */
};

struct stats {
	struct stats_row *classes; /* one for each class of the workload */
	size_t class_count;
	struct stats_row *endpoints[STATS_MAX_ENDPOINTS];
	size_t endpoint_count;
	uint64_t warmup_requests;     /* not counted anywhere else */
	struct durations lag;         /* how late requests were begun here, measured or not */
	struct stats_second *seconds; /* from the start of the run */
	size_t second_count, second_room;
	char problems[LOAD_OUTCOME_COUNT][160]; /* the first of each kind */
};

/** Returns 0 or -ENOMEM. */
int stats_init(struct stats *s, size_t classes);
void stats_free(struct stats *s);
/** The row of an endpoint, made when it is new; NULL without memory. */
struct stats_row *stats_endpoint(struct stats *s, const char *name);
/** The second that began so long after the start; never NULL. */
struct stats_second *stats_second(struct stats *s, uint64_t since_start_ns);
/** All classes together, into a zeroed row. */
void stats_total(const struct stats *s, struct stats_row *total);

uint64_t stats_requests(const struct stats_row *r); /* all outcomes */
uint64_t stats_errors(const struct stats_row *r);   /* but ok and cancelled */

#endif
