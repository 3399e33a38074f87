/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* rule.bpf.c - the rule, and the facts for it from the maps, for kernel tests: cases in, results
 * out. Never attached. */
#include "choose.bpf.h"
#include "chunk.bpf.h"
#include "classes.bpf.h"
#include "tenants.bpf.h"

struct decide_case rule_case;
struct weigh_case weigh_case;
struct choose_case choose_case;
struct class_case class_case;
struct chunk_case chunk_case;
struct prefix_case prefix_case;

SEC("syscall")
int pintle_rule(void *ctx __attribute__((unused)))
{
	decide_case_run(&rule_case);
	return 0;
}

/* A function of its own: Linux 6.1 refuses a loop whose end is not a conditional jump. */
__noinline int weigh_one(struct terms *t, __u32 i)
{
	struct decide_candidate c = {};
	struct weigh_one *one;

	if (!t || i >= WEIGH_CASE_MAX)
		return 0;
	one = &weigh_case.of[i];
	c.endpoint = one->endpoint;
	c.generation = one->generation;
	t->family = one->family;
	t->daemonless = one->daemonless;
	one->eligible = endpoint_weigh(t, &c, one->bound);
	one->candidate = c;
	return 0;
}

SEC("syscall")
int pintle_weigh(void *ctx __attribute__((unused)))
{
	struct terms t = {
		.now = weigh_case.now,
		.key = {.pool = weigh_case.pool, .pool_generation = weigh_case.pool_generation},
	};
	__u32 i;

	for (i = 0; i < WEIGH_CASE_MAX; i++)
		weigh_one(&t, i);
	return 0;
}

SEC("syscall")
int pintle_choose(void *ctx __attribute__((unused)))
{
	struct terms t = {
		.now = choose_case.now,
		.key = choose_case.key,
		.family = choose_case.family,
		.daemonless = choose_case.daemonless,
		.would = choose_case.mode == PINTLE_MODE_SHADOW,
		.mode = choose_case.mode,
		.home = choose_case.home,
		.class_id = choose_case.class_id,
		.over_quota = choose_case.over_quota,
		.note = choose_case.note,
		.adapted = choose_case.adapter > 0,
		.prompted = choose_case.prompted > 0,
	};
	struct pintle_asking *a = prompt_find();
	__u32 i;

	if (a) {
		a->adapter = choose_case.adapter;
		a->home = choose_case.prompt_home;
		__builtin_memcpy(&a->prompt, &choose_case.prompt, sizeof(a->prompt));
		__builtin_memcpy(&a->known, &choose_case.known, sizeof(a->known));
	}
	if (!t.would)
		share_judge(&t);
	for (i = 0; i < CHOOSE_CASE_MAX; i++) {
		struct decide_result r = {.outcome = PINTLE_OUTCOME_NO_ENDPOINT};

		if (i >= choose_case.count)
			break;
		choose(&t, &r);
		choose_case.result[i] = r;
	}
	return 0;
}

SEC("syscall")
int pintle_class(void *ctx __attribute__((unused)))
{
	struct terms t = {
		.key = {.pool = class_case.pool.id, .pool_generation = class_case.pool.generation},
	};
	__u32 i;

	for (i = 0; i < CLASS_CASE_MAX; i++) {
		struct class_one *one = &class_case.of[i];
		struct class_client c = one->client;
		struct class_found f = {.asked = one->asked};

		if (i >= class_case.count)
			break;
		t.class_id = 0;
		t.key.session = one->session;
		class_find(&t, &c, &f, one->port);
		one->class_id = t.class_id;
	}
	return 0;
}

struct tenant_case tenant_case;

__noinline int tenant_step(__u32 i)
{
	struct pintle_affinity_key key = tenant_case.key;

	if (i < tenant_case.count && !tenant_enter(&key, tenant_case.now, tenant_case.judge))
		__sync_fetch_and_add(&tenant_case.in, 1);
	return 0;
}

SEC("syscall")
int pintle_tenant(void *ctx __attribute__((unused)))
{
	struct pintle_affinity_key key = tenant_case.key;
	__u32 i;

	for (i = 0; i < TENANT_CASE_MAX; i++)
		tenant_step(i);
	tenant_case.over = tenant_over(&key, tenant_case.now);
	return 0;
}

SEC("syscall")
int pintle_prefix(void *ctx __attribute__((unused)))
{
	chunk_case.hash = chunk_hash(&chunk_case.key, chunk_case.before, chunk_case.word);
	prefix_case_run(&prefix_case);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
