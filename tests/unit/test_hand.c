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
#include "handoff/request_session.bpf.h"

/* ---- requests ---------------------------------------------------------------------- */

static const struct pintle_asked asked = {
	.headers = {{"x-session-id:"}, {"cookie:"}, {"authorization:"}},
	.parts = {{""}, {"sid="}, {""}},
};

static struct request_scan scan;

static void scan_for(const struct pintle_asked *keys, const char *text)
{
	request_begin(&scan, HAND_LINE_MIN, HAND_LINE_MAX);
	memset(scan.bytes, 'a', sizeof(scan.bytes));
	scan.size = (uint32_t)strlen(text);
	memcpy(scan.bytes, text, scan.size);
	for (uint32_t i = 0; i < REQUEST_MAX / 8; i++)
		if (request_word(&scan, i, hand_names(keys)))
			break;
}

static void scan_text(const char *text)
{
	scan_for(&asked, text);
}

#define NONE PINTLE_MAX_ASKED_KEYS

/* Returns the index of the first key that the request has, with its value; NONE: it has none. */
static uint32_t find(const struct pintle_asked *keys, struct request_span *value)
{
	for (uint32_t i = 0; i < PINTLE_MAX_ASKED_KEYS; i++)
		if (hand_find(&scan, keys, i, value) == 1)
			return i;
	return NONE;
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
		{GET "X-Session-Ids: a\r\nXX-Session-Id: b\r\n\r\n", NONE, ""},
		{GET "Cookie: sid=1; x=2\r\n\r\n", 1, "1"},
		{GET "Cookie:sid=1\r\n\r\n", 1, "1"},
		{GET "Cookie: x=2;sid=1\r\n\r\n", 1, "1"},
		{GET "Cookie: x=2; sid=1 ; y=3\r\n\r\n", 1, "1"},
		{GET "Cookie: sid=1\t \r\n\r\n", 1, "1"},
		{GET "Cookie: x=sid=2; y=-sid=3; sids=4; sid=1\r\n\r\n", 1, "1"},
		{GET "Cookie: xsid=2; sid =3; Sid=4; sid\r\n\r\n", NONE, ""},
		{GET "Cookie: sid=\r\n\r\n", NONE, ""},
		{GET "Cookie: sid=a=b\r\n\r\n", 1, "a=b"},
		{GET "Cookie: s\r\nid=1: x\r\n\r\n", NONE, ""},
		/* What has come so far counts. */
		{GET "X-Session-Id: a\r\nHost: b", 0, "a"},
		{GET "X-Session-Id: a", NONE, ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct request_span value = {0};
		uint32_t at;

		scan_text(rows[i].request);
		at = find(&asked, &value);
		assert_int_equal(at, rows[i].at);
		if (at == NONE)
			continue;
		assert_int_equal(value.to - value.from, strlen(rows[i].value));
		assert_memory_equal(scan.bytes + value.from, rows[i].value, value.to - value.from);
	}
}

/* ---- bodies ------------------------------------------------------------------------ */

static const struct pintle_asked in_body = {
	.headers =
		{{"x-session-id:"}, {"BODY"}, {"BODY"}, {"BODY"}, {"authorization:"}, {"cookie:"}},
	.parts = {{""},
		  {"prompt_cache_key"},
		  {"session_params.session_id"},
		  {"user"},
		  {""},
		  {"sid="}},
	.in_body = 2,
};

#define POST "POST / HTTP/1.1\r\n"

/* Reads the request as the hand-off does; its headers have no Content-Length of their own. Returns
 * as hand_session(). */
static int session_of(const char *headers, const char *body, struct hand_named *n)
{
	struct pintle_session_key key = {0};
	char text[REQUEST_MAX];
	int how;

	snprintf(text, sizeof(text), POST "%sContent-Length: %zu\r\n\r\n%s", headers, strlen(body),
		 body);
	scan_for(&in_body, text);
	how = hand_session(&scan, &in_body, n, &key);
	if (!hand_asks_body(&in_body, n, how))
		return how;
	body_read(&scan, &in_body);
	return hand_session(&scan, &in_body, n, &key);
}

static void test_bodies(void **state)
{
	static const struct {
		const char *headers, *body;
		uint32_t at;
		const char *value;
	} rows[] = {
		{"", "{\"user\":\"a\"}", 3, "a"},
		{"", " {\r\n\t\"user\" : \"a b\" }", 3, "a b"},
		{"", "\xef\xbb\xbf{\"user\":\"a\"}", 3, "a"},
		{"", "{\"\\u0075ser\":\"a\"}", 3, "a"},
		{"", "{\"user\":\"a\\\"\\u00e9\"}", 3, "a\\\"\\u00e9"},
		{"", "{\"prompt_cache_key\":\"k\"}", 1, "k"},
		{"", "{\"session_params\":{\"session_id\":\"s\"}}", 2, "s"},
		{"",
		 "{\"session_params\" : { \"n\":{\"session_id\":\"no\"},\"session_id\" :\"s\"} }",
		 2, "s"},
		/* The first of the keys, wherever it stands. */
		{"",
		 "{\"user\":\"a\",\"session_params\":{\"session_id\":\"s\"},\"prompt_cache_key\":\"k\"}",
		 1, "k"},
		{"",
		 "{\"user\":\"a\",\"session_params\":{},\"messages\":[{\"prompt_cache_key\":\"no\"}]}",
		 3, "a"},
		{"", "{\"session_params\":{\"a\":1},\"user\":\"a\"}", 3, "a"},
		{"", "{\"session_params\":{\"a\":[1,{}]},\"user\":\"a\"}", 3, "a"},
		{"", "{\"prompt_cache_key\":\"\",\"user\":\"a\"}", 3, "a"},
		{"", "{\"prompt_cache_key\":7,\"user\":\"a\"}", 3, "a"},
		{"", "{\"prompt_cache_key\":null,\"user\":\"a\"}", 3, "a"},
		{"", "{\"prompt_cache_key\":{\"user\":\"no\"},\"user\":\"a\"}", 3, "a"},
		/* Between headers. */
		{"X-Session-Id: x\r\n", "{\"user\":\"a\"}", 0, "x"},
		{"X-Session-Id:\r\n", "{\"user\":\"a\"}", 3, "a"},
		{"Authorization: b\r\n", "{\"user\":\"a\"}", 3, "a"},
		{"Authorization: b\r\n", "{\"users\":\"a\"}", 4, "b"},
		/* The first of two, which is a string. */
		{"", "{\"user\":\"a\",\"user\":\"b\"}", 3, "a"},
		{"", "{\"user\":1,\"user\":\"b\"}", 3, "b"},
		/* Nested too deep, in a string, in an array, or not in an object. */
		{"", "{\"metadata\":{\"user\":\"a\"}}", NONE, ""},
		{"", "{\"a\":{\"session_params\":{\"session_id\":\"s\"}}}", NONE, ""},
		{"", "{\"session_params\":[{\"session_id\":\"s\"}]}", NONE, ""},
		{"", "{\"a\":\"\\\",\\\"user\\\":\\\"b\\\"\"}", NONE, ""},
		{"", "[{\"user\":\"a\"}]", NONE, ""},
		{"", "{}{\"user\":\"a\"}", NONE, ""},
		{"", "\"user\":\"a\"", NONE, ""},
		{"", "{\"user\":[\"a\"]}", NONE, ""},
		/* What a longer key, or another one, says. */
		{"", "{\"prompt_cache_keys\":\"a\",\"User\":\"a\",\"use\":\"a\"}", NONE, ""},
		{"", "{\"session_params\":{\"session_id2\":\"s\"},\"x\":{\"session_id\":\"s\"}}",
		 NONE, ""},
		/* What would be a cookie's, in a header. */
		{"", "{\"sid=\":\"cookie:sid=1\"}", NONE, ""},
		/* As far as it can be seen. */
		{"", "{\"user\":\"a", NONE, ""},
		{"", "{\"user\":\"a\\", NONE, ""},
		{"", "{\"user\":", NONE, ""},
		{"", "{\"user\":\"a\"", 3, "a"},
		{"", "", NONE, ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct hand_named n = {0};
		int how = session_of(rows[i].headers, rows[i].body, &n);
		uint32_t length = n.value.to - n.value.from;

		assert_int_equal(how,
				 rows[i].at == NONE ? PINTLE_HAND_NOT_SAID : PINTLE_HAND_ASKED);
		if (rows[i].at == NONE)
			continue;
		assert_int_equal(n.at, rows[i].at);
		assert_int_equal(length, strlen(rows[i].value));
		assert_memory_equal(scan.bytes + n.value.from, rows[i].value, length);
	}
}

/* A value of up to 8 kB names a session; a longer one, or one that is cut, does not. */
static void test_long_values(void **state)
{
	static char body[REQUEST_MAX];

	(void)state;
	for (uint32_t size = BODY_VALUE_MAX - 2; size < BODY_VALUE_MAX + 3; size++) {
		struct hand_named n = {0};
		int how, length = snprintf(body, sizeof(body), "{\"user\":\"%0*d\"}", (int)size, 0);

		assert_int_equal(length, size + 11);
		how = session_of("", body, &n);
		assert_int_equal(how,
				 size > BODY_VALUE_MAX ? PINTLE_HAND_NOT_SAID : PINTLE_HAND_ASKED);
	}
}

/* What is behind the body is another request, and no client's words are another's. */
static void test_ends_of_bodies(void **state)
{
	static const char *const texts[] = {
		POST "Content-Length: 2\r\n\r\n{},{\"user\":\"a\"}",
		POST "Content-Length: 10\r\n\r\n{\"user\":\"a\"}",
		POST "Content-Length: 0\r\n\r\n{\"user\":\"a\"}",
		POST "\r\n{\"user\":\"a\"}",
		POST "Transfer-Encoding: chunked\r\n\r\n2\r\n{\"user\":\"a\"}\r\n0\r\n\r\n",
	};
	static const char chunked[] =
		POST "Transfer-Encoding: chunked\r\n\r\nc\r\n{\"user\":\"a\"}\r\n0\r\n\r\n";
	struct request_span value = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		scan_for(&in_body, texts[i]);
		assert_int_equal(scan.known & (REQUEST_ENDED | REQUEST_MALFORMED), REQUEST_ENDED);
		body_read(&scan, &in_body);
		assert_int_equal(find(&in_body, &value), NONE);
	}
	scan_for(&in_body, chunked);
	body_read(&scan, &in_body);
	assert_int_equal(find(&in_body, &value), 3);
}

/* No header's line is taken for a member of the body. */
static void test_no_header_is_a_member(void **state)
{
	struct request_span value = {0};

	(void)state;
	scan_for(&in_body, POST "BODY: x\r\nbody: y\r\nBODY\r\n\r\n");
	assert_int_equal(find(&in_body, &value), NONE);
}

/* An underscore is neither a small letter nor a capital one. */
static void test_underscores(void **state)
{
	static const struct pintle_asked keys = {
		.headers = {{"session_id:"}, {"a_b_c_d_e_f_g_h_i:"}}};
	struct request_span value = {0};

	(void)state;
	scan_for(&keys, GET "Session_ID: a\r\n\r\n");
	assert_int_equal(find(&keys, &value), 0);
	scan_for(&keys, GET "session-id: a\r\nA_B_c_d_e_f_g_h_i: b\r\n\r\n");
	assert_int_equal(find(&keys, &value), 1);
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
#define EPOCH_MS (1ULL << HAND_EPOCH_SHIFT)
#define NOW_MS   (7 * EPOCH_MS + 12345)

static const struct hand_options timed = {
	.mss = 1460, .scale = 7, .has_scale = 1, .has_sack = 1, .has_time = 1};
static const struct hand_options untimed = {.mss = 1460, .scale = 8, .has_scale = 1, .has_sack = 1};

/* A segment that acknowledges the cookie for a SYN with these options. */
struct opened {
	struct hand_options options;
	struct hand_fit fit;
	uint32_t kept;
};

static struct opened opened(struct hand_options o, uint64_t now_ms)
{
	struct hand_syn syn = {.sequence = SEQUENCE};
	struct opened c = {.fit = {.sequence = SEQUENCE + 1}};

	hand_cookie_make(&tuple, &o, now_ms, &secret, &syn);
	c.options = (struct hand_options){.has_time = o.has_time, .echo = syn.time};
	c.fit.cookie = syn.cookie;
	c.kept = syn.kept;
	return c;
}

static uint32_t fits(const struct opened *c, const struct pintle_tuple *t, uint32_t at,
		     uint64_t now_ms, const struct hand_secret *key)
{
	struct hand_fit f = c->fit;

	f.sequence += at;
	hand_cookie_read(t, &c->options, now_ms, key, &f);
	if (f.fits != HAND_FITS_NOTHING && t == &tuple && key == &secret)
		assert_int_equal(f.first, SEQUENCE + 1);
	return f.fits;
}

static void test_what_a_cookie_holds(void **state)
{
	const struct hand_secret wrong = {{1, 3}};
	const struct hand_options both[] = {timed, untimed};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
		const struct opened c = opened(both[i], NOW_MS);
		struct pintle_tuple stranger = tuple;

		for (uint64_t late = 0; late < 4 * EPOCH_MS; late += EPOCH_MS / 2)
			assert_int_equal(fits(&c, &tuple, 0, NOW_MS + late, &secret),
					 late < 2 * EPOCH_MS ? HAND_FITS_FIRST : HAND_FITS_NOTHING);
		assert_int_equal(fits(&c, &tuple, (uint32_t)-1, NOW_MS, &secret), HAND_FITS_PROBE);
		assert_int_equal(fits(&c, &tuple, 1, NOW_MS, &secret), HAND_FITS_AHEAD);
		assert_int_equal(fits(&c, &tuple, HAND_AHEAD - 1, NOW_MS, &secret),
				 HAND_FITS_AHEAD);
		assert_int_equal(fits(&c, &tuple, HAND_AHEAD, NOW_MS, &secret), HAND_FITS_NOTHING);
		assert_int_equal(fits(&c, &tuple, (uint32_t)-2, NOW_MS, &secret),
				 HAND_FITS_NOTHING);
		assert_int_equal(fits(&c, &tuple, 0, NOW_MS, &wrong), HAND_FITS_NOTHING);
		stranger.remote[3]++;
		assert_int_equal(fits(&c, &stranger, 0, NOW_MS, &secret), HAND_FITS_NOTHING);
		stranger = tuple;
		stranger.remote_port++;
		assert_int_equal(fits(&c, &stranger, 0, NOW_MS, &secret), HAND_FITS_NOTHING);
		stranger = tuple;
		stranger.local_port++;
		assert_int_equal(fits(&c, &stranger, 0, NOW_MS, &secret), HAND_FITS_NOTHING);
	}
}

/* Of all 2^32 cookies eight hold for a segment. Those with the same lowest 29 bits hold or not
 * together with a timestamp: so one of 2^29 does. */
static void test_all_cookies(void **state)
{
	struct hand_cipher c;
	uint32_t found = 0;

	(void)state;
	hand_cipher_make(&c, &tuple, NOW_MS, &timed, 0, &secret);
	for (uint32_t cookie = 0; cookie < 1U << HAND_MSS_SHIFT; cookie++)
		found += cookie * c.times + c.add + 1 == SEQUENCE + 1;
	for (uint32_t kept = 1; kept < 8; kept++)
		for (uint32_t cookie = 0; cookie < 1U << HAND_MSS_SHIFT; cookie++)
			found += (cookie - (kept << HAND_MSS_SHIFT)) * c.times + c.add == SEQUENCE;
	assert_int_equal(found, 1);
}

static uint32_t fits_guessed(const struct opened *c)
{
	struct hand_fit f = c->fit;

	hand_cookie_read(&tuple, &c->options, NOW_MS, &secret, &f);
	return f.fits;
}

/* Guesses: how many are taken for what is ahead of a first segment shows how many would be for one,
 * which has one of HAND_AHEAD - 1 places. 2^23 x 8 x (2^17 - 1) / 2^32 are to be expected. */
static void test_guesses(void **state)
{
	const struct hand_options both[] = {timed, untimed};
	uint32_t seed = 1;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
		struct opened c = opened(both[i], NOW_MS);
		uint32_t found[4] = {0}, own = c.fit.cookie;

		for (uint32_t j = 0; j < 1U << 23; j++) {
			seed = seed * 1664525 + 1013904223;
			c.fit.cookie = seed ^ seed >> 15;
			if ((c.fit.cookie ^ own) << (32 - HAND_MSS_SHIFT))
				found[fits_guessed(&c)]++;
		}
		assert_int_equal(found[HAND_FITS_FIRST], 0);
		assert_int_equal(found[HAND_FITS_PROBE], 0);
		assert_in_range(found[HAND_FITS_AHEAD], 2048 - 200, 2048 + 200);
	}
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
						  .has_sack = scale & 1,
						  .has_ecn = scale >> 1 & 1,
						  .has_time = 1},
					    out;
			const struct opened c = opened(in, NOW_MS + 7 * i);

			out = c.options;
			hand_unpack(&out, c.kept);
			assert_int_equal(out.mss, sizes[i][1]);
			assert_int_equal(out.has_scale, in.has_scale);
			assert_int_equal(out.scale, in.has_scale ? in.scale : 0);
			assert_int_equal(out.has_sack, in.has_sack);
			assert_int_equal(out.has_ecn, in.has_ecn);
		}
	}
}

/* Without timestamps: SACK and scaling or neither, and never a larger window or segment than the
 * client has. */
static void test_options_without_timestamps(void **state)
{
	static const struct {
		uint16_t mss;
		int scale; /* -1: none */
		bool sack;
		uint16_t kept_mss;
		bool full;
	} rows[] = {
		{1460, 8, true, 1440, true},    {1460, 7, true, 1440, true},
		{65495, 14, true, 1440, true},  {1439, 8, true, 1220, true},
		{1220, 8, true, 1220, true},    {1219, 8, true, 536, false},
		{1460, 6, true, 1220, false},   {1460, 0, true, 1220, false},
		{1460, -1, true, 1220, false},  {1460, 8, false, 1220, false},
		{1460, -1, false, 1220, false}, {1219, -1, false, 536, false},
		{300, -1, false, 536, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct hand_options o = {.mss = rows[i].mss,
					 .has_scale = rows[i].scale >= 0,
					 .scale = (uint8_t)(rows[i].scale < 0 ? 0 : rows[i].scale),
					 .has_sack = rows[i].sack},
				    out = {0};
		uint32_t kept = hand_keep(&o);

		hand_unpack(&out, kept);
		assert_in_range(kept, 0, 3);
		assert_int_equal(out.mss, rows[i].kept_mss);
		assert_int_equal(out.has_scale, rows[i].full);
		assert_int_equal(out.has_sack, rows[i].full);
		assert_int_equal(out.scale, rows[i].full ? HAND_PLAIN_SCALE : 0);
		/* The answer offers what is kept. */
		assert_int_equal(o.has_scale, out.has_scale);
		assert_int_equal(o.has_sack, out.has_sack);
	}
}

/* A client that uses a port again within a minute takes no answer whose time is before that of the
 * connection before (PAWS), and that connection's clock began at such a time. */
static void test_time_goes_on(void **state)
{
	struct hand_options o = timed;
	uint32_t before = 0;

	(void)state;
	for (uint64_t now = NOW_MS; now < NOW_MS + 10000; now++) {
		struct hand_syn syn = {.sequence = (uint32_t)now * 77777};

		tuple.remote_port++;
		hand_cookie_make(&tuple, &o, now, &secret, &syn);
		if (before)
			assert_in_range(syn.time - before, 0, HAND_TIME_BITS + 1);
		before = syn.time;
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
		for (uint32_t j = 0; j < PINTLE_MAX_ASKED_KEYS; j++)
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
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_long_values),
		cmocka_unit_test(test_ends_of_bodies),
		cmocka_unit_test(test_no_header_is_a_member),
		cmocka_unit_test(test_underscores),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_what_a_cookie_holds),
		cmocka_unit_test(test_all_cookies),
		cmocka_unit_test(test_guesses),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_options_without_timestamps),
		cmocka_unit_test(test_time_goes_on),
		cmocka_unit_test(test_two_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
