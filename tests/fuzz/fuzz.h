/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz.h - what the fuzzers share. */
#ifndef PINTLE_TESTS_FUZZ_H
#define PINTLE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the fuzzer, which keeps the input, unless the condition holds. */
#define PROMISE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "not so: %s\n", #condition);                               \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* Counts a step, if the input is not the step. With PINTLE_FUZZ_STEPS, the fuzzer ends after so
 * many. */
static inline void fuzz_step(void)
{
	static unsigned long long done, most;
	const char *text;

	if (!done++) {
		text = getenv("PINTLE_FUZZ_STEPS");
		most = text ? strtoull(text, NULL, 10) : 0;
	}
	if (done != most)
		return;
	fprintf(stderr, "stat::steps: %llu\n", done);
	_exit(0);
}

#endif
