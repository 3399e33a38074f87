/* SPDX-License-Identifier: Apache-2.0 */
/* The session that a request names, and the cookies of handshakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../userspace/base/util.h"
#include "hand.bpf.h"

/* ---- requests ---------------------------------------------------------------------- */

static const struct pintle_asked asked = {
	.headers = {{"x-session-id:"}, {"cookie:"}, {"authorization:"}},
	.cookies = {{""}, {"sid="}, {""}},
};

static struct request_scan scan;

static void scan_text(const char *text)
{
	request_begin(&scan, HAND_LINE_MIN, HAND_LINE_MAX);
	memset(scan.bytes, 'a', sizeof(scan.bytes));
	scan.size = (uint32_t)strlen(text);
	memcpy(scan.bytes, text, scan.size);
	for (uint32_t i = 0; i < REQUEST_MAX / 8; i++)
		if (request_word(&scan, i, hand_names(&asked)))
			break;
}

/* Returns the index of the first key that the request has, with its value; PINTLE_MAX_HEADERS: it
 * has none. */
static uint32_t find(struct request_span *value)
{
	for (uint32_t i = 0; i < PINTLE_MAX_HEADERS; i++)
		if (hand_find(&scan, &asked, i, value) == 1)
			return i;
	return PINTLE_MAX_HEADERS;
}

#define GET "GET / HTTP/1.1\r\n"

static void test_values(void **state)
{
	static const struct {
		const char *request;
		uint32_t at;
		const char *value;
	} rows[] = {
		{GET "X-Session-Id: a\r\n\r\n", 0, "a"},
		{GET "x-session-id:a b\r\n\r\n", 0, "a b"},
		{GET "X-SESSION-ID: \t a\t \r\n\r\n", 0, "a"},
		{GET "X-Session-Id: a\r\nX-Session-Id: b\r\n\r\n", 0, "a"},
		{GET "Authorization: Bearer k\r\nX-Session-Id: a\r\n\r\n", 0, "a"},
		{GET "X-Session-Id:\r\nAuthorization: Bearer k\r\n\r\n", 2, "Bearer k"},
		{GET "X-Session-Id:  \r\nCookie: sid=1\r\n\r\n", 1, "1"},
		{GET "X-Session-Ids: a\r\nXX-Session-Id: b\r\n\r\n", 4, ""},
		{GET "Cookie: sid=1; x=2\r\n\r\n", 1, "1"},
		{GET "Cookie:sid=1\r\n\r\n", 1, "1"},
		{GET "Cookie: x=2;sid=1\r\n\r\n", 1, "1"},
		{GET "Cookie: x=2; sid=1 ; y=3\r\n\r\n", 1, "1"},
		{GET "Cookie: sid=1\t \r\n\r\n", 1, "1"},
		{GET "Cookie: x=sid=2; y=-sid=3; sids=4; sid=1\r\n\r\n", 1, "1"},
		{GET "Cookie: xsid=2; sid =3; Sid=4; sid\r\n\r\n", 4, ""},
		{GET "Cookie: sid=\r\n\r\n", 4, ""},
		{GET "Cookie: sid=a=b\r\n\r\n", 1, "a=b"},
		{GET "Cookie: s\r\nid=1: x\r\n\r\n", 4, ""},
		/* What has come so far counts. */
		{GET "X-Session-Id: a\r\nHost: b", 0, "a"},
		{GET "X-Session-Id: a", 4, ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct request_span value = {0};
		uint32_t at;

		scan_text(rows[i].request);
		at = find(&value);
		assert_int_equal(at, rows[i].at);
		if (at == PINTLE_MAX_HEADERS)
			continue;
		assert_int_equal(value.to - value.from, strlen(rows[i].value));
		assert_memory_equal(scan.bytes + value.from, rows[i].value, value.to - value.from);
	}
}

/* Cookies that servers read differently. */
static void test_unclear(void **state)
{
	static const char *const cookies[] = {
		"sid=1; sid=2", "sid=1;sid=1",     "sid=; sid=2",      "sid=1; x=2; sid=",
		"sid=1; SID=2", "SID=1",           "x=2;  sid=1",      "x=2;\tsid=1",
		"x=2, sid=1",   "x=2,sid=1",       "sid=1; x=2 sid=3", "sid =1",
		"sid\t=1",      "sid=1; y= sid=3", "sid=1; sid =2",    ";  sid=1",
		" sid=1",       "\tsid=1",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cookies); i++) {
		struct request_span value = {0};
		char text[100];

		snprintf(text, sizeof(text), GET "Cookie: %s\r\n\r\n", cookies[i]);
		scan_text(text);
		assert_int_equal(hand_find(&scan, &asked, 1, &value), HAND_UNCLEAR);
	}
}

/* ---- keys ---------------------------------------------------------------------------- */

static struct pintle_session_key key_of(const char *value, uint32_t at, uint8_t source,
					uint64_t secret)
{
	struct hand_named n = {
		.secret.key = {secret, 2}, .at = at, .value = {0, (uint32_t)strlen(value)}};
	struct pintle_session_key out = {0};

	memset(scan.bytes, source, sizeof(scan.bytes)); /* what is behind the value */
	memcpy(scan.bytes, value, strlen(value));
	if (source)
		n.source = (struct pintle_session_key){PINTLE_KEY_SOURCE, 128, {source}};
	hand_key(&scan, &asked, &n, &out);
	return out;
}

static void assert_same(const struct pintle_session_key *a, const struct pintle_session_key *b,
			bool same)
{
	assert_int_equal(!memcmp(a, b, sizeof(*a)), same);
}

/* Everything that makes a session changes its key, and nothing else does. */
static void test_keys(void **state)
{
	static const char *const values[] = {
		"a",
		"b",
		"aa",
		"a ",
		"0123456789012345678901234567890123456789012345678901234567890123",
		"01234567890123456789012345678901234567890123456789012345678901234",
		"0123456789012345678901234567890123456789012345678901234567890123"
		"0123456789012345678901234567890123456789012345678901234567890123",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		struct pintle_session_key one = key_of(values[i], 0, 1, 1), other;

		assert_int_equal(one.kind, PINTLE_KEY_REQUEST);
		assert_int_equal(one.prefix_bits, 128);
		other = key_of(values[i], 0, 1, 1);
		assert_same(&one, &other, true);
		other = key_of(values[i], 2, 1, 1);
		assert_same(&one, &other, false);
		other = key_of(values[i], 0, 2, 1);
		assert_same(&one, &other, false);
		other = key_of(values[i], 0, 0, 1);
		assert_same(&one, &other, false);
		other = key_of(values[i], 0, 1, 3);
		assert_same(&one, &other, false);
		for (size_t j = 0; j < i; j++) {
			other = key_of(values[j], 0, 1, 1);
			assert_same(&one, &other, false);
		}
	}
}

/* ---- cookies --------------------------------------------------------------------------- */

static struct pintle_tuple tuple = {.local_port = 8000, .remote_port = 40000};
static const struct hand_secret secret = {{1, 2}};

#define SEQUENCE 0xfffffff0U
#define EPOCH    7U

static void test_what_a_cookie_holds(void **state)
{
	uint32_t other, bad = 0;

	(void)state;
	for (uint32_t packed = 0; packed < 256; packed++) {
		uint32_t c = hand_cookie_of(&tuple, SEQUENCE, EPOCH, packed, &secret, &other);
		struct pintle_tuple stranger = tuple;
		const struct hand_secret wrong = {{1, 3}};

		for (uint32_t late = 0; late < 6; late++)
			assert_int_equal(
				hand_cookie_holds(&tuple, SEQUENCE, c, EPOCH + late, &secret),
				late < HAND_EPOCHS);
		stranger.remote[3]++;
		bad += (uint32_t)hand_cookie_holds(&stranger, SEQUENCE, c, EPOCH, &secret);
		stranger = tuple;
		stranger.remote_port++;
		bad += (uint32_t)hand_cookie_holds(&stranger, SEQUENCE, c, EPOCH, &secret);
		bad += (uint32_t)hand_cookie_holds(&tuple, SEQUENCE + 1, c, EPOCH, &secret);
		bad += (uint32_t)hand_cookie_holds(&tuple, SEQUENCE, c ^ 1, EPOCH, &secret);
		bad += (uint32_t)hand_cookie_holds(&tuple, SEQUENCE, c, EPOCH, &wrong);
	}
	assert_int_equal(bad, 0);
}

/* The options come out as they went in; a segment's size may come out smaller. */
static void test_options(void **state)
{
	static const uint16_t sizes[][2] = {
		{1, 536},     {536, 536},    {1219, 536},    {1220, 1220},   {1399, 1360},
		{1400, 1400}, {1440, 1440},  {1460, 1460},   {8899, 1460},   {8960, 8900},
		{9000, 8900}, {65439, 8900}, {65440, 65440}, {65535, 65440},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (uint8_t scale = 0; scale <= 15; scale++) {
			struct hand_options in = {.mss = sizes[i][0],
						  .scale = scale % 15,
						  .has_scale = scale < 15,
						  .has_sack = scale & 1},
					    out = {0};

			hand_unpack(&out, 0xabcdef00U | hand_pack(&in));
			assert_int_equal(out.mss, sizes[i][1]);
			assert_int_equal(out.has_scale, in.has_scale);
			assert_int_equal(out.scale, in.has_scale ? in.scale : 0);
			assert_int_equal(out.has_sack, in.has_sack);
		}
	}
}

static void test_lengths(void **state)
{
	static const struct {
		const char *request;
		uint32_t length;
		bool said, malformed;
	} rows[] = {
		{GET "Content-Length: 17\r\n\r\n", 17, true, false},
		{GET "content-length:\t0 \r\n\r\n", 0, true, false},
		{GET "CONTENT-LENGTH:0000000000000017\r\n\r\n", 17, true, false},
		{GET "Host: a\r\nContent-Type: 5\r\nContent-Length: 99999999\r\n", 99999999, true,
		 false},
		{GET "Content-Length: 100000000\r\n\r\n", REQUEST_LENGTH_MAX, true, false},
		{GET "Content-Length: 18446744073709551617\r\n\r\n", REQUEST_LENGTH_MAX, true,
		 false},
		{GET "Content-Length: 5, 7\r\n\r\n", 5, true, true},
		{GET "Content-Length: 1 2\r\n\r\n", 1, true, true},
		{GET "Content-Length: 5\r\nContent-Length: 7\r\n\r\n", 5, true, true},
		{GET "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 5, true, true},
		{GET "Content-Length: x\r\nContent-Length: 7\r\n\r\n", 0, false, true},
		{GET "Content-Length: -5\r\n\r\n", 0, false, true},
		{GET "Content-Length: +5\r\n\r\n", 0, false, true},
		{GET "Content-Length: 0x5\r\n\r\n", 0, true, true},
		{GET "Content-Length:\r\n\r\n", 0, false, true},
		{GET "Content-Length : 5\r\n\r\n", 0, false, true},
		{GET "Content-Lengths : 5\r\n\r\n", 0, false, false},
		{GET "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 5, true, true},
		{GET "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 5, true, true},
		{GET "Transfer-Encoding: chunked\r\n\r\n", 0, false, false},
		{GET "Content-Length\r\n\r\n", 0, false, false},
		{GET "X-Content-Length: 5\r\nContent-Lengths: 5\r\n\r\n", 0, false, false},
		{GET "Host: a\r\n\r\nContent-Length: 5\r\n\r\n", 0, false, false},
		{GET "Content-Length: 5", 0, false, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].request);
		scan_text(rows[i].request);
		assert_int_equal(!!(scan.known & REQUEST_LENGTH), rows[i].said);
		assert_int_equal(scan.length, rows[i].length);
		assert_int_equal(!!(scan.known & REQUEST_MALFORMED), rows[i].malformed);
	}
}

/* Which lines of a header count where it has two, servers do not agree. */
static void test_two_lines(void **state)
{
	static const struct {
		const char *request;
		uint32_t two; /* bit i: of the i-th header */
	} rows[] = {
		{GET "X-Session-Id: a\r\nAuthorization: b\r\n\r\n", 0},
		{GET "X-Session-Id: a\r\nX-Session-Id: b\r\n\r\n", 1},
		{GET "x-session-id:\r\nHost: a\r\nX-SESSION-ID: a\r\n\r\n", 1},
		{GET "Cookie: sid=1\r\nCookie: x=1\r\n\r\n", 2},
		{GET "Authorization: a\r\nAuthorization: a\r\nAuthorization: a\r\n\r\n", 4},
		{GET "X-Session-Id: a\r\n\r\nX-Session-Id: b\r\n\r\n", 0},
		{GET "X-Session-Id: a\r\nX-Session-Ids: b\r\n\r\n", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t two = 0;

		scan_text(rows[i].request);
		for (uint32_t j = 0; j < PINTLE_MAX_HEADERS; j++)
			two |= (uint32_t)request_has_two(&scan, j) << j;
		assert_int_equal(two, rows[i].two);
		assert_int_equal(scan.known & REQUEST_MALFORMED, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_unclear),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_what_a_cookie_holds),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_two_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
