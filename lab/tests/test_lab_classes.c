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

/* A node with two endpoints. */
struct object {
	struct config *config;
	const struct lab_policy *policy;
	void *self;
};

static struct object make(const char *classes)
{
	struct object o = {.config = config_of(classes)};
	const struct lab_fleet fleet = {
		.endpoints = 2,
		.nodes = 1,
		.block_tokens = 64,
		.blocks = 1000,
		.pool = &o.config->pools[0],
		.seed = 42,
	};
	struct lab_options lab = {0};

	policy_set(&lab, "pintle:follow=0,tie=0,sample=8");
	o.policy = lab.policy;
	assert_int_equal(o.policy->create(&fleet, lab.values, &o.self), 0);
	return o;
}

static void drop(struct object *o)
{
	o->policy->destroy(o->self);
	config_free(o->config);
}

/* The endpoints have so many requests. */
static void pages(struct object *o, uint32_t first, uint32_t second, uint64_t now_ns)
{
	const struct lab_page one = {.running = first}, two = {.running = second};

	o->policy->page(o->self, 0, 0, &one, now_ns);
	o->policy->page(o->self, 0, 1, &two, now_ns);
}

static struct lab_request ask(struct object *o, uint64_t client, const char *label, uint64_t now_ns)
{
	struct lab_request r = {.client = client, .prompt_tokens = 64, .label = label};

	r.endpoint = o->policy->pick(o->self, &r, now_ns);
	return r;
}

static void over(struct object *o, const struct lab_request *r, uint64_t now_ns)
{
	o->policy->answered(o->self, r, now_ns);
	o->policy->ended(o->self, r, now_ns);
}

/* Where a request with this label goes, whose client has been at the first endpoint before. */
static void decided(const char *classes, uint32_t first, uint32_t second, const char *label,
		    uint32_t expected)
{
	struct object o = make(classes);
	struct lab_request r;

	pages(&o, 0, 18, SEC);
	r = ask(&o, 1, NULL, SEC);
	assert_int_equal(r.endpoint, 0);
	over(&o, &r, SEC);
	pages(&o, first, second, 2 * SEC);
	r = ask(&o, 1, label, 2 * SEC);
	if (r.endpoint != expected)
		fail_msg("%s, %u and %u: %u, not %u", label, first, second, r.endpoint, expected);
	if (r.endpoint == LAB_REFUSED)
		assert_in_range(r.retry_ns, 2 * SEC, 4 * SEC);
	drop(&o);
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

static void test_reserved(void **state)
{
	struct object o =
		make("  classes: [{name: chat, reserve: 1}, {name: batch, priority: -1}]\n");
	uint32_t open;

	(void)state;
	pages(&o, 5, 5, SEC);
	open = ask(&o, 1, "batch", SEC).endpoint;
	assert_in_range(open, 0, 1);
	for (uint64_t i = 2; i < 20; i++) {
		pages(&o, open ? 0 : 50, open ? 50 : 0, i * SEC);
		assert_int_equal(ask(&o, i, "batch", i * SEC).endpoint, open);
		assert_int_equal(ask(&o, 100 + i, "chat", i * SEC).endpoint, 1 - open);
	}
	drop(&o);
}

static void test_connections(void **state)
{
	struct object o = make("  classes: [{name: chat}, {name: batch, connections: 1, "
			       "admission: refuse}]\n");
	struct lab_request a, b;

	(void)state;
	pages(&o, 0, 0, SEC);
	a = ask(&o, 1, "batch", SEC);
	b = ask(&o, 2, "batch", SEC);
	assert_int_equal(a.endpoint + b.endpoint, 1);
	assert_int_equal(ask(&o, 3, "batch", SEC).endpoint, LAB_REFUSED);
	assert_int_not_equal(ask(&o, 4, "chat", SEC).endpoint, LAB_REFUSED);
	over(&o, &a, SEC);
	assert_int_equal(ask(&o, 5, "batch", SEC).endpoint, a.endpoint);
	drop(&o);
}

static void test_pool_connections(void **state)
{
	struct object o = make("  classes: [{name: chat}, {name: batch, poolConnections: 3, "
			       "admission: refuse}]\n");
	struct lab_request r;

	(void)state;
	pages(&o, 0, 0, SEC);
	r = ask(&o, 1, "batch", SEC);
	for (uint64_t i = 2; i <= 3; i++)
		assert_int_not_equal(ask(&o, i, "batch", SEC).endpoint, LAB_REFUSED);
	assert_int_equal(ask(&o, 4, "batch", SEC).endpoint, LAB_REFUSED);
	over(&o, &r, SEC);
	assert_int_not_equal(ask(&o, 5, "batch", SEC).endpoint, LAB_REFUSED);
	drop(&o);
}

/* What was full stays so until its load is below 7/8 of the limit. */
static void test_full_before(void **state)
{
	struct object o =
		make("  classes: [{name: chat}, {name: batch, limit: 8, admission: refuse}]\n");
	const uint32_t loads[] = {7, 8, 7, 6, 7};
	const bool refused[] = {false, true, true, false, false};

	(void)state;
	for (uint64_t i = 0; i < ARRAY_SIZE(loads); i++) {
		struct lab_request r;

		pages(&o, loads[i], loads[i], (i + 1) * SEC);
		r = ask(&o, i, "batch", (i + 1) * SEC);
		assert_int_equal(r.endpoint == LAB_REFUSED, refused[i]);
		if (!refused[i])
			over(&o, &r, (i + 1) * SEC);
	}
	drop(&o);
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
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_connections),
		cmocka_unit_test(test_pool_connections),
		cmocka_unit_test(test_full_before),
		cmocka_unit_test(test_refused_comes_again),
		cmocka_unit_test(test_refused_for_ever),
		cmocka_unit_test(test_surge),
		cmocka_unit_test(test_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
