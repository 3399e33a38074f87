// SPDX-License-Identifier: Apache-2.0
/* What the overload responder reads and answers, and when clients are to come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/retry.h"
#include "../../userspace/responder/answer.h"
#include "../../userspace/responder/board.h"
#include "../../userspace/responder/request.h"

#define POST "POST /v1 HTTP/1.1\r\n"

/* ---- requests ---------------------------------------------------------------------- */

static const struct {
	const char *says, *text;
	enum request_state state;
	size_t more; /* bytes behind the request */
} requests[] = {
	{"without a body", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", REQUEST_WHOLE, 0},
	{"lines without CR", "GET / HTTP/1.0\nHost: x\n\n", REQUEST_WHOLE, 0},
	{"empty lines first", "\r\n\r\nGET / HTTP/1.1\r\n\r\n", REQUEST_WHOLE, 0},
	{"a body", POST "Content-Length: 3\r\n\r\nabc", REQUEST_WHOLE, 0},
	{"a body, written oddly", POST "cOnTeNt-LeNgTh:\t 003 \r\n\r\nabcd", REQUEST_WHOLE, 1},
	{"a body of which a part is missing", POST "Content-Length: 4\r\n\r\nabc", REQUEST_READING,
	 0},
	{"an empty body", POST "Content-Length: 0\r\n\r\nx", REQUEST_WHOLE, 1},
	{"the same length twice", POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\nxy",
	 REQUEST_WHOLE, 1},
	{"two lengths", POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy", REQUEST_WHOLE, 2},
	{"a length that is none", POST "Content-Length: 1x\r\n\r\nxy", REQUEST_WHOLE, 2},
	{"a length beyond all numbers",
	 POST "Content-Length: 99999999999999999999999999999999999\r\n\r\nx", REQUEST_READING, 0},
	{"chunks", POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00\r\n\r\nx", REQUEST_WHOLE,
	 1},
	{"chunks with all that there may be",
	 POST
	 "Transfer-Encoding: gzip, Chunked\r\n\r\nA;x=\"y\"\r\n0123456789\r\n0;z\r\nT: u\r\n\r\n",
	 REQUEST_WHOLE, 0},
	{"chunks, and a length that does not count",
	 POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
	 REQUEST_WHOLE, 0},
	{"chunks that do not end", POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	 REQUEST_READING, 0},
	{"a trailer that does not end", POST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n",
	 REQUEST_READING, 0},
	{"no chunk", POST "Transfer-Encoding: chunked\r\n\r\nzz", REQUEST_WHOLE, 1},
	{"a chunk longer than it says", POST "Transfer-Encoding: chunked\r\n\r\n1\r\nabc",
	 REQUEST_WHOLE, 1},
	{"an encoding that does not say where it ends",
	 POST "Transfer-Encoding: chunked, gzip\r\n\r\nx", REQUEST_WHOLE, 1},
	{"asks whether to go on", POST "Content-Length: 9\r\nExpect: 100-Continue\r\n\r\n",
	 REQUEST_WHOLE, 0},
	{"half a head", POST "Host: x\r\n", REQUEST_READING, 0},
	{"TLS", "\x16\x03\x01\x02", REQUEST_FOREIGN, 3},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\n", REQUEST_FOREIGN, 6},
	{"HTTP/0.9", "GET /\r\n", REQUEST_FOREIGN, 1},
	{"no method", " / HTTP/1.1\r\n", REQUEST_FOREIGN, 12},
	{"a method too long", "GETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1\r\n", REQUEST_FOREIGN,
	 14},
	{"no target", "GET  HTTP/1.1\r\n", REQUEST_FOREIGN, 10},
	{"a version of more digits", "GET / HTTP/1.11\r\n", REQUEST_FOREIGN, 2},
	{"another word", "GET / HTTPS/1.1\r\n", REQUEST_FOREIGN, 6},
};

static void test_where_a_request_ends(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		const char *text = requests[i].text;
		size_t size = strlen(text), at = 0;
		struct request r = {0};
		enum request_state is = REQUEST_READING;

		while (at < size && is == REQUEST_READING)
			is = request_read(&r, (const uint8_t *)text + at++, 1);
		if (is != requests[i].state || size - at != requests[i].more)
			fail_msg("%s: state %d, %zu bytes behind it", requests[i].says, is,
				 size - at);
		r = (struct request){0};
		assert_int_equal(request_read(&r, (const uint8_t *)text, size), requests[i].state);
	}
}

static void test_a_head_is_read_to_its_limit(void **state)
{
	static const char lines[] = "X: yyyyyyyyyy\r\n", begins[] = POST;
	struct request r = {0}, t = {0};
	enum request_state is = REQUEST_READING;
	uint32_t n = 0;

	(void)state;
	assert_int_equal(request_read(&r, (const uint8_t *)begins, sizeof(begins) - 1),
			 REQUEST_READING);
	for (; is == REQUEST_READING; n++)
		is = request_read(&r, (const uint8_t *)lines, sizeof(lines) - 1);
	assert_int_equal(is, REQUEST_WHOLE);
	assert_in_range(n * (sizeof(lines) - 1), REQUEST_HEAD_MAX - 64, REQUEST_HEAD_MAX);
	request_read(&t, (const uint8_t *)"GET /", 5);
	for (n = 0, is = REQUEST_READING; is == REQUEST_READING; n++)
		is = request_read(&t, (const uint8_t *)"x", 1);
	assert_int_equal(is, REQUEST_FOREIGN);
	assert_in_range(n, REQUEST_HEAD_MAX - 64, REQUEST_HEAD_MAX);
}

static void test_head_alone(void **state)
{
	struct request r = {0}, other = {0};

	(void)state;
	request_read(&r, (const uint8_t *)"HEAD / HTTP/1.1\r\n\r\n", 19);
	request_read(&other, (const uint8_t *)"HEADS / HTTP/1.1\r\n\r\n", 20);
	assert_true(r.is_head);
	assert_false(other.is_head);
}

/* ---- answers ----------------------------------------------------------------------- */

static void test_answer(void **state)
{
	char text[ANSWER_SIZE];
	size_t n = answer_write(text, 7, "batch", false, 1700000000);

	(void)state;
	assert_int_equal(strlen(text), n);
	assert_string_equal(
		text, "HTTP/1.1 429 Too Many Requests\r\n"
		      "Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
		      "Content-Type: application/json\r\n"
		      "Content-Length: 173\r\n"
		      "Retry-After: 7\r\n"
		      "Cache-Control: no-store\r\n"
		      "Connection: close\r\n\r\n"
		      "{\"error\":{\"message\":\"No further request of the class 'batch' is taken "
		      "from you now; try again in 7 s.\",\"type\":\"rate_limit_error\","
		      "\"param\":null,\"code\":\"rate_limit_exceeded\"}}\n");
	n = answer_write(text, 60, "a\"b\\c\n{}", true, 0);
	assert_string_equal(text + n - 4, "\r\n\r\n");
	answer_write(text, 60, "a\"b\\c\n{}", false, 0);
	assert_non_null(strstr(text, "the class 'abc' is"));
	answer_write(text, 60, "", false, 0);
	assert_non_null(strstr(text, "No further request is taken"));
}

static void test_no_model(void **state)
{
	char text[ANSWER_SIZE];
	size_t n = answer_no_model(text, false, 1700000000);

	(void)state;
	assert_int_equal(strlen(text), n);
	assert_non_null(strstr(text, "HTTP/1.1 404 Not Found\r\nDate: "));
	assert_non_null(strstr(text, "\"code\":\"model_not_found\""));
	assert_null(strstr(text, "Retry-After"));
	assert_true(answer_no_model(text, true, 0) < n);
	assert_null(strstr(text, "error"));
}

static void test_chance_spreads_clients(void **state)
{
	uint32_t least = 60, most = 0;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		least = MIN(least, answer_seconds(10, i * 2654435761U));
		most = MAX(most, answer_seconds(10, i * 2654435761U));
	}
	assert_int_equal(least, 10);
	assert_int_equal(most, 20);
	assert_in_range(answer_seconds(0, 12345), 1, 2);
	assert_int_equal(answer_seconds(600, 12345), BOARD_SECONDS_MAX);
	assert_int_equal(answer_seconds(UINT32_MAX, UINT32_MAX), BOARD_SECONDS_MAX);
}

/* ---- when to come back -------------------------------------------------------------- */

/* Requests that take 2 s each, four at once. */
static struct retry_pace four_at_once(double seconds)
{
	struct retry_pace p = {0};

	for (double t = 0; t <= seconds; t += 0.5)
		retry_look(&p, (uint64_t)(2 * t), 4, 0.5);
	return p;
}

static void near(double is, double should, double by)
{
	if (is < should - by || is > should + by)
		fail_msg("%.3f is not %.3f", is, should);
}

static void test_how_long_a_request_takes(void **state)
{
	struct retry_pace p = four_at_once(60), none = {0}, first = {0};

	(void)state;
	near(retry_time(&p), 2, 0.05);
	assert_true(retry_time(&none) < 0);
	retry_look(&first, 1000000, 4, 100);
	assert_true(retry_time(&first) < 0);
	/* Nothing was begun while two were there for 10 s: they take at least as long. */
	for (int i = 0; i < 20; i++)
		retry_look(&first, 1000000, 2, 0.5);
	near(retry_time(&first), 20, 0.1);
	/* Another endpoint has this id now: its count begins anew. */
	retry_look(&p, 0, 4, 0.5);
	near(retry_time(&p), 2, 0.1);
}

static void test_when_there_is_room(void **state)
{
	struct retry_pace p = four_at_once(60), none = {0};

	(void)state;
	/* At the limit: when one of four ended. */
	near(retry_wait(&p, 3, 3, 4), 0.5, 0.02);
	near(retry_wait(&p, 10, 3, 12), 2 * 8 / 12.0, 0.05);
	/* With twice the weight an endpoint takes twice as many requests for the same load. */
	near(retry_room(8, 100), 7, 0);
	near(retry_room(8, 200), 14, 0);
	near(retry_room(8, 0), 7, 0);
	/* What others have there ends, too. */
	near(retry_wait(&p, 10, 3, 120), 2 * 8 / 120.0, 0.01);
	/* Below the limit by what came since. */
	near(retry_wait(&p, 1, 3, 4), 0.5, 0.02);
	near(retry_wait(&p, 3, 3, 0), 2, 0.05);
	assert_true(retry_wait(&none, 3, 3, 4) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_where_a_request_ends),
		cmocka_unit_test(test_a_head_is_read_to_its_limit),
		cmocka_unit_test(test_head_alone),
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_no_model),
		cmocka_unit_test(test_chance_spreads_clients),
		cmocka_unit_test(test_how_long_a_request_takes),
		cmocka_unit_test(test_when_there_is_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
