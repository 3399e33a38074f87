/* SPDX-License-Identifier: Apache-2.0 */
/* support_random.h - repeatable random numbers, and digests of what was made of them. */
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

/* A digest of so many decisions, as the code gave them that was there before the latest change that
 * meant to change them. A new one is right where a change is meant, and nowhere else. */
#define assert_digest(digest, expected)                                                            \
	do {                                                                                       \
		if ((digest) != (expected))                                                        \
			fail_msg("the decisions are others than before: 0x%llx",                   \
				 (unsigned long long)(digest));                                    \
	} while (0)

#endif
