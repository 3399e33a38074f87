/* SPDX-License-Identifier: Apache-2.0 */
/* Policy pintle with decide=request: what the lab shows it of a prompt, and what it makes of that.
 * bpf/test_prefix has the rules themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../lab/policies/lab_policy.h"
#include "../../lab/policies/lab_prefixes.h"

#define SEC          1000000000ULL
#define LATER        (1ULL << 40) /* engines run by then */
#define BLOCK_TOKENS 64
#define BLOCKS       1100 /* of a prompt, at most */

struct object {
	const struct lab_policy *policy;
	void *self;
	uint64_t blocks[BLOCKS];
};

static void make(struct object *o, const char *spec, uint32_t endpoints)
{
	const struct lab_fleet fleet = {
		.endpoints = endpoints,
		.nodes = 1,
		.block_tokens = BLOCK_TOKENS,
		.blocks = 1000,
		.prefill_tokens_per_s = 1000,
		.seed = 42,
	};
	const struct lab_page idle = {0, 0, 0};
	double values[LAB_MAX_KEYS];
	char why[256] = "";

	assert_int_equal(lab_policy_parse(spec, &o->policy, values, NULL, why, sizeof(why)), 0);
	assert_int_equal(o->policy->create(&fleet, values, &o->self), 0);
	for (uint32_t e = 0; e < endpoints; e++)
		o->policy->page(o->self, 0, e, &idle, SEC);
}

static void drop(struct object *o)
{
	o->policy->destroy(o->self);
}

/* A prompt of so many blocks: the first `shared` ones are those of text 0, the rest is the
 * client's.
 */
static struct lab_request ask(struct object *o, uint64_t client, uint64_t text, uint32_t shared,
			      uint32_t blocks)
{
	assert_in_range(blocks, 1, BLOCKS);
	for (uint32_t i = 0; i < blocks; i++)
		o->blocks[i] = lab_hash(i < shared ? 0 : text, i);
	return (struct lab_request){
		.client = client,
		.blocks = o->blocks,
		.block_count = blocks,
		.prompt_tokens = blocks * BLOCK_TOKENS,
		.output_tokens = 10,
	};
}

/* Asks, and is answered at once. */
static uint32_t go(struct object *o, struct lab_request *r, uint64_t now_ns)
{
	r->endpoint = o->policy->pick(o->self, r, now_ns);
	r->first_ns = now_ns;
	o->policy->first_token(o->self, r, now_ns);
	o->policy->answered(o->self, r, now_ns);
	o->policy->ended(o->self, r, now_ns);
	return r->endpoint;
}

static void test_words_of_a_key(void **state)
{
	static const struct {
		const char *spec;
		int err;
	} cases[] = {
		{"pintle:decide=request", 0},   {"pintle:decide=connection", 0},
		{"pintle:decide=1", 0},         {"pintle:decide=req", -EINVAL},
		{"pintle:decide=", -EINVAL},    {"pintle:decide=2", -EINVAL},
		{"pintle:prefix=one", -EINVAL}, {"pintle:decide=connection request", -EINVAL},
	};
	double values[LAB_MAX_KEYS];
	const struct lab_policy *p;
	char why[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(
			lab_policy_parse(cases[i].spec, &p, values, NULL, why, sizeof(why)),
			cases[i].err);
	assert_int_equal(lab_policy_parse("pintle:decide=pod", &p, values, NULL, why, sizeof(why)),
			 -EINVAL);
	assert_string_equal(why, "decide of policy pintle is \"pod\"; write a number from 0 to 1, "
				 "or one of: connection request");
}

/* Two prompts that differ only behind what is seen look alike. */
static void test_no_more_is_shown_than_is_seen(void **state)
{
	static const struct {
		uint32_t visible, shared, steps;
		bool alike;
	} cases[] = {
		{7200, 28, 19, true},    {7200, 27, 19, false},  {7200, 200, 19, true},
		{26600, 100, 37, true},  {26600, 99, 37, false}, {65536, 256, 76, true},
		{65536, 255, 76, false}, {255, 0, 0, true},
	};
	struct object o;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pintle_prompt a = {0}, b = {0};
		struct lab_request r = ask(&o, 1, 1, cases[i].shared, 1000);

		lab_prefixes_read(&r, BLOCK_TOKENS, cases[i].visible, &a);
		r = ask(&o, 1, 2, cases[i].shared, 1000);
		lab_prefixes_read(&r, BLOCK_TOKENS, cases[i].visible, &b);
		assert_int_equal(a.steps, cases[i].steps);
		assert_int_equal(!memcmp(&a, &b, sizeof(a)), cases[i].alike);
		assert_int_equal(a.bytes, 256000); /* that is in the request's head */
	}
}

/* Forty conversations behind one address, which share their first 2 KiB: each stays where it is. */
static void test_conversations_behind_a_gateway(void **state)
{
	uint32_t at[40], spread[4] = {0};
	struct object o;

	(void)state;
	make(&o, "pintle:decide=request", 4);
	for (uint64_t turn = 0; turn < 5; turn++)
		for (uint64_t text = 0; text < 40; text++) {
			struct lab_request r = ask(&o, 7, text + 1, 8, 20 + 6 * (uint32_t)turn);
			uint32_t e = go(&o, &r, SEC + (40 * turn + text) * SEC / 100);

			if (turn)
				assert_int_equal(e, at[text]);
			else
				spread[e]++;
			at[text] = e;
		}
	/* Those who were the first to have the 2 KiB have more, but not all. */
	for (int e = 0; e < 4; e++)
		assert_in_range(spread[e], 0, 40);
	drop(&o);
}

/* A prompt that is nowhere goes to the least loaded endpoint, whatever its client was bound to. */
static void test_a_new_prompt_continues_nothing(void **state)
{
	const struct lab_page busy = {0, 3, 0};
	struct lab_request r;
	struct object o;
	uint32_t first;

	(void)state;
	make(&o, "pintle:decide=request", 2);
	r = ask(&o, 1, 1, 0, 100);
	first = go(&o, &r, SEC);
	o.policy->page(o.self, 0, first, &busy, 2 * SEC);
	r = ask(&o, 1, 1, 0, 104);
	assert_int_equal(go(&o, &r, 2 * SEC), first);
	r = ask(&o, 1, 2, 0, 100);
	assert_int_equal(go(&o, &r, 2 * SEC), 1 - first);
	drop(&o);
}

/* A client that asks a thousand different prompts forgets its own, and no other's. */
static void test_a_flood_evicts_its_own(void **state)
{
	struct object o;
	uint32_t at;

	(void)state;
	make(&o, "pintle:decide=request,prefixes=1000,key=0", 8);
	for (uint64_t second = 1; second < 200; second++) {
		struct lab_request r = ask(&o, 1, 1, 0, 28);
		uint32_t now = go(&o, &r, second * SEC);

		if (second > 1)
			assert_int_equal(now, at);
		at = now;
		for (uint64_t i = 0; i < 10; i++) {
			r = ask(&o, 2, 1000 * second + i, 0, 28);
			go(&o, &r, second * SEC);
		}
	}
	drop(&o);
}

/* Its table is full of what it asked first, of which nothing comes again: it alone is served as if
 * nothing were known. */
static void test_a_flood_learns_no_more_than_its_share(void **state)
{
	struct lab_prefixes *x = NULL;
	struct pintle_known known;
	struct pintle_prompt p;
	struct lab_request r;
	struct object o;

	(void)state;
	assert_int_equal(lab_prefixes_new(1, 100, &x), 0);
	for (uint64_t i = 0; i < 5; i++) {
		r = ask(&o, 1, i, 0, 28);
		lab_prefixes_read(&r, BLOCK_TOKENS, 7200, &p);
		assert_int_equal(lab_prefixes_learn(x, 0, &p, 3, LATER, i < 3 ? 19 : 5),
				 i < 3 ? 19 : 5);
		lab_prefixes_search(x, 0, &p, LATER, SEC, &known);
		assert_int_equal(known.longest, i < 3 ? 19 : 5);
		assert_int_equal(lab_prefixes_learn(x, 0, &p, 4, LATER, 0), 0);
		lab_prefixes_search(x, 0, &p, LATER, SEC, &known);
		assert_int_equal(prefix_steps(&known, 4, 1, LATER, 0), i < 3 ? 19 : 5);
	}
	lab_prefixes_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_of_a_key),
		cmocka_unit_test(test_no_more_is_shown_than_is_seen),
		cmocka_unit_test(test_conversations_behind_a_gateway),
		cmocka_unit_test(test_a_new_prompt_continues_nothing),
		cmocka_unit_test(test_a_flood_evicts_its_own),
		cmocka_unit_test(test_a_flood_learns_no_more_than_its_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
