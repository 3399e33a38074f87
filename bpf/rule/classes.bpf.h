/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * classes.bpf.h - which class of its pool a connection belongs to.
 *
 *   given  = the session's, as an operator said (`classified`); else the class of the first rule
 *            that matches; else, where the pool classifies, what the classifier found (`sessions`);
 *            else the pool's first class
 *   asked  = the client's hint; else the class of the first rule for the connection's DSCP
 *   class  = asked, if its priority is not above that of `given`, or the client is trusted;
 *            else given
 */
#ifndef PINTLE_CLASSES_BPF_H
#define PINTLE_CLASSES_BPF_H

#include <pintle/abi.h>

#include "address.bpf.h"

/* What rules ask about a client, besides addresses; 0: not known. */
struct class_client {
	__u64 space; /* as in struct pintle_pod */
	__u64 account;
	__u64 cgroup;
	__u32 dscp; /* 1 + the DSCP */
	__u32 zero;
	__u8 address[16];
};

/* Each 0 or 1 + a class. */
struct class_found {
	__u8 given;
	__u8 asked;
	__u8 trusted; /* 1: its hints may raise the class */
	__u8 zero;
};

/* The pod's own address of the family (PINTLE_FAMILY_*); `::`: it has none. */
static __always_inline const __u8 *class_pod_address(const struct pintle_pod *p, __u32 family)
{
	bool second = address_is_v4(p->addresses[1]) == (family == PINTLE_FAMILY_V4);

	return p->addresses[second];
}

/* Fills in what the client's pod says of it. */
static __always_inline void class_take_pod(struct class_client *c, const struct pintle_pod *p,
					   __u32 family)
{
	c->space = p->space;
	c->account = p->account;
	__builtin_memcpy(c->address, class_pod_address(p, family), sizeof(c->address));
}

/* An address that is not known is in no prefix, and an IPv4 address in none of IPv6: not in ::/0,
 * although that has the form of every address here. */
static __always_inline bool class_address_matches(const struct pintle_class_rule *r,
						  const struct class_client *c)
{
	const __u64 *address = (const __u64 *)c->address, *mask = (const __u64 *)r->mask;
	const __u64 *prefix = (const __u64 *)r->prefix;

	return !address_is_any(c->address) &&
	       address_is_v4(c->address) == address_is_v4(r->prefix) &&
	       (address[0] & mask[0]) == prefix[0] && (address[1] & mask[1]) == prefix[1];
}

/* Whether all that the rule says matches, but for the cgroup. */
static __always_inline bool class_rule_matches(const struct pintle_class_rule *r,
					       const struct class_client *c, __u16 port)
{
	return (!(r->flags & PINTLE_RULE_SOURCE) || class_address_matches(r, c)) &&
	       (!r->port || r->port == port) && (!r->dscp || r->dscp == c->dscp) &&
	       (!r->space || r->space == c->space) && (!r->account || r->account == c->account);
}

/* 1 + the pool's class with this name; 0: it has none. */
static __always_inline __u32 class_named(const struct pintle_pool *pool,
					 const char name[PINTLE_CLASS_NAME_SIZE])
{
	const __u64 *a = (const __u64 *)name, *b;
	__u32 i;

	for (i = 0; i < PINTLE_MAX_CLASSES; i++) {
		b = (const __u64 *)pool->class_of[i].name;
		if (i < pool->class_count && a[0] == b[0] && a[1] == b[1] && a[2] == b[2] &&
		    a[3] == b[3])
			return 1 + i;
	}
	return 0;
}
_Static_assert(PINTLE_CLASS_NAME_SIZE == 4 * sizeof(__u64), "class_named");

#define CLASS_CASE_MAX 32

/* Connections whose classes are found, as data for the syscall program of the tests. */
struct class_case {
	struct pintle_ref pool;
	__u32 count; /* of `of`, at most CLASS_CASE_MAX */
	__u32 zero;
	struct class_one {
		struct class_client client;
		__u16 port;
		__u8 asked;    /* 1 + the hint; 0: none */
		__u8 class_id; /* out */
		__u32 zero;
		struct pintle_session_key session;
	} of[CLASS_CASE_MAX];
};

#if defined(__bpf__) || defined(world_find) /* the world (world.bpf.h) is there */
#include "choose.bpf.h"

struct class_search {
	const struct terms *terms;
	const struct class_client *client;
	struct class_found *found;
	__u16 port;
};

static __always_inline bool class_cgroup_matches(__u64 cgroup, __u64 pattern)
{
	struct pintle_server_cgroup key = {.cgroup = cgroup, .pattern = pattern};

	return world_find(server_cgroups, &key);
}

/* Whether the client is one of those that the rule names. */
static __always_inline bool class_rule_holds(const struct pintle_class_rule *r,
					     const struct class_client *c, __u16 port)
{
	return class_rule_matches(r, c, port) &&
	       (!r->pattern || class_cgroup_matches(c->cgroup, r->pattern));
}

/* What the i-th rule says of the client. Returns 1 when no further rule counts. */
DECIDE_STEP class_rule(const struct terms *t, const struct class_client *c, struct class_found *f,
		       __u32 i, __u32 port)
{
	const struct pintle_class_rule *r;
	struct pintle_pool *pool;

	if (!t || !c || !f)
		return 1;
	pool = pool_of(t);
	if (!pool || i >= pool->rule_count || i >= PINTLE_MAX_RULES)
		return 1;
	r = &pool->rules[i];
	if (r->dscp && f->asked)
		return 0;
	if (!class_rule_holds(r, c, port))
		return 0;
	if (r->flags & PINTLE_RULE_TRUSTED)
		f->trusted = 1;
	if (r->dscp) {
		f->asked = 1 + r->class_id;
		return 0;
	}
	f->given = 1 + r->class_id;
	return 1;
}

static long class_step(__u32 i, void *arg)
{
	const struct class_search *s = arg;
	int done = class_rule(s->terms, s->client, s->found, i, s->port);

	/* The verifier must see that a callback returns 0 or 1. */
	hide(done);
	return !!done;
}

/* 1 + the class that the session has by an operator (`judged` 0), or by the classifier (1); 0:
 * none, or one that the pool lacks. */
DECIDE_STEP class_of_session(const struct terms *t, __u32 judged)
{
	struct pintle_affinity_key key; /* Linux 6.1 takes keys only from the stack */
	struct pintle_session_class *s;
	struct pintle_pool *pool;

	if (!t || t->key.session.kind == PINTLE_KEY_NONE)
		return 0;
	key = t->key;
	s = judged ? world_find(sessions, &key) : world_find(classified, &key);
	pool = s ? pool_of(t) : NULL;
	return pool ? class_named(pool, s->name) : 0;
}

/* Sets t->class_id; the session's key is in *t. f->asked is the client's hint; `port` is the
 * frontend's. */
DECIDE_STEP class_find(struct terms *t, const struct class_client *c, struct class_found *f,
		       __u32 port)
{
	struct class_search s = {.terms = t, .client = c, .found = f, .port = port};
	struct pintle_pool *pool;
	__u32 given, asked;

	if (!t || !c || !f)
		return 0;
	pool = pool_of(t);
	if (!pool)
		return 0;
	if (f->asked > pool->class_count)
		f->asked = 0;
	world_loop(PINTLE_MAX_RULES, class_step, &s);
	given = class_of_session(t, 0) ?: f->given;
	if (!given && pool->classify)
		given = class_of_session(t, 1);
	given = given ? given - 1 : 0;
	given &= PINTLE_MAX_CLASSES - 1;
	t->class_id = given;
	if (!f->asked)
		return 0;
	asked = (f->asked - 1) & (PINTLE_MAX_CLASSES - 1);
	if (pool->hints_trusted || f->trusted ||
	    pool->class_of[asked].priority <= pool->class_of[given].priority)
		t->class_id = asked;
	return 0;
}
#endif

#endif
