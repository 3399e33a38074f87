/* SPDX-License-Identifier: Apache-2.0 */
/*
 * support_world.h - maps as the daemon would fill them, listeners, and segments given to the lookup
 * hook by BPF_PROG_TEST_RUN. Nothing is attached, and no packet is sent.
 *
 * Every test has a freshly loaded skeleton and a network namespace of its own. Pool POOL has one
 * frontend, 10.77.0.1:8000 and [fd77::1]:8000; its endpoints have ids from 0 on.
 */
#ifndef PINTLE_TESTS_SUPPORT_WORLD_H
#define PINTLE_TESTS_SUPPORT_WORLD_H

#include "support_bpf.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#define POOL      3
#define POOL_GEN  7
#define GEN(e)    (100 + (e))
#define SECOND    NSEC_PER_SEC
#define NOBODY    UINT32_MAX
#define MAX_WORLD 1024

struct world {
	struct pintle_bpf *skel;
	uint64_t now;
	struct pintle_pool pool; /* as last written by put_pool() */
	int listener[MAX_WORLD]; /* [endpoint]; -1: none */
	uint64_t cookie[MAX_WORLD];
	uint16_t next_port;
};
static struct world w;

/* ---- maps ----------------------------------------------------------------------------- */

#define map_fd(name) bpf_map__fd(w.skel->maps.name)

#define put(name, key, value)                                                                      \
	do {                                                                                       \
		__typeof__(key) key_ = (key);                                                      \
		assert_int_equal(bpf_map_update_elem(map_fd(name), &key_, value, BPF_ANY), 0);     \
	} while (0)
#define get(name, key, value)                                                                      \
	do {                                                                                       \
		__typeof__(key) key_ = (key);                                                      \
		assert_int_equal(bpf_map_lookup_elem(map_fd(name), &key_, value), 0);              \
	} while (0)

/* How many entries a map has; its keys are of 64 bytes at most. */
static inline uint32_t entries_of(int map)
{
	uint8_t key[64], next[64];
	uint32_t n = 0;

	for (void *at = NULL; !bpf_map_get_next_key(map, at, next); at = key, n++)
		memcpy(key, next, sizeof(key));
	return n;
}

static inline void address_of(const char *text, uint8_t out[16])
{
	memset(out, 0, 16);
	if (strchr(text, ':')) {
		assert_int_equal(inet_pton(AF_INET6, text, out), 1);
		return;
	}
	out[10] = out[11] = 0xff;
	assert_int_equal(inet_pton(AF_INET, text, out + 12), 1);
}

static inline void put_frontend(const char *address, uint32_t bits, uint16_t port,
				struct pintle_frontend f)
{
	struct pintle_frontend_key key = {
		.prefixlen = PINTLE_FRONTEND_FIXED_BITS + bits + (strchr(address, ':') ? 0 : 96),
		.port = port,
		.protocol = IPPROTO_TCP,
	};

	address_of(address, key.address);
	put(frontends, key, &f);
}

static inline void put_pool(void)
{
	put(pools, (uint32_t)POOL, &w.pool);
}

static inline void put_heartbeat(uint64_t ns)
{
	struct pintle_node n = {.abi_version = PINTLE_ABI_VERSION, .heartbeat_ns = ns};

	put(node, 0U, &n);
}

static inline struct pintle_score score_of(uint32_t e)
{
	struct pintle_score s;

	get(scores, e, &s);
	return s;
}

/* Gives the endpoint a score with this load in requests, scraped a second ago. */
static inline void put_load(uint32_t e, double requests)
{
	struct pintle_score s = {
		.generation = GEN(e),
		.scraped_ns = w.now - SECOND,
	};

	for (int i = 0; i < PINTLE_MAX_CLASSES; i++)
		s.model[i] = (struct pintle_load_model){(uint32_t)(requests * 1000 + 0.5), 1000};
	put(scores, e, &s);
}

static inline struct pintle_health health_of(uint32_t e)
{
	struct pintle_health h;

	get(health, e, &h);
	return h;
}

static inline struct pintle_counters counters_of(uint32_t e)
{
	struct pintle_inflight f;

	get(inflight, e, &f);
	return f.by_class[0];
}

static inline struct pintle_ends ends_of(uint32_t e)
{
	struct pintle_ends n;

	get(ends, e, &n);
	return n;
}

static inline void put_override(uint32_t slot, uint32_t generation, uint32_t flags, uint32_t mode)
{
	struct pintle_override o = {.generation = generation, .flags = flags, .mode = mode};

	put(overrides, slot, &o);
}

/* The sum over all CPUs of what was read of a per-CPU array. */
static inline uint64_t over_cpus(const uint64_t n[1024])
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t sum = 0;

	assert_in_range(cpus, 1, 1024);
	for (int i = 0; i < cpus; i++)
		sum += n[i];
	return sum;
}

static inline uint64_t outcomes(uint32_t pool, enum pintle_outcome outcome)
{
	static uint64_t n[1024];

	get(stats, (uint32_t)PINTLE_STAT(pool, outcome), n);
	return over_cpus(n);
}

/* What mode shadow would have decided. */
static inline uint64_t shadow_outcomes(uint32_t pool, enum pintle_outcome outcome)
{
	static uint64_t n[1024];

	get(shadow_stats, (uint32_t)PINTLE_STAT(pool, outcome), n);
	return over_cpus(n);
}

static inline uint64_t shadow_placed(uint32_t e)
{
	uint64_t n;

	get(shadow_placed, e, &n);
	return n;
}

static inline uint64_t decisions(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < PINTLE_MAX_OUTCOMES; i++)
		sum += outcomes(POOL, i);
	return sum;
}

/* Runs a recounting iterator over its map, and returns its count for endpoint e. */
static inline uint64_t recount_by(struct bpf_program *program, int map, uint32_t e)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info info = {.map.map_fd = (uint32_t)map};
	uint64_t n = 0, zero = 0;
	struct bpf_link *link;
	char buf[64];
	int fd;

	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	put(recount, e * PINTLE_MAX_CLASSES, &zero);
	link = bpf_program__attach_iter(program, &opts);
	assert_non_null(link);
	fd = bpf_iter_create(bpf_link__fd(link));
	assert_true(fd >= 0);
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
	bpf_link__destroy(link);
	get(recount, e * PINTLE_MAX_CLASSES, &n);
	return n;
}

/* ---- endpoints -------------------------------------------------------------------------- */

#define V4     AF_INET
#define V6     AF_INET6
#define V6ONLY (AF_INET6 + 1000)

/* A LISTEN socket on any port, of the loopback address or, for V6, of every address. */
static inline int make_listener(int kind)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	struct sockaddr_in lo = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	bool v4 = kind == V4;
	int only = kind == V6ONLY, fd;

	fd = socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (!v4)
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)), 0);
	assert_int_equal(bind(fd, v4 ? (void *)&lo : (void *)&any, v4 ? sizeof(lo) : sizeof(any)),
			 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static inline uint64_t cookie_of(int fd)
{
	socklen_t size = sizeof(uint64_t);
	uint64_t cookie;

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
	return cookie;
}

static inline void put_socket(uint32_t e, uint32_t slot, int fd)
{
	uint64_t value = (uint64_t)fd;

	put(sockets, e * PINTLE_SOCKETS_PER_ENDPOINT + slot, &value);
}

/* Marks the endpoint as listening since long ago, for all families. */
static inline void put_endpoint(uint32_t e)
{
	struct pintle_endpoint is = {
		.generation = GEN(e), .pool = POOL, .pool_generation = POOL_GEN};
	struct pintle_health h = {
		.listening_since_ns = 1,
		.listeners = 1,
		.families = PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6,
	};

	put(endpoints, e, &is);
	put(health, e, &h);
}

/* Endpoints 0..n-1, idle, each with a dual-stack listener of its own. */
static inline void make_endpoints(uint32_t n)
{
	for (uint32_t e = 0; e < n; e++) {
		w.listener[e] = make_listener(V6);
		w.cookie[e] = cookie_of(w.listener[e]);
		put_socket(e, 0, w.listener[e]);
		put_endpoint(e);
		put_load(e, 0);
		w.pool.members[e] = (struct pintle_ref){e, GEN(e)};
	}
	w.pool.member_count = n;
	put_pool();
}

/* The same with one listener for all endpoints: only the decision shows which was chosen. */
static inline void make_many_endpoints(uint32_t n)
{
	make_endpoints(1);
	for (uint32_t e = 1; e < n; e++) {
		w.cookie[e] = w.cookie[0];
		put_socket(e, 0, w.listener[0]);
		put_endpoint(e);
		put_load(e, 0);
		w.pool.members[e] = (struct pintle_ref){e, GEN(e)};
	}
	w.pool.member_count = n;
	put_pool();
}

static inline void close_listener(uint32_t e)
{
	close(w.listener[e]);
	w.listener[e] = -1;
}

/* Makes the endpoint's score older than its listener. */
static inline void make_unready(uint32_t e)
{
	struct pintle_health h = health_of(e);

	h.listening_since_ns = monotonic_ns();
	put(health, e, &h);
}

/* ---- segments ----------------------------------------------------------------------------- */

struct segment {
	const char *from; /* its family is the segment's */
	uint16_t port;
	const char *to; /* NULL: the frontend's address */
	uint16_t to_port;
	int protocol;
};

struct seen {
	uint32_t verdict;
	uint64_t cookie; /* 0: no socket was assigned */
	bool remembered;
	struct pintle_decision decision;
	uint32_t endpoint; /* the endpoint decided; NOBODY without one */
};

/* The decision that is remembered for the connection, wherever it is. Returns false if there is
 * none. */
static inline bool decision_of(const struct pintle_tuple *t, struct pintle_decision *d)
{
	struct pintle_hand_flow f;

	if (bpf_map_lookup_elem(map_fd(hand_flows), t, &f))
		return !bpf_map_lookup_elem(map_fd(pending), t, d);
	*d = f.decision;
	return true;
}

static inline struct pintle_tuple tuple_of(const struct segment *s)
{
	struct pintle_tuple t = {.local_port = s->to_port ?: 8000, .remote_port = s->port};

	address_of(s->from, t.remote);
	address_of(s->to ?: strchr(s->from, ':') ? "fd77::1" : "10.77.0.1", t.local);
	return t;
}

/* Gives the hook one segment. */
static inline struct seen look_up(struct segment s)
{
	struct pintle_tuple t = tuple_of(&s);
	struct bpf_sk_lookup ctx = {
		.family = strchr(s.from, ':') ? AF_INET6 : AF_INET,
		.protocol = s.protocol ? (uint32_t)s.protocol : IPPROTO_TCP,
		.remote_port = htons(t.remote_port),
		.local_port = t.local_port,
	};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
		    .ctx_out = &ctx, .ctx_size_out = sizeof(ctx));
	struct seen seen = {.endpoint = NOBODY};

	if (ctx.family == AF_INET) {
		memcpy(&ctx.local_ip4, t.local + 12, 4);
		memcpy(&ctx.remote_ip4, t.remote + 12, 4);
	} else {
		memcpy(ctx.local_ip6, t.local, 16);
		memcpy(ctx.remote_ip6, t.remote, 16);
	}
	assert_int_equal(
		bpf_prog_test_run_opts(bpf_program__fd(w.skel->progs.pintle_lookup), &opts), 0);
	seen.verdict = opts.retval;
	seen.cookie = ctx.cookie;
	seen.remembered = decision_of(&t, &seen.decision);
	if (seen.remembered && seen.decision.generation)
		seen.endpoint = seen.decision.endpoint;
	return seen;
}

/* A connection from this address, with a port that was not used yet. */
static inline struct seen visit(const char *from)
{
	w.next_port = w.next_port < 1024 ? 1024 : w.next_port + 1;
	return look_up((struct segment){.from = from, .port = w.next_port});
}

/* A connection from the n-th of many clients, 10.N.N.N. */
static inline struct seen visit_nth(uint32_t n)
{
	char from[INET_ADDRSTRLEN];

	snprintf(from, sizeof(from), "10.%u.%u.%u", n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff);
	return look_up((struct segment){.from = from, .port = 40000});
}

#define assert_went_to(what, e)                                                                    \
	do {                                                                                       \
		struct seen s_ = (what);                                                           \
		assert_int_equal(s_.verdict, SK_PASS);                                             \
		assert_int_equal(s_.endpoint, (e));                                                \
		assert_int_equal(s_.cookie, w.cookie[e]);                                          \
	} while (0)

#define assert_went(what, e, why)                                                                  \
	do {                                                                                       \
		struct seen went_ = (what);                                                        \
		assert_went_to(went_, e);                                                          \
		assert_int_equal(went_.decision.outcome, PINTLE_OUTCOME_##why);                    \
	} while (0)

/* The endpoint of a large pool is chosen without being drawn, unless it is drained. */
#define assert_is_candidate(e)                                                                     \
	do {                                                                                       \
		for (uint32_t i_ = 0; i_ < 5; i_++)                                                \
			assert_went_to(visit_nth(i_), e);                                          \
		put_override(PINTLE_ENDPOINT_SLOT(e), GEN(e), PINTLE_OVERRIDE_DRAIN, 0);           \
		assert_int_not_equal(visit_nth(6).endpoint, e);                                    \
	} while (0)

#define assert_nobody(what, said)                                                                  \
	do {                                                                                       \
		struct seen s_ = (what);                                                           \
		assert_int_equal(s_.verdict, said);                                                \
		assert_int_equal(s_.cookie, 0);                                                    \
		assert_int_equal(s_.endpoint, NOBODY);                                             \
		assert_int_equal(s_.decision.outcome, PINTLE_OUTCOME_NO_ENDPOINT);                 \
	} while (0)

/* ---- each test ------------------------------------------------------------------------------- */

/* What the tests of a file run: names of programs. */
#ifndef PROGRAMS
#define PROGRAMS "pintle_lookup"
#endif

static inline int make_world(void **state)
{
	(void)state;
	w = (struct world){.now = monotonic_ns()};
	for (size_t i = 0; i < MAX_WORLD; i++)
		w.listener[i] = -1;
	if (unshare(CLONE_NEWNET))
		return -1;
	w.skel = load_programs(PROGRAMS);
	if (!w.skel)
		return -1;
	w.pool = (struct pintle_pool){
		.generation = POOL_GEN,
		.mode = PINTLE_MODE_ENFORCE,
		.failure_mode = PINTLE_FAIL_OPEN,
		.classes = 1,
		.decided_by = PINTLE_HOOK_LOOKUP,
		.key_kind = PINTLE_KEY_SOURCE,
		.key_bits_v4 = 32,
		.key_bits_v6 = 128,
		.group_bits_v4 = 24,
		.group_bits_v6 = 56,
		.ttl_ns = 300 * SECOND,
		.max_extra_load = 8000,
		.staleness_ns = 3600 * SECOND, /* no test depends on how fast it runs */
		.departure = 1000,
	};
	put_pool();
	put_heartbeat(w.now);
	put_frontend("10.77.0.1", 32, 8000,
		     (struct pintle_frontend){POOL, POOL_GEN, PINTLE_HOOK_LOOKUP, 0, 128});
	put_frontend("fd77::1", 128, 8000,
		     (struct pintle_frontend){POOL, POOL_GEN, PINTLE_HOOK_LOOKUP, 0, 128});
	return 0;
}

static inline int unmake_world(void **state)
{
	(void)state;
	for (size_t i = 0; i < MAX_WORLD; i++)
		if (w.listener[i] >= 0)
			close(w.listener[i]);
	pintle_bpf__destroy(w.skel);
	return 0;
}

#define world_test(f) cmocka_unit_test_setup_teardown(f, make_world, unmake_world)

#endif
