/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* rule.bpf.c - the rule, and the facts for it from the maps, for kernel tests: cases in, results
 * out. Never attached. */
#include "choose.bpf.h"

struct decide_case rule_case;
struct weigh_case weigh_case;

SEC("syscall")
int pintle_rule(void *ctx __attribute__((unused)))
{
	decide_case_run(&rule_case);
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

	for (i = 0; i < WEIGH_CASE_MAX; i++) {
		struct weigh_one *one = &weigh_case.of[i];
		struct decide_candidate c = {.endpoint = one->endpoint,
					     .generation = one->generation};

		t.family = one->family;
		t.daemonless = one->daemonless;
		one->eligible = endpoint_weigh(&t, &c, one->bound);
		one->candidate = c;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
