/* SPDX-License-Identifier: Apache-2.0 */
#include "follow.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <unistd.h>

#include "../base/util.h"

/* For some 500 records: five seconds at the default rate. */
#define RING_SIZE (1024 * 1024)

#define CLAIM_NS NSEC_PER_SEC

/* A follower that has not renewed its slot for so long may be stopped, and go on where it was. */
#define PAUSE_NS (10 * NSEC_PER_SEC)

static struct pintle_follower *follower_at(const struct maps *m, uint32_t at)
{
	return &m->follows->of[at];
}

/* The process that swaps until_ns has the slot. It has no pool yet, so the kernel tells it nothing.
 */
static bool slot_claim(const struct maps *m, uint32_t at, uint64_t now)
{
	struct pintle_follower *f = follower_at(m, at);
	uint64_t until = __atomic_load_n(&f->until_ns, __ATOMIC_ACQUIRE);

	if ((int64_t)(until - now) > 0 ||
	    !__atomic_compare_exchange_n(&f->until_ns, &until, now + CLAIM_NS, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	__atomic_store_n(&f->pool.generation, 0, __ATOMIC_RELEASE);
	return true;
}

/* Also that of a follower that was killed: by the next one, or by the daemon. */
static void slot_free(const struct maps *m, uint32_t at)
{
	bpf_map_delete_elem(m->fd[MAP_follow_rings], &at);
	__atomic_store_n(&follower_at(m, at)->until_ns, 0, __ATOMIC_RELEASE);
}

/* Until when there may be a follower only grows, until the last one ends. */
static void until_raise(const struct maps *m, uint64_t until)
{
	uint64_t before = __atomic_load_n(&m->follows->until_ns, __ATOMIC_ACQUIRE);

	while ((int64_t)(until - before) > 0 &&
	       !__atomic_compare_exchange_n(&m->follows->until_ns, &before, until, false,
					    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
}

/* Deletes the decisions that are older than a connection takes to be established; `all`: every one.
 */
static void decided_prune(const struct maps *m, bool all)
{
	struct pintle_tuple key, previous;
	struct pintle_trace t;
	uint64_t now = monotonic_ns();
	int fd = m->fd[MAP_decided];
	bool kept = false;

	/* From a key that is gone, the walk would begin anew. */
	for (int i = 0; i < 4 * PINTLE_MAX_DECIDED; i++) {
		if (bpf_map_get_next_key(fd, kept ? &previous : NULL, &key))
			return;
		if (!all && !bpf_map_lookup_elem(fd, &key, &t) &&
		    (int64_t)(now - t.decided_ns) < (int64_t)PINTLE_PENDING_NS) {
			previous = key;
			kept = true;
			continue;
		}
		bpf_map_delete_elem(fd, &key);
	}
}

static int ring_make(const struct maps *m, uint32_t at)
{
	int ring = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "follow_ring", 0, 0, RING_SIZE, NULL);

	if (ring < 0)
		return -errno;
	if (!bpf_map_update_elem(m->fd[MAP_follow_rings], &at, &ring, BPF_ANY))
		return ring;
	close(ring);
	return -errno;
}

/* Takes a free slot, and clears the other free ones. Returns its index, or -EBUSY. */
static int slot_take(const struct maps *m)
{
	uint64_t now = monotonic_ns();
	int at = -EBUSY;

	for (uint32_t i = 0; i < PINTLE_MAX_FOLLOWERS; i++) {
		if (!slot_claim(m, i, now))
			continue;
		if (at < 0)
			at = (int)i;
		else
			slot_free(m, i);
	}
	return at;
}

int follow_begin(const struct maps *m, const struct follow_asked *asked, struct follow *out)
{
	int at = slot_take(m), ring;
	struct pintle_follower *f;

	assert(asked->rate);
	if (at < 0)
		return at;
	ring = ring_make(m, (uint32_t)at);
	if (ring < 0) {
		slot_free(m, (uint32_t)at);
		return ring;
	}
	f = follower_at(m, (uint32_t)at);
	f->since_ns = monotonic_ns();
	f->slow_ns = asked->slow_ns;
	f->interval_ns = NSEC_PER_SEC / asked->rate;
	f->burst_ns = NSEC_PER_SEC / 4;
	f->what = asked->what;
	f->pid = (uint32_t)getpid();
	f->due_ns = f->over = f->lost = 0;
	*out = (struct follow){.m = m, .at = (uint32_t)at, .ring = ring};
	out->until_ns = __atomic_load_n(&f->until_ns, __ATOMIC_ACQUIRE);
	return follow_renew(out, &asked->pool);
}

/* Nobody else changes the slot unless its time is over. */
static bool slot_swap(struct follow *f, uint64_t until)
{
	uint64_t before = f->until_ns;

	if (!__atomic_compare_exchange_n(&follower_at(f->m, f->at)->until_ns, &before, until, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	f->until_ns = until;
	return true;
}

int follow_renew(struct follow *f, const struct pintle_ref *pool)
{
	struct pintle_follower *mine = follower_at(f->m, f->at);
	uint64_t until = monotonic_ns() + FOLLOW_LEASE_NS;

	if (!slot_swap(f, until))
		return -ESTALE;
	until_raise(f->m, until);
	mine->pool.id = pool->id;
	__atomic_store_n(&mine->pool.generation, pool->generation, __ATOMIC_RELEASE);
	decided_prune(f->m, false);
	return 0;
}

const struct pintle_follower *follow_counts(const struct follow *f)
{
	const struct pintle_follower *mine = follower_at(f->m, f->at);

	return __atomic_load_n(&mine->until_ns, __ATOMIC_ACQUIRE) == f->until_ns ? mine : NULL;
}

static bool others_follow(const struct maps *m)
{
	uint64_t now = monotonic_ns();

	for (uint32_t i = 0; i < PINTLE_MAX_FOLLOWERS; i++)
		if ((int64_t)(__atomic_load_n(&follower_at(m, i)->until_ns, __ATOMIC_ACQUIRE) -
			      now) > 0)
			return true;
	return false;
}

void follow_end(struct follow *f)
{
	uint64_t until;

	if (f->ring < 0)
		return;
	until = __atomic_load_n(&f->m->follows->until_ns, __ATOMIC_ACQUIRE);
	if (slot_swap(f, monotonic_ns() + CLAIM_NS))
		slot_free(f->m, f->at);
	close(f->ring);
	f->ring = -1;
	/* A follower that begins meanwhile has raised it, and then it stays. */
	if (others_follow(f->m) ||
	    !__atomic_compare_exchange_n(&f->m->follows->until_ns, &until, 0, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	decided_prune(f->m, true);
}

void follow_tend(const struct maps *m)
{
	uint64_t now = monotonic_ns();
	bool freed = false;

	for (uint32_t i = 0; i < PINTLE_MAX_FOLLOWERS; i++) {
		uint64_t until = __atomic_load_n(&follower_at(m, i)->until_ns, __ATOMIC_ACQUIRE);

		if (!until || (int64_t)(now - until) < (int64_t)PAUSE_NS || !slot_claim(m, i, now))
			continue;
		slot_free(m, i);
		freed = true;
	}
	if (freed)
		decided_prune(m, !others_follow(m));
}
