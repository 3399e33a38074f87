// SPDX-License-Identifier: Apache-2.0
/* The policy lab: its sums, its use of the engine model, and the policies in cases computed by
 * hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../userspace/config/config.h"
#include "../../userspace/base/util.h"
#include "../../lab/fleet/lab_index.h"
#include "../../lab/policies/lab_policy.h"
#include "../../lab/fleet/lab_report.h"
#include "../../tests/unit/support_random.h"

#define SEC   1000000000ULL
#define CLOSE 1e-9

/* -- statistics ----------------------------------------------------------------------- */

static void test_interval(void **state)
{
	const double three[] = {1, 2, 3};
	struct lab_interval i = lab_interval_of(three, 3);

	(void)state;
	assert_float_equal(i.mean, 2, CLOSE);
	assert_float_equal(i.half, 4.303 / sqrt(3),
			   CLOSE); /* standard deviation 1, two degrees of freedom */
	i = lab_interval_of(three, 1);
	assert_float_equal(i.mean, 1, CLOSE);
	assert_float_equal(i.half, 0, CLOSE);
}

static void test_herd(void **state)
{
	const uint32_t placed[] = {0, 0, 0, 1, 0, 1, 2, 3};
	struct lab_herd h;

	(void)state;
	assert_int_equal(lab_herd_init(&h, 4), 0);
	for (uint32_t i = 0; i < 8; i++)
		lab_herd_add(&h, i < 4 ? 7 : 9, placed[i]);
	/* Two windows of four placements: at most 3, then 1, where a fair share is 1. */
	assert_float_equal(lab_herd_index(&h), (3 * 4 + 1 * 4) / 8.0, CLOSE);
	lab_herd_fini(&h);
}

static void test_moment(void **state)
{
	const uint32_t requests[] = {1, 3};
	struct lab_moment m = lab_moment_of(requests, 2);

	(void)state;
	assert_float_equal(m.mean, 2, CLOSE);
	assert_float_equal(m.most, 3, CLOSE);
	assert_float_equal(m.spread, 0.5, CLOSE);
}

/* -- the index ------------------------------------------------------------------------ */

static void test_index_forgets_the_oldest(void **state)
{
	struct lab_index *x = NULL;

	(void)state;
	assert_int_equal(lab_index_new(2, 2, &x), 0);
	assert_int_equal(lab_index_put(x, 10, 0, 1, 1), 0);
	assert_int_equal(lab_index_put(x, 11, 0, 2, 2), 0);
	assert_int_equal(lab_index_put(x, 11, 1, 3, 2), 0);
	assert_int_equal(lab_index_put(x, 10, 0, 4, 3), 0); /* used again, so 11 is the oldest */
	assert_int_equal(lab_index_put(x, 12, 0, 5, 4), 0);
	assert_null(lab_index_get(x, 11, 0));
	assert_int_equal(lab_index_get(x, 11, 1)->value, 3); /* another owner's */
	assert_int_equal(lab_index_get(x, 10, 0)->value, 4);
	assert_int_equal(lab_index_get(x, 10, 0)->used_ns, 3);
	lab_index_free(x);
}

static void test_index_matches_without_gaps(void **state)
{
	const uint64_t keys[] = {1, 2, 3};
	uint32_t matched[3];
	struct lab_index *x = NULL;

	(void)state;
	assert_int_equal(lab_index_new(3, 10000, &x), 0);
	for (uint64_t i = 100; i < 5000; i++) /* more keys, so that the index grows */
		assert_int_equal(lab_index_put(x, i, 0, 0, 0), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(lab_index_put(x, keys[i], 0, 0, 0), 0);
	assert_int_equal(lab_index_put(x, 1, 1, 0, 0), 0);
	assert_int_equal(lab_index_put(x, 3, 1, 0, 0), 0);
	assert_int_equal(lab_index_put(x, 2, 2, 0, 0), 0);
	lab_index_match(x, keys, 3, matched, 3);
	assert_int_equal(matched[0], 3);
	assert_int_equal(matched[1], 1);
	assert_int_equal(matched[2], 0);
	lab_index_free(x);
}

/* -- rivals, by hand ------------------------------------------------------------------- */

static void test_chwbl_bound(void **state)
{
	const struct {
		uint32_t load;
		uint64_t total;
		bool ok;
	} cases[] = {
		{5, 0, true},  /* an idle fleet */
		{1, 7, true},  /* (7 + 1) / 4 x 1.25 = 2.5 */
		{2, 7, false}, /* 3 > 2.5 */
		{0, 1, false}, /* 1 > (1 + 1) / 4 x 1.25 */
		{0, 3, true},  /* 1 <= 1.25 */
		{4, 15, true}, /* 5 <= 5 */
		{5, 15, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (chwbl_load_ok(cases[i].load, cases[i].total, 4, 1.25) != cases[i].ok)
			fail_msg("load %u of %lu", cases[i].load, cases[i].total);
}

static void test_epp_scores(void **state)
{
	const struct epp_weights w = {2, 2, 3};
	const struct lab_page pages[] = {{0, 9, 0.5}, {5, 9, 0.2}, {10, 9, 0}};
	const struct lab_page even[] = {{4, 0, 0.5}, {4, 0, 1}, {4, 0, 0}};
	const uint32_t matched[] = {0, 4, 8};
	double out[3];

	(void)state;
	epp_score(&w, pages, matched, 8, 3, out);
	assert_float_equal(out[0], 2 * 1.0 + 2 * 0.5 + 3 * 0.0, CLOSE);
	assert_float_equal(out[1], 2 * 0.5 + 2 * 0.8 + 3 * 0.5, CLOSE);
	assert_float_equal(out[2], 2 * 0.0 + 2 * 1.0 + 3 * 1.0, CLOSE);
	/* equal queues score 1 all; a prompt without a block matches nothing */
	epp_score(&w, even, matched, 0, 3, out);
	assert_float_equal(out[0], 3, CLOSE);
	assert_float_equal(out[1], 2, CLOSE);
	assert_float_equal(out[2], 4, CLOSE);
}

static void test_prequal_rule(void **state)
{
	const struct prequal_probe pool[] = {
		{.endpoint = 0, .rif = 2, .latency_ns = 50},
		{.endpoint = 1, .rif = 9, .latency_ns = 5},
		{.endpoint = 2, .rif = 1, .latency_ns = 80},
	};
	const uint32_t counts[] = {5, 1, 4, 2, 3};

	(void)state;
	assert_int_equal(prequal_choose(pool, 3, 5), 0);  /* 1 is hot; 0 is the fastest cold one */
	assert_int_equal(prequal_choose(pool, 3, 2), 0);  /* 2 is not above 2 */
	assert_int_equal(prequal_choose(pool, 3, 1), 2);  /* the only cold one */
	assert_int_equal(prequal_choose(pool, 3, 0), 2);  /* all hot: the least rif */
	assert_int_equal(prequal_choose(pool, 3, 10), 1); /* all cold: the fastest */
	/* (1 + 1) / ((1 - 16/100) 3 - 1) = 1.3, and with half the fleet in the pool 2 / 0.5 */
	assert_int_equal(prequal_reuse(16, 100, 3, 1, 1), 2);
	assert_int_equal(prequal_reuse(4, 8, 3, 1, 1), 4);
	assert_int_equal(prequal_reuse(8, 8, 3, 1, 1), 1000000000);
	assert_float_equal(prequal_quantile(counts, 5, 0), 1, CLOSE);
	assert_float_equal(prequal_quantile(counts, 5, 0.5), 3, CLOSE);
	assert_float_equal(prequal_quantile(counts, 5, 0.84), 5, CLOSE);
	assert_float_equal(prequal_quantile(counts, 5, 1), 5, CLOSE);
}

static void test_sglang_balance(void **state)
{
	(void)state;
	assert_true(sglang_unbalanced(70, 5, 64, 1.5));
	assert_false(sglang_unbalanced(64, 0, 64, 1.5));    /* 64 is not above 64 */
	assert_false(sglang_unbalanced(300, 220, 64, 1.5)); /* 300 < 330 */
	assert_true(sglang_unbalanced(331, 220, 64, 1.5));
}

/* -- policies as objects ----------------------------------------------------------------- */

struct object {
	const struct lab_policy *policy;
	void *self;
	uint64_t blocks[256];
};

/* What the oracle is told of each engine. */
static struct lab_truth truths[2];

static void truth_told(void *arg, uint32_t endpoint, const struct lab_request *r,
		       struct lab_truth *out)
{
	(void)arg;
	(void)r;
	*out = truths[endpoint];
}

static struct object make(const char *spec, uint32_t endpoints, uint32_t nodes)
{
	const struct lab_fleet fleet = {
		.endpoints = endpoints,
		.nodes = nodes,
		.block_tokens = 64,
		.blocks = 1000,
		.prefill_tokens_per_s = 1000,
		.truth = truth_told,
		.seed = 42,
	};
	double values[LAB_MAX_KEYS];
	struct object o = {0};
	char why[256] = "";

	if (lab_policy_parse(spec, &o.policy, values, NULL, why, sizeof(why)))
		fail_msg("%s", why);
	assert_int_equal(o.policy->create(&fleet, values, &o.self), 0);
	return o;
}

static void drop(struct object *o)
{
	o->policy->destroy(o->self);
}

/* A request of `blocks` blocks with this content. */
static struct lab_request ask(struct object *o, uint64_t client, uint32_t node, uint64_t content,
			      uint32_t blocks)
{
	for (uint32_t i = 0; i < blocks; i++)
		o->blocks[i] = lab_hash(content, i);
	return (struct lab_request){
		.client = client,
		.prefix = lab_hash(content, 0),
		.node = node,
		.blocks = o->blocks,
		.block_count = blocks,
		.prompt_tokens = 64 * blocks,
	};
}

static uint32_t pick(struct object *o, struct lab_request *r, uint64_t now_ns)
{
	r->endpoint = o->policy->pick(o->self, r, now_ns);
	return r->endpoint;
}

static void test_nodes_know_their_own(void **state)
{
	struct object o = make("least-connections", 2, 2);
	struct lab_request r = ask(&o, 1, 0, 1, 1), other;
	uint32_t seen[2] = {0};

	(void)state;
	pick(&o, &r, 0);
	for (int i = 0; i < 64; i++) { /* node 1 has no connections: both are chosen, at random */
		other = ask(&o, 2, 1, 2, 1);
		seen[pick(&o, &other, 0)]++;
		o.policy->ended(o.self, &other, 0);
	}
	assert_true(seen[0] && seen[1]);
	for (int i = 0; i < 8;
	     i++) { /* node 0 has a connection on r.endpoint, so the other is chosen */
		other = ask(&o, 2, 0, 2, 1);
		assert_int_not_equal(pick(&o, &other, 0), r.endpoint);
		o.policy->ended(o.self, &other, 0);
	}
	drop(&o);
}

static void test_chwbl_spreads_one_prefix(void **state)
{
	struct object o = make("chwbl", 4, 1);
	uint32_t load[4] = {0};

	(void)state;
	/* The first three find no endpoint within the bound, and so stay at home. */
	for (uint32_t i = 0; i < 100; i++) {
		struct lab_request r = ask(&o, i, 0, 7, 4);

		load[pick(&o, &r, 0)]++;
		for (int e = 0; e < 4; e++)
			assert_true(load[e] <= fmax(3, (i + 1) / 4.0 * 1.25));
	}
	assert_true(load[0] && load[1] && load[2] && load[3]);
	drop(&o);
}

/* Home may have up to 2000 more uncached tokens in flight than the least loaded endpoint. */
static void epp_sticky_case(const char *spec, bool stays)
{
	struct object o = make(spec, 2, 1);
	struct lab_request warm = ask(&o, 0, 0, 1, 10), r;
	uint32_t home = pick(&o, &warm, 0);

	r = ask(&o, 0, 0, 2, 30); /* 640 are in flight at home: elsewhere */
	assert_int_not_equal(pick(&o, &r, 0), home);
	r = ask(&o, 0, 0, 3, 60); /* 640 + 3840 < 1920 + 3840 */
	assert_int_equal(pick(&o, &r, 0), home);
	/* home leads by 640 + 3840 - 1920 = 2560 */
	for (int i = 0; i < 2;
	     i++) { /* cached tokens are not counted, so the lead stays the same */
		r = ask(&o, 0, 0, 1, 10);
		assert_int_equal(pick(&o, &r, 0) == home, stays);
		assert_int_equal(r.charge, stays ? 0 : 640);
		if (!stays)
			break;
	}
	drop(&o);
}

static void test_epp_sticky(void **state)
{
	(void)state;
	epp_sticky_case("epp-sticky:tmax=2", false); /* 2000 < 2560 */
	epp_sticky_case("epp-sticky:tmax=3", true);
}

static void test_oracle_by_hand(void **state)
{
	struct object o = make("oracle:delay=0,miss=0,request=30,kvCache=3000", 2, 1);
	struct lab_request r[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		r[i] = ask(&o, 1, 0, 7, 10); /* 640 tokens */
	truths[0] = (struct lab_truth){.cached_tokens = 320, .running = 10, .slow = 1};
	truths[1] = (struct lab_truth){.slow = 1};
	assert_int_equal(pick(&o, &r[0], 0), 0); /* 320 + 300 < 640 */
	assert_int_equal(pick(&o, &r[1], 0), 1); /* 320 are under way at 0 */
	truths[0].computed = 320;                /* these are about done: 620 < 640 + 640 */
	assert_int_equal(pick(&o, &r[2], 0), 0);
	truths[0].slow = 10;
	assert_int_equal(pick(&o, &r[3], 0), 1);
	/* A request counts until its first token, or until it ends without one. */
	truths[0] = truths[1] = (struct lab_truth){.slow = 1};
	o.policy->ended(o.self, &r[1], 0);
	r[3].first_ns = 1;
	o.policy->first_token(o.self, &r[3], 1);
	o.policy->ended(o.self, &r[3], 2);
	assert_int_equal(pick(&o, &r[3], 3), 1); /* 0 has two left */
	drop(&o);
}

static void test_sglang_follows_the_prefix(void **state)
{
	struct object o = make("sglang", 8, 1);
	struct lab_request r = ask(&o, 0, 0, 1, 10);
	uint32_t home = pick(&o, &r, 0);

	(void)state;
	for (int i = 0; i < 64; i++) {
		r = ask(&o, 0, 0, 1, 10);
		assert_int_equal(pick(&o, &r, 0), home);
	}
	r = ask(&o, 0, 0, 1, 10); /* 65 against 0: unbalanced */
	assert_int_not_equal(pick(&o, &r, 0), home);
	drop(&o);
}

/* The example of docs/load.md: gpu0 21.164, gpu1 9.625, a session bound to gpu0. */
static void pintle_case(int came, const char *spec, uint32_t expected)
{
	const struct lab_page full = {50, 50, 0.5}, idle = {0, 0, 0};
	const struct lab_page gpu0 = {3, 12, 0.6}, gpu1 = {0, 9, 0.4};
	struct object o = make(spec, 2, 1);
	struct lab_request r = ask(&o, 1, 0, 1, 1), other = ask(&o, 2, 0, 1, 1);

	o.policy->page(o.self, 0, 0, &idle, SEC);
	o.policy->page(o.self, 0, 1, &full, SEC);
	assert_int_equal(pick(&o, &r, SEC), 0);
	assert_int_equal(pick(&o, &other, SEC), 0);
	o.policy->ended(o.self, &r, SEC);
	o.policy->page(o.self, 0, 0, &gpu0, 2 * SEC);
	o.policy->page(o.self, 0, 1, &gpu1, 2 * SEC);
	if (came < 0)
		o.policy->ended(o.self, &other, 2 * SEC);
	for (int i = 0; i < came; i++)
		assert_int_equal(pick(&o, &r, 2 * SEC), 0);
	assert_int_equal(pick(&o, &r, 2 * SEC), expected);
	drop(&o);
}

static void test_pintle_by_hand(void **state)
{
	(void)state;
	pintle_case(0, "pintle:follow=0,tie=0,sample=8", 0);
	pintle_case(2, "pintle:follow=0,tie=0,sample=8", 0); /* 25.164 < 9.625 + 16 */
	pintle_case(3, "pintle:follow=0,tie=0,sample=8", 1); /* 27.164 */
	pintle_case(0, "pintle:follow=0,tie=0,sample=8,maxExtraLoad=11", 1);
	pintle_case(-1, "pintle:follow=0,tie=0,sample=8,maxExtraLoad=11",
		    0); /* 20.164 < 9.625 + 11 */
	pintle_case(-1, "pintle:follow=0,tie=0,sample=8,maxExtraLoad=11,ends=0", 1);
	pintle_case(3, "pintle:follow=0,tie=0,sample=8,placed=1", 0); /* 24.164 */
}

static void test_pintle_forgets(void **state)
{
	const struct lab_page idle = {0, 0, 0}, busy = {0, 5, 0};
	struct object o = make("pintle:ttl=10,staleness=2000", 2, 1);
	struct lab_request r = ask(&o, 1, 0, 1, 1);
	uint64_t outcomes[PINTLE_MAX_OUTCOMES];

	(void)state;
	o.policy->page(o.self, 0, 0, &idle, SEC);
	o.policy->page(o.self, 0, 1, &busy, SEC);
	assert_int_equal(pick(&o, &r, SEC), 0);
	o.policy->ended(o.self, &r, SEC);
	o.policy->page(o.self, 0, 0, &busy, 10 * SEC);
	o.policy->page(o.self, 0, 1, &idle, 10 * SEC);
	assert_int_equal(pick(&o, &r, 10 * SEC), 0); /* bound, and 5 more is within 16 */
	o.policy->ended(o.self, &r, 10 * SEC);
	o.policy->page(o.self, 0, 0, &busy, 20 * SEC);
	o.policy->page(o.self, 0, 1, &idle, 20 * SEC);
	assert_int_equal(pick(&o, &r, 20 * SEC), 1); /* the binding was unused for 10 s */
	o.policy->ended(o.self, &r, 20 * SEC);
	pick(&o, &r, 23 * SEC); /* the pages are 3 s old */
	o.policy->outcomes(o.self, outcomes);
	assert_int_equal(outcomes[PINTLE_OUTCOME_LEAST_LOADED], 2);
	assert_int_equal(outcomes[PINTLE_OUTCOME_STICKY], 1);
	assert_int_equal(outcomes[PINTLE_OUTCOME_STALE], 1);
	drop(&o);
}

/* A node counts its own connections, and finds other nodes' connections in the page. It does not
 * count its own a second time there. */
static void test_pintle_sees_others_in_the_page(void **state)
{
	const struct lab_page idle = {0, 0, 0}, busy = {0, 6, 0}, more = {0, 7, 0};
	struct object o = make("pintle:follow=0,tie=0,sample=8,key=0", 2, 2);
	uint32_t seen[2] = {0};
	struct lab_request r;

	(void)state;
	for (uint32_t node = 0; node < 2; node++) {
		o.policy->page(o.self, node, 0, &idle, SEC);
		o.policy->page(o.self, node, 1, &busy, SEC);
	}
	for (int i = 0; i < 3; i++) { /* loads of 0, 2 and 4 against 6 */
		r = ask(&o, 1, 1, 1, 1);
		assert_int_equal(pick(&o, &r, SEC), 0);
	}
	for (int i = 0; i < 3; i++) { /* node 0 knows nothing of these */
		r = ask(&o, 2, 0, 1, 1);
		assert_int_equal(pick(&o, &r, SEC), 0);
	}
	for (int i = 0; i < 4; i++) { /* node 1: 6 against 6, and so on */
		r = ask(&o, 1, 1, 1, 1);
		seen[pick(&o, &r, SEC)]++;
	}
	assert_int_equal(seen[0], 2);
	assert_int_equal(seen[1], 2);
	/* The page has the three connections of node 0: 6 against 7. */
	o.policy->page(o.self, 0, 0, &busy, 2 * SEC);
	o.policy->page(o.self, 0, 1, &more, 2 * SEC);
	r = ask(&o, 3, 0, 1, 1);
	assert_int_equal(pick(&o, &r, 2 * SEC), 0);
	drop(&o);
}

/* A prompt counts from the next pass on, and until its first token. Before, it is one connection
 * like any other. */
static void test_pintle_sees_prompts_as_late_as_the_kernel(void **state)
{
	struct object o = make("pintle:key=0", 2, 1);
	struct lab_request large = {.client = 1, .prompt_tokens = 8000};
	struct lab_request small = {.client = 2, .prompt_tokens = 100};
	const struct lab_page idle = {0, 0, 0};
	uint64_t now = SEC;
	uint32_t at;

	(void)state;
	for (uint32_t e = 0; e < 2; e++)
		o.policy->page(o.self, 0, e, &idle, now);
	at = pick(&o, &large, now);
	assert_int_equal(pick(&o, &small, now), 1 - at);
	for (int i = 0; i < 10; i++) {
		now += 60 * SEC / 1000;
		assert_int_equal(pick(&o, &small, now), 1 - at);
	}
	large.first_ns = now;
	o.policy->first_token(o.self, &large, now);
	now += 60 * SEC / 1000;
	assert_int_equal(pick(&o, &small, now), at);
	drop(&o);
}

/* A crowd's requests spread, those of one after the other stay. */
static void test_pintle_holds_no_crowd(void **state)
{
	struct object o = make("pintle", 8, 1);
	const struct lab_page idle = {0, 0, 0};
	struct lab_request crowd[16], one = {.client = 2, .prompt_tokens = 100};
	uint32_t seen = 0, first;

	(void)state;
	for (uint32_t e = 0; e < 8; e++)
		o.policy->page(o.self, 0, e, &idle, SEC);
	for (size_t i = 0; i < ARRAY_SIZE(crowd); i++) {
		crowd[i] = (struct lab_request){.client = 1, .prompt_tokens = 100};
		seen |= 1U << pick(&o, &crowd[i], SEC);
	}
	assert_true(__builtin_popcount(seen) >= 3);
	first = pick(&o, &one, SEC);
	for (int i = 0; i < 8; i++) {
		one.first_ns = SEC;
		o.policy->first_token(o.self, &one, SEC);
		o.policy->answered(o.self, &one, SEC);
		o.policy->ended(o.self, &one, SEC);
		assert_int_equal(pick(&o, &one, SEC), first);
	}
	drop(&o);
}

/* Random picks, ends and pages. Loads are whole numbers, so their digest does not depend on
 * rounding. */
static uint64_t pintle_digest(uint64_t digest, const char *spec, uint32_t endpoints, uint32_t nodes,
			      int picks)
{
	struct object o = make(spec, endpoints, nodes);
	struct lab_request open[64];
	uint64_t outcomes[PINTLE_MAX_OUTCOMES], at = digest, now = SEC;
	uint32_t n = 0;

	for (int i = 0; i < picks; i++) {
		uint64_t x = random_at(at++);
		struct lab_request r = {
			.client = x % 97, .group = x >> 8 & 15, .node = (x >> 16) % nodes};

		now += (x >> 24) % (20 * SEC / 1000);
		if (x >> 56 < 40) {
			const struct lab_page page = {x >> 32 & 3, x >> 40 & 15, 0};

			o.policy->page(o.self, r.node, random_at(at++) % endpoints, &page, now);
		}
		if (n == ARRAY_SIZE(open) || (n && x >> 56 & 1)) {
			uint32_t which = random_at(at++) % n;

			o.policy->ended(o.self, &open[which], now);
			open[which] = open[--n];
		}
		digest = digest_add(digest, pick(&o, &r, now));
		open[n++] = r;
	}
	o.policy->outcomes(o.self, outcomes);
	for (int i = 0; i < PINTLE_MAX_OUTCOMES; i++)
		digest = digest_add(digest, outcomes[i]);
	drop(&o);
	return digest;
}

static void test_pintle_decides_a_million_times(void **state)
{
	static const struct {
		const char *spec;
		uint32_t endpoints, nodes;
	} rows[] = {
		{"pintle:follow=0,tie=0,sample=8,kvCache=0,maxExtraLoad=4", 8, 1},
		{"pintle:follow=0,tie=0,sample=8,kvCache=0,key=0,group=1,maxExtraLoad=4", 8, 4},
		{"pintle:follow=0,tie=0,sample=8,kvCache=0,group=1,maxExtraLoad=2,ttl=1", 5, 2},
		{"pintle:follow=0,tie=0,sample=8,kvCache=0,key=0", 64, 1},
		{"pintle:follow=0,tie=0,sample=8,kvCache=0,group=1,maxExtraLoad=1,ttl=2", 100, 3},
		{"pintle:follow=0,tie=0,kvCache=0,key=0,sample=2", 7, 2},
		{"pintle:follow=0,tie=0,kvCache=0,sample=300,staleness=500", 200, 1},
		{"pintle:follow=0,tie=0,sample=8,kvCache=0,key=0,staleness=100,running=3", 9, 2},
		{"pintle:follow=0,tie=0,sample=8,kvCache=0,key=0,correction=0", 16, 1},
		{"pintle:follow=0,tie=0,sample=8,kvCache=0,key=0,ends=0,placed=1.5,exponent=3", 16,
		 4},
	};
	uint64_t digest = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		digest = pintle_digest(digest, rows[i].spec, rows[i].endpoints, rows[i].nodes,
				       1000000 / (int)ARRAY_SIZE(rows));
	assert_digest(digest, 0xc8709fa5f2504988);
}

/* -- the lab's books ---------------------------------------------------------------------- */

/* Requests that overlap on a few small engines. */
static const struct lab_workload small = {
	.name = "small",
	.says = "for tests",
	.parts = 1,
	.part = {{
		.name = "small",
		.share = 1,
		.turns = 3,
		.turns_max = 6,
		.think_s = 0.05,
		.width = 1,
		.groups = 2,
		.system = 100,
		.first = {40, 0.5, 400},
		.message = {20, 0.5, 400},
		.answer = {10, 0.5, 100},
		.context = 2000,
	}},
	.burst = 1,
};

/* What the test's own policy has seen. */
struct trace {
	struct lab_request r;
	uint64_t blocks[512];
	uint64_t first_ns, ended_ns;
};

#define TRACE_MAX 4096
static struct trace *traced;
static uint32_t trace_count, trace_endpoints;
static struct trace *current[TRACE_MAX]; /* by session */

static int trace_create(const struct lab_fleet *fleet, const double *values, void **out)
{
	(void)values;
	trace_endpoints = fleet->endpoints;
	*out = &trace_count;
	return 0;
}

static void trace_destroy(void *self)
{
	(void)self;
}

static uint32_t trace_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct trace *t = &traced[trace_count];

	(void)self;
	assert_true(trace_count < TRACE_MAX && r->id < TRACE_MAX && r->block_count < 512);
	assert_null(current[r->id]); /* the session's last request has ended */
	assert_int_equal(r->arrived_ns, now_ns);
	t->r = *r;
	/* The answer's blocks follow the prompt's. */
	memcpy(t->blocks, r->blocks,
	       (r->prompt_tokens + r->output_tokens) / 16 * sizeof(*t->blocks));
	t->r.endpoint = trace_count % trace_endpoints;
	current[r->id] = t;
	return traced[trace_count++].r.endpoint;
}

static void trace_first(void *self, const struct lab_request *r, uint64_t now_ns)
{
	(void)self;
	(void)now_ns;
	current[r->id]->first_ns = r->first_ns;
}

static void trace_ended(void *self, const struct lab_request *r, uint64_t now_ns)
{
	(void)self;
	assert_non_null(current[r->id]);
	assert_int_equal(current[r->id]->r.endpoint, r->endpoint);
	current[r->id]->ended_ns = now_ns;
	current[r->id] = NULL;
}

static const struct lab_policy trace_policy = {
	.name = "trace",
	.interval_key = -1,
	.create = trace_create,
	.destroy = trace_destroy,
	.pick = trace_pick,
	.first_token = trace_first,
	.ended = trace_ended,
};

static int trace_begin(void **state)
{
	(void)state;
	traced = calloc(TRACE_MAX, sizeof(*traced));
	trace_count = 0;
	memset(current, 0, sizeof(current));
	return traced ? 0 : -1;
}

static int trace_end(void **state)
{
	(void)state;
	free(traced);
	return 0;
}

static struct lab_options small_options(uint32_t endpoints)
{
	return (struct lab_options){
		.workload = &small,
		.profile = profile_find("tiny"),
		.policy = &trace_policy,
		.endpoints = endpoints,
		.nodes = 1,
		.block_tokens = 16,
		.rate = 100,
		.seconds = 5,
		.seed = 3,
	};
}

static void replay_event(void *arg, const struct model_event *e)
{
	uint64_t *times = arg;

	if (e->type == MODEL_FIRST_TOKEN)
		times[2 * e->id] = e->at_ns;
	if (e->type == MODEL_FINISHED)
		times[2 * e->id + 1] = e->at_ns;
}

/* A gateway hides its clients' addresses, and changes nothing else. */
static void test_gateway(void **state)
{
	struct lab_workload w = small;
	struct lab_options o = small_options(2);
	_cleanup_free_ struct trace *direct = calloc(TRACE_MAX, sizeof(*direct));
	struct lab_result result;
	uint32_t count, groups = 0;

	(void)state;
	assert_non_null(direct);
	w.part[0].groups = 5;
	o.workload = &w;
	assert_int_equal(lab_run(&o, &result, NULL), 0);
	lab_result_fini(&result);
	memcpy(direct, traced, TRACE_MAX * sizeof(*direct));
	count = trace_count;
	trace_count = 0;
	memset(current, 0, sizeof(current));
	w.part[0].client = LAB_CLIENT_GATEWAY;
	assert_int_equal(lab_run(&o, &result, NULL), 0);
	lab_result_fini(&result);
	assert_true(count > 100 && trace_count == count);
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(traced[i].r.client, traced[0].r.client);
		assert_int_equal(traced[i].r.group, 0);
		assert_int_equal(traced[i].r.arrived_ns, direct[i].r.arrived_ns);
		assert_memory_equal(traced[i].blocks, direct[i].blocks, sizeof(direct[i].blocks));
		groups += direct[i].r.group > 0;
	}
	assert_true(groups > 10);
}

/* An engine that gets the same requests directly does the same at the same times as in the lab. */
static void test_agrees_with_the_model(void **state)
{
	struct lab_options o = small_options(1);
	_cleanup_free_ uint64_t *times = calloc(2 * TRACE_MAX, sizeof(*times));
	struct model_config c = o.profile->config;
	struct lab_result result;
	struct model *m = NULL;
	uint32_t overlaps = 0, at;
	uint64_t next;

	(void)state;
	assert_int_equal(lab_run(&o, &result, NULL), 0);
	assert_int_equal(model_new(&c, replay_event, NULL, times, &m, NULL), 0);
	for (at = 0; at < trace_count; at++) {
		struct trace *t = &traced[at];
		struct model_request r = {
			.id = at,
			.blocks = t->blocks,
			.block_count = (t->r.prompt_tokens + t->r.output_tokens) / 16,
			.prompt_tokens = t->r.prompt_tokens,
			.output_tokens = t->r.output_tokens,
		};

		overlaps += at && traced[at - 1].ended_ns > t->r.arrived_ns;
		assert_int_equal(model_submit(m, t->r.arrived_ns, &r, NULL), 0);
	}
	while ((next = model_next(m)) != MODEL_NEVER)
		model_advance(m, next);
	for (at = 0; at < trace_count; at++) {
		if (!traced[at].ended_ns)
			continue; /* the lab stopped earlier */
		assert_int_equal(traced[at].first_ns, times[2 * at]);
		assert_int_equal(traced[at].ended_ns, times[2 * at + 1]);
	}
	assert_true(trace_count > 400 && overlaps > 40);
	assert_true(result.hit_rate > 0.3); /* later turns, and the system prompt */
	model_free(m);
	lab_result_fini(&result);
}

/* A single request: 0.5 ms in the front end, and a step of 0.2 + max(0.8, 50 x 0.004) ms. */
static void test_a_request_alone(void **state)
{
	struct lab_workload w = small;
	struct lab_options o = small_options(1);
	struct lab_result result;

	(void)state;
	w.part[0].turns = 1;
	w.part[0].system = 10;
	w.part[0].first = (struct lab_tokens){40, 0, 40};
	w.part[0].answer = (struct lab_tokens){3, 0, 3};
	o.workload = &w;
	o.rate = 0.5;
	o.seconds = 60;
	assert_int_equal(lab_run(&o, &result, NULL), 0);
	assert_true(result.measured >= 10);
	assert_int_equal(result.ttft.count, result.measured);
	assert_float_equal(durations_mean(&result.ttft), 1500000, 1);
	/* two more tokens, each a step of 0.2 + 0.8 + 0.005 ms */
	assert_int_equal(result.itl.count, 2 * result.measured);
	assert_float_equal(durations_mean(&result.itl), 1005000, 1);
	lab_result_fini(&result);
}

static void test_conservation(void **state)
{
	struct lab_options o = small_options(3);
	struct lab_result result;
	uint32_t open = 0, unfinished = 0, measured = 0;

	(void)state;
	o.rate = 40;
	o.warmup_s = 2;
	assert_int_equal(lab_run(&o, &result, NULL), 0);
	assert_int_equal(result.placed, trace_count);
	for (uint32_t i = 0; i < trace_count; i++) {
		bool in = traced[i].r.arrived_ns >= 2 * SEC && traced[i].r.arrived_ns < 7 * SEC;

		measured += in;
		open += in && !traced[i].ended_ns;
	}
	unfinished = (uint32_t)result.unfinished;
	assert_int_equal(result.measured, measured);
	assert_int_equal(unfinished, open);
	assert_int_equal(result.measured, result.ended + result.unfinished + result.refused);
	assert_int_equal(result.ttft.count, result.measured - result.refused);
	assert_int_equal(result.timeline_count, 5);
	lab_result_fini(&result);
}

/* A request that is too long for the engine is refused, and counted as refused. */
static void test_refused(void **state)
{
	struct lab_workload w = small;
	struct lab_options o = small_options(2);
	struct lab_result result;

	(void)state;
	w.part[0].first = (struct lab_tokens){5000, 0, 5000}; /* of at most 4096 */
	w.part[0].context = 10000;
	w.part[0].turns = 1;
	o.workload = &w;
	o.rate = 2;
	assert_int_equal(lab_run(&o, &result, NULL), 0);
	assert_true(result.measured > 0);
	assert_int_equal(result.refused, result.measured);
	assert_int_equal(result.ttft.count, 0);
	for (uint32_t i = 0; i < trace_count; i++)
		assert_true(traced[i].ended_ns > 0);
	lab_result_fini(&result);
}

/* Under overload, a request without an answer counts with its wait, and is not left out. */
static void test_unfinished_counts(void **state)
{
	struct lab_workload w = small;
	struct lab_options o = small_options(1);
	struct lab_result result;

	(void)state;
	w.part[0].answer = (struct lab_tokens){100, 0, 100};
	o.workload = &w;
	o.rate = 600;
	o.seconds = 2;
	assert_int_equal(lab_run(&o, &result, NULL), 0);
	assert_true(result.unfinished > 0);
	assert_int_equal(result.ttft.count, result.measured);
	lab_result_fini(&result);
}

/* A run whose p95 will exceed the limit stops early, with a p95 above the limit, as in the whole
 * run. */
static void test_hopeless(void **state)
{
	struct lab_workload w = small;
	struct lab_options o = small_options(1);
	struct lab_result whole, cut;

	(void)state;
	w.part[0].answer = (struct lab_tokens){100, 0, 100};
	o.workload = &w;
	o.rate = 400;
	o.seconds = 3;
	assert_int_equal(lab_run(&o, &whole, NULL), 0);
	memset(current, 0, sizeof(current));
	trace_count = 0;
	o.hopeless_ms = 20;
	assert_int_equal(lab_run(&o, &cut, NULL), 0);
	assert_true(cut.placed < whole.placed);
	assert_true(durations_quantile(&cut.ttft, 0.95) > 20e6);
	assert_true(durations_quantile(&whole.ttft, 0.95) > 20e6);
	lab_result_fini(&whole);
	lab_result_fini(&cut);
	memset(current, 0, sizeof(current));
	trace_count = 0;
	o.rate = 20; /* within the limit: nothing changes */
	o.hopeless_ms = 0;
	assert_int_equal(lab_run(&o, &whole, NULL), 0);
	memset(current, 0, sizeof(current));
	trace_count = 0;
	o.hopeless_ms = 20;
	assert_int_equal(lab_run(&o, &cut, NULL), 0);
	assert_int_equal(cut.placed, whole.placed);
	assert_memory_equal(&cut.ttft, &whole.ttft, sizeof(cut.ttft));
	lab_result_fini(&whole);
	lab_result_fini(&cut);
}

static char *story(struct lab_options *o)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	struct lab_row row;

	assert_non_null(f);
	assert_int_equal(lab_row_run(o, "p", 2, &row, NULL), 0);
	row.cpu_s = 0;
	assert_int_equal(lab_json_row(f, o, &row, true), 0);
	lab_row_fini(&row);
	fclose(f);
	return text;
}

static void test_deterministic(void **state)
{
	(void)state;
	for (size_t i = 0; lab_policy_at(i); i++) {
		struct lab_options o = small_options(4);
		_cleanup_free_ char *one = NULL, *again = NULL, *other = NULL;
		char why[64];

		o.nodes = 3;
		o.seconds = 2;
		o.rate = 50;
		assert_int_equal(lab_policy_parse(lab_policy_at(i)->name, &o.policy, o.values, NULL,
						  why, sizeof(why)),
				 0);
		one = story(&o);
		again = story(&o);
		o.seed = 99;
		other = story(&o);
		assert_string_equal(one, again);
		assert_string_not_equal(one, other);
	}
}

/* With kept connections there are fewer decisions, for the same requests. */
static void test_keep_alive(void **state)
{
	struct lab_options o = small_options(2);
	struct lab_result once, kept;
	uint64_t decided = 0, all = 0;
	char why[64];

	(void)state;
	assert_int_equal(lab_policy_parse("pintle", &o.policy, o.values, NULL, why, sizeof(why)),
			 0);
	o.rate = 30;
	assert_int_equal(lab_run(&o, &once, NULL), 0);
	o.keep_alive_s = 5;
	assert_int_equal(lab_run(&o, &kept, NULL), 0);
	for (int i = 0; i < PINTLE_MAX_OUTCOMES; i++) {
		all += once.outcomes[i];
		decided += kept.outcomes[i];
	}
	assert_int_equal(all, once.placed);
	assert_true(decided * 2 < kept.placed);
	lab_result_fini(&once);
	lab_result_fini(&kept);
}

/* -- settings ------------------------------------------------------------------------------ */

static void test_specs(void **state)
{
	static const struct {
		const char *spec, *why;
	} bad[] = {
		{"nobody", "no policy \"nobody\"; --list shows which there are"},
		{"", "no policy \"\"; --list shows which there are"},
		{"pintle:depth=1", "policy pintle has no key \"depth\"; --list shows which it has"},
		{"pintle:ttl", "\"ttl\" is not KEY=VALUE"},
		{"chwbl:factor=0.5",
		 "factor of policy chwbl is \"0.5\"; write a number from 1 to 1000"},
		{"chwbl:factor=nan",
		 "factor of policy chwbl is \"nan\"; write a number from 1 to 1000"},
		{"chwbl:factor=2x",
		 "factor of policy chwbl is \"2x\"; write a number from 1 to 1000"},
		{"chwbl:config=/etc/passwd",
		 "policy chwbl has no key \"config\"; --list shows which it has"},
	};
	const struct lab_policy *p = NULL;
	double values[LAB_MAX_KEYS];
	char why[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(lab_policy_parse(bad[i].spec, &p, values, NULL, why, sizeof(why)),
				 -EINVAL);
		assert_string_equal(why, bad[i].why);
		assert_null(p);
	}
	assert_int_equal(
		lab_policy_parse("chwbl:factor=2,replicas=8", &p, values, NULL, why, sizeof(why)),
		0);
	assert_ptr_equal(p, &lab_policy_chwbl);
	assert_float_equal(values[0], 2, CLOSE);
	assert_float_equal(values[1], 8, CLOSE);
}

static void test_options_out_of_range(void **state)
{
	struct lab_options good = small_options(2), bad[6];
	struct lab_result result;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].endpoints = 0;
	bad[1].nodes = LAB_MAX_NODES + 1;
	bad[2].rate = NAN;
	bad[3].seconds = 0;
	bad[4].block_tokens = 0;
	bad[5].sick[2] = 4; /* engines 0 and 1 */
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *what = NULL;

		assert_int_equal(lab_run(&bad[i], &result, &what), -EINVAL);
		assert_non_null(what);
	}
}

static char *file_text(const char *path) /* tests run in the top directory */
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char *text;

	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	text = calloc(1, 1 << 20);
	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
	return text;
}

/* Runs the pintle-lab of this build. Returns its exit status. */
static int lab_program(const char *arguments)
{
	char self[512], command[1200];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int status;

	assert_true(n > 0);
	self[n] = '\0';
	for (int up = 0; up < 3; up++)
		*strrchr(self, '/') = '\0';
	snprintf(command, sizeof(command), "%s/pintle-lab %s >/dev/null 2>&1", self, arguments);
	status = system(command);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_program(void **state)
{
	static const char *const refused[] = {
		"--workload nothing",
		"--policy nobody",
		"--policy pintle:x=1",
		"--endpoints 0",
		"--endpoints 1025",
		"--nodes 1.5",
		"--rate 0",
		"--rate nan",
		"--duration -1",
		"--seeds 65",
		"--output xml",
		"--sick 8:2",
		"--sick 1:0",
		"--sick 1:2 --sick 1:3",
		"--knee=0",
		"--profile none",
		"more",
		"--block-size 0",
		"--keep-alive 9999",
		"--policy pintle:config=/nowhere",
		"--trace /nowhere",
		"--trace /dev/null",
		"--trace x --rate 3",
		"--trace x --workload chat",
		"--trace x --knee",
		"--trace x --keep-alive 5",
		"--trace lab/tests/data/traces/azure-conversation.csv --speed 0",
		"--trace lab/tests/data/traces/azure-conversation.csv --hash-block 0",
		"--speed 2",
		"--load nothing",
		"--load rag --workload chat",
		"--load rag --knee",
		"--load nothing --trace lab/tests/data/traces/azure-conversation.csv",
		"--load rag --trace /nowhere",
		"--load rag --trace x --rate 3",
		"--deal 5",
		"--load rag --deal 5",
		"--trace lab/tests/data/traces/azure-conversation.csv --deal 0",
		"--verdicts x",
		"--verdicts x --policy random --policy epp --seeds 1",
		"--verdicts x --policy random --seeds 2",
		"--load batch --rate 3",
		"--log x",
		"--log x --policy random --policy epp --seeds 1",
		"--log x --policy random --seeds 2",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (lab_program(refused[i]) != 2)
			fail_msg("%s: not refused", refused[i]);
	assert_int_equal(lab_program("--list"), 0);
	assert_int_equal(lab_program("-w chat -p random -p pintle -d 5 --warmup 5 --seeds 1"), 0);
	assert_int_equal(lab_program("--load chat-batch -p pintle -d 5 --warmup 5 --seeds 1"), 0);
	assert_int_equal(lab_program("--load rag -r 0.5 -p epp -d 5 --warmup 5 --keep-alive 5"), 0);
	assert_int_equal(lab_program("-w chat -p epp -d 5 --warmup 5 --seeds 1 --knee -o json"), 0);
}

/* Every request of a trace ends once, with every policy and in both forms of the file. */
static void test_program_replays(void **state)
{
	char arguments[256], trace[] = "/tmp/pintle-lab-XXXXXX", log[] = "/tmp/pintle-lab-XXXXXX";
	int fds[] = {mkstemp(trace), mkstemp(log)};
	_cleanup_fclose_ FILE *f = fdopen(fds[0], "w");

	(void)state;
	assert_true(f && fds[1] >= 0);
	close(fds[1]);
	fprintf(f, "time,session,prompt_tokens,output_tokens,group\n");
	for (int i = 0; i < 300; i++)
		fprintf(f, "%d.%d,s%d,%d,%d,%s\n", i / 10, i % 10, i % 37, 1 + 31 * (i % 60),
			1 + i % 90,
			i % 3   ? ""
			: i % 2 ? "a"
				: "b");
	fflush(f);
	for (size_t i = 0; lab_policy_at(i); i++) {
		_cleanup_free_ char *said = NULL;
		size_t lines = 0;

		snprintf(arguments, sizeof(arguments),
			 "--trace %s --log %s -p %s --seeds 1 -n 5 -N 3 --profile tiny", trace, log,
			 lab_policy_at(i)->name);
		assert_int_equal(lab_program(arguments), 0);
		said = file_text(log);
		for (const char *at = said; (at = strchr(at, '\n')); at++)
			lines++;
		assert_int_equal(lines, 300);
	}
	assert_int_equal(lab_program("--trace tests/data/config/sample.yaml"), 2);
	unlink(trace);
	unlink(log);
}

/* What the ids of a trace share is found in the cache, however the sessions run: the third request
 * shares two blocks with the first. The fourth begins otherwise, so later equal ids help nothing.
 */
static void test_program_shares_by_ids(void **state)
{
	static const struct {
		const char *option;
		unsigned int cached; /* of the third request */
	} cases[] = {{"", 1024}, {"--hash-block 64", 128}, {"--hash-block 16 --block-size 16", 32}};
	char arguments[256], trace[] = "/tmp/pintle-lab-XXXXXX", log[] = "/tmp/pintle-lab-XXXXXX";
	int fds[] = {mkstemp(trace), mkstemp(log)};
	_cleanup_fclose_ FILE *f = fdopen(fds[0], "w");

	(void)state;
	assert_true(f && fds[1] >= 0);
	close(fds[1]);
	fprintf(f,
		"{\"timestamp\":0,\"input_length\":2000,\"output_length\":9,\"hash_ids\":[1,2,3]}\n"
		"{\"timestamp\":9e3,\"input_length\":2000,\"output_length\":9,\"hash_ids\":[1,4,5]}\n"
		"{\"timestamp\":18e3,\"input_length\":2000,\"output_length\":9,\"hash_ids\":[1,2,6]}\n"
		"{\"timestamp\":27e3,\"input_length\":2000,\"output_length\":9,\"hash_ids\":[7,2,3]}\n");
	fflush(f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *said = NULL;
		const char *at;
		unsigned int cached[4];

		snprintf(arguments, sizeof(arguments),
			 "--trace %s --log %s -p random --seeds 1 -n 1 %s", trace, log,
			 cases[i].option);
		assert_int_equal(lab_program(arguments), 0);
		at = said = file_text(log);
		for (int k = 0; k < 4; k++) {
			at = strstr(at, "\"cached_tokens\":");
			assert_non_null(at);
			assert_int_equal(sscanf(at++, "\"cached_tokens\":%u", &cached[k]), 1);
		}
		assert_int_equal(cached[0], 0);
		assert_int_equal(cached[1], cases[i].cached / 2);
		assert_int_equal(cached[2], cases[i].cached);
		assert_int_equal(cached[3], 0);
	}
	unlink(trace);
	unlink(log);
}

/* The traces in the tree are read whole. */
static void test_program_runs_published_traces(void **state)
{
	static const struct {
		const char *name, *options;
		double last_s;
	} cases[] = {
		{"mooncake-conversation.jsonl", "", 669.0},
		{"azure-conversation.csv", "--speed 4", 424.2595 / 4},
	};
	char arguments[256], log[] = "/tmp/pintle-lab-XXXXXX";
	int fd = mkstemp(log);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *said = NULL;
		size_t lines = 0;
		double due, last_s = 0;

		snprintf(
			arguments, sizeof(arguments),
			"--trace lab/tests/data/traces/%s --log %s -p least-connections --seeds 1 -n 8 %s",
			cases[i].name, log, cases[i].options);
		assert_int_equal(lab_program(arguments), 0);
		said = file_text(log);
		for (const char *at = said; (at = strchr(at, '\n')); at++)
			lines++;
		assert_int_equal(lines, 2000);
		for (const char *at = said; (at = strstr(at, "\"due\":")); at++) {
			assert_int_equal(sscanf(at, "\"due\":%lf", &due), 1);
			last_s = fmax(last_s, due);
		}
		assert_float_equal(last_s, cases[i].last_s, 1e-3);
	}
	unlink(log);
}

/* The requests of a seed as text. */
static char *requests_of_seed(const char *seed)
{
	char arguments[256], log[] = "/tmp/pintle-lab-XXXXXX";
	int fd = mkstemp(log);
	char *said;

	assert_true(fd >= 0);
	close(fd);
	snprintf(arguments, sizeof(arguments),
		 "-w chat -p random -d 20 --warmup 0 -n 2 -N 1 --seeds 1 --seed %s --log %s", seed,
		 log);
	assert_int_equal(lab_program(arguments), 0);
	said = file_text(log);
	unlink(log);
	return said;
}

/* 4294967297 is 2^32 + 1. */
static void test_program_takes_large_seeds(void **state)
{
	_cleanup_free_ char *one = requests_of_seed("1"), *again = requests_of_seed("1");
	_cleanup_free_ char *large = requests_of_seed("4294967297");

	(void)state;
	assert_true(strlen(one) > 1000);
	assert_string_equal(one, again);
	assert_string_not_equal(one, large);
}

/* -- the session classifier ---------------------------------------------------------------- */

/* Counts the lines of `said` that have this text. */
static size_t lines_with(const char *said, const char *text)
{
	size_t n = 0;

	for (const char *at = said; (at = strstr(at, text)); at++)
		n++;
	return n;
}

/* A trace of one session that asks every 5 s, dealt to four clients, beside a job of eight at once
 * and an agent: each client is judged by its own requests. */
static void test_program_says_verdicts(void **state)
{
	char arguments[256], paths[3][32];
	_cleanup_free_ char *said = NULL;
	FILE *f[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		strcpy(paths[i], "/tmp/pintle-lab-XXXXXX");
		f[i] = fdopen(mkstemp(paths[i]), "w");
		assert_non_null(f[i]);
	}
	fprintf(f[0], "time,session,prompt_tokens,output_tokens\n");
	for (int i = 0; i < 400; i++)
		fprintf(f[0], "%d,one,%d,50\n", 5 * i, 100 + i % 37 * 20);
	fprintf(f[1], "classes:\n"
		      "- name: job\n  arrival: {users: 8}\n  prompt: 900\n  output: 50\n"
		      "  connection: per-request\n  addresses: class\n"
		      "- name: tools\n  arrival: {users: 1}\n  turns: 30\n  think: 1s\n"
		      "  prompt: 400\n  output: 50\n  connection: per-request\n");
	for (int i = 0; i < 3; i++)
		fclose(f[i]);
	snprintf(arguments, sizeof(arguments),
		 "--trace %s --deal 4 --load %s --verdicts %s -p pintle --seeds 1 -n 2 -d 300",
		 paths[0], paths[1], paths[2]);
	assert_int_equal(lab_program(arguments), 0);
	said = file_text(paths[2]);
	/* 60 requests are sent: none of the four clients has 20. */
	assert_int_equal(lines_with(said, "\"class\":\"file\""), 4);
	assert_int_equal(lines_with(said, "\"requests\":5,\"verdict\":\"interactive\""), 4);
	assert_int_equal(lines_with(said, "\"class\":\"job\""), 2);
	assert_int_equal(lines_with(said, "\"verdict\":\"batch\""), 2);
	assert_int_equal(lines_with(said, "\"5 at once, no pause between them"), 1);
	assert_int_equal(lines_with(said, "\"8 at once, no pause between them"), 1);
	assert_true(lines_with(said, "\"class\":\"tools\"") >= 6);
	assert_int_equal(lines_with(said, "\"verdict\":\"agent\""),
			 lines_with(said, "\"class\":\"tools\""));
	for (int i = 0; i < 3; i++)
		unlink(paths[i]);
}

/* -- named profiles ---------------------------------------------------------------------- */

/* The profile's file loads, docs/tuning.md shows the same settings of its pool, and the lab takes
 * them. */
static void profile_case(const char *name, double extra, double key, double group)
{
	_cleanup_free_ char *page = file_text("docs/tuning.md"), *file = NULL;
	_cleanup_(config_freep) struct config *c = NULL;
	const struct lab_policy *p;
	double values[LAB_MAX_KEYS];
	char path[128], spec[160], why[256];
	const char *settings;

	snprintf(path, sizeof(path), "lab/docs/experiments/profiles/%s.yaml", name);
	assert_int_equal(config_load(path, &yaml_sink_stderr, &c), 0);
	file = file_text(path);
	settings = strstr(file, "  stickiness:");
	assert_non_null(settings);
	if (!strstr(page, settings))
		fail_msg("docs/tuning.md does not show the settings of profile %s", name);
	snprintf(spec, sizeof(spec), "pintle:config=%s", path);
	assert_int_equal(lab_policy_parse(spec, &p, values, NULL, why, sizeof(why)), 0);
	for (size_t i = 0; p->keys[i].name; i++) {
		if (!strcmp(p->keys[i].name, "maxExtraLoad"))
			assert_float_equal(values[i], extra, CLOSE);
		if (!strcmp(p->keys[i].name, "key"))
			assert_float_equal(values[i], key, CLOSE);
		if (!strcmp(p->keys[i].name, "group"))
			assert_float_equal(values[i], group, CLOSE);
	}
}

static void test_profiles(void **state)
{
	(void)state;
	profile_case("chat", CONFIG_EXTRA_AUTO, 1, 0);
	profile_case("rag", 64, 1, 1);
	profile_case("agents", CONFIG_EXTRA_AUTO, 1, 0);
	profile_case("batch", CONFIG_EXTRA_AUTO, 0, 0);
}

/* The lab's defaults are those of the configuration. */
static void test_defaults(void **state)
{
	_cleanup_free_ char *file = file_text("lab/docs/experiments/profiles/chat.yaml");
	const struct lab_policy *p;
	double defaults[LAB_MAX_KEYS], loaded[LAB_MAX_KEYS];
	char path[] = "/tmp/pintle-lab-XXXXXX", spec[64], why[256];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	*strstr(file, "  stickiness:") = '\0';
	assert_int_equal(write(fd, file, strlen(file)), strlen(file));
	close(fd);
	snprintf(spec, sizeof(spec), "pintle:config=%s", path);
	assert_int_equal(lab_policy_parse(spec, &p, loaded, NULL, why, sizeof(why)), 0);
	unlink(path);
	assert_int_equal(lab_policy_parse("pintle", &p, defaults, NULL, why, sizeof(why)), 0);
	for (size_t i = 0; p->keys[i].name; i++)
		if (fabs(defaults[i] - loaded[i]) > CLOSE)
			fail_msg("%s: %g, configured %g", p->keys[i].name, defaults[i], loaded[i]);
}

int main(void)
{
#define TRACED(test) cmocka_unit_test_setup_teardown(test, trace_begin, trace_end)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interval),
		cmocka_unit_test(test_herd),
		cmocka_unit_test(test_moment),
		cmocka_unit_test(test_index_forgets_the_oldest),
		cmocka_unit_test(test_index_matches_without_gaps),
		cmocka_unit_test(test_chwbl_bound),
		cmocka_unit_test(test_epp_scores),
		cmocka_unit_test(test_prequal_rule),
		cmocka_unit_test(test_sglang_balance),
		cmocka_unit_test(test_nodes_know_their_own),
		cmocka_unit_test(test_chwbl_spreads_one_prefix),
		cmocka_unit_test(test_epp_sticky),
		cmocka_unit_test(test_oracle_by_hand),
		cmocka_unit_test(test_sglang_follows_the_prefix),
		cmocka_unit_test(test_pintle_by_hand),
		cmocka_unit_test(test_pintle_forgets),
		cmocka_unit_test(test_pintle_sees_others_in_the_page),
		cmocka_unit_test(test_pintle_sees_prompts_as_late_as_the_kernel),
		cmocka_unit_test(test_pintle_holds_no_crowd),
		cmocka_unit_test(test_pintle_decides_a_million_times),
		TRACED(test_gateway),
		TRACED(test_agrees_with_the_model),
		TRACED(test_a_request_alone),
		TRACED(test_conservation),
		TRACED(test_refused),
		TRACED(test_unfinished_counts),
		TRACED(test_hopeless),
		TRACED(test_deterministic),
		TRACED(test_keep_alive),
		cmocka_unit_test(test_specs),
		cmocka_unit_test(test_options_out_of_range),
		cmocka_unit_test(test_program),
		cmocka_unit_test(test_program_replays),
		cmocka_unit_test(test_program_shares_by_ids),
		cmocka_unit_test(test_program_runs_published_traces),
		cmocka_unit_test(test_program_says_verdicts),
		cmocka_unit_test(test_program_takes_large_seeds),
		cmocka_unit_test(test_profiles),
		cmocka_unit_test(test_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
