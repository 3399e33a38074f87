/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * asking.bpf.h - what the hand-off asks the lookup hook.
 *
 * The hand-off makes no decision. It sets `asking` for this CPU, and asks the kernel for the socket
 * of the 4-tuple: the kernel runs the lookup hook, which decides by the one rule, remembers and
 * counts the decision, and returns the listener.
 */
#ifndef PINTLE_ASKING_BPF_H
#define PINTLE_ASKING_BPF_H

#include "rule/choose.bpf.h"

static __always_inline struct pintle_asking *asking_find(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&asking, &zero);
}

/* Whether only the connection's socket is looked for, so that no decision must be made. */
static __always_inline bool asking_whether(void)
{
	const struct pintle_asking *a = asking_find();

	return a && a->state == PINTLE_ASKING_WHETHER;
}

/* Whether the hand-off asks where the connection is to go. */
static __always_inline bool asking_where(void)
{
	const struct pintle_asking *a = asking_find();

	return a && a->state == PINTLE_ASKING_WHERE;
}

/* In a pool that is decided by request: sets the session to the one that the request has named, if
 * it has. */
static __always_inline void asking_session(const struct pintle_pool *pool,
					   struct pintle_session_key *session)
{
	const struct pintle_asking *a = NULL;

	if (pool->decide == PINTLE_DECIDE_REQUEST)
		a = asking_find();
	if (a && a->state == PINTLE_ASKING_WHERE && a->session.kind != PINTLE_KEY_NONE)
		*session = a->session;
}

/* The pool that serves requests whose model is not known. */
__weak __noinline int asking_default(struct pintle_ref *ref, __u64 now)
{
	struct pintle_model_key key = {};
	struct pintle_model *m;
	struct pintle_pool *pool;

	if (!ref)
		return 0;
	key.pool = *ref;
	m = bpf_map_lookup_elem(&models, &key);
	pool = m && pool_find(m->pool.id, m->pool.generation) ? pool_find(ref->id, ref->generation)
							      : NULL;
	if (pool && pool_mode(ref->id, pool, now) != PINTLE_MODE_OFF)
		*ref = m->pool;
	return 0;
}

/* Replaces *ref, a pool that is decided by request, by the one that serves the request's model.
 * Returns 1 if none does. A connection that came by itself shows its request to nobody. */
static __always_inline bool asking_pool(struct pintle_ref *ref, __u64 now)
{
	const struct pintle_asking *a = asking_find();

	if (!a || a->state != PINTLE_ASKING_WHERE) {
		asking_default(ref, now);
		return false;
	}
	if (a->pool.generation)
		*ref = a->pool;
	return a->no_model;
}

/* Whether the request's prompt is known, and counts in this pool. */
static __always_inline bool asking_prompt(const struct pintle_pool *pool,
					  const struct pintle_affinity_key *key)
{
	const struct pintle_asking *a = pool->prompt_weight ? asking_find() : NULL;

	return a && a->state == PINTLE_ASKING_WHERE && a->prompt_of.id == key->pool &&
	       a->prompt_of.generation == key->pool_generation;
}

/* Whether the request names an adapter of this pool, which serves its model. */
static __always_inline bool asking_adapter(const struct pintle_pool *pool,
					   const struct pintle_affinity_key *key)
{
	const struct pintle_asking *a = pool->adapter_weight ? asking_find() : NULL;

	return a && a->state == PINTLE_ASKING_WHERE && a->adapter && a->pool.id == key->pool &&
	       a->pool.generation == key->pool_generation;
}

/* The connection whose first request the hand-off has, as in struct pintle_decision. */
static __always_inline __u32 asking_connection(void)
{
	const struct pintle_asking *a = asking_find();

	return a ? a->connection : 0;
}

/* Keeps a session that the request has named for sockops, which binds it. What a former connection
 * from the client's port has named may still be there: nobody took it where nothing was bound. */
static __always_inline void asking_remember(const struct pintle_tuple *tuple,
					    const struct pintle_pool *pool,
					    const struct pintle_session_key *session)
{
	struct pintle_named n = {.session = *session};

	if (session->kind == PINTLE_KEY_REQUEST)
		bpf_map_update_elem(&named, tuple, &n, BPF_ANY);
	else if (pool && pool->decide == PINTLE_DECIDE_REQUEST)
		bpf_map_delete_elem(&named, tuple);
}

#endif
