/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * trace.bpf.h - decisions and ends for `pintle trace`.
 *
 *   trace_begin()      takes a note for a decision that is about to be made, if somebody follows
 *   note_*()           fill it in while the rule runs (note.bpf.h, choose.bpf.h)
 *   trace_decided()    tells those who follow all connections, and says whether to keep the note
 *   trace_closed()     tells the end, also to those who follow only slow or failed connections
 *
 * A note is a row of `notes`: too large for the stack, and per CPU another context could interrupt.
 * The connection's own copy is with its socket, so it is gone when the socket is; before there is a
 * socket, at the lookup hook, it is in `decided`. Where nobody follows, a decision, a first token
 * and an end read one word each for this.
 */
#ifndef PINTLE_TRACE_BPF_H
#define PINTLE_TRACE_BPF_H

#include "common.bpf.h"
#include "note.bpf.h"

static __always_inline struct pintle_follows *follows_find(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&follows, &zero);
}

/* Whether anybody follows any pool. */
static __always_inline bool is_followed(__u64 now)
{
	struct pintle_follows *all = follows_find();

	return all && (__s64)(all->until_ns - now) > 0;
}

/* ---- followers ---------------------------------------------------------------------- */

static __always_inline bool is_ref(const struct pintle_ref *a, __u32 id, __u32 generation)
{
	return a->generation && a->id == id && a->generation == generation;
}

/* Whether a connection to the pool `asked` may be decided by the pool that is followed. */
static __always_inline bool follows_other(const struct pintle_follower *f,
					  const struct pintle_pool *asked)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < PINTLE_MAX_OTHERS; i++)
		if (is_ref(&f->pool, asked->others[i].pool.id, asked->others[i].pool.generation))
			return true;
	return false;
}

static __always_inline bool follower_early(const struct pintle_follower *f, __u64 now)
{
	return (__s64)(f->due_ns - now) > (__s64)f->burst_ns;
}

/* Takes the time of one more record; false, and counts, if it comes too early. */
static __always_inline bool follower_charge(struct pintle_follower *f, __u64 now)
{
	__u64 due = f->due_ns, next = (__s64)(due - now) > 0 ? due : now;

	/* Another CPU that is faster has taken it: as if both came too early. */
	if (!follower_early(f, now) &&
	    __sync_val_compare_and_swap(&f->due_ns, due, next + f->interval_ns) == due)
		return true;
	__sync_fetch_and_add(&f->over, 1);
	return false;
}

/* Whether follower i is to be told of a decision about a connection to the pool `asked`. Those of
 * all connections are told by the rate, which is looked at before the note is written, because that
 * is what costs. */
__weak __noinline int follower_wants(const struct pintle_ref *asked, __u32 i, __u64 now)
{
	struct pintle_follows *all = follows_find();
	struct pintle_follower *f;
	struct pintle_pool *pool;

	if (!asked || !all || i >= PINTLE_MAX_FOLLOWERS)
		return 0;
	f = &all->of[i];
	pool = pool_find(asked->id, asked->generation);
	if (!pool || (__s64)(f->until_ns - now) <= 0)
		return 0;
	if (!is_ref(&f->pool, asked->id, asked->generation) && !follows_other(f, pool))
		return 0;
	if (f->what || !follower_early(f, now))
		return 1;
	__sync_fetch_and_add(&f->over, 1);
	return 0;
}

/* Writes the note to the follower's ring. */
static __always_inline void follower_tell(struct pintle_trace *n, struct pintle_follower *f,
					  __u32 at)
{
	void *ring = bpf_map_lookup_elem(&follow_rings, &at);

	if (ring && bpf_ringbuf_output(ring, n, sizeof(*n), 0))
		__sync_fetch_and_add(&f->lost, 1);
}

/* Whether the end is worth a line to those who follow only slow or failed connections. One whose
 * first token was never seen took as long as it lasted. */
static __always_inline bool end_wanted(const struct pintle_trace *n,
				       const struct pintle_follower *f)
{
	__u64 waited = n->answers ? (__u64)n->most_us * 1000 : n->duration_ns;

	if (f->what & PINTLE_FOLLOW_FAILED &&
	    (n->error || n->failure < PINTLE_FAILURE_COUNT || !n->chosen.generation))
		return true;
	return f->what & PINTLE_FOLLOW_SLOW && waited >= f->slow_ns;
}

/* Tells follower i of the decision, or of the end. Returns 0 if it is to be told nothing more. */
__weak __noinline int note_tell(struct pintle_trace *n, __u32 i, __u64 now)
{
	struct pintle_follows *all = follows_find();
	struct pintle_follower *f;
	bool over;

	if (!n || !all || i >= PINTLE_MAX_FOLLOWERS || !(n->followers >> i & 1))
		return 0;
	f = &all->of[i];
	/* The slot may be another follower's by now. */
	if ((__s64)(f->until_ns - now) <= 0 || (__s64)(n->decided_ns - f->since_ns) < 0)
		return 0;
	if (!is_ref(&f->pool, n->asked.id, n->asked.generation) &&
	    !is_ref(&f->pool, n->key.pool, n->key.pool_generation))
		return 0;
	over = n->flags & PINTLE_TRACE_ENDED || !n->chosen.generation;
	if (f->what && !over)
		return 1;
	if (f->what && !end_wanted(n, f))
		return 0;
	/* A decision that was told is followed by its end, whatever the rate. */
	if ((f->what || !(n->flags & PINTLE_TRACE_ENDED)) && !follower_charge(f, now))
		return 0;
	follower_tell(n, f, i);
	return !over;
}

/* Tells all of them. Returns 1 if somebody is to be told more. */
__weak __noinline int note_tell_all(struct pintle_trace *n, __u64 now)
{
	__u32 i, left = 0;

	if (!n)
		return 0;
#pragma unroll
	for (i = 0; i < PINTLE_MAX_FOLLOWERS; i++)
		if (note_tell(n, i, now))
			left |= 1U << i;
	n->followers = left;
	return !!left;
}

/* Counts a record that found no memory. */
__weak __noinline int note_lost(__u32 followers)
{
	struct pintle_follows *all = follows_find();
	__u32 i;

	if (!all)
		return 0;
#pragma unroll
	for (i = 0; i < PINTLE_MAX_FOLLOWERS; i++)
		if (followers >> i & 1)
			__sync_fetch_and_add(&all->of[i].lost, 1);
	return 0;
}

/* ---- a decision ----------------------------------------------------------------------- */

#define NOTE_TRIES 4

/* Takes a free note. Each CPU begins elsewhere. Returns 1 + its index; 0: all are taken. */
__weak __noinline int note_take(__u32 followers)
{
	__u32 i, at = bpf_get_smp_processor_id() * NOTE_TRIES;
	struct pintle_trace *n;

#pragma unroll
	for (i = 0; i < NOTE_TRIES; i++) {
		at = (at + 1) % PINTLE_MAX_NOTES;
		n = bpf_map_lookup_elem(&notes, &at);
		if (!n || __sync_lock_test_and_set(&n->busy, 1))
			continue;
		n->followers = followers;
		return 1 + at;
	}
	note_lost(followers);
	return 0;
}

static __always_inline void note_free(__u32 note)
{
	struct pintle_trace *n = note_find(note);

	if (n)
		__sync_lock_test_and_set(&n->busy, 0);
}

/* Returns the note for a decision about a connection to the pool `asked`; 0: nobody wants it. */
__weak __noinline int trace_begin(const struct pintle_ref *asked, __u64 now)
{
	__u32 i, followers = 0;

	if (!asked)
		return 0;
#pragma unroll
	for (i = 0; i < PINTLE_MAX_FOLLOWERS; i++)
		if (follower_wants(asked, i, now))
			followers |= 1U << i;
	return followers ? note_take(followers) : 0;
}

/* ---- the end ---------------------------------------------------------------------------- */

/* Tells the end of the connection; the caller has filled in what it knows of it. */
__weak __noinline int trace_closed(struct pintle_trace *n, __u64 now)
{
	if (!n || !n->followers)
		return 0;
	n->ended_ns = now;
	n->flags |= PINTLE_TRACE_ENDED;
	note_tell_all(n, now);
	n->followers = 0;
	return 0;
}

#endif
