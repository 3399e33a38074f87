/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `pintle explain` says what the kernel does: on 10,000 random states of the maps, explain_read()
 * chooses and notes what the kernel's choose() does with its own random number.
 */
#include "support_states.h"

#include <stdlib.h>

#include "../../userspace/maps/maps.h"
#include "../../userspace/maps/state.h"
#include "../../userspace/maps/state_explain.h"
#include "rule/tiers.bpf.h"

#define FILLS      60 /* of all endpoints each */
#define POOLS      50 /* of each fill's endpoints */
#define ADAPTER    9
#define WINDOW     64 /* small pools have endpoints with smaller ids, as the homes are */
#define NOW        (1000 * 3600 * NSEC_PER_SEC)
#define GROUPS     32
#define TRIES      50
#define MAX_BEYOND 10
#define NOTE       1

static struct pintle_bpf *skel;
static struct states states;
static struct maps maps;
static struct pintle_homes homes;
static int homes_fd, notes_fd;

/* Of all states. */
static struct {
	uint64_t outcomes[PINTLE_OUTCOME_COUNT], preferences[EXPLAIN_PREFERENCE_COUNT];
	uint64_t fulls[EXPLAIN_FULL_COUNT];
	uint32_t certain, beyond; /* of the certain ones, those where the kernel chose otherwise */
} seen;

static int load(void **state)
{
	(void)state;
	skel = load_programs("pintle_choose", "pintle_weigh");
	if (!skel)
		return -1;
	for (enum map_id id = 0; id < MAP_COUNT; id++)
		maps.fd[id] = bpf_object__find_map_fd_by_name(skel->obj, map_names[id]);
	notes_fd = bpf_object__find_map_fd_by_name(skel->obj, "notes");
	homes_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "homes_of_pool", sizeof(uint32_t),
				  sizeof(homes), 1, NULL);
	return homes_fd < 0 ? -1 : 0;
}

static int unload(void **state)
{
	(void)state;
	close(homes_fd);
	pintle_bpf__destroy(skel);
	return 0;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(states_random(&states) % n);
}

static void put(enum map_id id, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(maps.fd[id], key, value, BPF_ANY), 0);
}

/* ---- a state ----------------------------------------------------------------------- */

/* Homes are small ids, and some of them are of an endpoint that is gone. */
static void put_homes(void)
{
	uint32_t pool = STATES_POOL, zero = 0;

	homes.pool_generation = STATES_POOL_GEN - states_one_in(&states, 8);
	for (uint32_t i = 0; i < PINTLE_HOME_ENTRIES; i++) {
		uint32_t id = below(WINDOW);

		homes.home[i] =
			(struct pintle_ref){id, STATES_GEN(id) - states_one_in(&states, 16)};
	}
	assert_int_equal(bpf_map_update_elem(homes_fd, &zero, &homes, BPF_ANY), 0);
	put(MAP_homes, &pool, &homes_fd);
}

/* The first entries of order are those that the daemon believes to be eligible: any. */
static void order_make(struct pintle_pool *p)
{
	uint32_t n = p->member_count;

	p->ready = states_one_in(&states, 2) ? 0 : 1 + below(n);
	for (uint32_t i = 0; i < n; i++)
		p->order[i] = (uint16_t)i;
	for (uint32_t i = n - 1; i > 0; i--) {
		uint32_t j = below(i + 1);
		uint16_t t = p->order[i];

		p->order[i] = p->order[j];
		p->order[j] = t;
	}
}

static void pool_make(struct pintle_pool *p)
{
	uint32_t kind = below(32), n, first;

	n = kind == 0 ? ARRAY_SIZE(p->members) : kind < 8 ? 9 + below(40) : 1 + below(8);
	first = n < WINDOW ? below(WINDOW - n) : 0;
	p->member_count = n;
	for (uint32_t i = 0; i < n; i++)
		p->members[i] = (struct pintle_ref){first + i, STATES_GEN(first + i)};
	order_make(p);
	p->tie = states_one_in(&states, 3) ? 1 + below(1000) : 0;
	p->sample = states_one_in(&states, 2) ? 0 : 2 + below(PINTLE_SAMPLE - 1);
	p->max_extra_load = 1000 * below(16);
	memset(p->class_of, 0, sizeof(p->class_of));
	for (uint32_t i = 1; i < PINTLE_MAX_CLASSES; i++)
		p->class_of[i] = (struct pintle_class){
			.max_extra_load = 1000 * below(16),
			.limit = states_one_in(&states, 2) ? 0 : 1000 * below(24),
			.admission = below(PINTLE_ADMISSION_COUNT),
			.flags = (states_one_in(&states, 2) ? 0 : PINTLE_CLASS_EXTRA) |
				 (states_one_in(&states, 2) ? 0 : PINTLE_CLASS_BOUNDED),
			.connections = states_one_in(&states, 2) ? 0 : 1 + below(40),
			.pool_connections = states_one_in(&states, 4) ? 1 + below(200) : 0,
			.places = states_one_in(&states, 2) ? 0 : 1 + below(40),
		};
	p->ttl_ns = NOW / 64 * 20;
	p->mode = states_one_in(&states, 8)   ? PINTLE_MODE_BASELINE
		  : states_one_in(&states, 8) ? PINTLE_MODE_SHADOW
					      : PINTLE_MODE_ENFORCE;
}

static void binding_make(const struct choose_case *k, const struct pintle_pool *p)
{
	static const enum map_id where[] = {MAP_affinity, MAP_affinity_beyond, MAP_shadow_bindings};
	uint32_t id =
		states_one_in(&states, 4) ? below(WINDOW) : p->members[below(p->member_count)].id;
	struct pintle_affinity a = {
		.endpoint = id,
		.generation = STATES_GEN(id) - states_one_in(&states, 16),
		.used_ns = NOW / 64 * (40 + below(25)),
		.open = states_one_in(&states, 4) ? below(24) : below(9),
		.idle = below(8),
		.context_bytes = states_one_in(&states, 2) ? 0 : below(100000),
		.prompt_steps = states_one_in(&states, 4) ? 0 : below(PINTLE_PREFIX_STEPS + 1),
	};

	for (size_t i = 0; i < ARRAY_SIZE(where); i++)
		bpf_map_delete_elem(maps.fd[where[i]], &k->key);
	if (!states_one_in(&states, 4))
		put(where[below(2)], &k->key, &a);
	if (!states_one_in(&states, 4)) {
		a.endpoint = p->members[below(p->member_count)].id;
		a.generation = STATES_GEN(a.endpoint);
		put(MAP_shadow_bindings, &k->key, &a);
	}
}

/* How many sessions share the class's places, and whether this one keeps coming back. */
static void share_make(const struct choose_case *k)
{
	const struct pintle_refusal refusal = {.told_ns = NOW - NSEC_PER_SEC + 1 - below(2),
					       .again = PINTLE_RETRIES - below(2)};
	struct pintle_bindings n = {0};
	uint32_t pool = STATES_POOL;

	for (size_t i = 0; i < PINTLE_MAX_CLASSES; i++)
		n.sharing[i] = below(5);
	put(MAP_bindings, &pool, &n);
	bpf_map_delete_elem(maps.fd[MAP_refusals], &k->key);
	if (!states_one_in(&states, 4))
		put(MAP_refusals, &k->key, &refusal);
}

/* Which endpoints have the adapter that the request names, and which are noted to have it. */
static void adapters_make(const struct pintle_pool *p)
{
	uint32_t number = ADAPTER;
	struct pintle_holders h = {0};

	for (uint32_t id = 0; id < WINDOW; id++) {
		struct pintle_adapters a = {
			.generation = STATES_GEN(id) - states_one_in(&states, 8),
			.flags = states_one_in(&states, 2) ? PINTLE_ADAPTERS_LISTED : 0,
			.slots = (uint16_t)below(3),
			.used = (uint16_t)below(3),
		};

		for (size_t i = 0; i < PINTLE_ADAPTER_WORDS; i++) {
			a.loaded[i] = states_one_in(&states, 4) ? UINT64_MAX : 0;
			a.listed[i] = states_one_in(&states, 2) ? UINT64_MAX : 0;
		}
		put(MAP_adapters, &id, &a);
	}
	for (size_t i = 0; i < PINTLE_ADAPTER_HOLDERS; i++) {
		uint32_t id = p->members[below(p->member_count)].id;

		if (!states_one_in(&states, 4))
			h.of[i] = (uint64_t)(STATES_GEN(id) - states_one_in(&states, 8)) << 32 | id;
	}
	put(MAP_adapter_holders, &number, &h);
}

/* What is known of the request's prompt: who has how much of it, now and then of somebody who is
 * gone, or whose entry is as old as its engine. */
static void prompt_make(const struct pintle_pool *p, struct state_prompt *to)
{
	*to = (struct state_prompt){.prompt.steps = 1 + below(PINTLE_PREFIX_STEPS)};
	to->prompt.bytes = prefix_bytes(to->prompt.steps) + below(2000);
	for (uint32_t i = 0; i < PINTLE_PREFIX_KNOWN && !states_one_in(&states, 4); i++) {
		uint32_t id = p->members[below(p->member_count)].id;

		to->known.of[i] = (struct pintle_holder){
			.generation = STATES_GEN(id) - states_one_in(&states, 8),
			.endpoint = (uint16_t)id,
			.used = (uint16_t)((NOW >> 32) - below(900)),
		};
		to->known.steps[i] = (uint8_t)(1 + below(to->prompt.steps));
		to->known.longest = MAX(to->known.longest, to->known.steps[i]);
	}
	if (to->known.longest == to->prompt.steps)
		to->known.common = below(to->prompt.bytes);
	if (states_one_in(&states, 4))
		to->home = p->members[below(p->member_count)];
}

/* Writes one pool of the fill, and makes the connection for which an endpoint is chosen. */
static void state_make(struct explain_asked *asked, struct choose_case *k,
		       struct state_prompt *prompt)
{
	struct pintle_pool *p = &states.pool;
	struct pintle_node node = {.heartbeat_ns =
					   NOW - (states_one_in(&states, 4) ? NOW / 64 * 20 : 0)};
	struct pintle_override o = {.generation = STATES_POOL_GEN - states_one_in(&states, 4),
				    .flags = PINTLE_OVERRIDE_MODE,
				    .mode = PINTLE_MODE_ENFORCE};
	uint32_t pool = STATES_POOL, zero = 0;
	uint64_t group[2] = {1, below(GROUPS)};

	for (int i = 0; i < PINTLE_RESPONDERS; i++)
		node.responders[i].port = states_one_in(&states, 2);
	pool_make(p);
	p->adapter_weight = states_one_in(&states, 4) ? 1000 * (1 + below(8)) : 0;
	p->prompt_weight = states_one_in(&states, 4) ? 1 + below(3000) : 0;
	put(MAP_pools, &pool, p);
	put(MAP_node, &zero, &node);
	put(MAP_overrides, &pool, &o);
	*asked = (struct explain_asked){
		.pool = {STATES_POOL, STATES_POOL_GEN},
		.family = states_one_in(&states, 2) ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6,
		.class_id = below(PINTLE_MAX_CLASSES),
		.now_ns = NOW,
		.tries = TRIES,
	};
	asked->over_quota = states_one_in(&states, 16);
	asked->adapter = p->adapter_weight ? ADAPTER : 0;
	if (asked->adapter)
		adapters_make(p);
	prompt_make(p, prompt);
	asked->prompt = p->prompt_weight ? prompt : NULL;
	if (!states_one_in(&states, 8))
		asked->keys[TIER_OWN].session =
			(struct pintle_session_key){.kind = PINTLE_KEY_MARK, .id = {7}};
	if (!states_one_in(&states, 2)) {
		asked->keys[TIER_OWN].group.kind = PINTLE_KEY_NAMESPACE;
		memcpy(asked->keys[TIER_OWN].group.id, group, sizeof(group));
	}
	*k = (struct choose_case){
		.now = NOW,
		.key = {STATES_POOL, STATES_POOL_GEN, asked->keys[TIER_OWN].session},
		.family = asked->family,
		.daemonless = eligible_daemonless(p, node.heartbeat_ns, NOW),
		.mode = o.generation == STATES_POOL_GEN ? o.mode : p->mode,
		.home = asked->keys[TIER_OWN].group.kind ? 1 + decide_home(group[0], group[1]) : 0,
		.count = 1,
		.class_id = asked->class_id,
		.over_quota = asked->over_quota,
		.adapter = asked->adapter,
		.prompted = !!asked->prompt,
		.prompt_home = prompt->home,
		.prompt = prompt->prompt,
		.known = prompt->known,
	};
	binding_make(k, p);
	share_make(k);
}

/* ---- the kernel's choice ------------------------------------------------------------- */

/* Takes back what a decision writes: that an endpoint is tried, or full. */
static void health_restore(const struct pintle_pool *p, const struct choose_case *k,
			   const struct decide_result *r)
{
	if (r->outcome != PINTLE_OUTCOME_TRIED && !p->class_of[k->class_id].limit)
		return;
	for (uint32_t i = 0; i < p->member_count; i++)
		put(MAP_health, &p->members[i].id, &states.health[p->members[i].id]);
}

static const struct decide_result *kernel_chooses(const struct choose_case *k)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	skel->bss->choose_case = *k;
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(skel->progs.pintle_choose), &opts),
			 0);
	assert_int_equal(opts.retval, 0);
	health_restore(&states.pool, k, skel->bss->choose_case.result);
	return skel->bss->choose_case.result;
}

/* Fills in what the kernel notes of a decision. */
static void kernel_notes(struct choose_case *k, struct pintle_trace *note)
{
	static const struct pintle_trace none;
	const struct decide_result *r;
	uint32_t at = NOTE - 1;

	assert_int_equal(bpf_map_update_elem(notes_fd, &at, &none, BPF_ANY), 0);
	k->note = NOTE;
	r = kernel_chooses(k);
	k->note = 0;
	assert_int_equal(bpf_map_lookup_elem(notes_fd, &at, note), 0);
	note->chosen = (struct pintle_ref){r->endpoint, r->generation};
	note->outcome = (uint8_t)r->outcome;
}

/* A decision that nobody notes takes other steps through the members. A choice that was missing in
 * all tries may still have a chance. */
static void assert_no_other(const struct explain *x, const struct choose_case *k)
{
	const struct decide_result *r;
	uint32_t outcome;

	if (x->sample || x->outcomes[x->outcome] < x->tries ||
	    (x->likeliest && x->likeliest->chosen < x->tries))
		return;
	seen.certain++;
	r = kernel_chooses(k);
	/* The pool has no fallback. */
	outcome = !r->generation && r->outcome == PINTLE_OUTCOME_SPILLED ? PINTLE_OUTCOME_REFUSED
									 : r->outcome;
	if (outcome == x->outcome &&
	    (!x->likeliest || (x->likeliest->endpoint.id == r->endpoint &&
			       x->likeliest->endpoint.generation == r->generation)))
		return;
	if (++seen.beyond > MAX_BEYOND)
		fail_msg("the kernel chose %u with outcome %u, which explain excludes", r->endpoint,
			 r->outcome);
}

static bool has_due(const struct explain *x)
{
	for (size_t i = 0; i < x->count; i++)
		if (x->candidates[i].due)
			return true;
	return false;
}

/* What was said fits together. */
static void assert_sound(const struct explain *x)
{
	uint64_t chosen = 0, outcomes = 0;

	for (size_t i = 0; i < x->count; i++) {
		const struct explain_candidate *c = &x->candidates[i];

		chosen += c->chosen;
		seen.fulls[c->full]++;
		assert_true(!c->chosen || !c->ineligible || c->due);
		if (!x->sample && c->fresh && !c->ineligible)
			assert_int_equal(c->load, decide_rated(MAX(c->page, c->own) + c->prompts,
							       c->rate, 3 * PINTLE_MAX_LOAD) +
							  c->missing);
	}
	for (uint32_t i = 0; i < PINTLE_OUTCOME_COUNT; i++)
		outcomes += x->outcomes[i];
	assert_int_equal(outcomes, x->tries);
	assert_true(chosen <= x->tries);
}

static void test_the_kernel_chooses_so(void **state)
{
	uint32_t fills = rounds_wanted(FILLS);

	(void)state;
	states.followed = true;
	for (uint32_t i = 0; i < fills * POOLS; i++) {
		struct pintle_trace said, did;
		struct state_prompt prompt;
		struct explain_asked asked;
		struct choose_case k;
		struct explain *x;

		if (i % POOLS == 0) {
			states.asked = i / POOLS % 4 == 3;
			states_make(&states, 5000 + i / POOLS, NOW, false);
			states_put(&states, skel);
			put_homes();
		}
		state_make(&asked, &k, &prompt);
		kernel_notes(&k, &did);
		asked.seed = did.rule[0];
		asked.note = &said;
		assert_int_equal(explain_read(&maps, &asked, &x), 0);
		assert_memory_equal(&said, &did, sizeof(did));
		assert_sound(x);
		assert_no_other(x, &k);
		seen.outcomes[did.outcome]++;
		seen.preferences[x->bound.why]++;
		seen.preferences[x->home.why]++;
		explain_free(x);
	}
	print_message("%u of %u certain, %u of these otherwise\n", seen.certain, fills * POOLS,
		      seen.beyond);
	assert_true(seen.certain > fills * POOLS / 4);
}

/* Otherwise the test above says less than it seems to. */
static void test_all_of_it_was_seen(void **state)
{
	static const enum pintle_outcome wanted[] = {
		PINTLE_OUTCOME_STICKY,  PINTLE_OUTCOME_HOME,     PINTLE_OUTCOME_LEAST_LOADED,
		PINTLE_OUTCOME_ESCAPED, PINTLE_OUTCOME_STALE,    PINTLE_OUTCOME_NO_ENDPOINT,
		PINTLE_OUTCOME_RANDOM,  PINTLE_OUTCOME_TRIED,    PINTLE_OUTCOME_REFUSED,
		PINTLE_OUTCOME_SPILLED, PINTLE_OUTCOME_DIVERTED,
	};

	(void)state;
	if (getenv("PINTLE_FILLS"))
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (!seen.outcomes[wanted[i]])
			fail_msg("no outcome %u", wanted[i]);
	for (size_t i = 0; i < EXPLAIN_PREFERENCE_COUNT; i++)
		if (!seen.preferences[i])
			fail_msg("nothing was %s", explain_preference_name(i));
	for (size_t i = 0; i < EXPLAIN_FULL_COUNT; i++)
		if (!seen.fulls[i])
			fail_msg("nothing was full: %s", explain_full_name(i));
}

/* No endpoint counts as tried because somebody asked. */
static void test_nothing_changes(void **state)
{
	static struct pintle_health before[ARRAY_SIZE(states.health)], after[ARRAY_SIZE(before)];
	struct state_prompt prompt;
	struct explain_asked asked;
	struct choose_case k;
	struct explain *x;
	uint32_t due = 0;

	(void)state;
	for (uint32_t i = 0; i < 200; i++) {
		state_make(&asked, &k, &prompt);
		for (uint32_t e = 0; e < ARRAY_SIZE(before); e++)
			assert_int_equal(maps_value(&maps, MAP_health, e, &before[e]), 0);
		assert_int_equal(explain_read(&maps, &asked, &x), 0);
		due += has_due(x);
		explain_free(x);
		for (uint32_t e = 0; e < ARRAY_SIZE(after); e++)
			assert_int_equal(maps_value(&maps, MAP_health, e, &after[e]), 0);
		assert_memory_equal(before, after, sizeof(before));
	}
	assert_true(due);
}

static void test_a_pool_that_is_gone(void **state)
{
	struct explain_asked asked = {.pool = {STATES_POOL, STATES_POOL_GEN + 1}, .tries = 1};
	struct explain *x = NULL;

	(void)state;
	assert_int_equal(explain_read(&maps, &asked, &x), -ESTALE);
	assert_null(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_kernel_chooses_so),
		cmocka_unit_test(test_all_of_it_was_seen),
		cmocka_unit_test(test_nothing_changes),
		cmocka_unit_test(test_a_pool_that_is_gone),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
