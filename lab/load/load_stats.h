/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_stats.h - what clients saw.
 *
 * Latencies and outcomes count the requests that were due within the measured window, even if they
 * end after it. Rates count the requests that ended and the tokens that arrived within the window,
 * even of requests that began before it.
 */
#ifndef PINTLE_LOAD_STATS_H
#define PINTLE_LOAD_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "../base/durations.h"
#include "load_outcome.h"

#define STATS_MAX_ENDPOINTS 256 /* the last row is shared by all further endpoints */
#define STATS_MAX_SECONDS   (7 * 24 * 3600)

struct stats_row {
	char name[64];
	uint64_t sessions; /* sessions begun within the window */
	uint64_t outcomes[LOAD_OUTCOME_COUNT];
	uint64_t prompt_tokens, cached_tokens, output_tokens; /* of requests with LOAD_OK */
	uint64_t ended_in_window;                             /* requests with LOAD_OK */
	/* How often requests were told no and were sent again, and how often they were not told
	 * when to come. */
	uint64_t told_no, told_no_time;
	double tokens_in_window;
	struct durations ttft, itl, tpot, e2e;
};

struct stats_second {
	uint32_t started, ended, errors, pieces, told_no;
	uint32_t first_tokens;
	double ttft_sum; /* seconds */
};

struct stats {
	struct stats_row *classes; /* one for each class of the workload */
	size_t class_count;
	struct stats_row *endpoints[STATS_MAX_ENDPOINTS];
	size_t endpoint_count;
	uint64_t warmup_requests;     /* not due within the window; no row counts them */
	struct durations lag;         /* from a request's due time to its sending; all requests */
	struct stats_second *seconds; /* from the start of the run */
	size_t second_count, second_room;
	char problems[LOAD_OUTCOME_COUNT][160]; /* the first problem of each outcome */
};

/** Returns 0 or -ENOMEM. */
int stats_init(struct stats *s, size_t classes);
void stats_free(struct stats *s);
/** The row of an endpoint, made at its first use; NULL without memory. */
struct stats_row *stats_endpoint(struct stats *s, const char *name);
/** The second in which this time lies; never NULL. Without memory, and beyond STATS_MAX_SECONDS, it
 * is an entry that no report shows. */
struct stats_second *stats_second(struct stats *s, uint64_t since_start_ns);
/** Adds up all classes in *total, which must be all zeros. */
void stats_total(const struct stats *s, struct stats_row *total);

uint64_t stats_requests(const struct stats_row *r); /* all outcomes */
uint64_t stats_errors(const struct stats_row *r);   /* all outcomes except ok and cancelled */

#endif
