/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * access.bpf.h - whether a client may connect to the pool: one of the pool's access rules matches
 * it, or the pool has none.
 *
 * A client that is not known yet, such as a pod that started a moment ago, matches no rule that
 * asks who it is: access fails closed.
 */
#ifndef PINTLE_ACCESS_BPF_H
#define PINTLE_ACCESS_BPF_H

#include "choose.bpf.h"
#include "classes.bpf.h"

struct access_search {
	const struct terms *terms;
	const struct class_client *client;
	__u16 port;
	__u16 allowed;
};

/* Whether the i-th rule lets the client in. */
DECIDE_STEP access_rule(const struct terms *t, const struct class_client *c, __u32 i, __u32 port)
{
	struct pintle_pool *pool;

	if (!t || !c)
		return 0;
	pool = pool_of(t);
	if (!pool || i >= pool->allow_count || i >= PINTLE_MAX_RULES)
		return 0;
	return class_rule_holds(&pool->allowed[i], c, port);
}

static long access_step(__u32 i, void *arg)
{
	struct access_search *s = arg;
	int allowed = access_rule(s->terms, s->client, i, s->port);

	/* The verifier must see that a callback returns 0 or 1. */
	hide(allowed);
	s->allowed = !!allowed;
	return !!allowed;
}

/* Sets t->forbidden. `port` is the frontend's. */
DECIDE_STEP access_judge(struct terms *t, const struct class_client *c, __u32 port)
{
	struct access_search s = {.terms = t, .client = c, .port = port};
	struct pintle_pool *pool;

	if (!t || !c)
		return 0;
	pool = pool_of(t);
	if (!pool || !pool->allow_count)
		return 0;
	world_loop(PINTLE_MAX_RULES, access_step, &s);
	t->forbidden = !s.allowed;
	return 0;
}

#endif
