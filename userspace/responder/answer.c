/* SPDX-License-Identifier: Apache-2.0 */
#include "answer.h"

#include <ctype.h>
#include <stdio.h>

#include "../base/util.h"
#include "board.h"

uint32_t answer_seconds(uint32_t seconds, uint32_t random)
{
	uint32_t least = seconds < BOARD_SECONDS_MAX ? seconds : BOARD_SECONDS_MAX;

	least += !least;
	return MIN(least + random % (least + 1), (uint32_t)BOARD_SECONDS_MAX);
}

/* "the class 'batch'"; other characters than those of plain names are left out. */
static void class_words(char *buf, size_t size, const char *name)
{
	char plain[PINTLE_CLASS_NAME_SIZE];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(plain) - 1 && name[i]; i++)
		if (isalnum((unsigned char)name[i]) || memchr("-_.", name[i], 3))
			plain[n++] = name[i];
	plain[n] = '\0';
	buf[0] = '\0';
	if (n)
		snprintf(buf, size, "of the class '%s' ", plain);
}

/* The whole answer with this status, `header` (a line, or "") and body. */
static size_t write_whole(char buf[ANSWER_SIZE], const char *status, const char *header,
			  const char *body, bool is_head, time_t now)
{
	char date[64];
	struct tm tm;
	int n;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	n = snprintf(buf, ANSWER_SIZE,
		     "HTTP/1.1 %s\r\n"
		     "Date: %s\r\n"
		     "Content-Type: application/json\r\n"
		     "Content-Length: %zu\r\n"
		     "%s"
		     "Cache-Control: no-store\r\n"
		     "Connection: close\r\n\r\n%s",
		     status, date, strlen(body), header, is_head ? "" : body);
	return (size_t)n;
}

size_t answer_write(char buf[ANSWER_SIZE], uint32_t seconds, const char *class_name, bool is_head,
		    time_t now)
{
	char of[PINTLE_CLASS_NAME_SIZE + 32], body[384], header[64];

	class_words(of, sizeof(of), class_name);
	/* The servers have no room for the class, or the client's tenant has its share of them. */
	snprintf(body, sizeof(body),
		 "{\"error\":{\"message\":\"No further request %sis taken from you now; try "
		 "again in %u s.\",\"type\":\"rate_limit_error\","
		 "\"param\":null,\"code\":\"rate_limit_exceeded\"}}\n",
		 of, seconds);
	snprintf(header, sizeof(header), "Retry-After: %u\r\n", seconds);
	return write_whole(buf, "429 Too Many Requests", header, body, is_head, now);
}

size_t answer_no_model(char buf[ANSWER_SIZE], bool is_head, time_t now)
{
	static const char body[] =
		"{\"error\":{\"message\":\"The request names no model that is served here, or it "
		"names it where it cannot be seen.\",\"type\":\"invalid_request_error\","
		"\"param\":\"model\",\"code\":\"model_not_found\"}}\n";

	return write_whole(buf, "404 Not Found", "", body, is_head, now);
}
