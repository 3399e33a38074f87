/* SPDX-License-Identifier: Apache-2.0 */
/* The state read from the maps is the same for root and for a reader without privileges. */
#include "support_pins.h"

#include "../../userspace/base/log.h"
#include "../../userspace/maps/names.h"

static struct state *read_state(const struct maps *m)
{
	struct state *s = NULL;

	assert_int_equal(state_read(m, &s), 0);
	return s;
}

static const struct state_endpoint *endpoint(const struct state *s, const char *name)
{
	for (size_t i = 0; i < s->endpoint_count; i++) {
		if (s->pools[s->endpoints[i].pool].id == LLAMA &&
		    !strcmp(s->endpoints[i].name, name))
			return &s->endpoints[i];
	}
	fail_msg("no endpoint %s", name);
	return NULL;
}

static bool near(double a, double b)
{
	return a > b - 1e-6 && a < b + 1e-6;
}

/* ---- maps ------------------------------------------------------------------------ */

/* Without a pin, each start of the daemon makes a new, empty map. maps_open() checks the layouts of
 * pinned maps. */
static void test_every_map_is_pinned(void **state)
{
	static const char *const not_pinned[] = {
		"recount",      "tally",        "accept_queues", "hand_flow_new", "hand_notes",
		"hand_begun",   "notes",        "hand_full",     "hand_guesses",  "hand_again",
		"hand_watched", "splice_looks", "hand_work",     "xdp_work",      "oneshot_work"};
	const struct pins *p = *state;
	struct bpf_map *map;

	bpf_object__for_each_map(map, p->skel->obj)
	{
		bool known = bpf_map__is_internal(map);

		for (size_t i = 0; i < MAP_COUNT; i++)
			known |= !strcmp(bpf_map__name(map), map_names[i]);
		for (size_t i = 0; i < ARRAY_SIZE(not_pinned); i++)
			known |= !strcmp(bpf_map__name(map), not_pinned[i]);
		if (!known)
			fail_msg("map %s is not in PINTLE_MAPS (userspace/maps/map_table.h)",
				 bpf_map__name(map));
	}
}

static void test_open_nothing(void **state)
{
	struct maps *m = NULL;

	(void)state;
	assert_int_equal(maps_open("/mnt/nowhere", MAPS_READ, &m), -ENOENT);
	assert_int_equal(maps_open("/mnt/nowhere", MAPS_WRITE, &m), -ENOENT);
	assert_null(m);
}

static void test_open_other_version(void **state)
{
	struct maps *m = NULL;
	unsigned int version = 0;

	(void)state;
	assert_int_equal(mkdir("/mnt/old", 0750), 0);
	assert_int_equal(mkdir("/mnt/old/v7", 0750), 0);
	assert_int_equal(maps_open("/mnt/old", MAPS_READ, &m), -EPROTO);
	assert_true(maps_other_version("/mnt/old", &version));
	assert_int_equal(version, 7);
	assert_false(maps_other_version(PINS_BPFFS, &version));
	assert_null(m);
	rmdir("/mnt/old/v7");
	rmdir("/mnt/old");
}

/* A missing pin and a pin of another size are refused, and never misread. */
static void test_open_other_layout(void **state)
{
	const struct pins *p = *state;
	struct maps *m = NULL;
	int fd, before = open_descriptors();

	assert_int_equal(unlink(PINS_DIR "/health"), 0);
	assert_int_equal(maps_open(PINS_BPFFS, MAPS_READ, &m), -EPROTO);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "health", 4, sizeof(struct pintle_health) + 8,
			    PINTLE_MAX_ENDPOINTS, NULL);
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_pin(fd, PINS_DIR "/health"), 0);
	close(fd);
	assert_int_equal(maps_open(PINS_BPFFS, MAPS_READ, &m), -EPROTO);
	assert_int_equal(maps_open(PINS_BPFFS, MAPS_WRITE, &m), -EPROTO);
	unlink(PINS_DIR "/health");
	assert_int_equal(bpf_obj_pin(p->m->fd[MAP_health], PINS_DIR "/health"), 0);
	assert_int_equal(maps_open(PINS_BPFFS, MAPS_READ, &m), 0);
	maps_close(m);
	assert_int_equal(open_descriptors(), before);
}

static void test_open_other_abi(void **state)
{
	const struct pins *p = *state;
	struct maps *m = NULL;

	p->m->node->abi_version = PINTLE_ABI_VERSION + 1;
	assert_int_equal(maps_open(PINS_BPFFS, MAPS_READ, &m), -EPROTO);
	p->m->node->abi_version = PINTLE_ABI_VERSION;
	assert_int_equal(maps_open(PINS_BPFFS, MAPS_READ, &m), 0);
	maps_close(m);
}

static void test_open_read(void **state)
{
	struct maps *m = NULL;
	uint32_t zero = 0;
	struct pintle_node n;

	(void)state;
	assert_int_equal(maps_open(PINS_BPFFS, MAPS_READ, &m), 0);
	assert_int_equal(m->fd[MAP_tap], -1);
	assert_int_equal(m->fd[MAP_conns], -1);
	assert_null(m->scores);
	assert_int_equal(maps_value(m, MAP_node, 0, &n), 0);
	assert_int_equal(bpf_map_update_elem(m->fd[MAP_node], &zero, &n, BPF_ANY), -EPERM);
	maps_close(m);
}

/* ---- state ----------------------------------------------------------------------- */

static void check_filled(const struct state *s)
{
	static const struct {
		const char *name;
		enum state_endpoint_state state;
		double load;
	} want[] = {
		{"gpu0", STATE_READY, 4.5},     {"gpu1", STATE_SATURATED, 54},
		{"gpu2", STATE_UNSTEERABLE, 0}, {"gpu3", STATE_STALE, 56},
		{"gpu4", STATE_DOWN, 0},        {"gpu5", STATE_UNHEARD, 0},
	};
	const struct state_endpoint *e;

	assert_int_equal(s->pool_count, 2);
	assert_int_equal(s->endpoint_count, 7);
	assert_true(s->daemon_alive);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		e = endpoint(s, want[i].name);
		assert_string_equal(state_name(e->state), state_name(want[i].state));
		assert_true(near(e->load, want[i].load));
	}
	e = endpoint(s, "gpu0");
	assert_true(e->has_waiting && e->has_kv_cache && !e->has_gpu && e->fresh);
	assert_true(near(e->kv_cache, 0.123456));
	assert_true(near(e->share, 0.75));
	assert_int_equal(e->in_flight, 5);
	assert_int_equal(e->pending, 1);
	assert_int_equal(e->direct, 1);
	assert_true(e->age_seconds >= 2.5 * 3600);
	assert_string_equal(e->address, "127.0.0.1:8001");
	e = endpoint(s, "gpu3");
	assert_true(e->scrape_failed && !e->fresh);
	assert_string_equal(e->address, "8004");
	assert_int_equal(endpoint(s, "gpu2")->unsteerable, PINTLE_UNSTEERABLE_MPTCP);
	assert_int_equal(endpoint(s, "gpu2")->unsteerable_error, EINVAL);
	assert_false(endpoint(s, "gpu4")->has_age);
	assert_int_equal(s->pools[0].ready_count, 3);
	assert_int_equal(s->pools[0].decisions_total, 100);
	assert_int_equal(s->pools[0].decisions[PINTLE_OUTCOME_STICKY], 60);
	assert_int_equal(s->pools[1].decisions_total, 3000000000);
	assert_int_equal(s->pools[0].frontend_count, 2);
	assert_string_equal(s->pools[0].frontends[0].text, "10.77.0.1:8000");
	assert_string_equal(s->pools[0].frontends[1].text, "[fd77::1]:8000");
	assert_true(s->pools[0].frontends[0].announced);
	assert_int_equal(s->pools[1].frontend_count, 1);
	assert_string_equal(s->pools[1].frontends[0].text, "10.78.0.0/24:9000");
}

static void test_both_ways_agree(void **state)
{
	const struct pins *p = *state;
	struct maps *reader = NULL;
	struct state *s;

	s = read_state(p->m);
	check_filled(s);
	state_free(s);
	assert_int_equal(maps_open(PINS_BPFFS, MAPS_READ, &reader), 0);
	s = read_state(reader);
	check_filled(s);
	state_free(s);
	maps_close(reader);
}

/* Without a heartbeat, readiness is not checked, as in the kernel. */
static void test_daemonless(void **state)
{
	const struct pins *p = *state;
	struct state *s;

	p->m->node->heartbeat_ns = monotonic_ns() - HOURS(4);
	s = read_state(p->m);
	assert_false(s->daemon_alive);
	assert_true(s->pools[0].daemonless);
	assert_int_equal(endpoint(s, "gpu5")->state, STATE_STALE);
	assert_int_equal(endpoint(s, "gpu4")->state, STATE_DOWN);
	state_free(s);
}

/* A daemon that has taken over runs already before its first heartbeat. */
static void test_daemon_just_started(void **state)
{
	const struct pins *p = *state;
	struct state *s;

	p->m->node->heartbeat_ns = monotonic_ns() - HOURS(4);
	p->m->node->started_ns = monotonic_ns();
	s = read_state(p->m);
	assert_true(s->daemon_alive);
	assert_true(s->pools[0].daemonless);
	state_free(s);
}

/* When no score is fresh, the load is the connections in flight. */
static void test_all_stale(void **state)
{
	const struct pins *p = *state;
	struct state *s;

	for (int i = 0; i < 6; i++) {
		p->m->scores[i].scraped_ns = monotonic_ns() - HOURS(4);
		if (p->m->health[i].listening_since_ns)
			p->m->health[i].listening_since_ns = p->m->scores[i].scraped_ns - 1;
	}
	s = read_state(p->m);
	assert_int_equal(endpoint(s, "gpu0")->state, STATE_STALE);
	assert_true(near(endpoint(s, "gpu0")->load, 5));
	assert_true(near(endpoint(s, "gpu1")->load, 7));
	state_free(s);
}

/* A score that is being written is not read, by mmap or by system calls. */
static void test_torn_score(void **state)
{
	const struct pins *p = *state;
	struct maps *reader = NULL;
	struct state *s;

	p->m->scores[0].sequence = 3;
	s = read_state(p->m);
	assert_false(endpoint(s, "gpu0")->has_age);
	assert_false(endpoint(s, "gpu0")->fresh);
	assert_int_equal(endpoint(s, "gpu0")->state,
			 STATE_STALE); /* the kernel still chooses this endpoint */
	state_free(s);
	assert_int_equal(maps_open(PINS_BPFFS, MAPS_READ, &reader), 0);
	s = read_state(reader);
	assert_false(endpoint(s, "gpu0")->has_age);
	state_free(s);
	maps_close(reader);
	p->m->scores[0].sequence = 4;
	s = read_state(p->m);
	assert_true(endpoint(s, "gpu0")->fresh);
	state_free(s);
}

/* The kernel refused the endpoint's listener for one family, then for the other. */
static void test_listens_for_no_family(void **state)
{
	const struct pins *p = *state;
	struct state *s;

	p->m->health[0].families = 0;
	s = read_state(p->m);
	assert_int_equal(endpoint(s, "gpu0")->state, STATE_UNSTEERABLE);
	assert_int_equal(endpoint(s, "gpu0")->unsteerable, PINTLE_UNSTEERABLE_OTHER);
	assert_int_equal(s->pools[0].ready_count, 2);
	state_free(s);
}

static void write_score(struct pintle_score *score, uint32_t i)
{
	uint32_t n = i % 1000;

	__atomic_store_n(&score->sequence, 2 * i + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	score->waiting = n;
	score->model[0].published = 1000 * n;
	__atomic_store_n(&score->sequence, 2 * i + 2, __ATOMIC_RELEASE);
}

/* The writer puts the same number into both halves of a score: a difference is a torn read. */
static void write_scores(struct pintle_score *score)
{
	for (uint32_t i = 0;; i++) {
		write_score(score, i);
		for (volatile int pause = 0; pause < 10000; pause++)
			;
	}
}

static void test_scores_are_whole(void **state)
{
	const struct pins *p = *state;
	struct maps *readers[2] = {p->m, NULL};
	int status, seen[2] = {0};
	pid_t pid;

	assert_int_equal(maps_open(PINS_BPFFS, MAPS_READ, &readers[1]), 0);
	write_score(&p->m->scores[0], 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		write_scores(&p->m->scores[0]);
	}
	for (int i = 0; i < 300; i++) {
		struct state *s = read_state(readers[i % 2]);
		const struct state_endpoint *e = endpoint(s, "gpu0");

		if (e->has_age)
			assert_true(near(e->published, e->waiting));
		seen[i % 2] += e->has_age;
		state_free(s);
	}
	assert_true(seen[0] > 0 && seen[1] > 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	maps_close(readers[1]);
}

static void test_overrides(void **state)
{
	const struct pins *p = *state;
	struct pintle_override mode = {LLAMA_GEN, PINTLE_OVERRIDE_MODE, PINTLE_MODE_OFF, 0, 1, 0};
	struct pintle_override drain = {GEN(0), PINTLE_OVERRIDE_DRAIN, 0, 0, 1, 0};
	struct state *s;

	pins_at(p, MAP_overrides, LLAMA, &mode);
	pins_at(p, MAP_overrides, PINTLE_ENDPOINT_SLOT(0), &drain);
	s = read_state(p->m);
	assert_true(s->pools[0].overridden);
	assert_int_equal(s->pools[0].mode, PINTLE_MODE_OFF);
	assert_int_equal(s->pools[0].mode_configured, PINTLE_MODE_ENFORCE);
	assert_true(endpoint(s, "gpu0")->drained);
	assert_int_equal(endpoint(s, "gpu0")->state, STATE_DRAINED);
	state_free(s);

	/* A setting for the former owner of the id. */
	mode.generation--;
	drain.generation--;
	pins_at(p, MAP_overrides, LLAMA, &mode);
	pins_at(p, MAP_overrides, PINTLE_ENDPOINT_SLOT(0), &drain);
	s = read_state(p->m);
	assert_false(s->pools[0].overridden);
	assert_int_equal(s->pools[0].mode, PINTLE_MODE_ENFORCE);
	assert_false(endpoint(s, "gpu0")->drained);
	state_free(s);
}

/* The configuration drains an endpoint, `pintle drain` another: neither is taken for the other. */
static void test_drained_by_the_configuration(void **state)
{
	const struct pins *p = *state;
	struct pintle_endpoint e;
	struct state *s = read_state(p->m);
	uint32_t id = endpoint(s, "gpu1")->id;

	assert_false(endpoint(s, "gpu1")->drained_configured);
	state_free(s);
	assert_int_equal(maps_value(p->m, MAP_endpoints, id, &e), 0);
	e.flags |= PINTLE_ENDPOINT_DRAINED;
	pins_at(p, MAP_endpoints, id, &e);
	s = read_state(p->m);
	assert_true(endpoint(s, "gpu1")->drained_configured);
	assert_false(endpoint(s, "gpu1")->drained);
	assert_int_equal(endpoint(s, "gpu1")->state, STATE_DRAINED);
	state_free(s);
}

/* Ids of another generation, a member that occurs twice, and ids out of range. */
static void test_members_are_judged(void **state)
{
	const struct pins *p = *state;
	struct pintle_pool pool;
	struct state *s;

	assert_int_equal(maps_value(p->m, MAP_pools, LLAMA, &pool), 0);
	pool.member_count = UINT32_MAX;
	pool.members[1] = pool.members[0];
	pool.members[2].generation++;
	pool.members[3].id = UINT32_MAX;
	pool.members[4] = (struct pintle_ref){QWEN_GPU0, GEN(QWEN_GPU0)};
	pins_at(p, MAP_pools, LLAMA, &pool);
	s = read_state(p->m);
	assert_int_equal(s->pools[0].endpoint_count, 2);
	assert_string_equal(s->endpoints[0].name, "gpu0");
	assert_string_equal(s->endpoints[1].name, "gpu5");
	assert_int_equal(s->endpoints[2].id, QWEN_GPU0);
	state_free(s);
}

static void test_full(void **state)
{
	const struct pins *p = *state;
	struct pintle_pool pool = {
		.generation = 1, .member_count = PINTLE_MAX_MEMBERS, .staleness_ns = HOURS(3)};
	const uint32_t pools = PINTLE_MAX_ENDPOINTS / PINTLE_MAX_MEMBERS;
	struct state *s;

	pins_zero(p);
	for (uint32_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		struct pintle_endpoint e = {.generation = 1,
					    .pool_generation = 1,
					    .pool = PINTLE_MAX_POOLS - 1 - i / PINTLE_MAX_MEMBERS,
					    .port = 80};

		pins_at(p, MAP_endpoints, i, &e);
		pool.members[i % PINTLE_MAX_MEMBERS] = (struct pintle_ref){i, 1};
		if ((i + 1) % PINTLE_MAX_MEMBERS == 0)
			pins_at(p, MAP_pools, e.pool, &pool);
	}
	/* Another pool has the endpoints, too: each endpoint is listed once. */
	pins_at(p, MAP_pools, 0, &pool);
	s = read_state(p->m);
	assert_int_equal(s->endpoint_count, PINTLE_MAX_ENDPOINTS);
	assert_int_equal(s->pool_count, pools + 1);
	assert_string_equal(s->endpoints[PINTLE_MAX_ENDPOINTS - 1].name, "endpoint#1023");
	assert_string_equal(s->pools[pools].name, "pool#255");
	state_free(s);
}

/* A count never falls below zero, or exceeds an int64. */
static void test_absurd_counts(void **state)
{
	const struct pins *p = *state;
	struct pintle_inflight f;
	struct state *s;

	memset(&f, 0xff, sizeof(f));
	f.by_class[0].closed = 0;
	pins_at(p, MAP_inflight, 0, &f);
	memset(&p->m->scores[0].inflight, 0x80, sizeof(int64_t));
	memset(&p->m->scores[0].pending, 0x7f, sizeof(int64_t));
	memset(&p->m->health[0].direct_closed, 0x7f, sizeof(uint64_t));
	s = read_state(p->m);
	assert_true(endpoint(s, "gpu0")->in_flight >= 0);
	assert_true(endpoint(s, "gpu0")->pending >= 0);
	assert_true(endpoint(s, "gpu0")->direct >= 0);
	assert_true(endpoint(s, "gpu0")->load <= 2.0 * PINTLE_MAX_LOAD / 1000 + 3);
	state_free(s);
}

static void test_names_are_judged(void **state)
{
	const struct pins *p = *state;
	struct pintle_name n = {.generation = LLAMA_GEN};
	struct state *s;

	memset(n.name, 'x', sizeof(n.name));
	n.name[1] = '\n';
	n.name[2] = '\033';
	n.name[3] = (char)0xff;
	pins_at(p, MAP_names, LLAMA, &n);
	memset(p->m->node->config, 'y', sizeof(p->m->node->config));
	s = read_state(p->m);
	assert_int_equal(strlen(s->pools[0].name), PINTLE_NAME_SIZE - 1);
	assert_memory_equal(s->pools[0].name, "x???x", 5);
	assert_int_equal(strlen(s->node.config), PINTLE_TEXT_SIZE - 1);
	state_free(s);
	n.generation++;
	pins_at(p, MAP_names, LLAMA, &n);
	s = read_state(p->m);
	assert_string_equal(s->pools[0].name, "pool#0");
	state_free(s);
}

/* With any content of the maps, nothing is read or written out of bounds. */
static void test_random_maps(void **state)
{
	static const struct {
		enum map_id id;
		uint32_t count;
		size_t size;
	} arrays[] = {
		{MAP_node, 1, sizeof(struct pintle_node)},
		{MAP_names, PINTLE_SLOTS, sizeof(struct pintle_name)},
		{MAP_pools, PINTLE_MAX_POOLS, sizeof(struct pintle_pool)},
		{MAP_overrides, 80, sizeof(struct pintle_override)},
		{MAP_endpoints, PINTLE_MAX_ENDPOINTS, sizeof(struct pintle_endpoint)},
		{MAP_scores, 64, sizeof(struct pintle_score)},
		{MAP_inflight, 64, sizeof(struct pintle_inflight)},
		{MAP_health, 64, sizeof(struct pintle_health)},
	};
	const struct pins *p = *state;
	static unsigned char value[32768];

	srandom(1);
	for (int round = 0; round < 5; round++) {
		struct state_session *sessions = NULL;
		struct state *s;
		size_t n;

		for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
			for (uint32_t k = 0; k < arrays[i].count; k++) {
				for (size_t b = 0; b < arrays[i].size; b++)
					value[b] = (unsigned char)random();
				/* Generations match, so that most of the content is read. */
				if (arrays[i].id == MAP_pools || arrays[i].id == MAP_names)
					memset(value, 1, 4);
				if (arrays[i].id == MAP_endpoints) {
					struct pintle_endpoint *e = (void *)value;

					e->generation = e->pool_generation = 0x01010101;
					e->pool = k % PINTLE_MAX_POOLS;
				}
				if (arrays[i].id == MAP_pools)
					for (uint32_t j = 0; j < PINTLE_MAX_MEMBERS; j++)
						((struct pintle_pool *)value)->members[j] =
							(struct pintle_ref){(uint32_t)random() %
										    4200,
									    0x01010101};
				pins_at(p, arrays[i].id, k, value);
			}
		}
		s = read_state(p->m);
		assert_int_equal(s->pool_count, PINTLE_MAX_POOLS);
		assert_true(s->endpoint_count > 100);
		assert_int_equal(state_sessions(p->m, s, &sessions, &n), 0);
		free(sessions);
		state_free(s);
	}
}

/* ---- sessions -------------------------------------------------------------------- */

static void test_sessions(void **state)
{
	static const char *const want[] = {"fd00:1::/64", "10.0.0.0/24", "10.0.1.0/24"};
	const struct pins *p = *state;
	struct state *s = read_state(p->m);
	struct state_session *all = NULL;
	size_t n = 0, found = 0;

	assert_int_equal(state_sessions(p->m, s, &all, &n), 0);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < ARRAY_SIZE(want); j++)
			found += !strcmp(all[i].text, want[j]);
		assert_true(all[i].age_seconds >= 5.5 * 3600);
		assert_int_equal(all[i].pool, 0);
	}
	assert_int_equal(found, 3);
	assert_string_equal(all[0].text, "10.0.0.0/24");
	assert_string_equal(s->endpoints[all[0].endpoint].name, "gpu1");
	free(all);
	state_free(s);
}

/* More bindings than a batch holds; each is read once. */
static void test_many_sessions(void **state)
{
	const struct pins *p = *state;
	struct state_session *all = NULL;
	struct state *s;
	size_t n = 0;

	for (int i = 0; i < 5000; i++) {
		char text[32];

		snprintf(text, sizeof(text), "11.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
		pins_session(p, text, LLAMA, LLAMA_GEN, 0, HOURS(1), HOURS(1));
	}
	s = read_state(p->m);
	assert_int_equal(state_sessions(p->m, s, &all, &n), 0);
	assert_int_equal(n, 5003);
	for (size_t i = 1; i < n; i++)
		assert_true(strcmp(all[i].text, all[i - 1].text) != 0);
	free(all);
	state_free(s);
}

#define MANY_AS "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" /* 64 */

static void test_session_texts(void **state)
{
	static const struct {
		const char *text;
		uint32_t bits; /* 0: refused */
	} rows[] = {
		{"10.0.0.7", 128},
		{"10.0.0.0/24", 120},
		{"::/0", 0},
		{"fd77::1", 128},
		{"fd77::/64", 64},
		{"0.0.0.0/0", 96},
		{"10.0.0.7/24", 0}, /* bits are set beyond the prefix */
		{"10.0.0.0/33", 0},
		{"fd77::/129", 0},
		{"10.0.0.0/", 0},
		{"10.0.0.0/-1", 0},
		{"10.0.0.0/ 8", 0},
		{"10.0.0.0/8x", 0},
		{"10.0.0", 0},
		{"", 0},
		{"/24", 0},
		{"gpu0", 0},
		{"key:99/128/000102030405060708090a0b0c0d0eff", 128},
		{"key:99/128/000102030405060708090a0b0c0d0e", 0},
		{"key:99/129/000102030405060708090a0b0c0d0eff", 0},
		{"key:99/128/000102030405060708090a0b0c0d0e+f", 0},
		{"key:99/128/", 0},
		{"key:", 0},
		{"client:4711", 128},
		{"client:18446744073709551615", 128},
		{"client:18446744073709551616", 0},
		{"client:-1", 0},
		{"client: 1", 0},
		{"client:", 0},
		{"cgroup:815", 128},
		{"cgroup:#00000000deadbeef", 128},
		{"cgroup:#", 0},
		{"cgroup:", 0},
		{"cgroup:/there/is/no/such", 0},
		{"cgroup:" MANY_AS, 0},
		{"pod:#00000000deadbeef", 128},
		{"pod:netns:4711", 128},
		{"pod:netns:", 0},
		{"pod:#x", 0},
		{"pod:", 0},
		{"namespace:netns:4711", 128},
		{"namespace:", 0},
		{"serviceAccount:" MANY_AS MANY_AS MANY_AS MANY_AS MANY_AS, 0},
		{"mark:0x1f", 128},
		{"mark:0x1ffffffff", 0},
		{"mark:x", 0},
		{"destination:::7:8:9", 128},
		{"destination:10.0.0.7", 128},
		{"destination:10.0.0.0/24", 0},
		{"destination:", 0},
		{"hint:000102030405060708090a0b0c0d0eff", 128},
		{"hint:0001", 0},
		{"hint:000102030405060708090a0b0c0d0e+f", 0},
		{"hint=user-4711", 0}, /* a hint needs the key that hashed it */
		{"header:x", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pintle_session_key key = {.prefix_bits = 4711};
		char text[STATE_KEY_SIZE];
		int err = state_session_parse(rows[i].text, NULL, &key);

		if (!strcmp(rows[i].text, "::/0")) {
			assert_int_equal(err, 0);
			assert_int_equal(key.prefix_bits, 0);
			continue;
		}
		if (!rows[i].bits) {
			assert_int_equal(err, -EINVAL);
			assert_int_equal(key.prefix_bits, 4711);
			continue;
		}
		assert_int_equal(err, 0);
		assert_int_equal(key.prefix_bits, rows[i].bits);
		assert_string_equal(state_session_format(&key, text), rows[i].text);
	}
	for (uint32_t kind = 1; kind < PINTLE_KEY_COUNT; kind++) {
		struct pintle_session_key key = {kind, 128, {[8] = 7}}, read;
		char text[STATE_KEY_SIZE];

		if (!strncmp(state_session_format(&key, text), "key:", 4))
			fail_msg("%s has no text of its own", key_name(kind));
		assert_int_equal(state_session_parse(text, NULL, &read), 0);
		assert_memory_equal(&read, &key, sizeof(key));
	}
}

/* Keys that are accepted, and printed in another form. */
static void test_session_texts_by_other_names(void **state)
{
	static const __u64 hint_key[2] = {1, 2}, other[2] = {1, 3};
	const struct pins *p = *state;
	struct pintle_client c = {.id = client_id("pod/7d1c"), .name = "pod/7d1c"};
	struct pintle_affinity_key key = {.pool = LLAMA, .pool_generation = LLAMA_GEN};
	struct pintle_affinity binding = {.endpoint = 0,
					  .generation = GEN(0),
					  .bound_ns = monotonic_ns(),
					  .used_ns = monotonic_ns()};
	struct pintle_session_key a, b;
	struct state_session *all = NULL;
	struct state *s = read_state(p->m);
	char text[STATE_KEY_SIZE];
	uint64_t cgroup = 4711;
	size_t n = 0;
	int found = 0;

	assert_int_equal(state_session_parse("mark:31", NULL, &a), 0);
	assert_string_equal(state_session_format(&a, text), "mark:0x1f");

	assert_int_equal(state_session_parse("hint=user-4711", hint_key, &a), 0);
	assert_int_equal(a.kind, PINTLE_KEY_HINT);
	assert_int_equal(state_session_parse("hint=user-4711", other, &b), 0);
	assert_memory_not_equal(&a, &b, sizeof(a));
	assert_int_equal(state_session_parse("hint=user-4712", hint_key, &b), 0);
	assert_memory_not_equal(&a, &b, sizeof(a));
	assert_int_equal(state_session_parse(state_session_format(&a, text), NULL, &b), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	/* The same hint of another client matches, too. */
	assert_int_equal(state_session_parse("hint=user-4711", hint_key, &b), 0);
	b.prefix_bits = 128;
	memset(b.id + 8, 7, 8);
	assert_true(state_session_meant(&s->pools[0], &a, &b));
	assert_false(state_session_meant(&s->pools[0], &b, &a));
	b.id[7] ^= 1;
	assert_false(state_session_meant(&s->pools[0], &a, &b));
	b.id[7] ^= 1;
	b.kind = PINTLE_KEY_MARK;
	assert_false(state_session_meant(&s->pools[0], &a, &b));
	assert_int_equal(state_session_parse("hint=" MANY_AS, hint_key, &b), 0);
	assert_int_equal(state_session_parse("hint=" MANY_AS "a", hint_key, &b), -EINVAL);
	assert_int_equal(state_session_parse("hint=", hint_key, &b), -EINVAL);

	/* The cgroup2 root exists; its id is its inode. */
	assert_int_equal(state_session_parse("cgroup:/", NULL, &a), 0);
	assert_true(strtoul(state_session_format(&a, text) + strlen("cgroup:"), NULL, 10) > 0);

	/* A pattern is a tenant's name, not the cgroup that it means. */
	assert_int_equal(state_session_parse("cgroup:/batch-*.slice", NULL, &a), 0);
	assert_memory_equal(state_session_format(&a, text), "cgroup:#", strlen("cgroup:#"));

	assert_int_equal(state_session_parse("cgroup:pod/7d1c", NULL, &key.session), 0);
	pins_set(p, MAP_affinity, &key, &binding);
	pins_set(p, MAP_clients, &cgroup, &c);
	assert_int_equal(state_sessions(p->m, s, &all, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (all[i].key.session.kind == PINTLE_KEY_CGROUP)
			assert_string_equal(all[i].text, "cgroup:pod/7d1c");
	assert_int_equal(n, 4);
	free(all);
	/* A cgroup without a name is shown by its path. */
	assert_int_equal(state_session_parse("cgroup:/", NULL, &key.session), 0);
	pins_set(p, MAP_affinity, &key, &binding);
	key.session.id[15] ^= 0x40; /* and by its id, if no such cgroup exists */
	pins_set(p, MAP_affinity, &key, &binding);
	state_session_format(&key.session, text);
	assert_int_equal(state_sessions(p->m, s, &all, &n), 0);
	assert_int_equal(n, 6);
	for (size_t i = 0; i < n; i++)
		found += !strcmp(all[i].text, "cgroup:/") + !strcmp(all[i].text, text);
	assert_int_equal(found, 2);
	free(all);
	assert_int_equal(state_session_parse("cgroup:pod/7d1c", NULL, &key.session), 0);

	/* The id names the same cgroup. */
	assert_int_equal(state_session_parse("cgroup:4711", NULL, &a), 0);
	state_session_resolve(p->m, &a);
	assert_memory_equal(&a, &key.session, sizeof(a));
	assert_int_equal(state_session_parse("cgroup:4712", NULL, &a), 0);
	b = a;
	state_session_resolve(p->m, &b);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(bpf_map_delete_elem(p->m->fd[MAP_clients], &cgroup), 0);
	state_free(s);
}

static void bind_named(const struct pins *p, uint32_t kind, uint64_t id)
{
	struct pintle_affinity_key key = {
		.pool = LLAMA, .pool_generation = LLAMA_GEN, .session = {kind, 128, {1}}};
	struct pintle_affinity binding = {.endpoint = 0,
					  .generation = GEN(0),
					  .bound_ns = monotonic_ns(),
					  .used_ns = monotonic_ns()};

	memcpy(key.session.id + 8, &id, sizeof(id));
	pins_set(p, MAP_affinity, &key, &binding);
}

/* A namespace of digits alone is no network namespace, though "netns:4711" is one. */
static void test_a_namespace_of_digits(void **state)
{
	struct pintle_session_key digits, netns, name;

	(void)state;
	assert_int_equal(state_session_parse("namespace:4711", NULL, &digits), 0);
	assert_int_equal(state_session_parse("namespace:netns:4711", NULL, &netns), 0);
	assert_int_equal(state_session_parse("namespace:llm", NULL, &name), 0);
	assert_int_equal(digits.id[0], 1);
	assert_int_equal(name.id[0], 1);
	assert_int_equal(netns.id[0], 0);
}

/* What pods' keys are called, and back; a pod that the API server did not name has its uid. */
static void test_sessions_of_pods(void **state)
{
	static const char *const texts[] = {"pod:llm/chat-0", "pod:4711-7d1c", "namespace:llm",
					    "serviceAccount:llm/default", "cgroup:pod/0815-7d1c"};
	struct pintle_pod pod = {.space_name = "llm", .name = "chat-0", .account_name = "default"};
	struct pintle_client known = {.name = "pod/0815-7d1c"}, other = {.name = "pod/4711-7d1c"};
	uint64_t cgroup = 4711, another = 4712;
	const struct pins *p = *state;
	struct state_session *all = NULL;
	struct pintle_session_key key;
	struct state *s = NULL;
	uint32_t found = 0;
	size_t n = 0;

	known.id = client_id(known.name);
	other.id = client_id(other.name);
	pod.space = client_id("llm");
	pod.account = client_id("llm/default");
	pins_set(p, MAP_clients, &cgroup, &known);
	pins_set(p, MAP_clients, &another, &other);
	pins_set(p, MAP_pods, &known.id, &pod);
	bind_named(p, PINTLE_KEY_POD, known.id);
	bind_named(p, PINTLE_KEY_POD, other.id);
	bind_named(p, PINTLE_KEY_NAMESPACE, pod.space);
	bind_named(p, PINTLE_KEY_ACCOUNT, pod.account);
	bind_named(p, PINTLE_KEY_CGROUP, known.id);
	assert_int_equal(state_read(p->m, &s), 0);
	assert_int_equal(state_sessions(p->m, s, &all, &n), 0);
	for (size_t i = 0; i < n; i++) {
		for (size_t t = 0; t < ARRAY_SIZE(texts); t++) {
			if (strcmp(all[i].text, texts[t]) != 0)
				continue;
			assert_string_equal(all[i].pod, t == 0 || t == 4 ? "llm/chat-0" : "");
			assert_int_equal(state_session_parse(texts[t], NULL, &key), 0);
			state_session_resolve(p->m, &key);
			assert_memory_equal(&key, &all[i].key.session, sizeof(key));
			found |= 1U << t;
		}
	}
	assert_int_equal(found, (1U << ARRAY_SIZE(texts)) - 1);
	free(all);
	state_free(s);
}

/* The key of a destination has only the bits beyond the frontend's prefix, but is shown as an
 * address. */
static void test_session_texts_of_destinations(void **state)
{
	static const struct {
		const char *asked, *low, *shown; /* low: the bits in the kernel's key */
	} rows[] = {
		{"destination:10.78.0.7", "destination:::7", "destination:10.78.0.7"},
		{"destination:10.80.229.129", "destination:::e581", "destination:10.80.229.129"},
		{"destination:fd78::4:3:2:1", "destination:::4:3:2:1", "destination:fd78::4:3:2:1"},
		/* The same bits beyond several prefixes are the same session, shown with the
		 * longest prefix. */
		{"destination:fd78::7", "destination:::7", "destination:10.78.0.7"},
		{"destination:10.80.0.7", "destination:::7", "destination:10.78.0.7"},
		{"destination:::7", "destination:::7", "destination:10.78.0.7"},
		/* The frontend is gone. */
		{"destination:::5:4:3:2:1", "destination:::5:4:3:2:1", "destination:::5:4:3:2:1"},
	};
	const struct pins *p = *state;
	struct pintle_affinity binding = {.endpoint = QWEN_GPU0,
					  .generation = GEN(QWEN_GPU0),
					  .bound_ns = monotonic_ns(),
					  .used_ns = monotonic_ns()};
	struct pintle_affinity_key key = {.pool = QWEN, .pool_generation = QWEN_GEN};
	struct state *s;

	pins_frontend(p, "10.80.0.0/16:9000", QWEN, QWEN_GEN, 0);
	pins_frontend(p, "[fd78::/64]:9000", QWEN, QWEN_GEN, 0);
	pins_frontend(p, "[fd78::1]:9001", QWEN, QWEN_GEN, 0);
	s = read_state(p->m);
	s->pools[1].ttl_ns = HOURS(1);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pintle_session_key asked, one;
		struct state_session *all = NULL;
		bool known = false;
		int shown = 0;
		size_t n;

		assert_int_equal(state_session_parse(rows[i].low, NULL, &key.session), 0);
		assert_int_equal(state_session_parse(rows[i].asked, NULL, &asked), 0);
		for (size_t at = 0; state_session_in_pool(&s->pools[1], &asked, at, &one); at++)
			known |= !memcmp(&one, &key.session, sizeof(one));
		assert_true(known);
		pins_set(p, MAP_affinity, &key, &binding);
		assert_int_equal(state_sessions(p->m, s, &all, &n), 0);
		for (size_t at = 0; at < n; at++)
			shown += !strcmp(all[at].text, rows[i].shown);
		assert_int_equal(shown, 1);
		free(all);
		assert_int_equal(bpf_map_delete_elem(p->m->fd[MAP_affinity], &key), 0);
	}
	state_free(s);
}

/* ---- a session that is most of a pool --------------------------------------------------- */

/* The vote of one CPU. */
static struct pintle_majority majority_of(const char *session, uint32_t seen, double share)
{
	struct pintle_majority m = {
		.pool_generation = LLAMA_GEN,
		.seen = seen,
		.share = (uint32_t)(share * PINTLE_MAJORITY_WHOLE),
	};

	assert_int_equal(state_session_parse(session, NULL, &m.session), 0);
	return m;
}

static double largest(const struct pins *p, struct pintle_majority first,
		      struct pintle_majority second)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct pintle_majority *all = calloc((size_t)cpus, sizeof(*all));
	struct state *s;
	double share;

	all[0] = first;
	if (cpus > 1)
		all[1] = second;
	pins_at(p, MAP_majorities, LLAMA, all);
	s = read_state(p->m);
	share = s->pools[0].largest_share;
	if (share > 0)
		assert_memory_equal(&s->pools[0].largest, &first.session, sizeof(first.session));
	state_free(s);
	return share;
}

static void test_a_session_that_is_most(void **state)
{
	const struct pintle_majority none = {0};
	const struct pins *p = *state;
	struct pintle_majority former = majority_of("10.0.0.0/24", 128, 1);

	if (libbpf_num_possible_cpus() < 2)
		skip();
	former.pool_generation--;
	assert_true(largest(p, majority_of("10.0.0.0/24", 49, 1), none) == 0);
	assert_float_equal(largest(p, majority_of("10.0.0.0/24", 50, 0.83), none), 0.83, 1e-6);
	assert_true(largest(p, majority_of("10.0.0.0/24", 128, 0.5), none) == 0);
	assert_float_equal(
		largest(p, majority_of("10.0.0.0/24", 128, 1), majority_of("10.0.0.0/24", 64, 0.4)),
		0.8, 1e-6);
	assert_float_equal(largest(p, majority_of("10.0.0.0/24", 128, 0.9),
				   majority_of("10.0.1.0/24", 32, 0.6)),
			   0.72, 1e-6);
	assert_true(largest(p, majority_of("10.0.0.0/24", 60, 0.9),
			    majority_of("10.0.1.0/24", 60, 0.6)) == 0);
	assert_true(largest(p, former, none) == 0);
	assert_true(largest(p, majority_of("mark:7", 128, 1), none) ==
		    0); /* a key that the vote once had */
	largest(p, none, none);
}

/* ---- endpoints with an address --------------------------------------------------------- */

static void test_of_the_connect_hook(void **state)
{
	const struct pins *p = *state;
	struct pintle_pool pool;
	uint64_t now = monotonic_ns();
	const struct state_endpoint *e;
	struct state *s;

	assert_int_equal(maps_value(p->m, MAP_pools, LLAMA, &pool), 0);
	pool.decided_by = PINTLE_HOOK_CONNECT;
	pool.key_kind = PINTLE_KEY_HINT;
	pool.eject_after = 3;
	pins_at(p, MAP_pools, LLAMA, &pool);
	p->m->health[4] = (struct pintle_health){.unopened = 2,
						 .resets = 1,
						 .ejected_until_ns = now + HOURS(1),
						 .ejections = 7,
						 .failures = {[PINTLE_FAILURE_RESET] = 4}};
	p->m->health[0].listening_since_ns = 0;
	p->m->health[0].ejected_until_ns = now - 1;
	s = read_state(p->m);
	assert_int_equal(s->pools[0].decided_by, PINTLE_HOOK_CONNECT);
	assert_int_equal(s->pools[0].eject_after, 3);
	assert_int_equal(s->pools[0].ejected_count, 1);
	assert_false(s->pools[0].passes);

	e = endpoint(s, "gpu0"); /* at an address no listener needs to be known */
	assert_int_equal(e->state, STATE_READY);
	assert_int_equal(e->families, PINTLE_FAMILY_V4);
	assert_false(e->ejected);
	e = endpoint(s, "gpu4");
	assert_int_equal(e->state, STATE_EJECTED);
	assert_true(e->ejected_seconds > 3500 && e->ejected_seconds <= 3600);
	assert_int_equal(e->failures_in_row, 3);
	assert_int_equal(e->ejections, 7);
	assert_int_equal(e->failures[PINTLE_FAILURE_RESET], 4);
	assert_int_equal(e->families, PINTLE_FAMILY_V6);
	assert_int_equal(endpoint(s, "gpu5")->state, STATE_UNHEARD);
	assert_int_equal(s->pools[1].decided_by, PINTLE_HOOK_LOOKUP);
	state_free(s);

	p->m->node->heartbeat_ns = now - HOURS(2);
	p->m->node->daemonless_ns = HOURS(1);
	s = read_state(p->m);
	assert_true(s->pools[0].passes);
	assert_false(s->pools[1].passes);
	state_free(s);
}

/* ---- by connection, though requests are to decide ---------------------------------------- */

static const struct {
	bool hands_over;
	uint32_t mode;
	bool used;
	uint32_t devices, spaces;
	const char *why; /* NULL: requests decide */
} by_connection[] = {
	{true, PINTLE_MODE_ENFORCE, true, 2, 1, NULL},
	{true, PINTLE_MODE_ENFORCE, false, 0, 0, NULL},
	{true, PINTLE_MODE_OFF, true, 0, 0, NULL},
	{false, PINTLE_MODE_ENFORCE, true, 2, 1, "use Linux 6.9 or newer"},
	{false, PINTLE_MODE_SHADOW, false, 0, 0, "use Linux 6.9 or newer"},
	{true, PINTLE_MODE_SHADOW, true, 2, 1, "in mode shadow"},
	{true, PINTLE_MODE_BASELINE, false, 2, 1, "in mode baseline"},
	{true, PINTLE_MODE_ENFORCE, true, 0, 0, "attached to no pod's device"},
	{true, PINTLE_MODE_ENFORCE, true, 2, 0, "no pod was seen yet"},
};

static void test_by_connection(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(by_connection); i++) {
		const struct pintle_node n = {.splice_devices = by_connection[i].devices,
					      .splice_spaces = by_connection[i].spaces};
		const char *why =
			state_by_connection(by_connection[i].hands_over, by_connection[i].mode,
					    by_connection[i].used, &n);

		if (!why != !by_connection[i].why || (why && !strstr(why, by_connection[i].why)))
			fail_msg("row %zu: %s", i, why ?: "none");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_connection),
		pins_test(test_open_nothing),
		pins_test(test_open_other_version),
		pins_test(test_open_other_layout),
		pins_test(test_open_other_abi),
		pins_test(test_every_map_is_pinned),
		pins_test(test_open_read),
		pins_test(test_both_ways_agree),
		pins_test(test_daemonless),
		pins_test(test_daemon_just_started),
		pins_test(test_all_stale),
		pins_test(test_torn_score),
		pins_test(test_listens_for_no_family),
		pins_test(test_scores_are_whole),
		pins_test(test_overrides),
		pins_test(test_drained_by_the_configuration),
		pins_test(test_members_are_judged),
		pins_test(test_full),
		pins_test(test_absurd_counts),
		pins_test(test_names_are_judged),
		pins_test(test_random_maps),
		pins_test(test_sessions),
		pins_test(test_many_sessions),
		pins_test(test_session_texts),
		pins_test(test_session_texts_by_other_names),
		pins_test(test_a_session_that_is_most),
		pins_test(test_sessions_of_pods),
		cmocka_unit_test(test_a_namespace_of_digits),
		pins_test(test_session_texts_of_destinations),
		pins_test(test_of_the_connect_hook),
	};

	log_libbpf();
	return cmocka_run_group_tests(tests, pins_setup, pins_teardown);
}
