/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* rule.bpf.c - the rule alone, for kernel tests: one struct decide_case in, its result out.
 * Never attached to anything. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "decide.bpf.h"

struct decide_case rule_case;

SEC("syscall")
int pintle_rule(void *ctx __attribute__((unused)))
{
	decide_case_run(&rule_case);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
