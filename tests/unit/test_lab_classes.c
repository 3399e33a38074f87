// SPDX-License-Identifier: Apache-2.0
/* The policy lab: classes of a pool, requests that are refused and come again, surges, and parts of
 * a workload that are left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../userspace/config/config.h"
#include "../../lab/fleet/lab.h"
#include "../../lab/policies/lab_policy.h"

#define SEC 1000000000ULL

static struct config *config_of(const char *classes)
{
	_cleanup_free_ char *text = NULL;
	struct config *c = NULL;

	assert_true(asprintf(&text,
			     "apiVersion: pintle.dev/v1alpha1\n"
			     "kind: PintleConfig\n"
			     "pools:\n"
			     "- name: p\n"
			     "  frontends: [\"10.77.0.1:8000\"]\n"
			     "  endpoints:\n"
			     "  - {name: a, listen: \"127.0.0.1:8001\"}\n"
			     "  - {name: b, listen: \"127.0.0.1:8002\"}\n"
			     "%s",
			     classes) > 0);
	assert_int_equal(config_parse("test", text, strlen(text), &yaml_sink_stderr, &c), 0);
	return c;
}

static void policy_set(struct lab_options *o, const char *spec)
{
	char why[128] = "";

	if (lab_policy_parse(spec, &o->policy, o->values, NULL, why, sizeof(why)))
		fail_msg("%s", why);
}

/* -- one decision, by hand ---------------------------------------------------------------- */

/* Where requests of each label go, where the endpoints have so many requests, and the client has
 * been at the first endpoint before. */
static void decided(const char *classes, uint32_t first, uint32_t second, const char *label,
		    uint32_t expected)
{
	_cleanup_(config_freep) struct config *c = config_of(classes);
	const struct lab_fleet fleet = {
		.endpoints = 2,
		.nodes = 1,
		.block_tokens = 64,
		.blocks = 1000,
		.pool = &c->pools[0],
		.seed = 42,
	};
	const struct lab_page idle = {0}, full = {9, 9, 0}, one = {.running = first},
			      two = {.running = second};
	struct lab_options o = {0};
	struct lab_request r = {.client = 1, .prompt_tokens = 64};
	uint32_t got;
	void *self;

	policy_set(&o, "pintle:follow=0,tie=0,sample=8");
	assert_int_equal(o.policy->create(&fleet, o.values, &self), 0);
	o.policy->page(self, 0, 0, &idle, SEC);
	o.policy->page(self, 0, 1, &full, SEC);
	r.endpoint = o.policy->pick(self, &r, SEC);
	assert_int_equal(r.endpoint, 0);
	o.policy->answered(self, &r, SEC);
	o.policy->ended(self, &r, SEC);
	o.policy->page(self, 0, 0, &one, 2 * SEC);
	o.policy->page(self, 0, 1, &two, 2 * SEC);
	r = (struct lab_request){.client = 1, .prompt_tokens = 64, .label = label};
	got = o.policy->pick(self, &r, 2 * SEC);
	if (got != expected)
		fail_msg("%s, %u and %u: %u, not %u", label, first, second, got, expected);
	if (got == LAB_REFUSED)
		assert_in_range(r.retry_ns, 2 * SEC, 4 * SEC);
	o.policy->destroy(self);
}

static void test_class_of_its_label(void **state)
{
	const char *classes = "  classes:\n"
			      "  - {name: chat}\n"
			      "  - {name: agents, maxExtraLoad: 1}\n"
			      "  - {name: batch, limit: 5, admission: refuse}\n";

	(void)state;
	decided(classes, 6, 4, "chat", 0);   /* it stays */
	decided(classes, 6, 4, "agents", 1); /* 2 more are too many */
	decided(classes, 5, 4, "agents", 0);
	decided(classes, 6, 4, "batch", 1); /* its own one is full */
	decided(classes, 4, 6, "batch", 0);
	decided(classes, 6, 6, "batch", LAB_REFUSED);
	decided(classes, 6, 6, "chat", 0);
	decided(classes, 6, 6, "others", 0); /* of the first class */
}

static void test_class_proceeds(void **state)
{
	const char *classes = "  classes: [{name: chat}, {name: batch, limit: 5}]\n";

	(void)state;
	decided(classes, 6, 6, "batch", 0);
	decided(classes, 6, 4, "batch", 1);
}

/* -- whole experiments ---------------------------------------------------------------------- */

static struct lab_options options_of(const char *workload)
{
	struct lab_options o = {
		.workload = lab_workload_find(workload),
		.profile = profile_find("llama-8b-h100"),
		.endpoints = 2,
		.nodes = 2,
		.block_tokens = 64,
		.rate = 5,
		.seconds = 60,
		.seed = 7,
	};

	policy_set(&o, "pintle");
	return o;
}

static void run(const struct lab_options *o, struct lab_result *r)
{
	const char *what = "";

	if (lab_run(o, r, &what))
		fail_msg("%s", what);
}

/* A job that is told no comes again, and is done; its TTFT counts from its first attempt. */
static void test_refused_comes_again(void **state)
{
	_cleanup_(config_freep) struct config *c = config_of(
		"  classes: [{name: chat}, {name: batch, limit: 12, admission: refuse}]\n");
	struct lab_options o = options_of("mixed");
	struct lab_result without, with;

	(void)state;
	run(&o, &without);
	o.config = c;
	run(&o, &with);
	assert_int_equal(without.told_no, 0);
	assert_true(with.told_no > 0);
	assert_int_equal(with.ended, with.measured);
	assert_int_equal(with.unfinished, 0);
	assert_int_equal(with.refused, 0);
	assert_true(with.outcomes[PINTLE_OUTCOME_REFUSED] >= with.told_no);
	assert_true(durations_quantile(&with.ttft_part[1], 0.95) > 2 * SEC);
	assert_true(durations_quantile(&with.ttft, 0.95) < durations_quantile(&without.ttft, 0.95));
	lab_result_fini(&without);
	lab_result_fini(&with);
}

/* Who is never let in counts with the time that he has waited. */
static void test_refused_for_ever(void **state)
{
	_cleanup_(config_freep) struct config *c = config_of(
		"  classes: [{name: chat}, {name: batch, limit: 0.001, admission: refuse}]\n");
	struct lab_options o = options_of("mixed");
	struct lab_result r;

	(void)state;
	o.config = c;
	run(&o, &r);
	assert_true(r.told_no > 0);
	assert_true(r.unfinished > 0);
	assert_int_equal(r.measured, r.ended + r.unfinished);
	assert_true(durations_quantile(&r.ttft_part[1], 0.5) > 10 * SEC);
	lab_result_fini(&r);
}

static void test_surge(void **state)
{
	struct lab_options o = options_of("chat");
	struct lab_result calm, surge;
	double before = 0, during = 0;

	(void)state;
	run(&o, &calm);
	o.surge = 10;
	o.surge_from_s = 20;
	o.surge_s = 10;
	run(&o, &surge);
	assert_true(surge.measured > calm.measured * 3 / 2);
	assert_true(surge.measured < calm.measured * 4);
	for (int i = 10; i < 20; i++) {
		before += surge.timeline[i].mean;
		during += surge.timeline[i + 10].mean;
	}
	assert_true(during > 2 * before);
	lab_result_fini(&calm);
	lab_result_fini(&surge);
}

static void test_without(void **state)
{
	struct lab_options o = options_of("chat-agents-batch");
	struct lab_result all, some;

	(void)state;
	o.seconds = 600;
	run(&o, &all);
	o.without = "batch";
	run(&o, &some);
	for (int i = 0; i < 3; i++)
		assert_true(all.part_tokens_per_s[i] > 0);
	assert_true(some.part_tokens_per_s[0] > 0);
	assert_true(some.part_tokens_per_s[1] > 0);
	assert_true(some.part_tokens_per_s[2] == 0);
	lab_result_fini(&all);
	lab_result_fini(&some);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_class_of_its_label),
		cmocka_unit_test(test_class_proceeds),
		cmocka_unit_test(test_refused_comes_again),
		cmocka_unit_test(test_refused_for_ever),
		cmocka_unit_test(test_surge),
		cmocka_unit_test(test_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
