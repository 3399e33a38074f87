// SPDX-License-Identifier: Apache-2.0
/* Whether an endpoint is fit: what checks say, for old servers and for new ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/fitness.h"

#define SEC   NSEC_PER_SEC
#define START (1000 * SEC)

static const struct fitness_terms terms = {
	.checked = true, .failures = 2, .startup_ns = 600 * NSEC_PER_SEC};

struct patient {
	struct fitness f;
	uint64_t now;
};

static struct patient known(bool heard, uint32_t unfit)
{
	struct patient x = {.now = START};

	fitness_begin(&x.f, heard, unfit, &terms, x.now);
	return x;
}

static uint32_t judge(const struct patient *x)
{
	return fitness_judge(&x->f, &terms, x->now);
}

/* A check 5 s later; returns whether it counts as a failure. */
static bool check(struct patient *x, uint32_t status)
{
	uint64_t begun = x->now += 5 * SEC;

	x->now += SEC / 10;
	if (status)
		fitness_met(&x->f, false, 0, begun);
	return fitness_checked(&x->f, &terms, status == 200, status, begun, x->now);
}

#define IS(x, what) assert_int_equal(judge(x), PINTLE_UNFIT_##what)

static void test_failures_in_a_row(void **state)
{
	struct patient x = known(true, PINTLE_UNFIT_NOT);

	(void)state;
	IS(&x, NOT); /* before the first check: it served */
	assert_true(check(&x, 503));
	IS(&x, NOT);
	assert_false(check(&x, 200));
	assert_true(check(&x, 0));
	IS(&x, NOT);
	assert_true(check(&x, 503));
	IS(&x, UNHEALTHY);
	assert_int_equal(x.f.status, 503);
	check(&x, 200);
	IS(&x, NOT);
	assert_int_equal(x.f.status, 0);
}

static void test_a_new_endpoint(void **state)
{
	struct patient x = known(false, PINTLE_UNFIT_NOT);

	(void)state;
	IS(&x, STARTING);
	for (int i = 0; i < 100; i++) {
		assert_false(check(&x, 503));
		IS(&x, STARTING);
	}
	check(&x, 200);
	IS(&x, NOT);
	check(&x, 503);
	IS(&x, NOT);
	check(&x, 503);
	IS(&x, UNHEALTHY);
}

static void test_the_startup_is_over(void **state)
{
	struct patient x = known(false, PINTLE_UNFIT_NOT);

	(void)state;
	x.now = START + terms.startup_ns - 1;
	IS(&x, STARTING);
	x.now++;
	IS(&x, UNHEALTHY);
	assert_true(check(&x, 503));
	IS(&x, UNHEALTHY);
	check(&x, 200);
	IS(&x, NOT);
}

/* What an earlier daemon found holds until a check says otherwise. */
static void test_another_daemon(void **state)
{
	struct patient x = known(true, PINTLE_UNFIT_UNHEALTHY);

	(void)state;
	IS(&x, UNHEALTHY);
	check(&x, 200);
	IS(&x, NOT);
	x = known(true, PINTLE_UNFIT_STARTING);
	IS(&x, STARTING);
	x = known(true, PINTLE_UNFIT_FAULTY);
	IS(&x, NOT);
}

/* It listens anew: the check of the process before says nothing. */
static void test_it_restarts(void **state)
{
	struct patient x = known(true, PINTLE_UNFIT_NOT);

	(void)state;
	check(&x, 200);
	x.now += SEC;
	assert_false(fitness_met(&x.f, false, 1, x.now));
	assert_true(fitness_met(&x.f, false, x.now - 1, x.now));
	IS(&x, STARTING);
	assert_false(fitness_met(&x.f, false, x.now - 1, x.now));
	assert_false(check(&x, 503));
	IS(&x, STARTING);
	check(&x, 200);
	IS(&x, NOT);
}

/* At an address only a refusal shows that there is no server. A dead one is unhealthy; the next one
 * starts. */
static void test_it_is_refused(void **state)
{
	struct patient x = known(true, PINTLE_UNFIT_NOT);

	(void)state;
	check(&x, 200);
	for (int i = 0; i < 3; i++) {
		x.now += SEC;
		assert_false(fitness_met(&x.f, true, 0, x.now));
		check(&x, 0);
	}
	IS(&x, UNHEALTHY);
	x.now += SEC;
	assert_true(fitness_met(&x.f, false, 0, x.now));
	IS(&x, STARTING);
	assert_false(check(&x, 503));
	IS(&x, STARTING);
	check(&x, 200);
	IS(&x, NOT);
	/* Or its first answer is that of a check. */
	fitness_met(&x.f, true, 0, ++x.now);
	check(&x, 200);
	IS(&x, NOT);
}

/* ---- GPUs ------------------------------------------------------------------------------- */

static void page(struct patient *x, uint32_t xid, uint32_t other, double dbe)
{
	struct fitness_gpus g = {.dbe = dbe};

	if (xid)
		g.xids[g.count++] = xid;
	if (other)
		g.xids[g.count++] = other;
	x->now += 5 * SEC;
	fitness_gpus(&x->f, &g, x->now);
}

static void test_an_xid(void **state)
{
	struct patient x = known(true, PINTLE_UNFIT_NOT);

	(void)state;
	page(&x, 48, 0, 0); /* it may be years old */
	IS(&x, NOT);
	page(&x, 48, 79, 0);
	IS(&x, FAULTY);
	assert_int_equal(x.f.xid, 79);
	page(&x, 48, 79, 0);
	IS(&x, FAULTY);
	page(&x, 48, 0, 0);
	IS(&x, NOT);
	page(&x, 48, 0, 0);
	IS(&x, NOT);
	page(&x, 0, 0, 0);
	page(&x, 48, 0, 0);
	IS(&x, FAULTY);
	/* The server restarts, and the page goes on saying it. */
	fitness_met(&x.f, false, x.now + 1, x.now + 1);
	x.f.good_ns = x.now += 2;
	IS(&x, NOT);
	page(&x, 48, 0, 0);
	page(&x, 48, 0, 0);
	IS(&x, NOT);
	page(&x, 95, 0, 0);
	IS(&x, FAULTY);
}

static void test_an_error_of_memory(void **state)
{
	struct patient x = known(true, PINTLE_UNFIT_NOT);

	(void)state;
	page(&x, 0, 0, 3);
	IS(&x, NOT);
	page(&x, 0, 0, 4);
	IS(&x, FAULTY);
	assert_int_equal(x.f.xid, 0);
	page(&x, 0, 0, 4);
	IS(&x, FAULTY);
	page(&x, 0, 0, 0); /* the driver was loaded anew */
	IS(&x, NOT);
	page(&x, 0, 0, 1);
	IS(&x, FAULTY);
}

/* An earlier daemon found it faulty. */
static void test_faulty_before(void **state)
{
	struct patient x = known(true, PINTLE_UNFIT_NOT);

	(void)state;
	x.f.faulty = true;
	x.f.xid = 79;
	x.f.faulty_ns = x.now;
	IS(&x, FAULTY);
	page(&x, 79, 0, 0);
	IS(&x, FAULTY);
	page(&x, 0, 0, 0);
	IS(&x, NOT);
}

static void test_faulty(void **state)
{
	const struct fitness_terms unchecked = {0};
	struct patient x = known(true, PINTLE_UNFIT_NOT);

	(void)state;
	x.f.faulty = true;
	x.f.faulty_ns = x.now;
	IS(&x, FAULTY);
	assert_int_equal(fitness_judge(&x.f, &unchecked, x.now), PINTLE_UNFIT_FAULTY);
	x.f.faulty = false;
	x.f.failures = 9;
	assert_int_equal(fitness_judge(&x.f, &unchecked, x.now), PINTLE_UNFIT_NOT);
}

/* A page that says nothing of a GPU's errors, because its numbers are none, ends no fault and
 * begins none. */
static void test_spoiled_gpus(void **state)
{
	const struct fitness_gpus none = {0}, lost = {.spoiled = true}, ill = {{79}, 1, 0, false};
	struct fitness f = {0};

	(void)state;
	fitness_gpus(&f, &none, 1000);
	fitness_gpus(&f, &ill, 2000);
	assert_true(f.faulty && f.xid == 79);
	fitness_gpus(&f, &lost, 3000);
	assert_true(f.faulty && f.xid == 79);
	fitness_gpus(&f, &none, 4000);
	assert_false(f.faulty);
	/* An XID that was there when pintled began stays old. */
	f = (struct fitness){0};
	fitness_gpus(&f, &ill, 1000);
	fitness_gpus(&f, &lost, 2000);
	fitness_gpus(&f, &ill, 3000);
	assert_false(f.faulty);
}

/* An engine that sleeps gets nothing; what its checks or its GPU say against it is told instead. */
static void test_asleep(void **state)
{
	static const struct fitness_terms unchecked = {.failures = 2};
	struct patient x = known(true, PINTLE_UNFIT_NOT);

	(void)state;
	x.f.asleep = true;
	IS(&x, ASLEEP);
	assert_int_equal(fitness_judge(&x.f, &unchecked, x.now), PINTLE_UNFIT_ASLEEP);
	check(&x, 503);
	IS(&x, ASLEEP);
	check(&x, 503);
	IS(&x, UNHEALTHY);
	check(&x, 200);
	IS(&x, ASLEEP);
	x.f.asleep = false;
	IS(&x, NOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failures_in_a_row),
		cmocka_unit_test(test_a_new_endpoint),
		cmocka_unit_test(test_the_startup_is_over),
		cmocka_unit_test(test_another_daemon),
		cmocka_unit_test(test_it_restarts),
		cmocka_unit_test(test_it_is_refused),
		cmocka_unit_test(test_faulty),
		cmocka_unit_test(test_an_xid),
		cmocka_unit_test(test_an_error_of_memory),
		cmocka_unit_test(test_faulty_before),
		cmocka_unit_test(test_spoiled_gpus),
		cmocka_unit_test(test_asleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
