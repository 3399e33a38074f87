// SPDX-License-Identifier: Apache-2.0
/* The chains of nftables that keep a connection without a SYN from its server, by their names. */
#include "../../userspace/net/firewall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_netns.h"

#define LONGEST (FIREWALL_NAME_SIZE - 1)

static void repeat(char *to, char c, size_t n)
{
	memset(to, c, n);
	to[n] = '\0';
}

static void rules(const char *text)
{
	FILE *f = popen("nft -f -", "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(pclose(f), 0);
}

/* Names as long as the kernel takes them: two chains that differ in the last letter are two, and
 * what asks for a state and what drops may be rules apart. */
static void test_long_names(void **state)
{
	char table[LONGEST + 1], chain[LONGEST + 1], text[4096], want[FIREWALL_CHAIN_SIZE];
	struct firewall f;

	(void)state;
	if (system("nft list ruleset >/dev/null 2>&1"))
		skip();
	repeat(table, 't', LONGEST);
	repeat(chain, 'c', LONGEST);
	for (int i = 0; i < 2; i++) {
		chain[LONGEST - 1] = (char)('a' + i);
		snprintf(text, sizeof(text),
			 "table inet %s {\nchain %s {\ntype filter hook input priority 0;\n"
			 "ct state established accept\ntcp dport 22 accept\ndrop\n}\n}\n",
			 table, chain);
		rules(text);
	}
	assert_int_equal(firewall_read(-1, &f), 0);
	assert_int_equal(f.states.count, 2);
	for (int i = 0; i < 2; i++) {
		chain[LONGEST - 1] = (char)('a' + i);
		snprintf(want, sizeof(want), "table inet %s, chain %s", table, chain);
		assert_string_equal(f.states.names[i], want);
	}
	assert_int_equal(f.nat.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		netns_test(test_long_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
