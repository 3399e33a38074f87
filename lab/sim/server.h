/* SPDX-License-Identifier: Apache-2.0 */
/* server.h - simulated model servers: HTTP in front of engine models, many in one process. */
#ifndef PINTLE_SIM_SERVER_H
#define PINTLE_SIM_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "../engine/model.h"

/* One server at one port. Strings are borrowed and must outlive the run. */
struct server_config {
	const char *name; /* the value of the header x-inference-pod */
	const char *host; /* an IP address */
	uint16_t port;    /* 0: any free port */
	uint32_t rank;    /* data-parallel rank: the label `engine` */
	const char *model_name;
	const char *const *adapters; /* engine.adapters names */
	struct model_config engine;  /* with startup_ns 0 */
	uint64_t startup_ns;         /* from the start of the process until the server is ready */
	bool startup_503;            /* until then: answers 503; else does not listen */
	double slow;                 /* factor for the time of a step; 1: healthy */
	double output_median;        /* natural length of an answer in tokens; 0: max_tokens */
	double output_sigma;         /* standard deviation of that length's logarithm */
	uint32_t stream_interval;    /* tokens in one event of a stream; at least 1 */
};

struct sim_config {
	const struct server_config *servers;
	unsigned int count;
	double speed;           /* seconds of the servers' time in one real second */
	uint64_t keep_alive_ns; /* real time after which an idle connection is closed */
	bool no_keep_alive;
};

/** Serves until SIGTERM or SIGINT. Prints a line "NAME ADDRESS:PORT" on stdout for each server that
 * listens. Returns 0 after a clean end, or -errno (logged). */
int sim_run(const struct sim_config *config);

#endif
