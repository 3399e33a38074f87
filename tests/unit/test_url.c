/* SPDX-License-Identifier: Apache-2.0 */
/* URLs as the configuration takes them, compared with libcurl, which requests them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <curl/curl.h>

#include "../../userspace/base/util.h"
#include "../../userspace/net/url.h"

#define NAME ""

/* The address and port in the URL; NAME: the URL has a host name; NULL: it is no URL. */
static const struct {
	const char *url;
	const char *address;
} cases[] = {
	{"http://h", NAME},
	{"http://h/", NAME},
	{"https://example.test:8443/metrics?all=1#top", NAME},
	{"http://h?a=b", NAME},
	{"http://h#a", NAME},
	{"http://h:/m", NAME}, /* the scheme's port */
	{"http://under_score.test./", NAME},
	{"http://xn--mnchen-3ya.test/", NAME},
	{"http://m\xc3\xbcnchen.test/", NAME},
	{"http://a%2db/", NAME},
	{"http://h/a b", NULL},
	{"http://h/%20/\xc3\xbc/a:b@c//[d]", NAME},
	{"http:///h/", NAME},
	{"http:////h/", NULL},
	{"http://u:p@h/", NAME},
	{"http://u:p@10.0.0.1/", "10.0.0.1:80"},
	{"http://u@@h/", NULL},
	{"http://h@", NULL},
	{"http://@h/", NAME},

	{"http://127.0.0.1", "127.0.0.1:80"},
	{"https://127.0.0.1", "127.0.0.1:443"},
	{"http://127.0.0.1:9400/metrics", "127.0.0.1:9400"},
	{"http://127.0.0.1:", "127.0.0.1:80"},
	{"http://127.0.0.1:0080", "127.0.0.1:80"},
	{"http://127.0.0.1:65535", "127.0.0.1:65535"},
	{"http://256.0.0.1/", NAME},
	{"http://1.2.3.4./", NAME},
	{"http://[fd77::1]:8000/m", "[fd77::1]:8000"},
	{"http://[FD77:0::1]", "[fd77::1]:80"},
	{"http://[::ffff:10.0.0.1]:8000/", "10.0.0.1:8000"},
	{"http://[fe80::1%25eth0]:9/", "[fe80::1]:9"},
	{"http://[fe80::1%eth0]:9/", "[fe80::1]:9"},
	{"http://[fe80::1%25123456789012345]/", "[fe80::1]:80"},
	{"http://[fe80::1%1234567890123456]/", NULL},
	{"http://[fe80::1%]/", NULL},
	{"http://127.0.0.1:0/", NAME}, /* no port to connect to */

	{"", NULL},
	{"h", NULL},
	{"http:", NULL},
	{"http:/h", NULL},
	{"http://", NULL},
	{"http:///", NULL},
	{"http://?a", NULL},
	{"http://:80/", NULL},
	{"http://h:80x/", NULL},
	{"http://h:x/", NULL},
	{"http://h:+80/", NULL},
	{"http://h:-1/", NULL},
	{"http://h:65536/", NULL},
	{"http://h:18446744073709551617/", NULL},
	{"http://h:8:9/", NULL},
	{"http://::1/", NULL},
	{"http://[::1/", NULL},
	{"http://[::1]x/", NULL},
	{"http://[]/", NULL},
	{"http://[::g]/", NULL},
	{"http://[10.0.0.1]/", NULL},
	{"http://a b/", NULL},
	{"http://a\tb/", NULL},
	{"http://h/a\nb", NULL},
	{"http://h/\x7f", NULL},
	{"http://a\"b/", NULL},
	{"http://a\\b/", NULL},
	{"http://a{b}/", NULL},
	{"http://a,b/", NULL},
	{"http://a|b/", NULL}, /* libcurl 7.88 takes it, 8.23 does not */
	{"http://a%00b/", NULL},
	{"http://a%0ab/", NULL},
	{"http://a%2fb/", NULL},
	{"http://a%b/", NULL},  /* the same */
	{"http://127.1", NULL}, /* forms of an IPv4 address that not all programs read alike */
	{"http://0x7f000001", NULL},
	{"http://0X7f.1:18", NULL},
	{"http://0177.0.0.1", NULL},
	{"http://%31.1", NULL},
	{"ftp://h/", NULL},
	{"file:///etc/passwd", NULL},
	{"HTTP://h/", NULL}, /* libcurl would accept this */
};

static bool by_url(const char *url, char text[ADDR_TEXT_SIZE])
{
	struct addr ip = {.bytes = {1}};
	uint16_t port = 7;
	bool numeric = url_address(url, &ip, &port);

	if (numeric)
		addr_format(&ip, port, text);
	else
		assert_true(ip.bytes[0] == 1 && port == 7); /* as they were */
	return numeric;
}

static void test_table(void **state)
{
	char text[ADDR_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *url = cases[i].url, *address = cases[i].address;
		bool numeric = by_url(url, text);

		if (url_check(url) != (address ? 0 : -EINVAL))
			fail_msg("%s: %s", url, address ? "refused" : "taken");
		if (numeric != (address && *address))
			fail_msg("%s: %s address", url, numeric ? "an" : "no");
		if (numeric)
			assert_string_equal(text, address);
	}
}

/* libcurl accepts every URL that is accepted here, and connects to the same address. */
static void test_table_by_libcurl(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *address = cases[i].address;
		char *host = NULL, *port = NULL, text[128], same[ADDR_TEXT_SIZE];
		CURLU *u = curl_url();
		struct endpoint_addr a;

		if (address && curl_url_set(u, CURLUPART_URL, cases[i].url, 0))
			fail_msg("%s: libcurl does not take it", cases[i].url);
		if (address && *address) {
			assert_int_equal(curl_url_get(u, CURLUPART_HOST, &host, 0), 0);
			assert_int_equal(curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT),
					 0);
			snprintf(text, sizeof(text), "%s:%s", host, port);
			assert_int_equal(addr_parse_endpoint(text, &a, NULL), 0);
			assert_string_equal(addr_format_endpoint(&a, same), address);
		}
		curl_free(host);
		curl_free(port);
		curl_url_cleanup(u);
	}
}

static void test_long_ones(void **state)
{
	static char url[100000] = "http://";

	(void)state;
	memset(url + 7, 'a', sizeof(url) - 8);
	assert_int_equal(url_check(url), 0);
	url[7] = '[';
	assert_int_equal(url_check(url), -EINVAL);
	memset(url + 7, '1', sizeof(url) - 8);
	assert_int_equal(url_check(url), 0);
	assert_false(by_url(url, NULL));
	url[8] = ':';
	assert_int_equal(url_check(url), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_table_by_libcurl),
		cmocka_unit_test(test_long_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
