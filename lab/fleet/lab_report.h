/* SPDX-License-Identifier: Apache-2.0 */
/* lab_report.h - several seeds of one experiment, put together and told. */
#ifndef PINTLE_SIM_LAB_REPORT_H
#define PINTLE_SIM_LAB_REPORT_H

#include <stdio.h>

#include "lab.h"

#define LAB_MAX_SEEDS 64

enum lab_figure {
	LAB_TTFT_MEAN,
	LAB_TTFT_P50,
	LAB_TTFT_P95,
	LAB_TTFT_P99,
	LAB_OTHER_P95,
	LAB_ITL_MEAN,
	LAB_ITL_P50,
	LAB_ITL_P95,
	LAB_ITL_P99,
	LAB_REQUESTS,
	LAB_TOKENS,
	LAB_HIT_RATE,
	LAB_SPREAD,
	LAB_PEAK,
	LAB_HERD,
	LAB_UNFINISHED,
	LAB_PREEMPTIONS,
	LAB_ESCAPED,
	LAB_FIGURES
};

struct lab_row {
	const char *policy; /* as it was asked for */
	double rate;
	uint32_t seeds;
	double values[LAB_FIGURES][LAB_MAX_SEEDS];
	uint64_t placed;
	double cpu_s;
	uint32_t timeline_count; /* of the first seed */
	struct lab_moment *timeline;
};

/** Runs `seeds` experiments, with o->seed, o->seed + 1, ... 0 and *row (to be released with
 * lab_row_fini), or as lab_run(). */
int lab_row_run(const struct lab_options *o, const char *policy, uint32_t seeds,
		struct lab_row *row, const char **what);
void lab_row_fini(struct lab_row *row);
struct lab_interval lab_row_figure(const struct lab_row *row, enum lab_figure figure);

/** The highest rate (requests/s for each endpoint) with a p95 of TTFT of at most slo_ms for each
 * of the seeds, found by halving between low and high down to 2 %; the row at that
 * rate in *row. Rate 0 when even `low` is too much. */
int lab_knee(const struct lab_options *o, const char *policy, uint32_t seeds, double slo_ms,
	     double low, double high, struct lab_row *row, const char **what);

void lab_table_head(FILE *f);
void lab_table_row(FILE *f, const struct lab_row *row);
/** One line of JSON. */
int lab_json_row(FILE *f, const struct lab_options *o, const struct lab_row *row, bool timeline);

#endif
