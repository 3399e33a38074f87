/* SPDX-License-Identifier: Apache-2.0 */
#include "reconcile.h"

#include "../common/log.h"
#include "../common/util.h"

#define COUNTS (PINTLE_MAX_ENDPOINTS * PINTLE_MAX_CLASSES)

struct count {
	uint64_t opened, closed;
};

static struct pintle_counters *counters_at(const struct maps *m, size_t i)
{
	return &m->inflight[i / PINTLE_MAX_CLASSES].by_class[i % PINTLE_MAX_CLASSES];
}

static struct count read_count(const struct maps *m, size_t i)
{
	const struct pintle_counters *c = counters_at(m, i);

	return (struct count){__atomic_load_n(&c->opened, __ATOMIC_ACQUIRE),
			      __atomic_load_n(&c->closed, __ATOMIC_ACQUIRE)};
}

/*
 * By how much a count is certainly wrong: above 0, it says more than there are. While the sockets
 * were walked, connections came and went; but no more were opened than the count says now, and none
 * were closed before it said so then. So what the walk saw must lie between two bounds, which meet
 * where nothing moved.
 */
static int64_t wrong_by(struct count before, struct count after, uint64_t live)
{
	int64_t least = (int64_t)(before.opened - after.closed);
	int64_t most = (int64_t)(after.opened - before.closed);

	if ((int64_t)live < least)
		return least - (int64_t)live;
	return (int64_t)live > most ? most - (int64_t)live : 0;
}

/* Fills wrong[] by one walk. Returns how many counts are wrong, or -EAGAIN when the kernel would
 * not count. */
static int take_pass(struct attachment *a, int64_t wrong[COUNTS])
{
	_cleanup_free_ struct count *before = calloc(COUNTS, sizeof(*before));
	const struct maps *m = attachment_maps(a);
	const volatile uint64_t *live;
	int n = 0;

	if (!before)
		return -ENOMEM;
	for (size_t i = 0; i < COUNTS; i++)
		before[i] = read_count(m, i);
	live = attachment_recount(a);
	if (!live)
		return -EAGAIN;
	for (size_t i = 0; i < COUNTS; i++) {
		wrong[i] = wrong_by(before[i], read_count(m, i), live[i]);
		n += wrong[i] != 0;
	}
	return n;
}

/* The part of it that both passes agree on: the kernel marks a connection a moment before it counts
 * it, and one pass may fall between. */
static int64_t agreed(int64_t first, int64_t second)
{
	if (first > 0 && second > 0)
		return MIN(first, second);
	return first < 0 && second < 0 ? MAX(first, second) : 0;
}

static void put_right(struct pintle_counters *c, int64_t wrong)
{
	if (wrong > 0)
		__atomic_fetch_add(&c->closed, (uint64_t)wrong, __ATOMIC_RELAXED);
	else
		__atomic_fetch_add(&c->opened, (uint64_t)-wrong, __ATOMIC_RELAXED);
}

static uint64_t settle(const struct maps *m, const int64_t first[COUNTS],
		       const int64_t second[COUNTS])
{
	unsigned int endpoints = 0, last = PINTLE_MAX_ENDPOINTS;
	uint64_t drift = 0;

	for (size_t i = 0; i < COUNTS; i++) {
		int64_t wrong = agreed(first[i], second[i]);
		unsigned int endpoint = (unsigned int)(i / PINTLE_MAX_CLASSES);

		if (!wrong)
			continue;
		put_right(counters_at(m, i), wrong);
		drift += (uint64_t)llabs(wrong);
		endpoints += endpoint != last;
		last = endpoint;
	}
	if (drift)
		log_warn("connections in flight were counted wrong by %llu at %u endpoint%s (the "
			 "last has id %u); put right by the socket table",
			 (unsigned long long)drift, endpoints, endpoints == 1 ? "" : "s", last);
	return drift;
}

uint64_t reconcile(struct attachment *a)
{
	const struct timespec moment = {.tv_nsec = 2000000};
	const struct maps *m = attachment_maps(a);
	_cleanup_free_ int64_t *first = calloc(COUNTS, sizeof(*first));
	_cleanup_free_ int64_t *second = calloc(COUNTS, sizeof(*second));
	uint64_t drift = 0;
	int wrong;

	if (!first || !second)
		return 0;
	wrong = take_pass(a, first);
	if (wrong > 0) {
		nanosleep(&moment, NULL);
		wrong = take_pass(a, second);
		if (wrong > 0)
			drift = settle(m, first, second);
	}
	if (wrong < 0)
		return 0;
	m->node->drift += drift;
	m->node->reconciled_ns = monotonic_ns();
	return drift;
}
