/* SPDX-License-Identifier: Apache-2.0 */
/* What endpoints have cached of prompts: the hashes, the search and the learning, on the host and
 * in the kernel by the same headers, and written again in the plainest way. */
#define PROGRAMS "pintle_prefix"
#include "support_loaded.h"

#include "rule/chunk.bpf.h"

#define UNIT (1ULL << 32) /* of pintle_holder.used, in ns */
#define NOW  (1000 * UNIT)
#define TTL  (70 * UNIT)

static void run_in_kernel(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(skel->progs.pintle_prefix), &opts),
			 0);
	assert_int_equal(opts.retval, 0);
}

/* ---- hashes ---------------------------------------------------------------------------- */

static struct chunk_case random_chunk(uint64_t *at)
{
	struct chunk_case k = {.before = random_at(++*at)};

	for (size_t i = 0; i < ARRAY_SIZE(k.key.chain); i++)
		k.key.chain[i] = random_at(++*at);
	for (size_t i = 0; i < ARRAY_SIZE(k.key.text); i++)
		k.key.text[i] = random_at(++*at);
	for (size_t i = 0; i < CHUNK_WORDS; i++)
		k.word[i] = random_at(++*at);
	return k;
}

static uint64_t hash_of(const struct chunk_case *k)
{
	return chunk_hash(&k->key, k->before, k->word);
}

static uint64_t left(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static void sip_round(uint64_t *v)
{
	v[0] += v[1];
	v[1] = left(v[1], 13) ^ v[0];
	v[0] = left(v[0], 32);
	v[2] += v[3];
	v[3] = left(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = left(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = left(v[1], 17) ^ v[2];
	v[2] = left(v[2], 32);
}

/* SipHash-1-3 of whole words, with 64 bits of output. */
static uint64_t plain_sip(const uint64_t *key, const uint64_t *word, size_t n)
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
			 key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};

	for (size_t i = 0; i <= n; i++) {
		uint64_t m = i < n ? word[i] : (uint64_t)(8 * n) << 56;

		v[3] ^= m;
		sip_round(v);
		v[0] ^= m;
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Half a word of text plus half a word of key, modulo 2^32. */
static uint64_t sum_of_halves(uint64_t text, uint64_t key, int shift)
{
	return ((text >> shift) + (key >> shift)) % (1ULL << 32);
}

static uint64_t plain_hash(const struct chunk_case *k)
{
	uint64_t m[3] = {k->before, 0, 0};

	for (size_t pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < CHUNK_WORDS; i++) {
			uint64_t key = k->key.text[i + 2 * pass];

			m[1 + pass] += sum_of_halves(k->word[i] & 0xffffffff, key & 0xffffffff, 0) *
				       sum_of_halves(k->word[i], key, 32);
		}
	return plain_sip((const uint64_t *)k->key.chain, m, 3);
}

static void test_hashes(void **state)
{
	uint64_t at = 0;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct chunk_case k = random_chunk(&at);

		k.hash = hash_of(&k);
		assert_int_equal(k.hash, plain_hash(&k));
		memcpy(&skel->bss->chunk_case, &k, sizeof(k));
		skel->bss->chunk_case.hash = 0;
		run_in_kernel();
		assert_int_equal(skel->bss->chunk_case.hash, k.hash);
	}
}

/* Of single bits of the chunk, of what was before and of either key, each makes another hash. */
static void test_each_bit_counts(void **state)
{
	uint64_t at = 0;
	struct chunk_case first = random_chunk(&at);
	uint64_t hash = hash_of(&first);

	(void)state;
	for (size_t bit = 0; bit < 8 * offsetof(struct chunk_case, hash); bit++) {
		struct chunk_case k = first;

		((uint8_t *)&k)[bit / 8] ^= 1U << bit % 8;
		assert_int_not_equal(hash_of(&k), hash);
	}
}

/* ---- steps ------------------------------------------------------------------------------ */

static void test_steps(void **state)
{
	static const struct {
		uint32_t chunks, steps, bytes;
	} cases[] = {
		{0, 0, 0},        {1, 1, 256},      {16, 16, 4096},    {19, 16, 4096},
		{20, 17, 5120},   {28, 19, 7168},   {103, 37, 25600},  {104, 38, 26624},
		{255, 75, 64512}, {256, 76, 65536}, {1000, 76, 65536},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pintle_prompt p = {0};

		for (uint32_t c = 0; c < cases[i].chunks; c++)
			prefix_note(&p, c, 1 + c);
		assert_int_equal(p.steps, cases[i].steps);
		assert_int_equal(prefix_bytes(p.steps), cases[i].bytes);
		/* A step has the hash of the chunk that ends where it does. */
		for (uint32_t s = 0; s < p.steps; s++)
			assert_int_equal(p.hash[s], prefix_bytes(s + 1) / PREFIX_CHUNK);
	}
	assert_int_equal(prefix_bytes(PREFIX_HOME_STEP + 1), 4096);
}

/* ---- the search -------------------------------------------------------------------------- */

#define HOLDER(e, g, units_ago)                                                                    \
	{                                                                                          \
		.endpoint = (e), .generation = (g), .used = 1000 - (units_ago)                     \
	}

/* A prompt of so many steps; the hash of each is its number. */
static struct prefix_case prompt_of(uint32_t steps, uint32_t bytes)
{
	struct prefix_case k = {.now = NOW, .ttl_ns = TTL};

	k.prompt.steps = steps;
	k.prompt.bytes = bytes;
	for (uint32_t i = 0; i < steps && i < PINTLE_PREFIX_STEPS; i++)
		k.prompt.hash[i] = i + 1;
	return k;
}

static struct pintle_prefix *row_of(struct prefix_case *k, uint32_t step)
{
	struct prefix_row *row = &k->rows[k->prompt.hash[step] % PREFIX_CASE_ROWS];

	row->hash = k->prompt.hash[step];
	return &row->prefix;
}

static void run(struct prefix_case *k)
{
	memcpy(&skel->bss->prefix_case, k, sizeof(*k));
	prefix_case_run(k);
	run_in_kernel();
	assert_memory_equal(&skel->bss->prefix_case, k, sizeof(*k));
}

static uint32_t steps_of(const struct prefix_case *k, uint32_t endpoint)
{
	return prefix_steps(&k->known, endpoint, 1, k->now, 0);
}

static uint32_t have_of(const struct prefix_case *k, uint32_t endpoint)
{
	return prefix_have(&k->known, &k->prompt, steps_of(k, endpoint));
}

/* The endpoint was given the first `steps` steps of a prompt of so many bytes. */
static void give(struct prefix_case *k, uint32_t endpoint, uint32_t steps, uint32_t bytes)
{
	struct prefix_case given = *k;

	given.chosen = (struct pintle_ref){endpoint, 1};
	given.prompt.steps = steps;
	given.prompt.bytes = bytes;
	run(&given);
	memcpy(k->rows, given.rows, sizeof(k->rows));
}

static void test_nothing_is_known_of_a_new_prompt(void **state)
{
	struct prefix_case k = prompt_of(19, 8000);

	(void)state;
	run(&k);
	assert_int_equal(k.known.longest, 0);
	assert_int_equal(have_of(&k, 0), 0);
}

static void test_nobody_has_what_is_not_seen(void **state)
{
	struct prefix_case k = prompt_of(0, 8000);

	(void)state;
	run(&k);
	assert_int_equal(have_of(&k, 3), 0);
	k = prompt_of(0, 8000);
	k.prompt.steps = UINT32_MAX;
	run(&k);
	assert_int_equal(k.known.longest, 0);
}

/* What an endpoint was given, it has; for each number of steps, and each beginning of them. */
static void test_the_longest_beginning(void **state)
{
	(void)state;
	for (uint32_t steps = 1; steps <= 60; steps++)
		for (uint32_t given = 0; given <= steps; given += 1 + steps / 8) {
			struct prefix_case k = prompt_of(steps, 70000);

			if (given)
				give(&k, 5, given, 70000);
			run(&k);
			assert_int_equal(k.known.longest, given);
			assert_int_equal(steps_of(&k, 5), given);
			assert_int_equal(steps_of(&k, 6), 0);
		}
}

static void test_endpoints_that_hold_less(void **state)
{
	struct prefix_case k = prompt_of(16, 5000);

	(void)state;
	give(&k, 1, 9, 5000); /* the search comes by step 9, then by steps 13 and 15 */
	give(&k, 2, 13, 5000);
	give(&k, 3, 15, 5000);
	give(&k, 4, 2, 5000); /* and not by step 2 */
	run(&k);
	assert_int_equal(k.known.longest, 15);
	assert_int_equal(have_of(&k, 3), 15 * 256);
	assert_int_equal(have_of(&k, 2), 13 * 256);
	assert_int_equal(have_of(&k, 1), 9 * 256);
	assert_int_equal(have_of(&k, 4), 0);
}

static void test_old_holders_are_not_believed(void **state)
{
	struct prefix_case k = prompt_of(1, 300);

	(void)state;
	*row_of(&k, 0) = (struct pintle_prefix){
		.holder = {HOLDER(1, 1, 70), HOLDER(2, 1, 71), HOLDER(3, 2, 0)}};
	run(&k);
	assert_int_equal(steps_of(&k, 1), 1);
	assert_int_equal(steps_of(&k, 2), 0);
	assert_int_equal(steps_of(&k, 3), 0); /* of another generation */
	assert_int_equal(prefix_steps(&k.known, 3, 2, k.now, 0), 1);
	assert_int_equal(prefix_steps(&k.known, 3, 0, k.now, 0), 0);
}

static void test_an_engine_that_restarted_has_nothing(void **state)
{
	struct prefix_case k = prompt_of(1, 300);

	(void)state;
	*row_of(&k, 0) = (struct pintle_prefix){.holder = {HOLDER(1, 1, 5)}};
	run(&k);
	assert_int_equal(prefix_steps(&k.known, 1, 1, NOW, NOW - 7 * UNIT), 1);
	assert_int_equal(prefix_steps(&k.known, 1, 1, NOW, NOW - 6 * UNIT), 1);
	assert_int_equal(prefix_steps(&k.known, 1, 1, NOW, NOW - 5 * UNIT), 0); /* in doubt */
	assert_int_equal(prefix_steps(&k.known, 1, 1, NOW, NOW - UNIT), 0);
	/* Used half a unit after that, in a later unit: believed from then on, whatever the time.
	 */
	for (uint64_t now = NOW; now < NOW + 2 * UNIT; now += UNIT / 4)
		assert_int_equal(prefix_steps(&k.known, 1, 1, now, NOW - 5 * UNIT - UNIT / 2), 1);
	assert_int_equal(prefix_steps(&k.known, 1, 1, NOW, NOW), 0);
}

/* ---- learning ------------------------------------------------------------------------------- */

static void test_four_hold_a_beginning(void **state)
{
	struct prefix_case k = prompt_of(3, 1000);

	(void)state;
	for (uint32_t e = 1; e <= 5; e++, k.now += UNIT)
		give(&k, e, 3, 1000);
	give(&k, 2, 3, 1000); /* again: it is the newest now */
	give(&k, 6, 3, 1000); /* in the place of 3 */
	run(&k);
	for (uint32_t e = 1; e <= 6; e++)
		assert_int_equal(steps_of(&k, e), e == 1 || e == 3 ? 0 : 3);
}

/* Nothing is seen of these prompts after the last step, but how long they are. */
static void test_what_follows_is_believed_by_length(void **state)
{
	static const struct {
		uint32_t given[4];
		uint32_t have;
	} cases[] = {
		{{9000, 12000, 20000, 45000}, 45000},    /* a conversation: all of the last turn */
		{{45000}, 45000},                        /* or the first one seen */
		{{16300, 16900, 16200, 16500}, 16200},   /* questions on a document */
		{{24000, 16200, 30000, 32000}, 16200},   /* of which one is longer */
		{{24000, 16000, 32002, 17000}, 3 * 256}, /* conversations that begin alike */
		{{9000, 0, 9000, 0}, 3 * 256},           /* one says nothing of its length */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct prefix_case k = prompt_of(3, 50000);

		for (size_t n = 0; n < ARRAY_SIZE(cases[i].given); n++)
			if (cases[i].given[n] || i == 5)
				give(&k, 1, 3, cases[i].given[n]);
		run(&k);
		assert_int_equal(have_of(&k, 1), cases[i].have);
		/* An endpoint that has less than what is seen of this prompt has no more than that.
		 */
		k.prompt.steps = 4;
		run(&k);
		assert_int_equal(have_of(&k, 1), 3 * 256);
	}
}

/* ---- written again in the plainest way ------------------------------------------------------ */

/* A prompt of a few kinds, which share beginnings of random lengths. */
static struct prefix_case random_case(uint64_t *at, struct prefix_row *rows)
{
	struct prefix_case k = {.now = NOW + (random_at(++*at) % 100) * UNIT, .ttl_ns = TTL};
	uint64_t kind = random_at(++*at) % 4, hash = 0;

	k.prompt.steps = (uint32_t)(random_at(++*at) % 12);
	k.prompt.bytes = (uint32_t)(random_at(++*at) >> (32 + kind * 6));
	for (uint32_t i = 0; i < k.prompt.steps; i++) {
		hash = random_at(hash ^ (i > kind ? random_at(*at) % 2 : 7));
		k.prompt.hash[i] = hash;
	}
	if (random_at(++*at) % 2)
		k.chosen = (struct pintle_ref){(uint32_t)(random_at(++*at) % 7), 1};
	memcpy(k.rows, rows, sizeof(k.rows));
	return k;
}

static bool plainly_held(const struct prefix_case *k, uint32_t step, int endpoint)
{
	const struct prefix_row *row = &k->rows[k->prompt.hash[step] % PREFIX_CASE_ROWS];

	for (int i = 0; i < PINTLE_PREFIX_HOLDERS && row->hash == k->prompt.hash[step]; i++) {
		const struct pintle_holder *h = &row->prefix.holder[i];
		uint16_t age = (uint16_t)(k->now / UNIT - h->used);

		if (h->generation && age <= TTL / UNIT && (endpoint < 0 || h->endpoint == endpoint))
			return true;
	}
	return false;
}

/* Each step that the search says an endpoint holds, it does; and where all steps before the longest
 * one are known, the search has found that. */
static void assert_found_plainly(const struct prefix_case *before, const struct prefix_case *after)
{
	uint32_t longest = 0;
	bool gap = false, gaps = false;

	for (uint32_t i = 0; i < before->prompt.steps; i++) {
		if (!plainly_held(before, i, -1))
			gap = true;
		else if (gap)
			gaps = true;
		else
			longest = i + 1;
	}
	if (!gaps)
		assert_int_equal(after->known.longest, longest);
	for (int e = 0; e < 7; e++) {
		uint32_t steps = prefix_steps(&after->known, (uint32_t)e, 1, after->now, 0);

		assert_true(!steps || plainly_held(before, steps - 1, e));
		if (after->known.longest && plainly_held(before, after->known.longest - 1, e))
			assert_int_equal(steps, after->known.longest);
	}
}

static void test_random_prompts(void **state)
{
	struct prefix_row rows[PREFIX_CASE_ROWS] = {0};
	uint64_t at = 0, digest = 0;

	(void)state;
	for (int i = 0; i < 60000; i++) {
		struct prefix_case k = random_case(&at, rows), before = k;

		run(&k);
		assert_found_plainly(&before, &k);
		memcpy(rows, k.rows, sizeof(rows));
		digest = digest_add(digest, k.known.longest);
	}
	assert_int_not_equal(digest, 0);
}

/* ---- what it costs ------------------------------------------------------------------------- */

static void test_missing(void **state)
{
	static const struct {
		uint32_t bytes, have, per_chunk, rate, cost;
	} cases[] = {
		{10240, 0, 960, 100, 38400},
		{10240, 7168, 960, 100, 11520},
		{10240, 10240, 960, 100, 0},
		{10240, UINT32_MAX, 960, 100, 0}, /* it has more than there is */
		{10240, 0, 960, 200, 19200},      /* one of weight 2 computes it in half the time */
		{10240, 0, 0, 100, 0},            /* weights.prefix: 0 */
		{UINT32_MAX, 0, UINT32_MAX, 1, DECIDE_MAX_MISSING},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct pintle_prompt p = {.bytes = cases[i].bytes};
		const struct decide_candidate c = {.rate = (uint16_t)cases[i].rate};

		assert_int_equal(prefix_missing(&p, &c, cases[i].have, cases[i].per_chunk),
				 cases[i].cost);
	}
}

static void test_a_prompt_that_continues(void **state)
{
	static const struct {
		uint32_t seen, former, held, context; /* steps, and bytes */
		bool continues;
		uint32_t rest; /* of the context */
	} cases[] = {
		{19, 19, 19, 20000, true, 20000 - 7168}, /* all of what is seen */
		{12, 8, 8, 3000, true, 3000 - 2048},     /* the former prompt, and its answer */
		{12, 8, 8, 2000, true, 1},               /* the table says it all */
		{19, 1, 1, 250000, true, 250000 - 256},  /* a word, and a long answer */
		{4, 1, 1, 1300, true, 1300 - 256},       /* and a short one */
		{4, 1, 0, 1300, false, 1300},            /* another word */
		{19, 19, 14, 20000, true, 20000 - 3584}, /* half of what is seen */
		{19, 76, 14, 70000, true, 70000 - 3584}, /* more was seen of the former */
		{19, 19, 13, 20000, false, 20000 - 3328},
		{19, 16, 8, 4096, true, 2048}, /* half of the former prompt */
		{19, 16, 7, 4096, false, 2304},
		{19, 19, 3, 13000, false, 13000 - 768}, /* another document, the same instruction */
		{19, 0, 0, 20000, true, 20000},         /* nothing was seen of the former prompt */
		{0, 19, 0, 20000, true, 20000},         /* nor is anything of the new one */
		{19, 19, 0, 0, false, 0},               /* the former is still being answered */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct pintle_prompt p = {.steps = cases[i].seen};

		assert_int_equal(prefix_continues(&p, cases[i].former, cases[i].held),
				 cases[i].continues);
		assert_int_equal(prefix_context(cases[i].context, cases[i].held), cases[i].rest);
	}
}

/* ---- a prompt's home ------------------------------------------------------------------------- */

static void test_home(void **state)
{
	static const struct {
		uint32_t seen, longest, others; /* steps, steps, and whether there are any */
		bool seeks;
	} cases[] = {
		{16, 0, 1, true},  {76, 0, 8, true}, {76, 3, 1, true},  {76, 4, 1, false},
		{15, 0, 1, false}, {0, 0, 1, false}, {76, 0, 0, false}, {16, 16, 1, false},
	};
	struct pintle_prompt p = {.steps = 16};
	uint32_t hit[8] = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct pintle_prompt seen = {.steps = cases[i].seen};
		const struct pintle_known k = {.longest = cases[i].longest};

		assert_int_equal(prefix_seeks_home(&seen, &k, cases[i].others), cases[i].seeks);
	}
	assert_int_equal(prefix_home_have(0), 4096);
	assert_int_equal(prefix_home_have(4095), 4096);
	assert_int_equal(prefix_home_have(9000), 9000);
	/* The hash at 4 KiB says it, and no other. */
	for (uint32_t i = 0; i < 8000; i++) {
		uint32_t home;

		p.hash[PREFIX_HOME_STEP] = random_at(i);
		home = prefix_home(&p);
		assert_in_range(home, 0, PINTLE_HOME_ENTRIES - 1);
		p.hash[PREFIX_HOME_STEP - 1] = random_at(i + 1);
		assert_int_equal(prefix_home(&p), home);
		hit[home * 8 / PINTLE_HOME_ENTRIES]++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(hit); i++)
		assert_in_range(hit[i], 850, 1150);
}

/* ---- a source's share ------------------------------------------------------------------------ */

static void test_shares(void **state)
{
	struct pintle_learners all = {0};
	struct pintle_learner a = {0}, b = {0}, c = {0};

	(void)state;
	assert_int_equal(prefix_share(&a, &all, 0, 1000), 1000); /* alone: all places */
	a.added = 1000;
	assert_int_equal(prefix_share(&a, &all, 0, 1000), 0);
	assert_int_equal(prefix_share(&b, &all, 0, 1000), 500);
	b.added = 100;
	assert_int_equal(prefix_share(&b, &all, 0, 1000), 400);
	assert_int_equal(prefix_share(&c, &all, 0, 1000), 333);
	/* In the next window there were three; after it, the two that were in that. */
	assert_int_equal(prefix_share(&a, &all, 1, 1000), 333);
	assert_int_equal(prefix_share(&b, &all, 1, 1000), 333);
	assert_int_equal(prefix_share(&a, &all, 2, 1000), 500);
	/* Nobody was there for long. */
	assert_int_equal(prefix_share(&a, &all, 9, 1000), 1000);
	assert_int_equal(prefix_share(&c, &all, 9, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hashes),
		cmocka_unit_test(test_each_bit_counts),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_nothing_is_known_of_a_new_prompt),
		cmocka_unit_test(test_nobody_has_what_is_not_seen),
		cmocka_unit_test(test_the_longest_beginning),
		cmocka_unit_test(test_endpoints_that_hold_less),
		cmocka_unit_test(test_old_holders_are_not_believed),
		cmocka_unit_test(test_an_engine_that_restarted_has_nothing),
		cmocka_unit_test(test_four_hold_a_beginning),
		cmocka_unit_test(test_what_follows_is_believed_by_length),
		cmocka_unit_test(test_random_prompts),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_a_prompt_that_continues),
		cmocka_unit_test(test_home),
		cmocka_unit_test(test_shares),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
