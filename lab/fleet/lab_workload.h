/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_workload.h - who asks for what, and when.
 *
 * Sessions arrive by themselves (open loop); within one, the next turn comes a think time
 * after the answer to the last. A prompt is a system prompt that its group has in common,
 * then all that was said before, then the new message: so the blocks of a prompt are known
 * by (group, number) and (session, number), and a later turn finds them again.
 */
#ifndef PINTLE_SIM_LAB_WORKLOAD_H
#define PINTLE_SIM_LAB_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#define LAB_MAX_PARTS 2

/* Tokens: log-normal. */
struct lab_tokens {
	double median, sigma;
	uint32_t max;
};

/* Whose address the connection comes from: what a balancer that sees no body can tell. */
enum lab_client {
	LAB_CLIENT_SESSION, /* each session has its own */
	LAB_CLIENT_APP,     /* an application's pod, `apps` for each group */
	LAB_CLIENT_JOB,     /* all sessions of one job */
};

struct lab_part {
	const char *name;
	double share; /* of the requests */
	double turns; /* mean of a geometric distribution, at least 1 */
	uint32_t turns_max;
	double think_s;  /* mean of an exponential one */
	bool forgets;    /* each turn is a prompt of its own: nothing said before is in it */
	uint32_t width;  /* sessions of one job, that begin together */
	uint32_t groups; /* system prompts */
	double zipf;     /* popularity of group k: 1 / k^zipf */
	uint32_t system; /* tokens of a system prompt */
	enum lab_client client;
	uint32_t apps;
	bool document;           /* what the group has in common begins the first user message */
	struct lab_tokens first; /* the first message of a session */
	struct lab_tokens message, answer;
	uint32_t context; /* a session ends before its prompt is longer */
};

struct lab_workload {
	const char *name, *says;
	uint32_t parts;
	struct lab_part part[LAB_MAX_PARTS]; /* TTFT is told of the first */
	double burst;   /* arrivals come so many times as fast in bursts; 1: no bursts */
	double burst_s; /* mean length of a burst */
	double calm_s;  /* mean time between bursts */
	double rate;    /* requests a second for each endpoint, when not told */
	double slo_ms;  /* p95 of TTFT at the knee */
};

/** All of them; *count says how many. */
const struct lab_workload *lab_workload_list(uint32_t *count);
/** The one with this name, or NULL. */
const struct lab_workload *lab_workload_find(const char *name);
/** Stands for a trace, or a workload of pintle-load. */
extern const struct lab_workload lab_workload_foreign;

#endif
