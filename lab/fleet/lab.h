/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab.h - the policy lab: many engines (model.h) and one placement policy, in virtual time.
 *
 * One struct lab_options is one experiment, one struct lab_result what came out of it. The
 * same options give the same result, to the bit. Times are virtual nanoseconds from the
 * start. docs/policy.md says what is modelled and what was found with it.
 */
#ifndef PINTLE_SIM_LAB_H
#define PINTLE_SIM_LAB_H

#include <math.h>
#include <pintle/abi.h>
#include <stdio.h>

#include "lab_stats.h"
#include "lab_workload.h"
#include "../base/durations.h"
#include "../base/random.h"
#include "../engine/profiles.h"

#define LAB_MAX_ENDPOINTS PINTLE_MAX_ENDPOINTS
#define LAB_MAX_NODES     1024
#define LAB_MAX_KEYS      20
#define LAB_MAX_SECONDS   86400.0
/* The window of the herd index: Pintle's default scrape interval. */
#define LAB_HERD_NS 200000000ULL

struct lab_policy;
struct trace;
struct workload;

struct lab_sick {
	uint32_t endpoint;
	double factor; /* its steps take so many times as long; 0: nobody is sick */
};

struct lab_options {
	const struct lab_workload *workload;
	const struct profile *profile;
	const struct lab_policy *policy;
	double values[LAB_MAX_KEYS]; /* of the policy's keys, in their order */
	uint32_t endpoints;          /* 1..LAB_MAX_ENDPOINTS */
	uint32_t nodes;              /* 1..LAB_MAX_NODES */
	uint32_t block_tokens;       /* of the engines; their caches keep the profile's size */
	double rate;                 /* requests a second for each endpoint, on average */
	double warmup_s, seconds;    /* what arrives in `seconds` after `warmup_s` is measured */
	double keep_alive_s;         /* an idle connection lives so long; 0: one request on each */
	struct lab_sick sick;
	/* Stop when a tenth of the requests expected have a TTFT above this, so that p95 is
	 * above it for sure; 0: run to the end. */
	double hopeless_ms;
	/* Instead of the workload's requests (it is lab_workload_foreign then) at its rate:
	 * recorded ones, with a connection for each, or pintle-load's. At most one is not NULL. */
	const struct trace *trace;
	const struct workload *load;
	FILE *log; /* gets a line of JSON for each request that ends; NULL: nobody does */
	uint64_t seed;
};

struct lab_result {
	struct durations ttft; /* of the workload's first part, nanoseconds */
	struct durations ttft_other;
	struct durations itl;
	uint64_t placed;     /* requests, warm-up and all */
	uint64_t measured;   /* that arrived while it was measured */
	uint64_t ended;      /* of them, ended */
	uint64_t unfinished; /* of them, given up at the end: their TTFT is what it was by then */
	uint64_t refused;    /* of them, by an engine */
	uint64_t preemptions;
	double requests_per_s; /* that ended while it was measured */
	double tokens_per_s;   /* generated meanwhile */
	double hit_rate;       /* prompt tokens found in caches / looked up */
	double spread;         /* standard deviation / mean of requests per endpoint, over time */
	double peak;           /* most / mean */
	double herd;           /* see lab_stats.h */
	uint64_t outcomes[PINTLE_MAX_OUTCOMES]; /* of policy pintle */
	uint32_t timeline_count;                /* seconds measured */
	struct lab_moment *timeline;
};

/** Runs one experiment. Returns 0 and *out (to be released with lab_result_fini), or -errno:
 * -EINVAL for options out of range with *what saying which, -ENOMEM. */
int lab_run(const struct lab_options *o, struct lab_result *out, const char **what);
void lab_result_fini(struct lab_result *r);

/** A number that follows from two others, and looks like none of them. */
static inline uint64_t lab_hash(uint64_t a, uint64_t b)
{
	return hash_mix(hash_mix(a + HASH_STEP) ^ (b + 0x632be59bd9b4e019ULL));
}

#endif
