/* SPDX-License-Identifier: Apache-2.0 */
#include "vouch.h"

#include "../../base/util.h"
#include "health.bpf.h"

static uint64_t vouch_load(const __u64 *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static void vouch_store(__u64 *at, uint64_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELAXED);
}

static bool vouch_ejected(const struct pintle_health *h, uint64_t now)
{
	return health_ejected(vouch_load(&h->ejected_until_ns), vouch_load(&h->answered_ns),
			      vouch_load(&h->failed_ns), now);
}

static uint64_t vouch_failures(const struct pintle_health *h)
{
	uint64_t sum = 0;

	for (int i = 0; i < PINTLE_FAILURE_COUNT; i++)
		sum += vouch_load(&h->failures[i]);
	return sum;
}

bool vouch_wants(const struct vouch *v, const struct pintle_health *h,
		 const struct config_ejection *e)
{
	return e->failures && vouch_failures(h) != v->answered;
}

bool vouch_ask(struct vouch *v, const struct pintle_health *h, const struct config_ejection *e)
{
	v->failures = vouch_failures(h);
	v->asked_ns = monotonic_ns();
	v->fresh = e->failures && v->failures != v->answered;
	return v->fresh;
}

static uint64_t vouch_doubled_ns(uint64_t ns, unsigned int times, uint64_t most)
{
	for (; times && ns && ns < most; times--)
		ns *= 2;
	return MIN(ns, most);
}

/* Doubles with each ejection that was ended, up to the limit, as ejections themselves do. */
static uint64_t vouch_duration_ns(const struct vouch *v, const struct config_ejection *e)
{
	return vouch_doubled_ns(e->time_ns, v->voids ? v->voids - 1 : 0, e->max_time_ns);
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
	ejected = vouch_ejected(h, now);
	v->answered = v->failures;
	v->voids += ejected;
	vouch_store(&h->answered_ns, v->asked_ns);
	vouch_store(&h->vouched_until_ns, now + vouch_duration_ns(v, e));
	return ejected;
}

/* ---- the daemon as a client that fails --------------------------------------------- */

/* What follows does for the daemon what bpf/hooks/sockops_client.bpf.h does for clients, which may
 * fail and be served at the same time. */

static bool vouch_of_the_row(const struct pintle_health *h, const struct pintle_pool *pool,
			     uint64_t now)
{
	uint64_t others_ns = vouch_load(&h->others_ns);

	if (vouch_ejected(h, now))
		return false;
	return vouch_load(&h->failed_by) != PINTLE_CLIENT_DAEMON || !others_ns ||
	       now - others_ns >= pool->eject_ns;
}

static void vouch_blame(struct pintle_health *h, enum pintle_failure failure, uint64_t now)
{
	if (vouch_load(&h->failed_by) != PINTLE_CLIENT_DAEMON) {
		vouch_store(&h->failed_by, PINTLE_CLIENT_DAEMON);
		vouch_store(&h->others_ns, 0);
	}
	vouch_store(&h->failed_ns, now);
	__atomic_fetch_add(failure == PINTLE_FAILURE_RESET ? &h->resets : &h->unopened, 1,
			   __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->failures[failure], 1, __ATOMIC_RELAXED);
}

static uint32_t vouch_count_ejected(const struct pintle_health health[],
				    const struct pintle_pool *pool, uint64_t now)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < pool->member_count && i < PINTLE_MAX_MEMBERS; i++)
		n += pool->members[i].id < PINTLE_MAX_ENDPOINTS &&
		     vouch_ejected(&health[pool->members[i].id], now);
	return n;
}

/* Takes the ejection back if more endpoints are ejected than may be. `before`: as for clients. */
static void vouch_eject(struct pintle_health health[], struct pintle_health *h,
			const struct pintle_pool *pool, __u64 before, uint64_t now)
{
	__u64 until =
		now + vouch_doubled_ns(pool->eject_ns, h->ejected_in_a_row, pool->eject_max_ns);

	if (!pool->eject_most ||
	    !__atomic_compare_exchange_n(&h->ejected_until_ns, &before, until, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	if (vouch_count_ejected(health, pool, now) > pool->eject_most) {
		__atomic_compare_exchange_n(&h->ejected_until_ns, &until, 0, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		return;
	}
	__atomic_fetch_add(&h->ejected_in_a_row, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->ejections, 1, __ATOMIC_RELAXED);
}

void vouch_turned_away(struct pintle_health health[], uint32_t id, const struct pintle_pool *pool,
		       enum pintle_failure failure)
{
	struct pintle_health *h = &health[id];
	uint64_t now = monotonic_ns(), before = vouch_load(&h->ejected_until_ns);

	if (!pool->eject_after || !vouch_of_the_row(h, pool, now))
		return;
	vouch_blame(h, failure, now);
	if (h->resets + h->unopened >= pool->eject_after)
		vouch_eject(health, h, pool, before, now);
}
