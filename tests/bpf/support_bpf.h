/* SPDX-License-Identifier: Apache-2.0 */
/* support_bpf.h - the skeleton, loaded and not attached; a test for even spreads. Needs root. */
#ifndef PINTLE_TESTS_SUPPORT_BPF_H
#define PINTLE_TESTS_SUPPORT_BPF_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <math.h>
#include <stdlib.h>

#include "../../userspace/base/util.h"
#include "rule/eligible.bpf.h"
#include "../../userspace/maps/kernel.h"
#include "../../userspace/pintled/attach/skeleton.h"
#include "pintle.skel.h"
#include "../unit/support_random.h"

/* Compares Pearson's chi-square with its mean plus six standard deviations. An even spread over up
 * to a thousand places exceeds that less than once in a hundred thousand runs. */
static inline void assert_even(const uint32_t *counts, uint32_t n, uint32_t total)
{
	double expected = (double)total / n, chi2 = 0, freedom = n - 1;
	uint32_t sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		sum += counts[i];
		chi2 += (counts[i] - expected) * (counts[i] - expected) / expected;
	}
	assert_int_equal(sum, total);
	if (chi2 > freedom + 6 * sqrt(2 * freedom) + 6)
		fail_msg("chi-square %.1f over %u places", chi2, n);
}

/* How often a test repeats: `many`, or fewer on an emulated machine (tests/kernels), which is slow.
 */
static inline uint32_t rounds_wanted(uint32_t many)
{
	const char *few = getenv("PINTLE_FILLS");

	return few ? MIN(many, (uint32_t)strtoul(few, NULL, 10)) : many;
}

static inline struct pintle_bpf *load_programs_of(struct pintle_bpf *skel, const char *const *names)
{
	struct bpf_program *p;

	if (!skel)
		return NULL;
	bpf_object__for_each_program(p, skel->obj)
	{
		bool wanted = false;

		for (size_t i = 0; names[i]; i++)
			wanted |= !strcmp(names[i], bpf_program__name(p));
		bpf_program__set_autoload(p, wanted);
	}
#ifdef PACKETS_ARE_REAL /* no test runs: the lookup hook tells packets from questions */
	skel->rodata->count_of = kernel_softirq().count_of;
	skel->rodata->count_at = kernel_softirq().count_at;
	skel->rodata->current_at = kernel_softirq().current_at;
#endif
	if (pintle_bpf__load(skel)) {
		pintle_bpf__destroy(skel);
		skel = NULL;
	}
	return skel;
}

/* Loads these programs, and no others: the verifier takes most of a test's time. Returns NULL if
 * the kernel refuses; libbpf's messages, with the verifier's log, say why. */
#define load_programs(...)                                                                         \
	load_programs_of(skeleton_open(), (const char *const[]){__VA_ARGS__, NULL})

#endif
