/* SPDX-License-Identifier: Apache-2.0 */
#include "reconcile.h"

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../policy/drift.h"
#include "../attach/recount.h"
#include "traits.bpf.h"

/* What is counted for each endpoint and class: */
enum kind {
	IN_FLIGHT, /* opened and not closed */
	PENDING,   /* placed, and neither opened nor failed */
	KINDS,
};
#define COUNTERS (PINTLE_MAX_ENDPOINTS * PINTLE_MAX_CLASSES)
#define COUNTS   (COUNTERS * KINDS)

static struct pintle_counters *counters_at(const struct maps *m, size_t i)
{
	size_t at = i / KINDS;

	return &m->inflight[at / PINTLE_MAX_CLASSES].by_class[at % PINTLE_MAX_CLASSES];
}

static struct drift_count read_count(const struct maps *m, size_t i)
{
	const struct pintle_counters *c = counters_at(m, i);
	uint64_t opened = __atomic_load_n(&c->opened, __ATOMIC_ACQUIRE);

	if (i % KINDS == IN_FLIGHT)
		return (struct drift_count){opened, __atomic_load_n(&c->closed, __ATOMIC_ACQUIRE)};
	return (struct drift_count){__atomic_load_n(&c->placed, __ATOMIC_ACQUIRE),
				    opened + __atomic_load_n(&c->failed, __ATOMIC_ACQUIRE)};
}

static uint64_t seen_of(const volatile uint64_t *seen, size_t i)
{
	uint64_t both = seen[i / KINDS];

	return i % KINDS == IN_FLIGHT ? both & UINT32_MAX : both >> 32;
}

/* Whether a placement of this endpoint may have left `pending` without an end. `pending` is an LRU:
 * a burst of SYNs, or a stranger's stray segments, drive other placements out. Then the correction
 * is no drift. */
static bool may_be_forgotten(const struct maps *m, unsigned int endpoint)
{
	_cleanup_free_ struct pintle_pool *pool = malloc(sizeof(*pool));
	struct pintle_endpoint e;

	return !pool || maps_value(m, MAP_endpoints, endpoint, &e) || e.pool >= PINTLE_MAX_POOLS ||
	       maps_value(m, MAP_pools, e.pool, pool) ||
	       !hook_has(pool->decided_by, PINTLE_TRAIT_KEEPS_PLACED);
}

/* Fills wrong[] by one walk. Returns how many counts are wrong; -EAGAIN when the kernel would not
 * run the iterators; or -ENOMEM. */
static int recount_pass(const struct ground *g, int64_t wrong[COUNTS])
{
	_cleanup_free_ struct drift_count *before = calloc(COUNTS, sizeof(*before));
	const struct maps *m = g->maps;
	const volatile uint64_t *seen;
	int n = 0;

	if (!before)
		return -ENOMEM;
	for (size_t i = 0; i < COUNTS; i++)
		before[i] = read_count(m, i);
	seen = recount_run(g->recount);
	if (!seen)
		return -EAGAIN;
	for (size_t i = 0; i < COUNTS; i++) {
		wrong[i] = drift_of(before[i], read_count(m, i), seen_of(seen, i));
		n += wrong[i] != 0;
	}
	return n;
}

static void counters_correct(struct pintle_counters *c, enum kind kind, int64_t wrong)
{
	__u64 *begun = kind == IN_FLIGHT ? &c->opened : &c->placed;
	__u64 *ended = kind == IN_FLIGHT ? &c->closed : &c->failed;

	if (wrong > 0)
		__atomic_fetch_add(ended, (uint64_t)wrong, __ATOMIC_RELAXED);
	else if (wrong < 0)
		__atomic_fetch_add(begun, (uint64_t)-wrong, __ATOMIC_RELAXED);
}

static uint64_t reconcile_counts(const struct maps *m, const int64_t wrong[COUNTS], bool tell)
{
	unsigned int endpoints = 0, last = PINTLE_MAX_ENDPOINTS;
	uint64_t drift = 0;

	for (size_t i = 0; i < COUNTS; i += KINDS) {
		unsigned int endpoint = (unsigned int)(i / KINDS / PINTLE_MAX_CLASSES);
		int64_t in_flight = wrong[i + IN_FLIGHT], pending = wrong[i + PENDING];

		/* Correcting `opened` upwards takes as many off pending already. */
		if (pending > 0 && in_flight < 0)
			pending = MAX(pending + in_flight, 0);
		counters_correct(counters_at(m, i), IN_FLIGHT, in_flight);
		counters_correct(counters_at(m, i), PENDING, pending);
		if (pending && may_be_forgotten(m, endpoint))
			pending = 0;
		if (!in_flight && !pending)
			continue;
		drift += (uint64_t)(llabs(in_flight) + llabs(pending));
		endpoints += endpoint != last;
		last = endpoint;
	}
	if (drift && tell)
		log_warn(
			"counters of connections in flight were wrong by %llu at %u endpoint%s (the "
			"last has id %u); corrected from the socket table",
			(unsigned long long)drift, endpoints, plural(endpoints), last);
	return drift;
}

/* Keeps of wrong[] what another walk found, too. Returns how many counts that are, or -errno. */
static int recount_again(const struct ground *g, int64_t wrong[COUNTS])
{
	_cleanup_free_ int64_t *again = calloc(COUNTS, sizeof(*again));
	int n = again ? recount_pass(g, again) : -ENOMEM;

	if (n <= 0)
		return n;
	n = 0;
	for (size_t i = 0; i < COUNTS; i++) {
		wrong[i] = drift_agreed(wrong[i], again[i]);
		n += wrong[i] != 0;
	}
	return n;
}

uint64_t reconcile(const struct ground *g, bool tell)
{
	/* A client may be preempted between its record and the count of it. With thirteen others at
	 * two cores it goes on after 40 ms. */
	static const struct timespec pauses[] = {{.tv_nsec = 2000000}, {.tv_nsec = 100000000}};
	const struct maps *m = g->maps;
	_cleanup_free_ int64_t *all = calloc(COUNTS, sizeof(*all));
	int wrong = all ? recount_pass(g, all) : -ENOMEM;
	uint64_t drift = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pauses) && wrong > 0; i++) {
		nanosleep(&pauses[i], NULL);
		wrong = recount_again(g, all);
	}
	if (wrong > 0)
		drift = reconcile_counts(m, all, tell);
	if (wrong < 0)
		return 0;
	if (tell)
		m->node->drift += drift;
	m->node->reconciled_ns = monotonic_ns();
	return drift;
}
