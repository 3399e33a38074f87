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

#include "common.bpf.h"

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

/* Keeps a session that the request has named for sockops, which binds it. */
static __always_inline void asking_remember(const struct pintle_tuple *tuple,
					    const struct pintle_session_key *session)
{
	struct pintle_session_key key = *session;

	if (key.kind == PINTLE_KEY_REQUEST)
		bpf_map_update_elem(&named, tuple, &key, BPF_ANY);
}

#endif
