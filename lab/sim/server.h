/* SPDX-License-Identifier: Apache-2.0 */
/* server.h - simulated model servers: HTTP in front of engine models, many in one process. */
#ifndef PINTLE_SIM_SERVER_H
#define PINTLE_SIM_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "../engine/model.h"

/* One port. Strings are borrowed and must outlive the run. */
struct server_config {
	const char *name; /* what x-inference-pod says */
	const char *host; /* an IP address */
	uint16_t port;    /* 0: any free one */
	uint32_t rank;    /* data-parallel rank: the label `engine` */
	const char *model_name;
	const char *const *adapters; /* names; engine.adapters of them */
	struct model_config engine;  /* startup_ns stays 0 here */
	uint64_t startup_ns;         /* from the start of the process */
	bool startup_503;            /* listens from the start and answers 503; else it refuses */
	double slow;                 /* 1: healthy */
	double output_median; /* natural length of an answer, in tokens; 0: as max_tokens says */
	double output_sigma;  /* of its logarithm */
	uint32_t stream_interval; /* tokens in one event; at least 1 */
};

struct sim_config {
	const struct server_config *servers;
	unsigned int count;
	double speed;           /* seconds of the servers' time in a second */
	uint64_t keep_alive_ns; /* an idle connection is closed after so long (of real time) */
	bool no_keep_alive;
};

/** Serves until SIGTERM or SIGINT. Says on stdout, one line each, which server listens
 * where ("NAME ADDRESS:PORT"). Returns 0 after a clean end, or -errno (logged). */
int sim_run(const struct sim_config *config);

#endif
