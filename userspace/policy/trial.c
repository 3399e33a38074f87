/* SPDX-License-Identifier: Apache-2.0 */
#include "trial.h"

#include <math.h>

#include "../base/util.h"
#include "rule/trial.bpf.h"

/* ---- names -------------------------------------------------------------------------- */

static const struct {
	const char *name, *help;
	bool share, more_is_better;
} figures[] = {
#define X(symbol, name, help, share, better) [TRIAL_##symbol] = {name, help, share, better},
	TRIAL_FIGURES(X)
#undef X
};

const char *trial_figure_name(uint32_t id)
{
	return id < TRIAL_FIGURE_COUNT ? figures[id].name : "?";
}

const char *trial_figure_help(uint32_t id)
{
	return id < TRIAL_FIGURE_COUNT ? figures[id].help : "?";
}

bool trial_figure_is_share(uint32_t id)
{
	return id < TRIAL_FIGURE_COUNT && figures[id].share;
}

const char *trial_verdict_name(enum trial_verdict v)
{
	static const char *const names[] = {
#define X(symbol, name) [TRIAL_VERDICT_##symbol] = (name),
		TRIAL_VERDICTS(X)
#undef X
	};

	return (unsigned int)v < TRIAL_VERDICT_COUNT ? names[v] : "?";
}

/* ---- the interval ------------------------------------------------------------------- */

double trial_student(uint32_t degrees)
{
	static const double table[] = {
		12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
		2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
		2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
	};
	const double z = 1.959964;

	if (degrees <= ARRAY_SIZE(table))
		return table[MAX(degrees, 1U) - 1];
	/* Fisher's expansion, Abramowitz and Stegun 26.7.5. */
	return z + (pow(z, 3) + z) / (4.0 * degrees) +
	       (5 * pow(z, 5) + 16 * pow(z, 3) + 3 * z) / (96.0 * degrees * degrees);
}

/* Sums over pairs. */
struct sums {
	uint32_t n;
	double baseline, enforce, difference, squares;
};

static void sums_add(struct sums *s, double baseline, double enforce)
{
	double d = enforce - baseline;

	s->n++;
	s->baseline += baseline;
	s->enforce += enforce;
	s->difference += d;
	s->squares += d * d;
}

static enum trial_verdict verdict_of(uint32_t id, const struct trial_figure *f)
{
	bool less = f->high < 0;

	if (f->pairs < TRIAL_LEAST_PAIRS)
		return TRIAL_VERDICT_TOO_FEW;
	if (f->low <= 0 && f->high >= 0)
		return TRIAL_VERDICT_NO_DIFFERENCE;
	return less == figures[id].more_is_better ? TRIAL_VERDICT_WORSE : TRIAL_VERDICT_BETTER;
}

static struct trial_figure figure_of(uint32_t id, const struct sums *s)
{
	struct trial_figure f = {.pairs = s->n};
	double mean, variance, half = 0;

	if (!s->n)
		return f;
	mean = s->difference / s->n;
	if (s->n > 1) {
		variance = MAX(s->squares - s->n * mean * mean, 0.0) / (s->n - 1);
		half = trial_student(s->n - 1) * sqrt(variance / s->n);
	}
	f.baseline = s->baseline / s->n;
	f.enforce = s->enforce / s->n;
	f.change = mean;
	f.low = mean - half;
	f.high = mean + half;
	if (!figures[id].share) {
		f.baseline = exp(f.baseline);
		f.enforce = exp(f.enforce);
		f.change = expm1(f.change);
		f.low = expm1(f.low);
		f.high = expm1(f.high);
	}
	f.verdict = verdict_of(id, &f);
	return f;
}

/* ---- pairs -------------------------------------------------------------------------- */

/* The figure in a block: of a time its logarithm. False: the block has too little for it. */
static bool trial_value_of(const struct pintle_measure *b, uint32_t id, double *out)
{
	const uint32_t times[TRIAL_FIGURE_COUNT] = {
		[TRIAL_MEAN] = b->mean_us, [TRIAL_P50] = b->p50_us, [TRIAL_P95] = b->p95_us};
	const uint64_t shares[TRIAL_FIGURE_COUNT] = {[TRIAL_FAILED] = b->sums.failed,
						     [TRIAL_TOLD_NO] = b->sums.told_no,
						     [TRIAL_KEPT] = b->sums.kept};

	if (figures[id].share) {
		if (b->sums.decisions < TRIAL_LEAST_ANSWERS)
			return false;
		*out = MIN((double)shares[id] / (double)b->sums.decisions, 1.0);
		return true;
	}
	if (b->answers < TRIAL_LEAST_ANSWERS || !times[id])
		return false;
	*out = log(times[id] / 1e6);
	return true;
}

void trial_judge(const struct pintle_trial_result *r, struct trial_figure out[TRIAL_FIGURE_COUNT])
{
	struct sums sums[TRIAL_FIGURE_COUNT] = {0};
	uint32_t blocks = trial_block_count(&r->trial);

	for (uint32_t k = 0; k + 1 < blocks; k += 2) {
		bool first = trial_mode_in(&r->trial, k) == PINTLE_MODE_ENFORCE;
		const struct pintle_measure *enforce = &r->block[first ? k : k + 1];
		const struct pintle_measure *baseline = &r->block[first ? k + 1 : k];
		double with, without;

		if (enforce->state != PINTLE_MEASURED_WHOLE ||
		    baseline->state != PINTLE_MEASURED_WHOLE)
			continue;
		for (uint32_t id = 0; id < TRIAL_FIGURE_COUNT; id++)
			if (trial_value_of(enforce, id, &with) &&
			    trial_value_of(baseline, id, &without))
				sums_add(&sums[id], without, with);
	}
	for (uint32_t id = 0; id < TRIAL_FIGURE_COUNT; id++)
		out[id] = figure_of(id, &sums[id]);
}
