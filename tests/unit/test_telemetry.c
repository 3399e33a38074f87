/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon logs of ejections. */
#include "support_steer.h"

#include "../../userspace/pintled/observe/telemetry.h"

/* No server listens at port 8002. */
#define PODS                                                                                       \
	POOL("a", FRONTEND,                                                                        \
	     "stickiness: {key: none}, ejection: {failures: 2, time: 24h, maxTime: 24h}, "         \
	     "failureMode: FailClose, " SERVERS("{name: e0, address: \"127.0.0.1:8001\"}, "        \
						"{name: e1, address: \"127.0.0.1:8002\"}"))

/* Clients connect until so many were refused. Returns what the daemon logs. */
static char *told_of_clients(struct telemetry *t, __u64 *refused, uint64_t until)
{
	told_begin();
	for (int i = 0; i < 1000 && *(volatile __u64 *)refused < until; i++) {
		int fd = connect_to("127.77.0.1", 8000);

		if (fd >= 0)
			close(fd);
	}
	telemetry_look(t);
	return told_end();
}

static void test_an_ejection_is_told(void **state)
{
	struct pintle_health *h;
	struct telemetry *t = NULL;
	int server, late;
	struct steer s;
	char *told;

	(void)state;
	steer_start(&s, PODS, true);
	s.m->node->heartbeat_ns = monotonic_ns() - 60 * NSEC_PER_SEC;
	assert_int_equal(telemetry_new(attachment_ground(s.a), &t), 0);
	h = &s.m->health[s.p->pools[0].endpoints[1].id];
	server = listen_at("127.0.0.1", 8001);

	told = told_of_clients(t, &h->failures[PINTLE_FAILURE_REFUSED], 2);
	assert_int_equal(h->ejections, 1);
	assert_int_equal(count_text(told, "a/e1 is ejected for another 86"), 1);
	assert_int_equal(count_text(told, "several times in a row (refused)\n"), 1);
	free(told);
	told_begin();
	telemetry_look(t);
	told = told_end();
	assert_string_equal(told, "");
	free(told);

	/* It comes back before the time is over, and a client that is still on its way gets
	 * through. */
	late = listen_at("127.0.0.1", 8002);
	h->ejected_until_ns = 1;
	told_begin();
	for (int i = 0; i < 1000 && *(volatile __u32 *)&h->ejected_in_a_row; i++)
		close(connect_to("127.77.0.1", 8000));
	telemetry_look(t);
	told = told_end();
	assert_int_equal(count_text(told, "a/e1 answers its clients again"), 1);
	free(told);

	close(server);
	close(late);
	telemetry_free(t);
	steer_end(&s);
}

/* A pool with all servers down must not fill the log. */
static void test_not_more_than_can_be_read(void **state)
{
	struct telemetry *t = NULL;
	struct pintle_health *h;
	struct steer s;
	char *told;

	(void)state;
	steer_start(&s, PODS, true);
	s.m->node->heartbeat_ns = monotonic_ns() - 60 * NSEC_PER_SEC;
	assert_int_equal(telemetry_new(attachment_ground(s.a), &t), 0);
	h = &s.m->health[s.p->pools[0].endpoints[0].id];
	told_begin();
	for (int i = 0; i < 2000; i++) {
		assert_true(connect_to("127.77.0.1", 8000) < 0);
		telemetry_look(t);
		h[0].ejected_until_ns = 0;
		s.m->health[s.p->pools[0].endpoints[1].id].ejected_until_ns = 0;
	}
	told = told_end();
	assert_true(h[0].ejections > 100);
	/* Two seconds, if it began just before the end of one. */
	assert_in_range(count_text(told, "is ejected"), 1, 40);
	free(told);
	telemetry_free(t);
	steer_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		steer_test(test_an_ejection_is_told),
		steer_test(test_not_more_than_can_be_read),
	};

	log_libbpf();
	return cmocka_run_group_tests(tests, make_cgroup, remove_cgroup);
}
