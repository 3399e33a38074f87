/* SPDX-License-Identifier: Apache-2.0 */
/* support_random.h - repeatable random numbers, and digests of the decisions made with them. */
#ifndef PINTLE_TESTS_SUPPORT_RANDOM_H
#define PINTLE_TESTS_SUPPORT_RANDOM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../userspace/base/hash.h"

/* splitmix64: the n-th of a sequence that is the same in every run. */
static inline uint64_t random_at(uint64_t n)
{
	return hash_mix((n + 1) * HASH_STEP);
}

static inline uint64_t digest_add(uint64_t digest, uint64_t value)
{
	return random_at(digest ^ value) + digest;
}

/* Compares a digest of many decisions with the recorded one. Record a new digest only with a change
 * that is meant to change decisions. */
#define assert_digest(digest, expected)                                                            \
	do {                                                                                       \
		if ((digest) != (expected))                                                        \
			fail_msg("the decisions are others than before: 0x%llx",                   \
				 (unsigned long long)(digest));                                    \
	} while (0)

#endif
