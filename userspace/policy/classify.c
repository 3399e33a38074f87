// SPDX-License-Identifier: Apache-2.0
#include "classify.h"

#include <assert.h>
#include <math.h>

#include "../base/util.h"

/* ---- the table --------------------------------------------------------------------- */

/* Columns: interactive, agent, batch. The figures are chosen, not fitted: round numbers that people
 * at a keyboard, programs that use tools, and queues of work should show, checked on the lab's own
 * workloads. No row is 0, so no single request decides. */

/* Requests of the session under way when this one began, itself included. People open a second
 * window; an agent calls a few helpers; a batch job has any number of workers. */
static const struct classify_row at_once_rows[] = {
	{1, {730, 850, 250}}, {2, {170, 100, 200}},      {4, {75, 35, 160}},
	{8, {20, 12, 190}},   {UINT32_MAX, {5, 3, 200}},
};

/* From the end of the session's newest answer to this request, nothing else being under way. A
 * person reads and types; a tool runs; a job's next document is there. */
static const struct classify_row pause_rows[] = {
	{30, {2, 10, 560}},       {100, {3, 30, 300}},   {300, {12, 130, 90}},
	{1000, {45, 290, 25}},    {2000, {75, 220, 8}},  {4000, {130, 175, 5}},
	{8000, {190, 95, 4}},     {16000, {220, 30, 3}}, {60000, {235, 15, 3}},
	{UINT32_MAX, {88, 5, 2}},
};

/* The same while others are under way: a worker of a job begins when it has ended, a person's
 * second window has nothing to do with the first. */
static const struct classify_row turnaround_rows[] = {
	{100, {50, 150, 880}},
	{1000, {300, 400, 90}},
	{UINT32_MAX, {650, 450, 30}},
};

/* The longer of this pause and the median of those before, in percent of the shorter: a person's
 * pauses differ more than a program's. */
static const struct classify_row steadiness_rows[] = {
	{150, {200, 310, 700}},
	{250, {230, 310, 150}},
	{600, {290, 260, 100}},
	{UINT32_MAX, {280, 120, 50}},
};

/* The request in percent of the one before. A conversation repeats itself and adds something, an
 * agent's above all; documents of a job, and separate questions, are longer or shorter by chance.
 */
static const struct classify_row growth_rows[] = {
	{100, {220, 60, 500}},
	{125, {330, 540, 110}},
	{200, {310, 330, 190}},
	{UINT32_MAX, {140, 70, 200}},
};

/* By how much the request is longer than the one before, if it is: what a tool returns is mostly
 * longer than what a person types. A page or more says nothing, because a person may have pasted
 * it. */
static const struct classify_row added_rows[] = {
	{1024, {400, 200, 200}},
	{4096, {390, 400, 400}},
	{16384, {130, 320, 320}},
	{UINT32_MAX, {80, 80, 80}},
};

enum feature { AT_ONCE, PAUSE, TURNAROUND, STEADINESS, GROWTH, ADDED };

#define ROWS(r) (r), ARRAY_SIZE(r)
const struct classify_feature classify_features[] = {
	[AT_ONCE] = {"at once", "", ROWS(at_once_rows)},
	[PAUSE] = {"pause", "ms", ROWS(pause_rows)},
	[TURNAROUND] = {"turnaround", "ms", ROWS(turnaround_rows)},
	[STEADINESS] = {"steadiness", "%", ROWS(steadiness_rows)},
	[GROWTH] = {"growth", "%", ROWS(growth_rows)},
	[ADDED] = {"added", "bytes", ROWS(added_rows)},
};
const size_t classify_feature_count = ARRAY_SIZE(classify_features);

/* ---- features ---------------------------------------------------------------------- */

static void evidence_add(struct classify *c, enum feature feature, uint64_t value)
{
	const struct classify_row *row = classify_features[feature].rows;

	while (value > row->up_to && row->up_to != UINT32_MAX)
		row++;
	for (int i = 0; i < CLASSIFY_CLASSES; i++)
		c->score[i] += logf((float)row->per_mille[i] * 1e-3f);
}

/* A divided by b in percent, both taken as at least `least`. */
static uint64_t percent_of(uint64_t a, uint64_t b, uint64_t least)
{
	return 100 * MAX(a, least) / MAX(b, least);
}

static uint32_t median_of(const uint32_t *values, unsigned int count)
{
	uint32_t sorted[CLASSIFY_KEPT];

	assert(count && count <= CLASSIFY_KEPT);
	for (unsigned int i = 0; i < count; i++) {
		unsigned int at = i;

		for (; at && sorted[at - 1] > values[i]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = values[i];
	}
	return sorted[count / 2];
}

/* Shorter pauses are all alike: they are the client's and the network's, nobody's habit. */
#define SHORTEST_MS 30

static void pause_add(struct classify *c, uint32_t ms)
{
	evidence_add(c, PAUSE, ms);
	if (c->pauses) {
		uint32_t median = median_of(c->pause_ms, c->pauses);

		evidence_add(c, STEADINESS,
			     percent_of(MAX(ms, median), MIN(ms, median), SHORTEST_MS));
	}
	c->pause_ms[c->next_pause] = ms;
	c->next_pause = (uint8_t)((c->next_pause + 1) % CLASSIFY_KEPT);
	c->pauses = (uint8_t)MIN(c->pauses + 1, CLASSIFY_KEPT);
}

/* Finds the newest end up to `begun`. Returns false if none is known: all of the kept ones are
 * later. */
static bool pause_before(const struct classify *c, uint64_t begun, uint32_t *ms)
{
	unsigned int ended = MIN(c->requests, (uint32_t)CLASSIFY_ENDS);
	uint64_t newest = 0;
	bool known = false;

	for (unsigned int i = 0; i < ended; i++)
		if (c->end_ns[i] <= begun) {
			newest = MAX(newest, c->end_ns[i]);
			known = true;
		}
	if (known)
		*ms = (uint32_t)MIN((begun - newest) / NSEC_PER_MSEC, (uint64_t)UINT32_MAX);
	return known;
}

/* ---- the verdict ------------------------------------------------------------------- */

static unsigned int best_of(const struct classify *c)
{
	unsigned int best = 0;

	for (unsigned int i = 1; i < CLASSIFY_CLASSES; i++)
		if (c->score[i] > c->score[best])
			best = i;
	return best;
}

/* Moves the scores to -CLASSIFY_FLOOR..0. */
static void scores_bound(struct classify *c)
{
	float top = c->score[best_of(c)];

	for (int i = 0; i < CLASSIFY_CLASSES; i++)
		c->score[i] = MAX(c->score[i] - top, -CLASSIFY_FLOOR);
}

/* The first verdict: classes stand in the order of what a wrong verdict costs the client, and a
 * later one has to lead the one before. */
static unsigned int classify_first_of(const struct classify *c)
{
	unsigned int first = 0;

	for (unsigned int i = 1; i < CLASSIFY_CLASSES; i++)
		if (c->score[i] > c->score[first] + CLASSIFY_FIRST)
			first = i;
	return first;
}

static bool verdict_change(struct classify *c)
{
	if (c->judged ? c->score[c->is] > -CLASSIFY_CHANGE : c->requests < CLASSIFY_LEAST)
		return false;
	c->is = (uint8_t)(c->judged ? best_of(c) : classify_first_of(c));
	c->judged = true;
	return true;
}

bool classify_request(struct classify *c, const struct classify_request *r)
{
	uint32_t bytes = (uint32_t)MIN(r->request_bytes, (uint64_t)UINT32_MAX), ms;
	uint64_t at_once = (uint64_t)r->beside + 1;

	evidence_add(c, AT_ONCE, at_once);
	if (pause_before(c, r->begun_ns, &ms)) {
		if (r->beside)
			evidence_add(c, TURNAROUND, ms);
		else
			pause_add(c, ms);
	}
	if (c->requests)
		evidence_add(c, GROWTH, percent_of(bytes, c->request_bytes, 1));
	if (c->requests && bytes > c->request_bytes)
		evidence_add(c, ADDED, bytes - c->request_bytes);
	c->request_bytes = bytes;
	c->at_once[c->requests % CLASSIFY_KEPT] = (uint8_t)MIN(at_once, (uint64_t)UINT8_MAX);
	c->end_ns[c->requests % CLASSIFY_ENDS] = MAX(r->ended_ns, r->begun_ns);
	/* Goes on at a number that keeps its place in both rings. */
	c->requests = c->requests == UINT32_MAX ? UINT32_MAX - CLASSIFY_KEPT + 1 : c->requests + 1;
	scores_bound(c);
	return verdict_change(c);
}

unsigned int classify_verdict(const struct classify *c)
{
	return c->judged ? c->is : CLASSIFY_UNKNOWN;
}

/* ---- words ------------------------------------------------------------------------- */

const char *classify_name(unsigned int class)
{
#define X(symbol, name) name,
	static const char *const names[] = {CLASSIFY_NAMES(X)};
#undef X

	return class < ARRAY_SIZE(names) ? names[class] : "unknown";
}

static void pauses_say(const struct classify *c, bool always, char *buf, size_t size)
{
	uint32_t ms = c->pauses ? median_of(c->pause_ms, c->pauses) : 0;

	if (always || !c->pauses || ms < SHORTEST_MS)
		snprintf(buf, size, "no pause between them");
	else if (ms < 1000)
		snprintf(buf, size, "%u ms between answer and next request, the median of %u", ms,
			 c->pauses);
	else
		snprintf(buf, size, "%.1f s between answer and next request, the median of %u",
			 ms / 1e3, c->pauses);
}

const char *classify_reason(const struct classify *c, char buf[CLASSIFY_REASON_SIZE])
{
	unsigned int most = 0, least = UINT8_MAX;
	char pauses[CLASSIFY_REASON_SIZE];

	if (!c->judged) {
		snprintf(buf, CLASSIFY_REASON_SIZE, "%u request%s, which say too little",
			 c->requests, plural(c->requests));
		return buf;
	}
	for (unsigned int i = 0; i < MIN(c->requests, (uint32_t)CLASSIFY_KEPT); i++) {
		most = MAX(most, c->at_once[i]);
		least = MIN(least, c->at_once[i]);
	}
	/* Pauses that are kept may be from before it had several at once. */
	pauses_say(c, least > 1, pauses, sizeof(pauses));
	if (most > 1)
		snprintf(buf, CLASSIFY_REASON_SIZE, "%s%u at once, %.70s",
			 most == UINT8_MAX ? "at least " : "", most, pauses);
	else
		snprintf(buf, CLASSIFY_REASON_SIZE, "one at a time, %.70s", pauses);
	return buf;
}
