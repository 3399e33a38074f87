/* SPDX-License-Identifier: Apache-2.0 */
/* Whether an engine has started anew, by two pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/engine_run.h"

#define STARTED 1795157870.75

static struct signals page_of(double started, double prompt, double output)
{
	struct signals s = {0};

	s.value[SIGNAL_STARTED] = started;
	s.value[SIGNAL_PROMPT_TOKENS] = prompt;
	s.value[SIGNAL_OUTPUT_TOKENS] = output;
	return s;
}

static void test_runs(void **state)
{
	static const struct {
		double before[3], now[3]; /* when it started, tokens of prompts and answers */
		bool is_new;
	} rows[] = {
		{{STARTED, 10, 5}, {STARTED, 10, 5}, false},
		{{STARTED, 10, 5}, {STARTED, 20, 9}, false},
		{{STARTED, 10, 5}, {STARTED + 60, 20, 9}, true},
		{{STARTED, 10, 5}, {STARTED - 60, 20, 9}, true}, /* another process */
		{{STARTED, 10, 5}, {STARTED + 0.9, 20, 9}, false},
		{{STARTED, 10, 5}, {STARTED - 0.9, 20, 9}, false},
		{{STARTED, 10, 5}, {STARTED + 1.1, 20, 9}, true},
		/* the page does not say it, or no longer, or at last */
		{{0, 10, 5}, {0, 11, 5}, false},
		{{STARTED, 10, 5}, {0, 11, 5}, false},
		{{0, 10, 5}, {STARTED, 11, 5}, false},
		{{0, 10, 5}, {0, 14, 0}, true},
		{{0, 10, 5}, {0, 0, 0}, true},
		{{0, 0, 0}, {0, 0, 0}, false},
		{{0, 1e18, 1e18}, {0, 1e18, 1e18}, false},
		{{1e12, 0, 0}, {1e12, 0, 0}, false},
		/* A part of the server began anew within the process. */
		{{STARTED, 10, 5}, {STARTED, 0, 0}, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const double *b = rows[i].before, *n = rows[i].now;
		const struct signals before = page_of(b[0], b[1], b[2]),
				     now = page_of(n[0], n[1], n[2]);
		const struct engine_run was = engine_run_of(&before), is = engine_run_of(&now);

		assert_int_equal(engine_run_is_new(&was, &is), rows[i].is_new);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
