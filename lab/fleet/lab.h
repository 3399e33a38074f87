/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab.h - the policy lab: many engines (model.h) and one placement policy, in virtual time.
 *
 * A struct lab_options describes an experiment, and a struct lab_result what came out of it. The
 * same options give the same result, bit for bit. Times are virtual nanoseconds from the start.
 * lab/docs/experiments/README.md says what is modelled, docs/tuning.md what was found.
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

#define LAB_MAX_ENDPOINTS PINTLE_MAX_MEMBERS
#define LAB_MAX_NODES     1024
#define LAB_MAX_KEYS      32
#define LAB_MAX_SECONDS   86400.0
/* The window of the herd index: Pintle's default scrape interval. */
#define LAB_HERD_NS 200000000ULL

struct config;
struct lab_policy;
struct trace;
struct workload;

struct lab_options {
	const struct lab_workload *workload;
	const struct profile *profile;
	const struct lab_policy *policy;
	double values[LAB_MAX_KEYS]; /* of the policy's keys, in their order */
	const struct config *config; /* the file that the policy's key `config` names; or NULL */
	uint32_t endpoints;          /* 1..LAB_MAX_ENDPOINTS */
	uint32_t nodes;              /* 1..LAB_MAX_NODES */
	uint32_t block_tokens;       /* of the engines; their caches keep the profile's size */
	double rate;                 /* requests a second for each endpoint, on average */
	double warmup_s, seconds;    /* requests of the `seconds` after `warmup_s` are measured */
	/* New sessions of the workload come so many times as fast for surge_s, from surge_from_s
	 * after the warm-up on; 0: never. */
	double surge, surge_from_s, surge_s;
	const char *without; /* the part of the workload that is left out; NULL: none */
	double keep_alive_s; /* how long an idle connection is kept; 0: not at all */
	/* By which factor the steps of each engine take longer, 0.01..1000; 0: it is healthy. */
	double sick[LAB_MAX_ENDPOINTS];
	/* Stop once a tenth of all requests expected have a TTFT above this: the p95 is then above
	 * it, too. 0: run to the end. */
	double hopeless_ms;
	/* What is not NULL of these two comes instead of the workload, which is then
	 * lab_workload_foreign; if both are not NULL, beside each other. Each request of a trace
	 * has a connection of its own. */
	const struct trace *trace;
	const struct workload *load;
	/* The trace's requests come from so many clients, dealt at random; 0: from those that the
	 * trace says. Their prompts stay the same. */
	uint32_t deal;
	FILE *log;      /* gets a line of JSON for each request that ends; NULL: no log */
	FILE *verdicts; /* of the session classifier (lab_verdicts.h); NULL: it does not run */
	uint64_t seed;
};

struct lab_result {
	struct durations ttft; /* of the workload's first part, nanoseconds */
	struct durations ttft_other;
	struct durations ttft_part[LAB_MAX_PARTS];
	struct durations itl;
	uint64_t placed;     /* all requests, those of the warm-up too */
	uint64_t measured;   /* requests that arrived within the measured time */
	uint64_t ended;      /* measured requests that ended */
	uint64_t unfinished; /* measured requests given up; their TTFT is the wait so far */
	uint64_t refused;    /* measured requests that an engine refused */
	uint64_t preemptions;
	double requests_per_s; /* requests that ended within the measured time */
	double tokens_per_s;   /* output tokens of those requests */
	double part_tokens_per_s[LAB_MAX_PARTS];
	uint64_t told_no; /* how often the policy refused measured requests, which came again */
	double hit_rate;  /* prompt tokens found in caches / looked up */
	double spread;    /* standard deviation / mean of requests per endpoint, over time */
	double peak;      /* most / mean of requests per endpoint, over time */
	double herd;      /* see lab_stats.h */
	uint64_t outcomes[PINTLE_MAX_OUTCOMES]; /* of policy pintle */
	uint32_t timeline_count;                /* seconds measured */
	struct lab_moment *timeline;
};

/** Runs one experiment. Returns 0 and *out, to be released with lab_result_fini(); -EINVAL for an
 * option out of range, with *what a static sentence if `what` is not NULL; or -ENOMEM. */
int lab_run(const struct lab_options *o, struct lab_result *out, const char **what);
void lab_result_fini(struct lab_result *r);

/** A hash of two numbers. */
static inline uint64_t lab_hash(uint64_t a, uint64_t b)
{
	return hash_mix(hash_mix(a + HASH_STEP) ^ (b + 0x632be59bd9b4e019ULL));
}

#endif
