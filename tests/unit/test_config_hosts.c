/* SPDX-License-Identifier: Apache-2.0 */
/* test_config_hosts.c - endpoints whose address is a host's name: which of its addresses become
 * endpoints, and which do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "../../userspace/config/config.h"

#define HEAD "apiVersion: pintle.dev/v1alpha1\nkind: PintleConfig\npools:\n"
#define POOL                                                                                       \
	HEAD "- name: out\n  frontends: [\"10.96.0.10:443\"]\n  endpoints:\n"                      \
	     "  - {name: near, address: \"203.0.114.9:443\"}\n"
#define HOST "  - {name: api, address: \"Api.Test:443\", weight: 3, drained: true}\n"

static struct config *load(const char *text)
{
	struct config *c = NULL;

	assert_int_equal(config_parse("a.yaml", text, strlen(text), &yaml_sink_stderr, &c), 0);
	return c;
}

static struct config_address address(const char *text)
{
	struct config_address a = {0};
	struct endpoint_addr e;
	char whole[ADDR_TEXT_SIZE];

	snprintf(whole, sizeof(whole), strchr(text, ':') ? "[%s]:1" : "%s:1", text);
	assert_int_equal(addr_parse_endpoint(whole, &e, NULL), 0);
	a.ip = e.ip;
	return a;
}

static void expand(struct config *c, const struct config_address *all, size_t n)
{
	const struct config_answer answers[] = {
		{.host = "other.test", .all = all, .count = n},
		{.host = "api.test", .all = all, .count = n},
	};

	assert_int_equal(config_hosts_expand(c, answers, ARRAY_SIZE(answers)), 0);
}

static void test_it_is_apart_until_it_is_known(void **state)
{
	_cleanup_(config_freep) struct config *c = load(POOL HOST);
	const struct config_pool *p = &c->pools[0];

	(void)state;
	assert_int_equal(p->endpoint_count, 1);
	assert_int_equal(p->host_count, 1);
	assert_string_equal(p->hosts[0].as.host, "api.test");
	assert_int_equal(p->hosts[0].as.address.port, 443);
	assert_int_equal(p->reach, PINTLE_REACH_ADDRESS);
	assert_int_equal(config_hosts_expand(c, NULL, 0), 0);
	assert_int_equal(p->endpoint_count, 1);
}

static void test_addresses_are_endpoints(void **state)
{
	const struct config_address all[] = {address("104.18.6.192"), address("104.18.7.192"),
					     address("2606:4700::6812:6c0")};
	_cleanup_(config_freep) struct config *c = load(POOL HOST);
	const struct config_pool *p = &c->pools[0];

	(void)state;
	expand(c, all, ARRAY_SIZE(all));
	/* The frontend is an IPv4 address. */
	assert_int_equal(p->endpoint_count, 3);
	assert_string_equal(p->endpoints[0].name, "near");
	assert_string_equal(p->endpoints[1].name, "api@104.18.6.192");
	assert_string_equal(p->endpoints[2].name, "api@104.18.7.192");
	assert_string_equal(p->endpoints[2].host, "api.test");
	assert_memory_equal(&p->endpoints[2].address.ip, &all[1].ip, sizeof(struct addr));
	assert_int_equal(p->endpoints[2].address.port, 443);
	assert_int_equal(p->endpoints[2].weight, 3);
	assert_true(p->endpoints[2].drained && p->endpoints[2].metrics_none);
	assert_int_equal(p->hosts[0].taken, 2);
	assert_int_equal(p->hosts[0].left, 0);
}

static void test_addresses_of_both_families(void **state)
{
	static const char text[] =
		HEAD "- name: out\n  frontends: [\"10.96.0.10:443\", \"[fd96::10]:443\"]\n"
		     "  endpoints: [{name: api, address: \"api.test:443\"}]\n";
	const struct config_address all[] = {address("104.18.6.192"),
					     address("2606:4700::6812:6c0")};
	_cleanup_(config_freep) struct config *c = load(text);

	(void)state;
	expand(c, all, ARRAY_SIZE(all));
	assert_int_equal(c->pools[0].endpoint_count, 2);
	assert_string_equal(c->pools[0].endpoints[1].name, "api@2606:4700::6812:6c0");
	assert_true(config_pool_takes(&c->pools[0], true) &&
		    config_pool_takes(&c->pools[0], false));
}

/* By address: why it is left out where nothing is allowed, and where all is. */
static const struct left {
	const char *address;
	bool own;
	enum config_left why, allowed;
} lefts[] = {
	{"104.18.6.192", false, CONFIG_LEFT_NOT, CONFIG_LEFT_NOT},
	{"104.18.6.192", true, CONFIG_LEFT_OWN, CONFIG_LEFT_NOT},
	{"127.0.0.1", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_NOT},
	{"169.254.169.254", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_NOT},
	{"0.0.0.0", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_SPECIAL},
	{"0.1.2.3", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_NOT},
	{"224.0.0.1", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_SPECIAL},
	{"240.0.0.1", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_SPECIAL},
	{"255.255.255.255", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_SPECIAL},
	{"10.0.0.1", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"172.31.255.255", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"172.32.0.0", false, CONFIG_LEFT_NOT, CONFIG_LEFT_NOT},
	{"192.168.0.1", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"100.100.100.200", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"192.0.0.192", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"198.19.0.1", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"168.63.129.16", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"::ffff:127.0.0.1", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_NOT},
	{"::1", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_NOT},
	{"::", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_SPECIAL},
	{"fe80::1", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_NOT},
	{"ff02::1", false, CONFIG_LEFT_SPECIAL, CONFIG_LEFT_SPECIAL},
	{"fd00:ec2::254", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"64:ff9b::a9fe:a9fe", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"2002:7f00:1::", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"2001::1", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"2001:db8::1", false, CONFIG_LEFT_PRIVATE, CONFIG_LEFT_NOT},
	{"2606:4700::1", false, CONFIG_LEFT_NOT, CONFIG_LEFT_NOT},
	{"10.96.0.10", false, CONFIG_LEFT_FRONTEND, CONFIG_LEFT_FRONTEND},
	{"203.0.114.9", false, CONFIG_LEFT_TAKEN, CONFIG_LEFT_TAKEN},
};

static void look(const char *text, const struct left *l, enum config_left want)
{
	_cleanup_(config_freep) struct config *c = load(text);
	struct config_address a = address(l->address);
	const struct config_host *h = &c->pools[1].hosts[0];

	a.own = l->own;
	expand(c, &a, 1);
	if (h->why != want)
		fail_msg("%s: '%s', not '%s'", l->address, config_left_text(h->why),
			 config_left_text(want));
	assert_int_equal(h->left, want != CONFIG_LEFT_NOT);
	assert_int_equal(h->taken, want == CONFIG_LEFT_NOT);
}

static void test_what_a_name_must_not_lead_to(void **state)
{
#define OTHER                                                                                      \
	POOL "- name: any\n  frontends: [\"10.96.0.11:443\", \"[fd96::11]:443\"]\n"                \
	     "  endpoints:\n  - {name: api, address: \"api.test:443\""
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lefts); i++) {
		look(OTHER "}\n", &lefts[i], lefts[i].why);
		look(OTHER ", allowPrefixes: [0.0.0.0/0, \"::/0\"]}\n", &lefts[i],
		     lefts[i].allowed);
	}
}

static void test_not_more_than_there_may_be(void **state)
{
	_cleanup_(config_freep) struct config *c = load(POOL HOST);
	struct config_address all[CONFIG_HOST_ADDRESSES + 3];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		all[i] = address("104.18.6.0");
		all[i].ip.bytes[15] = (uint8_t)(i + 1);
	}
	expand(c, all, ARRAY_SIZE(all));
	assert_int_equal(c->pools[0].hosts[0].taken, CONFIG_HOST_ADDRESSES);
	assert_int_equal(c->pools[0].hosts[0].left, 3);
	assert_int_equal(c->pools[0].hosts[0].why, CONFIG_LEFT_ROOM);
	assert_int_equal(c->pools[0].endpoint_count, 1 + CONFIG_HOST_ADDRESSES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_is_apart_until_it_is_known),
		cmocka_unit_test(test_addresses_are_endpoints),
		cmocka_unit_test(test_addresses_of_both_families),
		cmocka_unit_test(test_what_a_name_must_not_lead_to),
		cmocka_unit_test(test_not_more_than_there_may_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
