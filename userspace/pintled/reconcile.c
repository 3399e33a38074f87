/* SPDX-License-Identifier: Apache-2.0 */
#include "reconcile.h"

#include "../common/log.h"
#include "../common/util.h"

struct count {
	uint64_t opened, closed;
};

static struct count read_count(const struct maps *m, uint32_t endpoint, int class_id)
{
	const struct pintle_counters *c = &m->inflight[endpoint].by_class[class_id];

	/* closed first: read the other way round, an end in between would show less than none. */
	uint64_t closed = __atomic_load_n(&c->closed, __ATOMIC_ACQUIRE);

	return (struct count){__atomic_load_n(&c->opened, __ATOMIC_ACQUIRE), closed};
}

/* One walk over the sockets, and what the counts said just before it. */
struct pass {
	struct count before[PINTLE_MAX_ENDPOINTS * PINTLE_MAX_CLASSES];
	uint64_t live[PINTLE_MAX_ENDPOINTS * PINTLE_MAX_CLASSES];
};

/* Returns how many counts differ, or -EAGAIN when the kernel would not count. */
static int take_pass(struct attachment *a, struct pass *p)
{
	const struct maps *m = attachment_maps(a);
	const volatile uint64_t *live;
	int differ = 0;

	for (uint32_t e = 0; e < PINTLE_MAX_ENDPOINTS; e++)
		for (uint32_t c = 0; c < PINTLE_MAX_CLASSES; c++)
			p->before[e * PINTLE_MAX_CLASSES + c] = read_count(m, e, (int)c);
	live = attachment_recount(a);
	if (!live)
		return -EAGAIN;
	for (size_t i = 0; i < ARRAY_SIZE(p->live); i++) {
		p->live[i] = live[i];
		differ += p->before[i].opened - p->before[i].closed != live[i];
	}
	return differ;
}

/* Puts one count right if both passes saw the same, unmoved; returns by how much it was wrong.
 * The kernel marks a connection before it counts it, so one pass alone may fall between. */
static uint64_t settle(const struct maps *m, size_t i, const struct pass *first,
		       const struct pass *second)
{
	uint32_t endpoint = (uint32_t)(i / PINTLE_MAX_CLASSES);
	int class_id = (int)(i % PINTLE_MAX_CLASSES);
	struct pintle_counters *c = &m->inflight[endpoint].by_class[class_id];
	const struct count *then = &first->before[i];
	struct count now = read_count(m, endpoint, class_id);
	int64_t wrong = (int64_t)(now.opened - now.closed - second->live[i]);

	if (!wrong || first->live[i] != second->live[i] || now.opened != then->opened ||
	    now.closed != then->closed)
		return 0;
	if (wrong > 0)
		__atomic_fetch_add(&c->closed, (uint64_t)wrong, __ATOMIC_RELAXED);
	else
		__atomic_fetch_add(&c->opened, (uint64_t)-wrong, __ATOMIC_RELAXED);
	log_warn(
		"endpoint %u: %lld connections in flight by count, %llu by the socket table; put right",
		endpoint, (long long)(now.opened - now.closed),
		(unsigned long long)second->live[i]);
	return (uint64_t)llabs(wrong);
}

uint64_t reconcile(struct attachment *a)
{
	_cleanup_free_ struct pass *passes = calloc(2, sizeof(*passes));
	const struct timespec moment = {.tv_nsec = 2000000};
	const struct maps *m = attachment_maps(a);
	uint64_t drift = 0;
	int differ;

	if (!passes)
		return 0;
	differ = take_pass(a, &passes[0]);
	if (differ > 0) {
		nanosleep(&moment, NULL);
		differ = take_pass(a, &passes[1]);
		for (size_t i = 0; differ > 0 && i < ARRAY_SIZE(passes[0].live); i++)
			drift += settle(m, i, &passes[0], &passes[1]);
	}
	if (differ < 0)
		return 0;
	m->node->drift += drift;
	m->node->reconciled_ns = monotonic_ns();
	return drift;
}
