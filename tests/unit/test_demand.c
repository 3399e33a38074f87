// SPDX-License-Identifier: Apache-2.0
/* Whether a pool is in use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../userspace/policy/demand.h"

#define S     NSEC_PER_SEC
#define START (1000 * S)

static void test_who_uses_it(void **state)
{
	static const struct {
		double at; /* seconds after the start */
		uint32_t generation;
		uint64_t decisions;
		bool open, used, idle;
		double since;
	} rows[] = {
		{0, 1, 7, false, false, false, 0}, /* decisions of before this daemon came */
		{9.9, 1, 7, false, false, false, 0},
		{10, 1, 7, false, false, true, 10},
		{500, 1, 7, false, false, true, 10},
		{500.2, 1, 8, false, false, false, 500.2}, /* a connection came */
		{510.1, 1, 8, false, false, false, 500.2},
		{510.2, 1, 8, false, false, true, 510.2},
		{511, 1, 8, true, false, false, 511}, /* one is open, however it came */
		{900, 1, 8, true, false, false, 511},
		{909.9, 1, 8, false, false, false, 511},
		{910, 1, 8, false, false, true, 910},
		{911, 1, 8, false, true, false, 911}, /* by another pool */
		{921, 1, 8, false, false, true, 921},
		{922, 1, 3, false, false, false, 922}, /* counted anew */
		{932, 1, 3, false, false, true, 932},
		{933, 2, 3, false, false, false, 933}, /* another pool has the id */
		{943, 2, 3, false, false, true, 943},
	};
	struct demand d = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t now = START + (uint64_t)(rows[i].at * 10) * (S / 10);

		demand_see(&d, rows[i].generation, rows[i].decisions, rows[i].open, now);
		if (rows[i].used)
			demand_use(&d, now);
		if (d.idle != rows[i].idle ||
		    d.since_ns != START + (uint64_t)(rows[i].since * 10) * (S / 10))
			fail_msg("at %g: idle %d since %g", rows[i].at, d.idle,
				 ((double)d.since_ns - (double)START) / (double)S);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_who_uses_it)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
