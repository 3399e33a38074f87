/* SPDX-License-Identifier: Apache-2.0 */
#include "vouch.h"

#include "../base/util.h"
#include "health.bpf.h"

static uint64_t vouch_load(const __u64 *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static void vouch_store(__u64 *at, uint64_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELAXED);
}

bool vouch_ask(struct vouch *v, const struct pintle_health *h, const struct config_ejection *e)
{
	v->failures = 0;
	for (int i = 0; i < PINTLE_FAILURE_COUNT; i++)
		v->failures += vouch_load(&h->failures[i]);
	v->asked_ns = monotonic_ns();
	v->fresh = e->failures && v->failures != v->answered;
	return v->fresh;
}

/* Doubles with each ejection that was ended, up to the limit, as ejections themselves do. */
static uint64_t vouch_duration_ns(const struct vouch *v, const struct config_ejection *e)
{
	uint64_t ns = MIN(e->time_ns, e->max_time_ns);

	for (unsigned int i = 1; i < v->voids && ns < e->max_time_ns; i++)
		ns *= 2;
	return MIN(ns, e->max_time_ns);
}

bool vouch_hear(struct vouch *v, struct pintle_health *h, const struct config_ejection *e,
		bool good)
{
	uint64_t now = monotonic_ns();
	bool ejected;

	if (!good) {
		if (vouch_load(&h->vouched_until_ns))
			vouch_store(&h->vouched_until_ns, 0);
		if (vouch_load(&h->answered_ns))
			vouch_store(&h->answered_ns, 0);
		v->voids = 0;
		return false;
	}
	/* Either no client failed since the newest answer; or a client failed after this question
	 * was begun, and the endpoint is asked again. */
	if (!v->fresh || vouch_load(&h->failed_ns) >= v->asked_ns)
		return false;
	ejected = health_ejected(vouch_load(&h->ejected_until_ns), vouch_load(&h->answered_ns),
				 vouch_load(&h->failed_ns), now);
	v->answered = v->failures;
	v->voids += ejected;
	vouch_store(&h->answered_ns, v->asked_ns);
	vouch_store(&h->vouched_until_ns, now + vouch_duration_ns(v, e));
	return ejected;
}
