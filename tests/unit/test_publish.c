/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration in the maps: its ids, after any sequence of configurations; what a failure
 * leaves; and connections that are opened meanwhile. */
#include "support_steer.h"

#include <bpf/libbpf.h>
#include <stdatomic.h>

#define TWO_POOLS                                                                                  \
	POOL("a", FRONTEND, SERVERS(AT("e0", 8001) "," AT("e1", 8002) "," AT("e2", 8003)))         \
	POOL("b", "127.77.0.2:8000", SERVERS(AT("e0", 8011)))

static struct pintle_ref endpoint_ref(const struct steer *s, size_t pool, size_t endpoint)
{
	return s->p->pools[pool].endpoints[endpoint];
}

static struct pintle_endpoint endpoint_at(const struct steer *s, uint32_t id)
{
	struct pintle_endpoint e;

	assert_int_equal(maps_value(s->m, MAP_endpoints, id, &e), 0);
	return e;
}

static const char *name_at(const struct steer *s, uint32_t slot)
{
	static struct pintle_name n;

	assert_int_equal(maps_value(s->m, MAP_names, slot, &n), 0);
	return n.name;
}

static uint32_t pool_generation_at(const struct steer *s, uint32_t id)
{
	struct pintle_pool p;

	assert_int_equal(maps_value(s->m, MAP_pools, id, &p), 0);
	return p.generation;
}

/* ---- a picture of the maps ------------------------------------------------------------- */

static void picture_array(const struct steer *s, enum map_id id, FILE *f)
{
	char *v = calloc(1, map_layouts[id].value_size);

	for (uint32_t i = 0; i < map_layouts[id].entries; i++) {
		assert_int_equal(maps_value(s->m, id, i, v), 0);
		fwrite(v, 1, map_layouts[id].value_size, f);
	}
	free(v);
}

static void picture_hash(const struct steer *s, enum map_id id, FILE *f)
{
	char key[512] = {0}, value[32768] = {0}, *previous = NULL;

	assert_in_range(map_layouts[id].key_size, 1, sizeof(key));
	assert_in_range(map_layouts[id].value_size, 1, sizeof(value));
	for (; !bpf_map_get_next_key(s->m->fd[id], previous, key); previous = key) {
		assert_int_equal(bpf_map_lookup_elem(s->m->fd[id], key, value), 0);
		fwrite(key, 1, sizeof(key), f);
		fwrite(value, 1, sizeof(value), f);
	}
}

/* Writes the maps that decide, byte by byte, into a stream. */
static char *picture(const struct steer *s, size_t *size)
{
	char *text;
	FILE *f = open_memstream(&text, size);

	assert_non_null(f);
	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		uint32_t type = map_layouts[id].type;

		if (type == BPF_MAP_TYPE_ARRAY)
			picture_array(s, id, f);
		if (type == BPF_MAP_TYPE_HASH || type == BPF_MAP_TYPE_LPM_TRIE)
			picture_hash(s, id, f);
	}
	fclose(f);
	return text;
}

#define assert_unchanged(s, failing)                                                               \
	do {                                                                                       \
		size_t size_ = 0, size_then_ = 0;                                                  \
		char *before_ = picture(s, &size_), *after_;                                       \
		failing;                                                                           \
		after_ = picture(s, &size_then_);                                                  \
		assert_int_equal(size_, size_then_);                                               \
		assert_true(!memcmp(before_, after_, size_));                                      \
		free(before_);                                                                     \
		free(after_);                                                                      \
	} while (0)

/* ---- ids ------------------------------------------------------------------------------- */

static void test_ids_stay_over_reload_and_reorder(void **state)
{
	struct pintle_ref a, b, e[3], other;
	struct steer s;

	(void)state;
	steer_start(&s, TWO_POOLS, false);
	a = s.p->pools[0].ref;
	b = s.p->pools[1].ref;
	for (size_t i = 0; i < 3; i++)
		e[i] = endpoint_ref(&s, 0, i);
	other = endpoint_ref(&s, 1, 0);
	assert_unchanged(&s, assert_int_equal(steer_publish(&s, TWO_POOLS), 0));

	assert_int_equal(
		steer_publish(&s, POOL("b", "127.77.0.2:8000", SERVERS(AT("e0", 8011)))
					  POOL("a", FRONTEND,
					       SERVERS(AT("e2", 8003) "," AT("new", 8004) "," AT(
						       "e0", 8001) "," AT("e1", 8002)))),
		0);
	assert_true(same_ref(s.p->pools[0].ref, b));
	assert_true(same_ref(s.p->pools[1].ref, a));
	assert_true(same_ref(endpoint_ref(&s, 0, 0), other));
	assert_true(same_ref(endpoint_ref(&s, 1, 0), e[2]));
	assert_true(same_ref(endpoint_ref(&s, 1, 2), e[0]));
	assert_true(same_ref(endpoint_ref(&s, 1, 3), e[1]));
	steer_end(&s);
}

static void test_ids_stay_over_a_restart(void **state)
{
	struct pintle_ref before[3];
	struct steer s;

	(void)state;
	steer_start(&s, TWO_POOLS, true);
	for (size_t i = 0; i < 3; i++)
		before[i] = endpoint_ref(&s, 0, i);
	s.m->inflight[before[1].id].by_class[0].placed = 77;
	steer_end(&s);

	steer_prepare(&s, TWO_POOLS);
	assert_true(attachment_ground(s.a)->resumed);
	assert_int_equal(attachment_commit(s.a, s.c), 0);
	assert_int_equal(steer_publish(&s, TWO_POOLS), 0);
	for (size_t i = 0; i < 3; i++)
		assert_true(same_ref(endpoint_ref(&s, 0, i), before[i]));
	assert_int_equal(s.m->inflight[before[1].id].by_class[0].placed, 77);
	steer_end(&s);
}

static void test_another_address_is_another_endpoint(void **state)
{
	struct pintle_ref before, after;
	struct steer s;

	(void)state;
	steer_start(&s, POOL("a", FRONTEND, SERVERS(AT("e0", 8001))), false);
	before = endpoint_ref(&s, 0, 0);
	assert_int_equal(steer_publish(&s, POOL("a", FRONTEND, SERVERS(AT("e0", 8002)))), 0);
	after = endpoint_ref(&s, 0, 0);
	assert_int_not_equal(before.id, after.id);
	assert_int_equal(endpoint_at(&s, before.id).pool_generation, 0);
	/* The old id comes back with another generation. */
	assert_int_equal(steer_publish(&s, POOL("a", FRONTEND, SERVERS(AT("e0", 8003)))), 0);
	assert_int_equal(endpoint_ref(&s, 0, 0).id, before.id);
	assert_int_equal(endpoint_ref(&s, 0, 0).generation, before.generation + 1);
	/* A bare port is another listener than an address with that port. */
	assert_int_equal(
		steer_publish(&s, POOL("a", FRONTEND, SERVERS("{name: e0, listen: \"8003\"}"))), 0);
	assert_int_equal(endpoint_ref(&s, 0, 0).id, after.id);
	steer_end(&s);
}

#define DRAINED(name, port) "{name: " name ", listen: \"127.0.0.1:" #port "\", drained: true}"
#define GROUPS(servers)     POOL("a", FRONTEND, "stickiness: {group: source/24}, " servers)

/* How many groups of pool 0 have the endpoint as their home. */
static size_t homes_at(const struct steer *s, uint32_t endpoint)
{
	struct pintle_homes *h = calloc(1, sizeof(*h));
	uint32_t pool = s->p->pools[0].ref.id, inner, zero = 0;
	size_t n = 0;
	int fd;

	assert_non_null(h);
	assert_int_equal(bpf_map_lookup_elem(s->m->fd[MAP_homes], &pool, &inner), 0);
	fd = bpf_map_get_fd_by_id(inner);
	assert_true(fd >= 0);
	assert_int_equal(bpf_map_lookup_elem(fd, &zero, h), 0);
	for (size_t i = 0; i < PINTLE_HOME_ENTRIES; i++)
		n += h->home[i].id == endpoint;
	close(fd);
	free(h);
	return n;
}

/* An endpoint that is drained in the configuration keeps its id, and is the home of no group as
 * long as there is another. */
static void test_drained_in_the_configuration(void **state)
{
	struct pintle_ref e[2];
	struct steer s;

	(void)state;
	steer_start(&s, GROUPS(SERVERS(AT("e0", 8001) "," AT("e1", 8002))), false);
	for (size_t i = 0; i < 2; i++)
		e[i] = endpoint_ref(&s, 0, i);
	assert_true(homes_at(&s, e[0].id) && homes_at(&s, e[1].id));
	assert_int_equal(steer_publish(&s, GROUPS(SERVERS(AT("e0", 8001) "," DRAINED("e1", 8002)))),
			 0);
	assert_true(same_ref(endpoint_ref(&s, 0, 1), e[1]));
	assert_int_equal(endpoint_at(&s, e[0].id).flags, 0);
	assert_int_equal(endpoint_at(&s, e[1].id).flags, PINTLE_ENDPOINT_DRAINED);
	assert_int_equal(homes_at(&s, e[0].id), PINTLE_HOME_ENTRIES);
	assert_int_equal(
		steer_publish(&s, GROUPS(SERVERS(DRAINED("e0", 8001) "," DRAINED("e1", 8002)))), 0);
	assert_true(homes_at(&s, e[0].id) && homes_at(&s, e[1].id));
	assert_int_equal(steer_publish(&s, GROUPS(SERVERS(AT("e0", 8001) "," AT("e1", 8002)))), 0);
	assert_int_equal(endpoint_at(&s, e[1].id).flags, 0);
	assert_true(same_ref(endpoint_ref(&s, 0, 1), e[1]));
	steer_end(&s);
}

static struct pintle_pool pool_of(const struct steer *s, size_t i)
{
	struct pintle_pool p;

	assert_int_equal(maps_value(s->m, MAP_pools, s->p->pools[i].ref.id, &p), 0);
	return p;
}

static uint32_t homes_of(const struct steer *s, size_t i)
{
	uint32_t inner;

	assert_int_equal(bpf_map_lookup_elem(s->m->fd[MAP_homes], &s->p->pools[i].ref.id, &inner),
			 0);
	return inner;
}

#define OTHER(servers) POOL("b", "10.0.0.9:80", servers)
#define TWO            AT("e0", 8001) "," AT("e1", 8002)

/* While one pool changes, another keeps its table of homes, and what the daemon found out about
 * it. */
static void test_a_pool_that_stays(void **state)
{
	struct pintle_pool found, now;
	uint32_t homes;
	struct steer s;

	(void)state;
	steer_start(&s, GROUPS(SERVERS(TWO)) OTHER(SERVERS(AT("f0", 8010))), false);
	found = pool_of(&s, 0);
	found.sample = 5;
	found.tie = 7;
	found.ready = 2;
	found.order[0] = 1;
	assert_int_equal(maps_put(s.m, MAP_pools, &s.p->pools[0].ref.id, &found), 0);
	homes = homes_of(&s, 0);
	assert_int_equal(steer_publish(&s, GROUPS(SERVERS(TWO)) OTHER(SERVERS(AT("f1", 8011)))), 0);
	now = pool_of(&s, 0);
	assert_memory_equal(&found, &now, sizeof(found));
	assert_int_equal(homes_of(&s, 0), homes);

	/* With other members, the order of the former ones says nothing. */
	assert_int_equal(steer_publish(&s, GROUPS(SERVERS(TWO "," AT("e2", 8003)))
						   OTHER(SERVERS(AT("f1", 8011)))),
			 0);
	found = pool_of(&s, 0);
	assert_int_equal(found.ready, 0);
	assert_int_equal(found.sample, 5);
	assert_int_equal(found.tie, 7);
	assert_int_not_equal(homes_of(&s, 0), homes);
	steer_end(&s);
}

/* Bindings and counts belong to the server at an address, whatever its name in the configuration.
 */
static void test_a_name_is_not_the_endpoint(void **state)
{
	struct pintle_ref e0, e1;
	struct steer s;

	(void)state;
	steer_start(&s, POOL("a", FRONTEND, SERVERS(AT("e0", 8001) "," AT("e1", 8002))), false);
	e0 = endpoint_ref(&s, 0, 0);
	e1 = endpoint_ref(&s, 0, 1);
	s.m->health[e0.id].listening_since_ns = 7;
	assert_int_equal(
		steer_publish(&s, POOL("a", FRONTEND, SERVERS(AT("e0", 8002) "," AT("e1", 8001)))),
		0);
	assert_true(same_ref(endpoint_ref(&s, 0, 0), e1));
	assert_true(same_ref(endpoint_ref(&s, 0, 1), e0));
	assert_string_equal(name_at(&s, PINTLE_ENDPOINT_SLOT(e0.id)), "e1");
	assert_string_equal(name_at(&s, PINTLE_ENDPOINT_SLOT(e1.id)), "e0");
	assert_int_equal(steer_publish(&s, POOL("a", FRONTEND,
						SERVERS(AT("x", 8002) "," AT("long-name", 8001)))),
			 0);
	assert_true(same_ref(endpoint_ref(&s, 0, 0), e1));
	assert_string_equal(name_at(&s, PINTLE_ENDPOINT_SLOT(e0.id)), "long-name");
	steer_end(&s);
}

static void test_an_id_waits_for_open_connections(void **state)
{
	struct pintle_counters *n;
	struct pintle_ref e0;
	struct steer s;

	(void)state;
	steer_start(&s, POOL("a", FRONTEND, SERVERS(AT("e0", 8001) "," AT("e1", 8002))), false);
	e0 = endpoint_ref(&s, 0, 0);
	n = &s.m->inflight[e0.id].by_class[0];
	*n = (struct pintle_counters){.placed = 9, .opened = 5, .closed = 4, .failed = 1};
	assert_int_equal(steer_publish(&s, POOL("a", FRONTEND, SERVERS(AT("e1", 8002)))), 0);
	assert_int_equal(
		steer_publish(&s, POOL("a", FRONTEND, SERVERS(AT("e1", 8002) "," AT("e2", 8003)))),
		0);
	assert_int_not_equal(endpoint_ref(&s, 0, 1).id, e0.id);
	assert_int_equal(n->opened, 5);

	n->closed++;
	assert_int_equal(
		steer_publish(&s,
			      POOL("a", FRONTEND,
				   SERVERS(AT("e1", 8002) "," AT("e2", 8003) "," AT("e3", 8004)))),
		0);
	assert_int_equal(endpoint_ref(&s, 0, 2).id, e0.id);
	assert_int_not_equal(endpoint_ref(&s, 0, 2).generation, e0.generation);
	assert_int_equal(n->placed + n->opened + n->closed + n->failed, 0);
	assert_int_equal(s.m->scores[e0.id].generation, endpoint_ref(&s, 0, 2).generation);
	steer_end(&s);
}

static uint64_t decisions(const struct steer *s, uint32_t pool, uint32_t outcome)
{
	uint64_t by_cpu[256] = {0}, sum = 0;

	assert_int_equal(maps_value(s->m, MAP_stats, PINTLE_STAT(pool, outcome), by_cpu), 0);
	for (int i = 0; i < libbpf_num_possible_cpus(); i++)
		sum += by_cpu[i];
	return sum;
}

static void count_decisions(const struct steer *s, uint32_t pool, uint32_t outcome, uint64_t n)
{
	uint32_t at = PINTLE_STAT(pool, outcome);
	uint64_t by_cpu[256] = {n};

	assert_int_equal(bpf_map_update_elem(s->m->fd[MAP_stats], &at, by_cpu, BPF_ANY), 0);
}

static bool has_homes(const struct steer *s, uint32_t pool)
{
	uint32_t inner;

	return !bpf_map_lookup_elem(s->m->fd[MAP_homes], &pool, &inner);
}

#define GROUPED "stickiness: {group: source/24}, "

static void test_a_new_pool_starts_from_nothing(void **state)
{
	struct pintle_ref a;
	struct steer s;

	(void)state;
	steer_start(&s,
		    POOL("a", FRONTEND, GROUPED SERVERS(AT("e0", 8001)))
			    POOL("b", "127.77.0.2:8000", SERVERS(AT("e0", 8011))),
		    false);
	a = s.p->pools[0].ref;
	assert_true(has_homes(&s, a.id));
	assert_false(has_homes(&s, s.p->pools[1].ref.id));
	count_decisions(&s, a.id, PINTLE_OUTCOME_STICKY, 42);
	count_decisions(&s, s.p->pools[1].ref.id, PINTLE_OUTCOME_HOME, 43);
	s.m->bindings[a.id].evicted = 44;
	s.m->bindings[s.p->pools[1].ref.id].evicted = 45;

	/* The endpoint keeps its counts over a reload, and when the other one is removed. */
	assert_int_equal(steer_publish(&s, TWO_POOLS), 0);
	assert_false(has_homes(&s, a.id));
	assert_int_equal(decisions(&s, a.id, PINTLE_OUTCOME_STICKY), 42);
	assert_int_equal(steer_publish(&s, POOL("b", "127.77.0.2:8000", SERVERS(AT("e0", 8011)))),
			 0);
	assert_int_equal(pool_generation_at(&s, a.id), 0);

	assert_int_equal(steer_publish(&s, POOL("b", "127.77.0.2:8000", SERVERS(AT("e0", 8011)))
						   POOL("c", FRONTEND, SERVERS(AT("e0", 8001)))),
			 0);
	assert_int_equal(s.p->pools[1].ref.id, a.id);
	assert_int_equal(s.p->pools[1].ref.generation, a.generation + 1);
	assert_string_equal(name_at(&s, a.id), "c");
	assert_int_equal(decisions(&s, a.id, PINTLE_OUTCOME_STICKY), 0);
	assert_int_equal(decisions(&s, s.p->pools[0].ref.id, PINTLE_OUTCOME_HOME), 43);
	assert_int_equal(s.m->bindings[a.id].evicted, 0);
	assert_int_equal(s.m->bindings[s.p->pools[0].ref.id].evicted, 45);
	steer_end(&s);
}

/* ---- the connect hook --------------------------------------------------------------------- */

#define CONNECT                                                                                    \
	POOL("a", "127.77.0.0/24:8000",                                                            \
	     "stickiness: {key: destination, group: hint}, "                                       \
	     "ejection: {failures: 4, time: 2s, maxTime: 9s, maxShare: 0.7}, " SERVERS(            \
		     "{name: e0, address: \"127.0.0.1:8001\"}, "                                   \
		     "{name: e1, address: \"127.0.0.1:8002\"}, "                                   \
		     "{name: e2, address: \"127.0.0.1:8003\"}"))

static size_t rows_of(const struct steer *s, enum map_id id)
{
	char key[64], *previous = NULL;
	size_t n = 0;

	for (; !bpf_map_get_next_key(s->m->fd[id], previous, key); n++)
		previous = key;
	return n;
}

static void test_a_connect_pool(void **state)
{
	_cleanup_free_ struct pintle_pool *p = malloc(sizeof(*p));
	struct pintle_frontend_key key = {.prefixlen = PINTLE_FRONTEND_FIXED_BITS + 120,
					  .port = 8000,
					  .protocol = IPPROTO_TCP,
					  .address = {[10] = 0xff, 0xff, 127, 77, 0, 0}};
	struct pintle_frontend f;
	struct pintle_endpoint e;
	struct steer s;

	(void)state;
	steer_start(&s, CONNECT, false);
	assert_int_equal(maps_value(s.m, MAP_pools, s.p->pools[0].ref.id, p), 0);
	assert_int_equal(p->decided_by, PINTLE_HOOK_CONNECT);
	assert_int_equal(p->reach, PINTLE_REACH_ADDRESS);
	assert_int_equal(p->key_kind, PINTLE_KEY_DESTINATION);
	assert_int_equal(p->group_kind, PINTLE_KEY_HINT);
	assert_int_equal(p->eject_after, 4);
	assert_int_equal(p->eject_most, 2);
	assert_int_equal(p->eject_ns, 2 * NSEC_PER_SEC);
	assert_int_equal(p->eject_max_ns, 9 * NSEC_PER_SEC);
	assert_int_equal(bpf_map_lookup_elem(s.m->fd[MAP_frontends], &key, &f), 0);
	assert_int_equal(f.decided_by, PINTLE_HOOK_CONNECT);
	assert_int_equal(f.prefix_bits, 120);
	e = endpoint_at(&s, endpoint_ref(&s, 0, 1).id);
	assert_int_equal(e.port, 8002);
	assert_int_equal(e.flags, 0);
	assert_int_equal(e.address[12], 127);
	/* No listener of this node is one of these endpoints. */
	assert_int_equal(rows_of(&s, MAP_addresses), 0);
	assert_true(has_homes(&s, s.p->pools[0].ref.id));
	assert_int_equal(s.m->node->daemonless_ns, 600 * NSEC_PER_SEC);
	steer_end(&s);
}

/* Counts and bindings of an endpoint do not carry over to another hook. */
static void test_another_hook_is_another_pool(void **state)
{
	struct pintle_ref pool, endpoint;
	struct steer s;

	(void)state;
	steer_start(&s, POOL("a", FRONTEND, SERVERS(AT("e0", 8001))), false);
	pool = s.p->pools[0].ref;
	endpoint = endpoint_ref(&s, 0, 0);
	assert_int_equal(steer_publish(&s, CONNECT), 0);
	assert_false(same_ref(s.p->pools[0].ref, pool));
	assert_false(same_ref(endpoint_ref(&s, 0, 0), endpoint));
	assert_int_equal(pool_generation_at(&s, pool.id), 0);
	assert_int_equal(endpoint_at(&s, endpoint.id).pool_generation, 0);
	assert_int_equal(rows_of(&s, MAP_addresses), 0);
	assert_int_equal(rows_of(&s, MAP_frontends), 1);
	steer_end(&s);
}

static void test_the_key_of_hints_stays(void **state)
{
	uint64_t before[2];
	struct steer s;

	(void)state;
	steer_start(&s, CONNECT, false);
	memcpy(before, s.m->node->hint_key, sizeof(before));
	assert_true(before[0] && before[1]);
	steer_end(&s);
	detach(BPFFS, false);

	steer_start(&s, TWO_POOLS, true);
	assert_memory_not_equal(before, s.m->node->hint_key, sizeof(before));
	memcpy(before, s.m->node->hint_key, sizeof(before));
	steer_end(&s);
	steer_prepare(&s, TWO_POOLS);
	assert_int_equal(attachment_commit(s.a, s.c), 0);
	assert_memory_equal(before, s.m->node->hint_key, sizeof(before));
	steer_end(&s);
}

/* ---- full maps --------------------------------------------------------------------------- */

/* As many pools as there can be, of 16 endpoints each, of which one has another name or address. */
static char *full_pools(const char *last_pool, unsigned int first_port)
{
	size_t size;
	char *text;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	for (unsigned int i = 0; i < PINTLE_MAX_POOLS; i++) {
		bool last = i == PINTLE_MAX_POOLS - 1;

		fprintf(f, "- name: %s%u\n  frontends: [\"127.77.1.%u:8000\"]\n  endpoints:\n",
			last ? last_pool : "p", i, i);
		for (unsigned int j = 0; j < PINTLE_MAX_ENDPOINTS / PINTLE_MAX_POOLS; j++)
			fprintf(f, "  - {name: e%u, listen: \"127.0.0.1:%u\"}\n", j,
				!i && !j ? first_port : 10000 + 16 * i + j);
	}
	fclose(f);
	return text;
}

static void test_everything_in_use(void **state)
{
	_cleanup_free_ char *full = full_pools("p", 10000);
	_cleanup_free_ char *moved = full_pools("p", 9999);
	_cleanup_free_ char *renamed = full_pools("q", 10000);
	struct pintle_ref first, last;
	struct steer s;

	(void)state;
	steer_start(&s, full, false);
	first = endpoint_ref(&s, 0, 0);
	last = endpoint_ref(&s, 63, 15);
	assert_unchanged(&s, assert_int_equal(steer_publish(&s, full), 0));

	/* A pool's id is not given to another pool while the hook may still find its frontends. */
	assert_unchanged(&s, assert_int_equal(steer_publish(&s, renamed), -ENOSPC));

	/* An endpoint's id is, unless it has connections. */
	s.m->inflight[first.id].by_class[0].opened = 1;
	assert_unchanged(&s, assert_int_equal(steer_publish(&s, moved), -ENOSPC));
	s.m->inflight[first.id].by_class[0].closed = 1;
	s.m->ends[first.id].count[PINTLE_ENDING_CLOSED] = 1;
	s.m->ends[last.id].count[PINTLE_ENDING_CLOSED] = 1;
	assert_int_equal(steer_publish(&s, moved), 0);
	assert_int_equal(endpoint_ref(&s, 0, 0).id, first.id);
	assert_int_equal(endpoint_ref(&s, 0, 0).generation, first.generation + 1);
	assert_int_equal(endpoint_at(&s, first.id).port, 9999);
	assert_int_equal(s.m->inflight[first.id].by_class[0].opened, 0);
	assert_int_equal(s.m->ends[first.id].count[PINTLE_ENDING_CLOSED], 0);
	assert_int_equal(s.m->ends[last.id].count[PINTLE_ENDING_CLOSED], 1);
	assert_true(same_ref(endpoint_ref(&s, 63, 15), last));
	steer_end(&s);
}

/* ---- failures ------------------------------------------------------------------------------ */

#define ANNOUNCED(pool, frontend) POOL(pool, frontend, "announce: true, " SERVERS(AT("e0", 8001)))

static void test_a_route_that_cannot_be_added(void **state)
{
	struct steer s;

	(void)state;
	steer_start(&s, ANNOUNCED("a", "10.77.0.1:8000"), false);
	assert_int_equal(routes_there(), 1);
	/* IPv6 routes go when lo goes down, and IPv4 routes stay. So the first of the two is added.
	 */
	set_lo(false);
	assert_unchanged(&s, assert_int_equal(steer_publish(&s, ANNOUNCED("b", "10.77.0.2:8000")),
					      -ENETDOWN));
	set_lo(true);
	assert_true(routes_there() <= 1);
	assert_int_equal(steer_publish(&s, ANNOUNCED("a", "10.77.0.1:8000")), 0);
	assert_int_equal(routes_there(), 1);
	steer_end(&s);
}

static bool local(const char *ip)
{
	struct sockaddr_in a = address_v4(ip, 0);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool yes = !bind(fd, (struct sockaddr *)&a, sizeof(a));

	close(fd);
	return yes;
}

static void test_routes_follow_frontends(void **state)
{
	struct steer s;

	(void)state;
	steer_start(&s,
		    POOL("a", "10.77.0.1:8000", "announce: true, " SERVERS(AT("e0", 8001)))
			    POOL("b", "10.77.0.1:9000", "announce: true, " SERVERS(AT("e0", 8011))),
		    false);
	assert_int_equal(routes_there(), 1);
	/* The route that they share goes with the last of them. */
	assert_int_equal(steer_publish(&s,
				       POOL("a", "10.77.0.1:8000", SERVERS(AT("e0", 8001)))
					       POOL("b", "10.77.0.1:9000",
						    "announce: true, " SERVERS(AT("e0", 8011)))),
			 0);
	assert_true(local("10.77.0.1"));
	assert_int_equal(steer_publish(&s, POOL("a", "10.77.0.1:8000", SERVERS(AT("e0", 8001)))),
			 0);
	assert_false(local("10.77.0.1"));
	assert_int_equal(routes_there(), 0);

	/* A prefix within another prefix is added and removed. */
	assert_int_equal(steer_publish(&s, ANNOUNCED("a", "10.78.0.0/24:8000")), 0);
	assert_int_equal(steer_publish(&s, ANNOUNCED("a", "10.78.0.0/28:8000")), 0);
	assert_true(local("10.78.0.9"));
	assert_false(local("10.78.0.99"));
	assert_int_equal(routes_there(), 1);
	steer_end(&s);
	/* Nothing was committed. */
	assert_int_equal(routes_there(), 0);
}

/* The map's descriptor, through which the kernel lets nobody write. */
static int read_only(const struct steer *s, enum map_id id)
{
	LIBBPF_OPTS(bpf_get_fd_by_id_opts, opts, .open_flags = BPF_F_RDONLY);
	struct bpf_map_info info = {0};
	__u32 size = sizeof(info);
	int fd;

	assert_int_equal(bpf_obj_get_info_by_fd(s->m->fd[id], &info, &size), 0);
	fd = bpf_map_get_fd_by_id_opts(info.id, &opts);
	assert_true(fd >= 0);
	return fd;
}

/* After a configuration was written in part, the old one is published again and replaces it. Rows
 * that nobody wants are gone then. */
static void test_the_old_one_again(void **state)
{
	struct pintle_address_key key = {.scope = 99, .port = 7};
	struct pintle_address value = {0};
	struct steer s;
	int writable;

	(void)state;
	steer_start(&s, TWO_POOLS, false);
	assert_int_equal(bpf_map_update_elem(s.m->fd[MAP_addresses], &key, &value, BPF_ANY), 0);
	writable = s.m->fd[MAP_oneshot];
	s.m->fd[MAP_oneshot] = read_only(&s, MAP_oneshot);
	assert_int_equal(steer_publish(&s, POOL("c", FRONTEND, SERVERS(AT("e9", 8009)))), -EPERM);
	close(s.m->fd[MAP_oneshot]);
	s.m->fd[MAP_oneshot] = writable;
	assert_int_equal(steer_publish(&s, TWO_POOLS), 0);
	assert_int_equal(bpf_map_lookup_elem(s.m->fd[MAP_addresses], &key, &value), -ENOENT);
	for (uint32_t i = 0, n = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		n += !!endpoint_at(&s, i).pool_generation;
		assert_true(n <= 4);
	}
	assert_unchanged(&s, assert_int_equal(steer_publish(&s, TWO_POOLS), 0));
	steer_end(&s);
}

static void test_reloads_leave_no_descriptor(void **state)
{
	struct steer s;
	int before;

	(void)state;
	steer_start(&s, POOL("a", FRONTEND, GROUPED SERVERS(AT("e0", 8001))), false);
	before = open_descriptors();
	for (int i = 0; i < 20; i++) {
		assert_int_equal(
			steer_publish(&s, POOL("a", FRONTEND, GROUPED SERVERS(AT("e0", 8001)))), 0);
		assert_int_equal(steer_publish(&s, TWO_POOLS), 0);
	}
	assert_int_equal(open_descriptors(), before);
	steer_end(&s);
}

/* ---- under traffic --------------------------------------------------------------------------- */

#define SERVER_COUNT 6

struct traffic {
	int servers[SERVER_COUNT];
	pthread_t clients[2], accepting;
	atomic_bool end;
	atomic_int connected, failed;
};

static void *accept_all(void *arg)
{
	struct traffic *t = arg;

	while (!t->end) {
		for (int i = 0; i < SERVER_COUNT; i++) {
			int fd;

			while ((fd = accept4(t->servers[i], NULL, NULL, SOCK_CLOEXEC)) >= 0)
				close(fd);
		}
		usleep(500);
	}
	return NULL;
}

static void *connect_all(void *arg)
{
	struct traffic *t = arg;

	while (!t->end) {
		struct sockaddr_in a = address_v4("127.77.0.1", 8000);
		struct linger abort = {.l_onoff = 1};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
			t->failed++;
		else
			t->connected++;
		close(fd);
	}
	return NULL;
}

static void traffic_start(struct traffic *t)
{
	*t = (struct traffic){0};
	for (uint16_t i = 0; i < SERVER_COUNT; i++) {
		t->servers[i] = listen_at("127.0.0.1", (uint16_t)(8001 + i));
		fcntl(t->servers[i], F_SETFL, O_NONBLOCK);
	}
}

static void traffic_begin(struct traffic *t)
{
	pthread_create(&t->accepting, NULL, accept_all, t);
	for (size_t i = 0; i < ARRAY_SIZE(t->clients); i++)
		pthread_create(&t->clients[i], NULL, connect_all, t);
}

static void traffic_end(struct traffic *t)
{
	t->end = true;
	for (size_t i = 0; i < ARRAY_SIZE(t->clients); i++)
		pthread_join(t->clients[i], NULL);
	pthread_join(t->accepting, NULL);
	for (int i = 0; i < SERVER_COUNT; i++)
		close(t->servers[i]);
}

/* No connection fails, from any of these configurations to any other. */
static void test_reloads_under_traffic(void **state)
{
	static const char *const pools[] = {
		POOL("a", FRONTEND, SERVERS(AT("e0", 8001) "," AT("e1", 8002))),
		POOL("a", FRONTEND, SERVERS(AT("e0", 8002) "," AT("e1", 8001))),
		POOL("a", FRONTEND, GROUPED SERVERS(AT("e0", 8003) "," AT("e1", 8004))),
		POOL("b", FRONTEND, SERVERS(AT("e0", 8003))),
		POOL("b", "127.77.0.0/24:8000", SERVERS(AT("e0", 8004))),
		POOL("a", "127.77.9.9:8000", SERVERS(AT("e0", 8005)))
			POOL("b", "127.77.0.0/28:8000", SERVERS(AT("e0", 8006))),
		/* The listener belonged to another endpoint a moment ago. */
		POOL("a", FRONTEND, SERVERS("{name: e0, listen: \"8001\"}")),
	};
	struct traffic t;
	struct steer s;

	(void)state;
	traffic_start(&t);
	steer_start(&s, pools[0], true);
	traffic_begin(&t);
	for (size_t i = 0; i < ARRAY_SIZE(pools); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(pools); j++) {
			int before = t.connected;

			assert_int_equal(steer_publish(&s, pools[i]), 0);
			assert_int_equal(steer_publish(&s, pools[j]), 0);
			wait_for(t.connected > before + 20);
		}
	}
	traffic_end(&t);
	steer_end(&s);
	assert_int_equal(t.failed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		steer_test(test_ids_stay_over_reload_and_reorder),
		steer_test(test_ids_stay_over_a_restart),
		steer_test(test_another_address_is_another_endpoint),
		steer_test(test_drained_in_the_configuration),
		steer_test(test_a_pool_that_stays),
		steer_test(test_a_name_is_not_the_endpoint),
		steer_test(test_an_id_waits_for_open_connections),
		steer_test(test_a_new_pool_starts_from_nothing),
		steer_test(test_a_connect_pool),
		steer_test(test_another_hook_is_another_pool),
		steer_test(test_the_key_of_hints_stays),
		steer_test(test_everything_in_use),
		steer_test(test_a_route_that_cannot_be_added),
		steer_test(test_routes_follow_frontends),
		steer_test(test_the_old_one_again),
		steer_test(test_reloads_leave_no_descriptor),
		steer_test(test_reloads_under_traffic),
	};

	return cmocka_run_group_tests(tests, make_cgroup, remove_cgroup);
}
