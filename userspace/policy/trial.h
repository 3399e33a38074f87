/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.h - what an A/B test says: pure functions.
 *
 * Each pair of blocks gives one difference: of a time the logarithm of the ratio, of a share the
 * difference. Which block of a pair is in which mode was drawn at random, so the differences have
 * the effect as their mean, whatever the load did meanwhile. Student's t over the pairs gives the
 * interval (Gosset, Biometrika 6(1), 1908; for switchback experiments Bojinov, Simchi-Levi and
 * Zhao, Management Science 69(7), 2023).
 */
#ifndef PINTLE_TRIAL_H
#define PINTLE_TRIAL_H

#include <pintle/abi.h>
#include <stdbool.h>
#include <stdint.h>

/* With fewer pairs that all point the same way, a sign test could not exclude chance: 2 x 0.5^5 is
 * 6 %, 2 x 0.5^6 is 3 %. */
#define TRIAL_LEAST_PAIRS 6
/* Of a block: a p95 of fewer answers is just the longest of them. */
#define TRIAL_LEAST_ANSWERS 20

/* X(symbol, name, what it says, is a share, more of it is better) */
#define TRIAL_FIGURES(X)                                                                           \
	X(MEAN, "ttft_mean", "mean time to first token", false, false)                             \
	X(P50, "ttft_p50", "median time to first token", false, false)                             \
	X(P95, "ttft_p95", "time to first token that 95 % do not exceed", false, false)            \
	X(FAILED, "failed", "connections that failed or ended by an error", true, false)           \
	X(TOLD_NO, "told_no", "connections that were refused or diverted", true, false)            \
	X(KEPT, "kept", "connections that went where their session or group was", true, true)

enum trial_figure_id {
#define X(symbol, ...) TRIAL_##symbol,
	TRIAL_FIGURES(X)
#undef X
		TRIAL_FIGURE_COUNT
};

/* X(symbol, name): what an interval says. */
#define TRIAL_VERDICTS(X)                                                                          \
	X(TOO_FEW, "not enough yet")                                                               \
	X(NO_DIFFERENCE, "no difference beyond chance")                                            \
	X(BETTER, "better")                                                                        \
	X(WORSE, "worse")

enum trial_verdict {
#define X(symbol, name) TRIAL_VERDICT_##symbol,
	TRIAL_VERDICTS(X)
#undef X
		TRIAL_VERDICT_COUNT
};

/* Of enforce against baseline. Times are in seconds, and their change and its bounds are relative:
 * -0.5 is half the time; of shares they are differences. */
struct trial_figure {
	uint32_t pairs;           /* that count */
	double baseline, enforce; /* means over the pairs, of times geometric */
	double change;
	double low, high; /* 95 % confidence; set from 2 pairs on */
	enum trial_verdict verdict;
};

/** Static, never NULL. */
const char *trial_figure_name(uint32_t id);
const char *trial_figure_help(uint32_t id);
bool trial_figure_is_share(uint32_t id);
const char *trial_verdict_name(enum trial_verdict v);

/** Computes the figures from the pairs of which both blocks are whole. */
void trial_judge(const struct pintle_trial_result *r, struct trial_figure out[TRIAL_FIGURE_COUNT]);

/** Returns the value that Student's t with `degrees` (at least 1) exceeds with a chance of 2.5
 * %. */
double trial_student(uint32_t degrees);

#endif
