/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CLI and the kernel find the same state of an endpoint, on a million random states of the
 * maps. bpf/test_eligible.c compares the kernel with the host's compilation of the same text.
 */
#include "support_pins.h"

#include "../bpf/support_states.h"

/* How often the maps are filled with all endpoints: a million states in all. */
#define TAME_FILLS 250
#define WILD_FILLS 750

static struct states states;

static int setup(void **state)
{
	static struct pins p;

	pins_mount();
	pins_load(&p, true);
	*state = &p;
	return 0;
}

/* Fills the maps and reads them as the CLI does; one time in four there is no heartbeat. */
static struct state *fill_and_read(const struct pins *p, uint32_t fill, bool tame)
{
	struct state *s = NULL;
	uint64_t now = monotonic_ns();

	states_make(&states, fill, now, tame);
	states_put(&states, p->skel);
	p->m->node->abi_version = PINTLE_ABI_VERSION;
	p->m->node->heartbeat_ns = fill % 4 ? now + now / 4 : now / 2;
	assert_int_equal(state_read(p->m, &s), 0);
	assert_int_equal(s->pool_count, 1);
	return s;
}

static uint64_t digest_text(uint64_t digest, const char *text)
{
	while (*text)
		digest = digest_add(digest, (uint8_t)*text++);
	return digest;
}

/* Hashes what the CLI shows of an endpoint, except what depends on the clock. */
static uint64_t digest_of(uint64_t digest, const struct state_endpoint *e)
{
	digest = digest_text(digest_add(digest, e->id), state_name(e->state));
	digest = digest_add(digest, (uint64_t)(e->load * 1000 + 0.5) << 4 | e->fresh << 2 |
					    e->drained << 1 | e->ejected);
	return digest_add(digest, (uint64_t)e->in_flight << 32 | (uint32_t)e->pending);
}

/* ---- beside the kernel ------------------------------------------------------------ */

/* The kernel's verdict on each endpoint, for a connection of either family. */
static void weigh_all(const struct pins *p, const struct state *s,
		      struct weigh_one all[PINTLE_MAX_MEMBERS])
{
	struct weigh_one v6[WEIGH_CASE_MAX];

	states.now = s->now_ns;
	for (uint32_t e = 0; e < PINTLE_MAX_MEMBERS; e += WEIGH_CASE_MAX) {
		for (uint32_t i = 0; i < WEIGH_CASE_MAX; i++) {
			all[e + i] = (struct weigh_one){.family = PINTLE_FAMILY_V4,
							.daemonless = s->pools[0].daemonless};
			v6[i] = all[e + i];
			v6[i].family = PINTLE_FAMILY_V6;
		}
		states_weigh(&states, p->skel, e, all + e);
		states_weigh(&states, p->skel, e, v6);
		for (uint32_t i = 0; i < WEIGH_CASE_MAX; i++)
			if (!all[e + i].eligible)
				all[e + i] = v6[i];
	}
}

static bool is_ready(const struct state_endpoint *e)
{
	return e->state == STATE_READY || e->state == STATE_SATURATED || e->state == STATE_STALE;
}

/* The last row of STATE_ENDPOINT_STATES that applies, with each row tested by itself. */
static enum state_endpoint_state state_expected(const struct state_endpoint *e, bool daemonless)
{
	const struct pintle_health *h = &states.health[e->id];
	const struct pintle_score *score = &states.scores[e->id];
	bool listens = pool_reach(&states.pool) == PINTLE_REACH_LISTENER;
	bool stands = (int64_t)(h->stands_until_ns - states.now) > 0;
	uint32_t unfit = daemonless ? PINTLE_UNFIT_NOT : h->unfit;
	bool down = listens && !h->listening_since_ns;
	uint64_t scraped_ns = score->generation == e->generation ? score->scraped_ns : 0;
	const bool applies[STATE_COUNT] = {
		[STATE_READY] = true,
		[STATE_SATURATED] = e->saturated,
		[STATE_STALE] = !e->fresh,
		[STATE_UNHEARD] =
			!daemonless && (!scraped_ns || scraped_ns < h->listening_since_ns),
		[STATE_STOPPED] = stands && h->standing == PINTLE_STANDING_STOPPED,
		[STATE_STALLED] = stands && h->standing == PINTLE_STANDING_STALLED,
		[STATE_STARTING] = unfit == PINTLE_UNFIT_STARTING,
		[STATE_UNHEALTHY] = unfit == PINTLE_UNFIT_UNHEALTHY,
		[STATE_FAULTY] = unfit == PINTLE_UNFIT_FAULTY,
		[STATE_ASLEEP] = unfit == PINTLE_UNFIT_ASLEEP,
		[STATE_EJECTED] = e->ejected,
		[STATE_DRAINED] = e->drained || e->drained_configured,
		[STATE_DOWN] = down,
		[STATE_UNSTEERABLE] = listens && (down ? h->unsteerable : !(h->families & 3)),
	};
	enum state_endpoint_state lowest = STATE_COUNT - 1;

	while (!applies[lowest])
		lowest--;
	return lowest;
}

static void assert_agree(const struct state *s, const struct weigh_one *all)
{
	const struct state_endpoint *e = s->endpoints;
	struct decide_state rule;
	size_t eligible = 0;

	decide_begin(&rule, 1, 0);
	for (uint32_t i = 0; i < PINTLE_MAX_MEMBERS; i++) {
		eligible += all[i].eligible;
		if (all[i].eligible)
			decide_consider(&rule, &all[i].candidate);
	}
	assert_int_equal(eligible, s->pools[0].ready_count);
	for (size_t i = 0; i < s->endpoint_count; i++, e++) {
		struct weigh_one here = all[e->id];

		states_weigh_here(&states, &here);
		assert_string_equal(state_name(e->state),
				    state_name(state_expected(e, s->pools[0].daemonless)));
		assert_int_equal(is_ready(e), all[e->id].eligible);
		assert_int_equal(e->fresh, here.candidate.fresh);
		assert_int_equal((uint64_t)(e->load * 1000 + 0.5),
				 is_ready(e) ? decide_load(&rule, &all[e->id].candidate)
					     : here.candidate.load);
	}
}

/* Returns a digest of what the CLI shows. */
static uint64_t kernel_and_cli_agree(const struct pins *p, uint32_t fills, bool tame)
{
	static struct weigh_one all[PINTLE_MAX_MEMBERS];
	uint64_t digest = 0;

	for (uint32_t fill = 0; fill < fills; fill++) {
		struct state *s = fill_and_read(p, fill, tame);

		weigh_all(p, s, all);
		assert_agree(s, all);
		for (size_t i = 0; i < s->endpoint_count; i++)
			digest = digest_of(digest, &s->endpoints[i]);
		digest = digest_add(digest, s->pools[0].ready_count);
		state_free(s);
	}
	return digest;
}

/* States that occur; what the CLI shows of them must not depend on the clock. */
static void test_tame_states(void **state)
{
	assert_digest(kernel_and_cli_agree(*state, TAME_FILLS, true), 0x25aa32d3b2bcf78e);
}

/* Also states that never occur: a score half written, impossible counts, a listener of no
 * family. */
static void test_wild_states(void **state)
{
	states.followed = true;
	kernel_and_cli_agree(*state, WILD_FILLS, false);
	states.followed = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tame_states),
		cmocka_unit_test(test_wild_states),
	};

	return cmocka_run_group_tests(tests, setup, pins_teardown);
}
