// SPDX-License-Identifier: Apache-2.0
#include "metrics_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>

#include "util.h"

static const char *const type_names[] = {
	[METRICS_COUNTER] = "counter",
	[METRICS_GAUGE] = "gauge",
	[METRICS_HISTOGRAM] = "histogram",
	[METRICS_UNTYPED] = "untyped",
};

static void set_error(struct metrics_text *t, int error)
{
	if (!t->error)
		t->error = error;
}

/* Returns where `size` more bytes may be written; NULL, with the error set, without memory. */
static char *reserve(struct metrics_text *t, size_t size)
{
	size_t room = MAX(t->room, (size_t)4096);
	char *p;

	while (room - t->size < size)
		room *= 2;
	if (room == t->room)
		return t->text + t->size;
	p = realloc(t->text, room);
	if (!p) {
		set_error(t, -ENOMEM);
		return NULL;
	}
	t->text = p;
	t->room = room;
	return p + t->size;
}

static void put_bytes(struct metrics_text *t, const char *text, size_t size)
{
	char *p = reserve(t, size);

	if (!p)
		return;
	memcpy(p, text, size);
	t->size += size;
}

static void put_text(struct metrics_text *t, const char *text)
{
	put_bytes(t, text, strlen(text));
}

/* Bytes of the well-formed UTF-8 character at `s`, or 0 (RFC 3629: no overlong forms, no
 * surrogates, nothing beyond U+10FFFF). Never reads beyond a NUL. */
static size_t utf8_length(const unsigned char *s)
{
	static const struct {
		unsigned char first_min, first_max, second_min, second_max, length;
	} forms[] = {
		{0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (s[0] < forms[i].first_min || s[0] > forms[i].first_max)
			continue;
		if (forms[i].length == 1)
			return 1;
		if (s[1] < forms[i].second_min || s[1] > forms[i].second_max)
			return 0;
		for (size_t k = 2; k < forms[i].length; k++)
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].length;
	}
	return 0;
}

/* A quote is escaped in label values (`quoted`), and not in help texts. */
static void put_escaped(struct metrics_text *t, const char *text, bool quoted)
{
	while (*text && !t->error) {
		size_t n = utf8_length((const unsigned char *)text);

		if (!n)
			put_text(t, "\xef\xbf\xbd");
		else if (*text == '\n')
			put_text(t, "\\n");
		else if (*text == '\\' || (quoted && *text == '"'))
			put_bytes(t, (char[]){'\\', *text}, 2);
		else
			put_bytes(t, text, n);
		text += MAX(n, (size_t)1);
	}
}

const char *metrics_type_name(enum metrics_type type)
{
	return type_names[type];
}

static bool is_family(const struct metrics_text *t, const char *name)
{
	for (unsigned int i = 0; i < t->family_count; i++)
		if (!strcmp(t->families[i]->name, name))
			return true;
	return false;
}

void metrics_family(struct metrics_text *t, const struct metrics_family *f)
{
	if (is_family(t, f->name))
		set_error(t, -EEXIST);
	if (t->family_count == METRICS_MAX_FAMILIES)
		set_error(t, -E2BIG);
	if (t->error)
		return;
	t->families[t->family_count++] = f;
	put_text(t, "# HELP ");
	put_text(t, f->name);
	put_text(t, " ");
	put_escaped(t, f->help, false);
	put_text(t, "\n# TYPE ");
	put_text(t, f->name);
	put_text(t, " ");
	put_text(t, type_names[f->type]);
	put_text(t, "\n");
}

static void put_label(struct metrics_text *t, bool first, const char *name, const char *value)
{
	put_text(t, first ? "{" : ",");
	put_text(t, name);
	put_text(t, "=\"");
	put_escaped(t, value, true);
	put_text(t, "\"");
}

/* A line of the newest family's sample: `part` follows the name, and `le` is the label of a bucket,
 * NULL: it is none. */
static void put_line(struct metrics_text *t, const char *part, const char *value, const char *le,
		     va_list labels)
{
	const struct metrics_family *f;
	const char *label = NULL;
	size_t n = 0;

	if (!t->family_count)
		set_error(t, -EINVAL);
	if (t->error)
		return;
	f = t->families[t->family_count - 1];
	put_text(t, f->name);
	put_text(t, part);
	for (; (label = va_arg(labels, const char *)) && f->labels[n]; n++)
		put_label(t, !n, f->labels[n], label);
	if (label || f->labels[n])
		set_error(t, -EINVAL);
	if (le)
		put_label(t, !n, "le", le);
	put_text(t, n || le ? "} " : " ");
	put_text(t, value);
	put_text(t, "\n");
}

/* The fewest digits that read back as the same number. */
static void format_double(double value, char *buf, size_t size)
{
	if (isnan(value)) {
		snprintf(buf, size, "NaN");
		return;
	}
	if (isinf(value)) {
		snprintf(buf, size, value < 0 ? "-Inf" : "+Inf");
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(buf, size, "%.*g", digits, value);
		if (strtod(buf, NULL) == value)
			return;
	}
}

void metrics_sample(struct metrics_text *t, double value, ...)
{
	char text[40];
	va_list ap;

	format_double(value, text, sizeof(text));
	va_start(ap, value);
	put_line(t, "", text, NULL, ap);
	va_end(ap);
}

void metrics_sample_u64(struct metrics_text *t, uint64_t value, ...)
{
	char text[24];
	va_list ap;

	snprintf(text, sizeof(text), "%" PRIu64, value);
	va_start(ap, value);
	put_line(t, "", text, NULL, ap);
	va_end(ap);
}

static void put_part(struct metrics_text *t, const char *part, const char *value, const char *le,
		     va_list labels)
{
	va_list copy;

	va_copy(copy, labels);
	put_line(t, part, value, le, copy);
	va_end(copy);
}

void metrics_sample_histogram(struct metrics_text *t, const struct metrics_histogram *h, ...)
{
	char value[40], le[40];
	va_list ap;

	va_start(ap, h);
	for (size_t i = 0; i < h->n; i++) {
		format_double(h->bounds[i], le, sizeof(le));
		snprintf(value, sizeof(value), "%" PRIu64, h->up_to[i]);
		put_part(t, "_bucket", value, le, ap);
	}
	snprintf(value, sizeof(value), "%" PRIu64, h->count);
	put_part(t, "_bucket", value, "+Inf", ap);
	format_double(h->sum, le, sizeof(le));
	put_part(t, "_sum", le, NULL, ap);
	put_part(t, "_count", value, NULL, ap);
	va_end(ap);
}

int metrics_text_error(const struct metrics_text *t)
{
	return t->error;
}

void metrics_text_free(struct metrics_text *t)
{
	free(t->text);
	*t = (struct metrics_text){0};
}
