/* SPDX-License-Identifier: Apache-2.0 */
/* test_addr.c - addresses, prefixes and ports: parsed, printed, refused. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../userspace/net/addr.h"
#include "../../userspace/net/nested.h"
#include "../../userspace/base/util.h"

struct text_case {
	const char *in;
	const char *out;   /* the parsed value, printed; NULL: refused */
	const char *wants; /* if refused: part of the sentence that says what to write */
};

static const struct text_case endpoints[] = {
	{"127.0.0.1:8001", "127.0.0.1:8001", NULL},
	{"[::1]:8001", "[::1]:8001", NULL},
	{"[FD77:0:0::1]:1", "[fd77::1]:1", NULL},
	{"[::ffff:10.0.0.1]:80", "10.0.0.1:80", NULL},
	{"0.0.0.0:65535", "0.0.0.0:65535", NULL},
	{"8003", "8003", NULL},
	{"65535", "65535", NULL},
	{"", NULL, "write ADDRESS:PORT"},
	{"0", NULL, "a port from 1 to 65535"},
	{"65536", NULL, "a port from 1 to 65535"},
	{"080", NULL, "without leading zeros"},
	{"4294967297", NULL, "a port from 1 to 65535"},
	{"18446744073709551617", NULL, "a port from 1 to 65535"},
	{"127.0.0.1", NULL, "write ADDRESS:PORT"},
	{"127.0.0.1:", NULL, "a port from 1 to 65535"},
	{"127.0.0.1:0", NULL, "a port from 1 to 65535"},
	{"127.0.0.1:+80", NULL, "a port from 1 to 65535"},
	{"127.0.0.1: 80", NULL, "a port from 1 to 65535"},
	{"127.0.0.1:80 ", NULL, "a port from 1 to 65535"},
	{":80", NULL, "write ADDRESS:PORT"},
	{"127.0.0.01:80", NULL, "write ADDRESS:PORT"},
	{"127.1:80", NULL, "write ADDRESS:PORT"},
	{"localhost:80", NULL, "write ADDRESS:PORT"},
	{"::1:8001", NULL, "in brackets"},
	{"[::1]", NULL, "write ADDRESS:PORT"},
	{"[::1]8001", NULL, "write ADDRESS:PORT"},
	{"[::1:8001", NULL, "write ADDRESS:PORT"},
	{"[127.0.0.1]:80", NULL, "write ADDRESS:PORT"},
	{"[fe80::1%lo]:80", NULL, "write ADDRESS:PORT"},
	{"[]:80", NULL, "write ADDRESS:PORT"},
	{"127.0.0.0/8:80", NULL, "write ADDRESS:PORT"},
	{"[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb]:1", NULL, "write ADDRESS:PORT"},
};

static const struct text_case frontends[] = {
	{"10.77.0.1:8000", "10.77.0.1:8000", NULL},
	{"[fd77::1]:8000", "[fd77::1]:8000", NULL},
	{"10.77.0.0/24:8000", "10.77.0.0/24:8000", NULL},
	{"[fd77::/64]:8000", "[fd77::/64]:8000", NULL},
	{"10.77.0.1/32:8000", "10.77.0.1:8000", NULL},
	{"[fd77::1/128]:8000", "[fd77::1]:8000", NULL},
	{"0.0.0.0/0:80", "0.0.0.0/0:80", NULL},
	{"[::/0]:80", "[::/0]:80", NULL},
	{"[::ffff:10.0.0.0/104]:80", "10.0.0.0/8:80", NULL},
	{"8000", NULL, "write ADDRESS:PORT or PREFIX/LENGTH:PORT"},
	{"10.77.0.0/33:8000", NULL, "a prefix length from 0 to 32"},
	{"[fd77::/129]:8000", NULL, "to 128"},
	{"10.77.0.0/:8000", NULL, "a prefix length"},
	{"10.77.0.0/024:8000", NULL, "a prefix length"},
	{"10.77.0.0/-1:8000", NULL, "a prefix length"},
	{"10.77.0.0/8/8:8000", NULL, "a prefix length"},
	{"10.77.0.1/24:8000", NULL, "set no bit beyond the prefix length"},
	{"[fd77::1/64]:8000", NULL, "set no bit beyond the prefix length"},
	{"[::ffff:10.0.0.0/8]:80", NULL, "set no bit beyond the prefix length"},
	{"/24:8000", NULL, "write ADDRESS:PORT or PREFIX/LENGTH:PORT"},
	{"10.77.0.0/24", NULL, "write ADDRESS:PORT or PREFIX/LENGTH:PORT"},
	{"fd77::/64:8000", NULL, "in brackets"},
	{"10.77.0.0/24:0", NULL, "a port from 1 to 65535"},
};

static void expect(const struct text_case *c, int err, const char *what, const char *formatted)
{
	if (c->out) {
		if (err || strcmp(formatted, c->out) != 0)
			fail_msg("\"%s\": got %d, \"%s\"; want \"%s\"", c->in, err, formatted,
				 c->out);
		return;
	}
	if (err != -EINVAL || !what || !strstr(what, c->wants))
		fail_msg("\"%s\": got %d, \"%s\"; want -EINVAL and \"%s\"", c->in, err,
			 what ? what : "(null)", c->wants);
}

static void endpoints_as_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(endpoints); i++) {
		struct endpoint_addr a = {0};
		char buf[ADDR_TEXT_SIZE];
		const char *what = NULL;
		int err = addr_parse_endpoint(endpoints[i].in, &a, &what);

		expect(&endpoints[i], err, what, addr_format_endpoint(&a, buf));
		assert_int_equal(a.any_ip, !err && !strchr(endpoints[i].in, ':'));
	}
}

static void frontends_as_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(frontends); i++) {
		struct frontend_addr f = {.prefix_bits = 128};
		char buf[ADDR_TEXT_SIZE];
		const char *what = NULL;
		int err = addr_parse_frontend(frontends[i].in, &f, &what);

		expect(&frontends[i], err, what, addr_format_frontend(&f, buf));
	}
}

static void refusal_leaves_the_out_parameter(void **state)
{
	struct endpoint_addr e, e_before;
	struct frontend_addr f, f_before;

	(void)state;
	memset(&e, 0x5a, sizeof(e));
	memset(&f, 0x5a, sizeof(f));
	e.any_ip = true;
	e_before = e;
	f_before = f;
	assert_int_equal(addr_parse_endpoint("[::1]:70000", &e, NULL), -EINVAL);
	assert_int_equal(addr_parse_frontend("10.0.0.1/8:80", &f, NULL), -EINVAL);
	assert_memory_equal(&e, &e_before, sizeof(e));
	assert_memory_equal(&f, &f_before, sizeof(f));
}

static void masks_of_every_length(void **state)
{
	(void)state;
	for (unsigned int bits = 0; bits <= 128; bits++) {
		struct addr a;
		unsigned int set = 0;

		memset(&a, 0xff, sizeof(a));
		addr_mask(&a, bits);
		for (unsigned int i = 0; i < 128; i++) {
			bool one = a.bytes[i / 8] & (0x80 >> i % 8);

			assert_int_equal(one, i < bits);
			set += one;
		}
		assert_int_equal(set, bits);
	}
}

static const struct overlap_case {
	const char *a, *b;
	bool overlap;
} overlaps[] = {
	{"10.0.0.0/8:1", "10.1.2.3:1", true},
	{"10.0.0.0/8:1", "11.0.0.0/8:1", false},
	{"10.0.0.0/8:1", "10.128.0.0/9:1", true},
	{"0.0.0.0/0:1", "255.255.255.255:1", true},
	{"0.0.0.0/0:1", "[fd77::1]:1", false},
	{"[::/0]:1", "10.0.0.1:1", true}, /* IPv4 lies within ::/0, as in the kernel's trie */
	{"[fd77::/64]:1", "[fd77::ffff:0:0:1]:1", true},
	{"[fd77::/64]:1", "[fd77:0:0:1::1]:1", false},
	{"10.0.0.1:1", "10.0.0.1:1", true},
	{"10.0.0.1:1", "10.0.0.0:1", false},
};

static void prefixes_that_overlap(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(overlaps); i++) {
		struct frontend_addr a, b;

		assert_int_equal(addr_parse_frontend(overlaps[i].a, &a, NULL), 0);
		assert_int_equal(addr_parse_frontend(overlaps[i].b, &b, NULL), 0);
		if (addr_prefixes_overlap(&a.prefix, a.prefix_bits, &b.prefix, b.prefix_bits) !=
			    overlaps[i].overlap ||
		    addr_prefixes_overlap(&b.prefix, b.prefix_bits, &a.prefix, a.prefix_bits) !=
			    overlaps[i].overlap)
			fail_msg("%s, %s: want %d", overlaps[i].a, overlaps[i].b,
				 overlaps[i].overlap);
	}
}

static void kinds_of_address(void **state)
{
	struct addr v6_any = {0}, v6_loopback = {.bytes = {[15] = 1}}, v4, v4_any;
	char buf[ADDR_TEXT_SIZE];

	(void)state;
	addr_from_v4(&v4, htonl(0x7f000001));
	addr_from_v4(&v4_any, 0);
	assert_true(addr_is_v4(&v4) && addr_is_v4(&v4_any));
	assert_false(addr_is_v4(&v6_any) || addr_is_v4(&v6_loopback));
	assert_true(addr_is_any(&v6_any) && addr_is_any(&v4_any));
	assert_false(addr_is_any(&v4) || addr_is_any(&v6_loopback));
	assert_string_equal(addr_format_ip(&v4, buf), "127.0.0.1");
	assert_string_equal(addr_format_ip(&v6_loopback, buf), "::1");
	assert_string_equal(addr_format(&v4, 80, buf), "127.0.0.1:80");
	assert_string_equal(addr_format(&v6_any, 80, buf), "[::]:80");
}

/* The longest texts fit, with the NUL. */
static void longest_text_fits(void **state)
{
	struct frontend_addr f = {.prefix_bits = 127, .port = 65535};
	char buf[ADDR_TEXT_SIZE];

	(void)state;
	memset(&f.prefix, 0xfe, sizeof(f.prefix));
	assert_string_equal(addr_format_frontend(&f, buf),
			    "[fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe/127]:65535");
}

#define NESTED 60

struct pairs {
	unsigned int seen[NESTED][NESTED]; /* by outer and inner item */
};

static void count_pair(const struct nested *outer, const struct nested *in, void *arg)
{
	((struct pairs *)arg)->seen[outer->item][in->item]++;
}

/* Whether `outer` holds `in`, by comparing them; of two that are equal, either may be called so. */
static bool holds(const struct nested *outer, const struct nested *in)
{
	return outer->kind == in->kind && outer->port == in->port && !outer->inner &&
	       outer->bits <= in->bits &&
	       addr_prefixes_overlap(&outer->prefix, outer->bits, &in->prefix, in->bits);
}

/* Few distinct prefixes, so that many nest or are equal. */
static struct nested any_prefix(size_t item)
{
	static const unsigned int lengths[] = {0, 96, 104, 112, 120, 127, 128, 128};
	struct nested one = {.kind = (uint32_t)(rand() % 2),
			     .port = (uint16_t)(80 + rand() % 2),
			     .bits = lengths[(size_t)rand() % ARRAY_SIZE(lengths)],
			     .item = item};

	addr_from_v4(&one.prefix, htonl(0x0a000000U + (uint32_t)(rand() % 2 << 16) +
					(uint32_t)(rand() % 2 << 8) + (uint32_t)(rand() % 4)));
	one.inner = one.bits == 128 && rand() % 2;
	return one;
}

static void prefixes_that_nest(void **state)
{
	(void)state;
	srand(1);
	for (int round = 0; round < 500; round++) {
		struct nested all[NESTED], given[NESTED];
		struct pairs pairs = {0};
		size_t n = (size_t)rand() % NESTED;

		for (size_t i = 0; i < n; i++)
			all[i] = given[i] = any_prefix(i);
		assert_int_equal(nested_pairs(all, n, count_pair, &pairs), 0);
		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; k < i; k++) {
				bool either =
					holds(&given[i], &given[k]) || holds(&given[k], &given[i]);

				assert_int_equal(pairs.seen[i][k] + pairs.seen[k][i], either);
				assert_true(!pairs.seen[i][k] || holds(&given[i], &given[k]));
				assert_true(!pairs.seen[k][i] || holds(&given[k], &given[i]));
			}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(endpoints_as_text),
		cmocka_unit_test(frontends_as_text),
		cmocka_unit_test(refusal_leaves_the_out_parameter),
		cmocka_unit_test(masks_of_every_length),
		cmocka_unit_test(prefixes_that_overlap),
		cmocka_unit_test(kinds_of_address),
		cmocka_unit_test(longest_text_fits),
		cmocka_unit_test(prefixes_that_nest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
