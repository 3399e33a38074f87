/* SPDX-License-Identifier: Apache-2.0 */
/* Counters compared with the sockets: right counters are left alone and wrong ones are corrected,
 * also while connections come and go. */
#include "support_steer.h"

#include <netinet/tcp.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "../../userspace/maps/rows.h"
#include "../../userspace/pintled/observe/reconcile.h"
#include "../../userspace/pintled/attach/seats.h"

#define ONE POOL("a", FRONTEND, SERVERS(AT("e0", 8001)))

struct node {
	struct steer s;
	int server;
	struct pintle_counters *n;
};

static void node_start(struct node *d, const char *pools)
{
	steer_start(&d->s, pools, true);
	d->server = listen_at("127.0.0.1", 8001);
	d->n = &d->s.m->inflight[d->s.p->pools[0].endpoints[0].id].by_class[0];
}

static void node_end(struct node *d)
{
	close(d->server);
	steer_end(&d->s);
}

static uint64_t in_flight(const struct node *d)
{
	uint64_t closed = __atomic_load_n(&d->n->closed, __ATOMIC_ACQUIRE);

	return __atomic_load_n(&d->n->opened, __ATOMIC_ACQUIRE) - closed;
}

struct pair {
	int client, server;
};

static struct pair open_pair(const struct node *d)
{
	struct pair p = {.client = connect_to("127.77.0.1", 8000)};

	assert_true(p.client >= 0);
	p.server = accept4(d->server, NULL, NULL, SOCK_CLOEXEC);
	assert_true(p.server >= 0);
	return p;
}

static void close_pair(struct pair p)
{
	close(p.client);
	close(p.server);
}

static void test_counts_that_are_right(void **state)
{
	struct pair p[3];
	struct node d;

	(void)state;
	node_start(&d, ONE);
	assert_int_equal(reconcile(attachment_ground(d.s.a), true), 0);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		p[i] = open_pair(&d);
	assert_int_equal(reconcile(attachment_ground(d.s.a), true), 0);
	assert_int_equal(in_flight(&d), 3);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		close_pair(p[i]);
	wait_for(in_flight(&d) == 0);
	assert_int_equal(reconcile(attachment_ground(d.s.a), true), 0);
	assert_int_equal(d.s.m->node->drift, 0);
	assert_true(d.s.m->node->reconciled_ns > 0);
	node_end(&d);
}

static void test_counts_that_are_wrong(void **state)
{
	static const int wrong[] = {1, -1, 5, -2};
	struct node d;
	struct pair p;

	(void)state;
	node_start(&d, ONE);
	p = open_pair(&d);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		uint64_t drift = d.s.m->node->drift, by = (uint64_t)abs(wrong[i]);
		struct pintle_counters before = *d.n;

		/* sockops missed an end, or a beginning. */
		if (wrong[i] > 0)
			d.n->opened += by;
		else
			d.n->closed += by;
		assert_int_equal(reconcile(attachment_ground(d.s.a), true), by);
		assert_int_equal(in_flight(&d), 1);
		assert_int_equal(d.s.m->node->drift, drift + by);
		/* Counters only grow. */
		assert_true(d.n->opened >= before.opened && d.n->closed >= before.closed);
		assert_int_equal(reconcile(attachment_ground(d.s.a), true), 0);
	}
	close_pair(p);
	node_end(&d);
}

/* Also for an endpoint that was removed: its id is not used again before. */
static void test_an_endpoint_that_left(void **state)
{
	struct node d;
	struct pair p;

	(void)state;
	node_start(&d, ONE);
	p = open_pair(&d);
	assert_int_equal(steer_publish(&d.s, POOL("a", FRONTEND, SERVERS(AT("e0", 8002)))), 0);
	assert_int_equal(reconcile(attachment_ground(d.s.a), true), 0);
	assert_int_equal(in_flight(&d), 1);
	d.n->opened++;
	assert_int_equal(reconcile(attachment_ground(d.s.a), true), 1);
	close_pair(p);
	wait_for(in_flight(&d) == 0);
	node_end(&d);
}

static void test_many_at_once_are_one_line(void **state)
{
	_cleanup_free_ char *told = NULL;
	struct node d;

	(void)state;
	node_start(&d, ONE);
	for (uint32_t i = 0; i < 100; i++)
		d.s.m->inflight[i].by_class[i % PINTLE_MAX_CLASSES].opened += 2;
	told_begin();
	assert_int_equal(reconcile(attachment_ground(d.s.a), true), 200);
	assert_int_equal(reconcile(attachment_ground(d.s.a), true), 0);
	told = told_end();
	assert_int_equal(count_text(told, "\n"), 1);
	assert_int_equal(count_text(told, "by 200 at 100 endpoints"), 1);
	node_end(&d);
}

/* ---- decisions that came to nothing ---------------------------------------------------------- */

/* The ones' complement sum, including the pseudo header. */
static uint16_t checksum(const uint16_t *words, size_t count)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += words[i];
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t) ~(sum + (sum >> 16));
}

/* A reset for a connection that never existed. */
static void send_stray(int raw, uint16_t port)
{
	const struct sockaddr_in to = address_v4("127.77.0.1", 0);
	struct {
		uint32_t from, to;
		uint8_t zero, protocol;
		uint16_t size;
		struct tcphdr tcp;
	} s = {
		.from = htonl(INADDR_LOOPBACK),
		.to = to.sin_addr.s_addr,
		.protocol = IPPROTO_TCP,
		.size = htons(sizeof(s.tcp)),
		.tcp = {.source = htons(port), .dest = htons(8000), .doff = 5, .rst = 1},
	};

	s.tcp.check = checksum((const uint16_t *)&s, sizeof(s) / 2);
	assert_int_equal(sendto(raw, &s.tcp, sizeof(s.tcp), 0, (const void *)&to, sizeof(to)),
			 sizeof(s.tcp));
}

static uint64_t waiting(const struct node *d)
{
	return d->n->placed - d->n->opened - d->n->failed;
}

#define STRAYS 5000

/* Makes all decisions in `pending` older. Reads all keys first, because an entry that is written
 * moves within its bucket. */
static void age_pending(const struct node *d, uint64_t ns)
{
	static struct pintle_tuple keys[STRAYS];
	int fd = d->s.m->fd[MAP_pending];
	struct pintle_decision decision;
	size_t n = 0;

	while (n < STRAYS && !bpf_map_get_next_key(fd, n ? &keys[n - 1] : NULL, &keys[n]))
		n++;
	while (n-- > 0) {
		assert_int_equal(bpf_map_lookup_elem(fd, &keys[n], &decision), 0);
		decision.decided_ns -= ns;
		assert_int_equal(bpf_map_update_elem(fd, &keys[n], &decision, BPF_EXIST), 0);
	}
}

static void send_strays(const struct node *d)
{
	int raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);

	assert_true(raw >= 0);
	for (uint16_t i = 0; i < STRAYS; i++)
		send_stray(raw, 1024 + i);
	close(raw);
	assert_int_equal(waiting(d), STRAYS);
}

/* Anybody can send such segments, so nothing is logged. */
static void test_strays_do_not_wait_for_ever(void **state)
{
	struct node d;
	struct pair p;

	(void)state;
	node_start(&d, ONE);
	send_strays(&d);
	assert_int_equal(reconcile(attachment_ground(d.s.a), true), 0);
	assert_int_equal(waiting(&d), STRAYS);
	age_pending(&d, PINTLE_PENDING_NS + 1);
	assert_int_equal(reconcile(attachment_ground(d.s.a), true), 0);
	assert_int_equal(waiting(&d), 0);
	p = open_pair(&d);
	assert_int_equal(reconcile(attachment_ground(d.s.a), true), 0);
	assert_int_equal(waiting(&d), 0);
	assert_int_equal(in_flight(&d), 1);
	close_pair(p);
	assert_int_equal(d.s.m->node->drift, 0);
	node_end(&d);
}

/* `pending` is full: the decision that was evicted is found missing, and no counter is wrong. */
static void test_forgotten_decisions_do_not_wait_for_ever(void **state)
{
	struct pintle_tuple key;
	struct node d;
	int fd;

	(void)state;
	node_start(&d, ONE);
	send_strays(&d);
	fd = d.s.m->fd[MAP_pending];
	for (int i = 0; i < 100; i++) {
		assert_int_equal(bpf_map_get_next_key(fd, NULL, &key), 0);
		assert_int_equal(bpf_map_delete_elem(fd, &key), 0);
	}
	assert_int_equal(reconcile(attachment_ground(d.s.a), true), 0);
	assert_int_equal(waiting(&d), STRAYS - 100);
	assert_int_equal(d.s.m->node->drift, 0);
	node_end(&d);
}

/* ---- while connections come and go --------------------------------------------------------- */

struct churn {
	struct node *node;
	pthread_t thread[2];
	atomic_bool end;
	atomic_int turns;
};

/* Opens connections in bursts, so that the counters go up and down. */
static void *come_and_go(void *arg)
{
	struct churn *c = arg;
	int client[32], fd;

	while (!c->end) {
		for (size_t i = 0; i < ARRAY_SIZE(client); i++)
			client[i] = connect_to("127.77.0.1", 8000);
		for (size_t i = 0; i < ARRAY_SIZE(client); i++)
			close(client[i]);
		while ((fd = accept4(c->node->server, NULL, NULL, SOCK_CLOEXEC)) >= 0)
			close(fd);
		c->turns++;
	}
	return NULL;
}

static void churn_begin(struct churn *c, struct node *d)
{
	*c = (struct churn){.node = d};
	fcntl(d->server, F_SETFL, O_NONBLOCK);
	for (size_t i = 0; i < ARRAY_SIZE(c->thread); i++)
		pthread_create(&c->thread[i], NULL, come_and_go, c);
	wait_for(c->turns > 2);
}

static void churn_end(struct churn *c)
{
	int fd;

	c->end = true;
	for (size_t i = 0; i < ARRAY_SIZE(c->thread); i++)
		pthread_join(c->thread[i], NULL);
	while ((fd = accept4(c->node->server, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
}

/* Other connections stay open, so that the walk over the sockets takes longer. */
static void test_right_ones_under_traffic(void **state)
{
	static struct pair stay[2000];
	const struct rlimit enough = {8192, 8192};
	struct churn c;
	struct node d;

	(void)state;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &enough), 0);
	node_start(&d, ONE);
	for (size_t i = 0; i < ARRAY_SIZE(stay); i++)
		stay[i] = open_pair(&d);
	churn_begin(&c, &d);
	while (c.turns < 300)
		assert_int_equal(reconcile(attachment_ground(d.s.a), true), 0);
	churn_end(&c);
	for (size_t i = 0; i < ARRAY_SIZE(stay); i++)
		close_pair(stay[i]);
	wait_for(in_flight(&d) == 0);
	assert_int_equal(d.s.m->node->drift, 0);
	node_end(&d);
}

/* Though the counters never stand still, a difference larger than the connections that came and
 * went is certainly an error, and is corrected. */
static void test_wrong_ones_under_traffic(void **state)
{
	struct churn c;
	struct node d;

	(void)state;
	node_start(&d, ONE);
	churn_begin(&c, &d);
	__atomic_fetch_add(&d.n->opened, 1000000, __ATOMIC_RELAXED);
	wait_for(reconcile(attachment_ground(d.s.a), true) || d.s.m->node->drift);
	assert_true(d.s.m->node->drift > 900000);
	churn_end(&c);
	/* The rest of the error shows when the counters stand still. */
	wait_for(!reconcile(attachment_ground(d.s.a), true) && in_flight(&d) == 0);
	assert_int_equal(d.s.m->node->drift, 1000000);
	node_end(&d);
}

/* ---- tenants ------------------------------------------------------------------------------- */

#define WITH_TENANTS                                                                               \
	POOL("a", FRONTEND, "tenants: {by: source, connections: 5000}, " SERVERS(AT("e0", 8001)))

static int take_tenant(const void *key, const void *value, void *arg)
{
	const struct pintle_affinity_key *tenant = key;

	if (tenant->session.kind != PINTLE_KEY_NONE)
		*(struct pintle_tenant *)arg = *(const struct pintle_tenant *)value;
	return 0;
}

/* All clients are 127.0.0.1: one tenant. */
static int64_t tenant_has(const struct node *d)
{
	struct pintle_tenant n = {0};

	assert_int_equal(map_each(d->s.m, MAP_tenants, take_tenant, &n), 0);
	return (int64_t)(n.opened - n.closed);
}

static int take_key(const void *key, const void *value, void *arg)
{
	const struct pintle_affinity_key *tenant = key;

	(void)value;
	if (tenant->session.kind != PINTLE_KEY_NONE)
		*(struct pintle_affinity_key *)arg = *tenant;
	return 0;
}

/* Ends, or beginnings, that nobody saw. Only where no connection comes or goes meanwhile. */
static void tenant_is_wrong(const struct node *d, int by)
{
	int fd = d->s.m->fd[MAP_tenants];
	struct pintle_affinity_key key;
	struct pintle_tenant n;

	assert_int_equal(map_each(d->s.m, MAP_tenants, take_key, &key), 0);
	assert_int_equal(bpf_map_lookup_elem(fd, &key, &n), 0);
	n.opened += by > 0 ? (uint64_t)by : 0;
	n.closed += by < 0 ? (uint64_t)-by : 0;
	assert_int_equal(bpf_map_update_elem(fd, &key, &n, BPF_EXIST), 0);
}

/* Two looks that agree correct a count; what one of them finds may be a moment's. */
static void test_tenants_that_are_wrong(void **state)
{
	static const int wrong[] = {1, -1, 5, -2};
	struct pair p[3];
	struct seats *s;
	struct node d;

	(void)state;
	node_start(&d, WITH_TENANTS);
	s = attachment_ground(d.s.a)->seats;
	assert_non_null(s);
	assert_int_equal(seats_look(s), 0);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		p[i] = open_pair(&d);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(seats_look(s), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		tenant_is_wrong(&d, wrong[i]);
		assert_int_equal(seats_look(s), 0);
		assert_int_equal(seats_look(s), abs(wrong[i]));
		assert_int_equal(tenant_has(&d), 3);
		assert_int_equal(seats_look(s), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		close_pair(p[i]);
	wait_for(tenant_has(&d) == 0);
	assert_int_equal(seats_look(s) + seats_look(s), 0);
	assert_int_equal(d.s.m->node->drift, 0);
	node_end(&d);
}

/* While connections come and go, the count falls to what is there, and never below. */
static void test_tenants_under_traffic(void **state)
{
	static struct pair stay[500];
	struct churn c;
	struct node d;
	int turns;

	(void)state;
	node_start(&d, WITH_TENANTS);
	for (size_t i = 0; i < ARRAY_SIZE(stay); i++)
		stay[i] = open_pair(&d);
	tenant_is_wrong(&d, 1000);
	churn_begin(&c, &d);
	for (turns = c.turns; c.turns < turns + 300 || tenant_has(&d) > 1000;) {
		seats_look(attachment_ground(d.s.a)->seats);
		assert_true(tenant_has(&d) >= (int64_t)ARRAY_SIZE(stay));
	}
	churn_end(&c);
	/* The rest of the error shows when the counters stand still. */
	wait_for(!seats_look(attachment_ground(d.s.a)->seats) &&
		 tenant_has(&d) == ARRAY_SIZE(stay));
	for (size_t i = 0; i < ARRAY_SIZE(stay); i++)
		close_pair(stay[i]);
	wait_for(tenant_has(&d) == 0);
	node_end(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		steer_test(test_counts_that_are_right),
		steer_test(test_counts_that_are_wrong),
		steer_test(test_an_endpoint_that_left),
		steer_test(test_many_at_once_are_one_line),
		steer_test(test_strays_do_not_wait_for_ever),
		steer_test(test_forgotten_decisions_do_not_wait_for_ever),
		steer_test(test_right_ones_under_traffic),
		steer_test(test_wrong_ones_under_traffic),
		steer_test(test_tenants_that_are_wrong),
		steer_test(test_tenants_under_traffic),
	};

	return cmocka_run_group_tests(tests, make_cgroup, remove_cgroup);
}
