/* SPDX-License-Identifier: Apache-2.0 */
/* Bindings: which are removed, whose share the others count for, and which were evicted. */
#include "support_steer.h"

#include "../../userspace/maps/state.h"
#include "../../userspace/pintled/observe/bindings.h"

#define ONE POOL("a", FRONTEND, SERVERS(AT("e0", 8001)))

struct node {
	struct steer s;
	struct bindings *b;
	struct pintle_ref pool, endpoint;
	struct pintle_bindings *n;
};

static void node_start(struct node *d)
{
	steer_start(&d->s, ONE, false);
	assert_int_equal(bindings_new(attachment_ground(d->s.a), &d->b), 0);
	d->pool = d->s.p->pools[0].ref;
	d->endpoint = d->s.p->pools[0].endpoints[0];
	d->n = &d->s.m->bindings[d->pool.id];
}

static void node_end(struct node *d)
{
	bindings_free(d->b);
	steer_end(&d->s);
}

static struct pintle_affinity_key key_of(const struct node *d, uint8_t session)
{
	return (struct pintle_affinity_key){
		.pool = d->pool.id,
		.pool_generation = d->pool.generation,
		.session = {.kind = PINTLE_KEY_SOURCE, .prefix_bits = 128, .id = {[15] = session}},
	};
}

static struct pintle_affinity binding_of(const struct node *d, uint64_t client)
{
	return (struct pintle_affinity){
		.endpoint = d->endpoint.id,
		.generation = d->endpoint.generation,
		.bound_ns = monotonic_ns(),
		.used_ns = monotonic_ns(),
		.client = client,
	};
}

static void bind_at(const struct node *d, enum map_id map, struct pintle_affinity_key key,
		    struct pintle_affinity a)
{
	assert_int_equal(bpf_map_update_elem(d->s.m->fd[map], &key, &a, BPF_ANY), 0);
	d->n->made++;
}

/* Adds a session of the client. */
static void bind_one(const struct node *d, enum map_id map, uint8_t session, uint64_t client)
{
	bind_at(d, map, key_of(d, session), binding_of(d, client));
}

static uint64_t share_of(const struct node *d, uint64_t client)
{
	uint64_t n = 0;

	bpf_map_lookup_elem(d->s.m->fd[MAP_shares], &client, &n);
	return n;
}

static bool bound(const struct node *d, enum map_id map, struct pintle_affinity_key key)
{
	struct pintle_affinity a;

	return !bpf_map_lookup_elem(d->s.m->fd[map], &key, &a);
}

static void assert_numbers(const struct node *d, uint64_t held, uint64_t removed, uint64_t evicted)
{
	assert_int_equal(d->n->held, held);
	assert_int_equal(d->n->removed, removed);
	assert_int_equal(d->n->evicted, evicted);
}

static void test_shares_are_what_is_there(void **state)
{
	const uint64_t too_many = 4711;
	struct node d;

	(void)state;
	node_start(&d);
	for (uint8_t i = 0; i < 12; i++)
		bind_one(&d, MAP_affinity, i, i < 7 ? 1 : PINTLE_CLIENT_V4 | 5);
	bind_one(&d, MAP_affinity_beyond, 99, 1);
	for (uint64_t client = 1; client <= 3; client++)
		bpf_map_update_elem(d.s.m->fd[MAP_shares], &client, &too_many, BPF_ANY);
	assert_int_equal(bindings_walk(d.b), 0);
	assert_int_equal(share_of(&d, 1), 7);
	assert_int_equal(share_of(&d, PINTLE_CLIENT_V4 | 5), 5);
	assert_int_equal(share_of(&d, 2), 0);
	assert_int_equal(share_of(&d, 3), 0);
	assert_numbers(&d, 13, 0, 0);
	node_end(&d);
}

static void test_what_does_not_hold_goes(void **state)
{
	struct pintle_affinity_key former;
	struct pintle_affinity old, gone;
	struct node d;

	(void)state;
	node_start(&d);
	former = key_of(&d, 1);
	former.pool_generation++;
	old = gone = binding_of(&d, 1);
	old.used_ns -= 301 * NSEC_PER_SEC;
	gone.generation++;
	bind_one(&d, MAP_affinity, 1, 1);
	bind_at(&d, MAP_affinity, key_of(&d, 2), old);
	bind_at(&d, MAP_affinity_beyond, key_of(&d, 3), gone);
	bind_at(&d, MAP_affinity, former, binding_of(&d, 1));
	d.n->made--; /* a binding of another pool */
	assert_int_equal(bindings_walk(d.b), 0);
	assert_true(bound(&d, MAP_affinity, key_of(&d, 1)));
	assert_false(bound(&d, MAP_affinity, key_of(&d, 2)));
	assert_false(bound(&d, MAP_affinity_beyond, key_of(&d, 3)));
	assert_false(bound(&d, MAP_affinity, former));
	assert_int_equal(share_of(&d, 1), 1);
	assert_numbers(&d, 1, 2, 0);
	node_end(&d);
}

static void test_the_evicted_are_told_once(void **state)
{
	_cleanup_free_ char *told = NULL;
	struct pintle_affinity_key key;
	struct node d;

	(void)state;
	node_start(&d);
	for (uint8_t i = 0; i < 10; i++)
		bind_one(&d, i < 5 ? MAP_affinity : MAP_affinity_beyond, i, 4711);
	told_begin();
	bindings_walk(d.b);
	for (uint8_t i = 3; i < 7; i++) {
		key = key_of(&d, i);
		bpf_map_delete_elem(d.s.m->fd[i < 5 ? MAP_affinity : MAP_affinity_beyond], &key);
		bindings_walk(d.b);
	}
	/* Bindings that an operator deletes are no evictions. */
	key = key_of(&d, 9);
	state_unbind(d.s.m, &key, true);
	key = key_of(&d, 0);
	state_unbind(d.s.m, &key, true);
	bindings_walk(d.b);
	told = told_end();
	assert_numbers(&d, 4, 2, 4);
	assert_int_equal(count_text(told, "\n"), 1);
	assert_int_equal(count_text(told, "pool a: sessions lost their binding"), 1);
	assert_int_equal(count_text(told, "client:4711 has most"), 1);
	node_end(&d);
}

/* Bindings made by earlier programs, which did not count them. */
static void test_those_that_were_there_before(void **state)
{
	struct pintle_affinity_key key;
	struct node d;

	(void)state;
	node_start(&d);
	for (uint8_t i = 0; i < 10; i++)
		bind_one(&d, MAP_affinity, i, 0);
	d.n->made = 0;
	assert_int_equal(bindings_walk(d.b), 0);
	assert_numbers(&d, 10, 0, 0);
	key = key_of(&d, 3);
	bpf_map_delete_elem(d.s.m->fd[MAP_affinity], &key);
	assert_int_equal(bindings_walk(d.b), 0);
	assert_numbers(&d, 9, 0, 1);
	node_end(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		steer_test(test_shares_are_what_is_there),
		steer_test(test_what_does_not_hold_goes),
		steer_test(test_the_evicted_are_told_once),
		steer_test(test_those_that_were_there_before),
	};

	return cmocka_run_group_tests(tests, make_cgroup, remove_cgroup);
}
