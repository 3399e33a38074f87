/* SPDX-License-Identifier: Apache-2.0 */
/* lab_report.h - runs an experiment with several seeds, and writes their figures. */
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
	LAB_TOLD_NO,
	LAB_PART_P95,
	LAB_PART_TOKENS = LAB_PART_P95 + LAB_MAX_PARTS,
	LAB_FIGURES = LAB_PART_TOKENS + LAB_MAX_PARTS
};

struct lab_row {
	const char *policy; /* as the user wrote it */
	double rate;
	uint32_t seeds;
	double values[LAB_FIGURES][LAB_MAX_SEEDS];
	uint64_t placed;
	double cpu_s;
	uint32_t timeline_count; /* of the first seed */
	struct lab_moment *timeline;
};

/** Runs `seeds` experiments, with o->seed, o->seed + 1, ... Returns 0 and *row, to be released with
 * lab_row_fini(); or an error of lab_run(). */
int lab_row_run(const struct lab_options *o, const char *policy, uint32_t seeds,
		struct lab_row *row, const char **what);
void lab_row_fini(struct lab_row *row);
struct lab_interval lab_row_figure(const struct lab_row *row, enum lab_figure figure);

/** Finds the highest rate, in requests a second for each endpoint, at which the p95 of TTFT is at
 * most slo_ms with every seed. Searches between `low` and `high` by bisection, to within 2 %. *row
 * is the row at that rate, or a row with rate 0 when even `low` is too much. Returns as
 * lab_row_run(). */
int lab_knee(const struct lab_options *o, const char *policy, uint32_t seeds, double slo_ms,
	     double low, double high, struct lab_row *row, const char **what);

void lab_table_head(FILE *f);
void lab_table_row(FILE *f, const struct lab_row *row);
/** Writes one line of JSON. 0 or -ENOMEM. */
int lab_json_row(FILE *f, const struct lab_options *o, const struct lab_row *row, bool timeline);

#endif
