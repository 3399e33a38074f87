/* SPDX-License-Identifier: Apache-2.0 */
/* load_run.h - a run: sessions begin, ask, think and end, and a report says what they saw. */
#ifndef PINTLE_LOAD_RUN_H
#define PINTLE_LOAD_RUN_H

#include <stdio.h>

#include "load_servers.h"
#include "load_session.h"
#include "load_stats.h"

struct run_config {
	const struct workload *workload;
	const struct trace *trace; /* NULL: none; else the workload has one class, the trace's */
	union load_address target;
	const char *host;           /* for the header Host */
	const char *session_header; /* names the session in each request; NULL: none does */
	struct session_form form;
	struct source_prefix source; /* if not set, the kernel chooses */
	uint64_t seed;
	uint64_t warmup_ns, duration_ns, timeout_ns;
	uint32_t retries;            /* how often a request that is told no is sent again */
	struct load_server *servers; /* servers whose metrics are read */
	size_t server_count;
	FILE *log;     /* a line of JSON for each request that ended; NULL: none */
	bool progress; /* a line on stderr, each second */
};

struct run_result {
	struct stats stats;  /* the caller frees them with stats_free() */
	uint64_t elapsed_ns; /* from the start to the end */
	uint64_t window_ns;  /* length of the measured window */
	bool interrupted;    /* by SIGINT or SIGTERM */
	uint64_t connections, reused, retried;
	double cpu_seconds; /* of this process */
};

/** Returns 0 and *out, or -errno (logged). */
int load_run(const struct run_config *config, struct run_result *out);

#endif
