/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_workload.h - what the lab's clients ask, and when.
 *
 * Sessions arrive no matter how fast the engines are (open loop). Within a session, the next turn
 * comes a think time after the last answer. A prompt is the system prompt of its group, then all
 * earlier turns, then the new message. So the blocks of a prompt are named by (group, number) and
 * (session, number), and a later turn has the same blocks again.
 */
#ifndef PINTLE_SIM_LAB_WORKLOAD_H
#define PINTLE_SIM_LAB_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#define LAB_MAX_PARTS 3

/* Numbers of tokens, log-normal. */
struct lab_tokens {
	double median, sigma;
	uint32_t max;
};

/* The source address of connections: all that a balancer knows that sees no request. */
enum lab_client {
	LAB_CLIENT_SESSION, /* each session has an address of its own */
	LAB_CLIENT_APP,     /* the address of an application's pod; each group has `apps` pods */
	LAB_CLIENT_JOB,     /* all sessions of a job share one address */
	LAB_CLIENT_GATEWAY, /* all sessions come from one address, that of a gateway */
};

struct lab_part {
	const char *name;
	double share; /* of the requests */
	double turns; /* mean of a geometric distribution, at least 1 */
	uint32_t turns_max;
	double think_s;  /* mean of an exponential distribution */
	bool forgets;    /* a prompt holds no earlier turns */
	uint32_t width;  /* sessions of one job, which begin together */
	uint32_t groups; /* system prompts */
	double zipf;     /* popularity of group k: 1 / k^zipf */
	uint32_t system; /* tokens of a system prompt */
	enum lab_client client;
	uint32_t apps;
	bool document;           /* the group's common text begins the first user message */
	struct lab_tokens first; /* the first message of a session */
	struct lab_tokens message, answer;
	uint32_t context; /* a session ends before its prompt is longer */
};

struct lab_workload {
	const char *name, *says;
	uint32_t parts;
	struct lab_part part[LAB_MAX_PARTS]; /* reports show the TTFT of the first part */
	double burst;   /* factor for the rate of arrivals in bursts; 1: no bursts */
	double burst_s; /* mean length of a burst */
	double calm_s;  /* mean time between bursts */
	double rate;    /* default requests a second for each endpoint */
	double slo_ms;  /* p95 of TTFT at the knee */
};

/** All workloads, a static array of *count. */
const struct lab_workload *lab_workload_list(uint32_t *count);
/** The workload with this name, or NULL. */
const struct lab_workload *lab_workload_find(const char *name);
/** The workload of an experiment with a trace, or with a workload of pintle-load. */
extern const struct lab_workload lab_workload_foreign;

#endif
