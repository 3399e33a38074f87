/* SPDX-License-Identifier: Apache-2.0 */
/* config_words.c - what messages say: values in quotes, what is wanted, the nearest name. */
#include <ctype.h>
#include <math.h>

#include "../config/config_internal.h"
#include "../maps/names.h"
#include "../base/util.h"

/* ---- text ------------------------------------------------------------------ */

const char *quote(const char *text, size_t length, char buf[QUOTED_SIZE])
{
	static const size_t longest_escape = sizeof("\\xff") - 1, tail = sizeof("...\"") - 1;
	size_t n = 0;

	buf[n++] = '"';
	for (size_t i = 0; i < length; i++) {
		if (n + longest_escape + tail + 1 > QUOTED_SIZE) {
			memcpy(buf + n, "...", 3);
			n += 3;
			break;
		}
		/* Beyond ASCII stand characters that reorder a terminal's line. */
		if (text[i] >= ' ' && text[i] <= '~')
			buf[n++] = text[i];
		else
			n += (size_t)sprintf(buf + n, "\\x%02x", (unsigned char)text[i]);
	}
	buf[n++] = '"';
	buf[n] = '\0';
	return buf;
}

/* By characters, not by parts: it may be no URL at all. User and password end with the last "@", a
 * query begins with the first "?"; where that stands before the "@", nobody knows what is what. */
const char *quote_url(const char *text, size_t length, char buf[QUOTED_SIZE])
{
	size_t scheme = strncmp(text, "http://", 7) == 0    ? 7
			: strncmp(text, "https://", 8) == 0 ? 8
							    : 0;
	const char *at = memrchr(text, '@', length), *host = at ? at : text + scheme;
	const char *query = text + strcspn(text, "?#");
	_cleanup_free_ char *shown = NULL;
	int n;

	if (at && query < at)
		n = asprintf(&shown, "%.*s...", (int)scheme, text);
	else
		n = asprintf(&shown, "%.*s%s%.*s%s", (int)scheme, text, at ? "..." : "",
			     (int)(query - host), host, *query ? "?..." : "");
	if (n < 0) {
		shown = NULL;
		return "a URL";
	}
	return quote(shown, (size_t)n, buf);
}

locale_t numbers_begin(void)
{
	locale_t c = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);

	return c ? uselocale(c) : (locale_t)0;
}

void numbers_end(locale_t outer)
{
	if (outer)
		freelocale(uselocale(outer));
}

/* Case and joints do not count: kv_cache and kvcache are both near kvCache. */
static size_t fold(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (; *text && n + 1 < size; text++) {
		if (*text != '_' && *text != '-')
			out[n++] = (char)tolower((unsigned char)*text);
	}
	out[n] = '\0';
	return n;
}

#define NEAR_MAX 32 /* longer than every key; a longer text is near none */

/* Levenshtein's distance. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t row[NEAR_MAX + 1];

	for (size_t j = 0; j <= b_length; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			size_t changed = diagonal + (a[i - 1] != b[j - 1]);
			size_t shorter = MIN(row[j], row[j - 1]) + 1;

			diagonal = row[j];
			row[j] = MIN(shorter, changed);
		}
	}
	return row[b_length];
}

void nearest_try(struct nearest *n, const char *text, const char *candidate)
{
	char a[NEAR_MAX + 1], b[NEAR_MAX + 1];
	size_t a_length, b_length, distance;

	if (strlen(text) > NEAR_MAX)
		return;
	a_length = fold(text, a, sizeof(a));
	b_length = fold(candidate, b, sizeof(b));
	distance = edit_distance(a, a_length, b, b_length);
	if (distance > MAX(b_length / 3, (size_t)1) || distance >= MIN(a_length, b_length))
		return;
	if (!n->best || distance < n->distance)
		*n = (struct nearest){candidate, distance};
}

/* ---- what each type wants -------------------------------------------------- */

const struct unit config_units[] = {
	{"ms", 1e6},
	{"s", 1e9},
	{"m", 60e9},
	{"h", 3600e9},
};
const size_t config_unit_count = ARRAY_SIZE(config_units);

static const char *format_duration(double ns, char *buf, size_t size)
{
	const struct unit *unit = &config_units[0];

	if (ns == 0)
		unit = &config_units[1];
	for (size_t i = 0; ns != 0 && i < config_unit_count; i++) {
		if (fmod(ns, config_units[i].nanoseconds) == 0)
			unit = &config_units[i];
	}
	snprintf(buf, size, "%.15g%s", ns / unit->nanoseconds, unit->name);
	return buf;
}

static void choices_text(const struct key *k, char *buf, size_t size)
{
	size_t n = (size_t)snprintf(buf, size, "%s", k->choices[1] ? "one of " : "");

	for (size_t i = 0; k->choices[i] && n < size; i++)
		n += (size_t)snprintf(buf + n, size - n, "%s%s", i ? ", " : "", k->choices[i]);
}

static void children_text(const struct key *k, const char *lead, char *buf, size_t size)
{
	size_t n = (size_t)snprintf(buf, size, "%s", lead);
	const char *joint = "";
	char prefix[KEY_PREFIX_SIZE];

	key_prefix(k, prefix);
	for (size_t i = 0; i < config_key_count && n < size; i++) {
		if (!key_is_child(&config_keys[i], prefix))
			continue;
		n += (size_t)snprintf(buf + n, size - n, "%s%s", joint, key_local(&config_keys[i]));
		joint = ", ";
	}
}

static void session_text(char *buf, size_t size)
{
	size_t n = 0;

	for (uint32_t i = 0; i < PINTLE_KEY_COUNT && n < size; i++)
		n += (size_t)snprintf(
			buf + n, size - n, "%s%s%s",
			i == PINTLE_KEY_NONE        ? ""
			: i == PINTLE_KEY_COUNT - 1 ? " or "
						    : ", ",
			key_name(i),
			i == PINTLE_KEY_SOURCE ? ", source/V4BITS, source/V4BITS/V6BITS" : "");
}

const char *key_wants(const struct key *k, char buf[WANTED_SIZE])
{
	char from[32], to[32];
	int max = (int)MIN(k->max, 1e9);

	switch (k->type) {
	case KEY_MAP:
		children_text(k, "a mapping of ", buf, WANTED_SIZE);
		break;
	case KEY_MAPS:
		children_text(k, "a list, each item a mapping of ", buf, WANTED_SIZE);
		break;
	case KEY_FRONTENDS:
		snprintf(buf, WANTED_SIZE,
			 "a list such as [\"10.77.0.1:8000\", \"[fd77::1]:8000\"]");
		break;
	case KEY_CONSTANT:
	case KEY_CHOICE:
	case KEY_WORD:
		choices_text(k, buf, WANTED_SIZE);
		break;
	case KEY_NAME:
		snprintf(buf, WANTED_SIZE,
			 "1 to %d of a-z, 0-9, \"-\" and \".\", beginning with a letter or digit",
			 max);
		break;
	case KEY_PATH:
		snprintf(buf, WANTED_SIZE, "a path from / on, of at most %d bytes", max);
		break;
	case KEY_GROUP_NAME:
	case KEY_USER:
		snprintf(buf, WANTED_SIZE, "the name or number of a %s, of at most %d bytes",
			 k->type == KEY_USER ? "user" : "group", max);
		break;
	case KEY_URL:
		snprintf(buf, WANTED_SIZE, "an http:// or https:// URL of at most %d bytes", max);
		break;
	case KEY_URL_PATH:
		snprintf(buf, WANTED_SIZE, "a URL's path, from / on, of at most %d bytes", max);
		break;
	case KEY_SERVE:
		snprintf(buf, WANTED_SIZE, "ADDRESS:PORT, [ADDRESS]:PORT or off");
		break;
	case KEY_LISTEN:
		snprintf(buf, WANTED_SIZE, "ADDRESS:PORT, [ADDRESS]:PORT or a port alone");
		break;
	case KEY_ADDRESS:
		snprintf(buf, WANTED_SIZE, "ADDRESS:PORT or [ADDRESS]:PORT");
		break;
	case KEY_BOOL:
		snprintf(buf, WANTED_SIZE, "true or false");
		break;
	case KEY_INTEGER:
		snprintf(buf, WANTED_SIZE, "a whole number from %.15g to %.15g", k->min, k->max);
		break;
	case KEY_NUMBER:
		snprintf(buf, WANTED_SIZE, "a number from %.15g to %.15g", k->min, k->max);
		break;
	case KEY_DURATION:
		snprintf(buf, WANTED_SIZE, "a duration from %s to %s, in ms, s, m or h",
			 format_duration(k->min, from, sizeof(from)),
			 format_duration(k->max, to, sizeof(to)));
		break;
	case KEY_HEADERS:
		snprintf(buf, WANTED_SIZE, "up to %d names of headers with commas between, or none",
			 PINTLE_MAX_HEADERS);
		break;
	case KEY_SESSION:
		session_text(buf, WANTED_SIZE);
		break;
	}
	return buf;
}
