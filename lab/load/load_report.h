/* SPDX-License-Identifier: Apache-2.0 */
/* load_report.h - a run's results as text for people, and as JSON (lab/docs/load-generator.md). */
#ifndef PINTLE_LOAD_REPORT_H
#define PINTLE_LOAD_REPORT_H

#include <stdio.h>

#include "load_run.h"

struct report_names {
	const char *target, *workload; /* as the user gave them */
	const char *trace;             /* NULL: none */
};

void report_text(FILE *f, const struct report_names *names, const struct run_config *config,
		 const struct run_result *result);
/** Returns 0 or -ENOMEM. */
int report_json(FILE *f, const struct report_names *names, const struct run_config *config,
		const struct run_result *result);

#endif
