// SPDX-License-Identifier: Apache-2.0
#include "expfmt.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "hash.h"

enum { NAME_START = 1, NAME_REST = 2 };

/* isalpha() would depend on the locale. */
static const unsigned char name_char[256] = {
	['a' ... 'z'] = NAME_START | NAME_REST,
	['A' ... 'Z'] = NAME_START | NAME_REST,
	['_'] = NAME_START | NAME_REST,
	[':'] = NAME_START | NAME_REST,
	['0' ... '9'] = NAME_REST,
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *skip_blanks(const char *p, const char *end)
{
	while (p < end && is_blank(*p))
		p++;
	return p;
}

/* Returns the end of the name that begins at p, or p if none does. */
static const char *skip_name(const char *p, const char *end)
{
	if (p == end || !(name_char[(unsigned char)*p] & NAME_START))
		return p;
	do
		p++;
	while (p < end && name_char[(unsigned char)*p]);
	return p;
}

/* mantissa x 10^exponent: exact to the last bit for up to 15 digits and exponents from -22 to 22,
 * as all counts and most ratios have; otherwise that double or the one beside it. strtod() would
 * read past the end of the page, and expect the locale's decimal sign. */
static double scale(uint64_t mantissa, long exponent)
{
	long double value = mantissa, power = 1, square = 10;
	unsigned long n = exponent < 0 ? -(unsigned long)exponent : (unsigned long)exponent;

	if (!mantissa || exponent < -400)
		return 0;
	if (exponent > 400)
		return INFINITY;
	for (; n; n >>= 1, square *= square)
		if (n & 1)
			power *= square;
	if (mantissa <= 1ULL << 53 && power <= 1e22L) {
		/* Both are exact as doubles, so the division rounds once; by way of long double the
		 * result would be rounded twice. */
		double m = (double)mantissa, p = (double)power;

		return exponent < 0 ? m / p : m * p;
	}
	return (double)(exponent < 0 ? value / power : value * power);
}

static const char *parse_exponent(const char *p, const char *end, long *exponent)
{
	bool negative = false;
	long n = 0;

	if (p < end && (*p == '+' || *p == '-'))
		negative = *p++ == '-';
	if (p == end || !is_digit(*p))
		return NULL;
	for (; p < end && is_digit(*p); p++)
		if (n < 1000000) /* beyond any double: further digits change nothing */
			n = n * 10 + (*p - '0');
	*exponent += negative ? -n : n;
	return p;
}

static const char *expfmt_parse_decimal(const char *p, const char *end, double *out)
{
	uint64_t mantissa = 0;
	long exponent = 0;
	bool digits = false, fraction = false;

	for (; p < end; p++) {
		if (*p == '.' && !fraction) {
			fraction = true;
			continue;
		}
		if (!is_digit(*p))
			break;
		digits = true;
		if (mantissa < UINT64_MAX / 10 - 1) {
			mantissa = mantissa * 10 + (uint64_t)(*p - '0');
			exponent -= fraction;
		} else {
			exponent += !fraction; /* 19 digits are kept, more than a double holds */
		}
	}
	if (!digits)
		return NULL;
	if (p < end && (*p == 'e' || *p == 'E')) {
		p = parse_exponent(p + 1, end, &exponent);
		if (!p)
			return NULL;
	}
	*out = scale(mantissa, exponent);
	return p;
}

static bool is_word(const char *p, const char *end, const char *word)
{
	for (; *word; word++, p++)
		if (p == end || (*p | 0x20) != *word) /* ASCII's lower case */
			return false;
	return true;
}

static const char *parse_word(const char *p, const char *end, double *out)
{
	static const struct {
		const char *text;
		double value;
	} words[] = {{"infinity", INFINITY}, {"inf", INFINITY}, {"nan", NAN}};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!is_word(p, end, words[i].text))
			continue;
		*out = words[i].value;
		return p + strlen(words[i].text);
	}
	return NULL;
}

/* Returns the end of the number, or NULL. */
static const char *expfmt_parse_number(const char *p, const char *end, double *out)
{
	bool negative = false;

	if (p < end && (*p == '+' || *p == '-'))
		negative = *p++ == '-';
	if (p == end)
		return NULL;
	p = is_digit(*p) || *p == '.' ? expfmt_parse_decimal(p, end, out) : parse_word(p, end, out);
	if (p && negative)
		*out = -*out;
	return p;
}

/* `p` is behind a quotation mark. Returns where the next one is that no backslash stands before, or
 * NULL. */
static const char *skip_quoted(const char *p, const char *end)
{
	for (; p < end && *p != '"'; p++)
		if (*p == '\\' && ++p == end)
			return NULL;
	return p < end ? p : NULL;
}

struct label {
	const char *name, *value; /* the value with its escapes, as in the page */
	size_t name_len, value_len;
};

/* Reads name="value" and the comma after it. Returns where the next label begins, or NULL if this
 * is no label. */
static const char *parse_label(const char *p, const char *end, struct label *out)
{
	bool quoted = p < end && *p == '"'; /* as names with other characters are */

	out->name = p += quoted;
	p = quoted ? skip_quoted(p, end) : skip_name(p, end);
	if (!p)
		return NULL;
	out->name_len = (size_t)(p - out->name);
	p = skip_blanks(p + quoted, end);
	if (!out->name_len || p == end || *p++ != '=')
		return NULL;
	p = skip_blanks(p, end);
	if (p == end || *p++ != '"')
		return NULL;
	out->value = p;
	p = skip_quoted(p, end);
	if (!p)
		return NULL;
	out->value_len = (size_t)(p++ - out->value);
	p = skip_blanks(p, end);
	if (p < end && *p == ',')
		return skip_blanks(p + 1, end);
	/* Without a comma only the end, or the closing brace, may follow. */
	return p == end || *p == '}' ? p : NULL;
}

/* `p` is behind '{'. Returns where '}' is, or NULL. */
static const char *skip_labels(const char *p, const char *end)
{
	struct label label;

	p = skip_blanks(p, end);
	while (p && p < end && *p != '}')
		p = parse_label(p, end, &label);
	return p && p < end ? p : NULL;
}

/* Returns what is wrong with the value and what follows it: timestamp, exemplar; or NULL. */
static const char *parse_value(const char *p, const char *end, double *value)
{
	static const char no_value[] = "its value is no number";
	static const char no_end[] = "behind its value stands something else than a timestamp";
	double timestamp;

	p = expfmt_parse_number(p, end, value);
	if (!p || (p < end && !is_blank(*p)))
		return no_value;
	p = skip_blanks(p, end);
	if (p < end && *p != '#') {
		p = expfmt_parse_number(p, end, &timestamp);
		if (!p || (p < end && !is_blank(*p)))
			return no_end;
		p = skip_blanks(p, end);
	}
	return p == end || *p == '#' ? NULL : no_end; /* an exemplar, of no use here */
}

/* Reads {"name",labels}: a name with characters that it could not have without the quotation marks
 * stands where the labels do. Returns where the labels are, or NULL: it is no name. */
static const char *parse_quoted_name(const char *p, const char *end, struct expfmt_sample *s)
{
	if (p == end || *p != '{')
		return NULL;
	p = skip_blanks(p + 1, end);
	if (p == end || *p != '"')
		return NULL;
	s->name = ++p;
	p = skip_quoted(p, end);
	if (!p || p == s->name)
		return NULL;
	s->name_len = (size_t)(p - s->name);
	p = skip_blanks(p + 1, end);
	if (p == end || (*p != ',' && *p != '}'))
		return NULL; /* JSON has a colon here */
	return *p == ',' ? skip_blanks(p + 1, end) : p;
}

/* Reads what follows the name: labels, if they are `open` already, and value. Returns what is wrong
 * with the labels, or NULL. */
static const char *parse_rest(const char *p, const char *end, bool open, struct expfmt_sample *s)
{
	static const char no_labels[] =
		"its labels cannot be read; write {name=\"value\",name=\"value\"}";

	s->labels = NULL;
	s->labels_len = 0;
	s->lost = false;
	p = skip_blanks(p, end);
	if (open || (p < end && *p == '{')) {
		p += !open;
		s->labels = p;
		p = skip_labels(p, end);
		if (!p)
			return no_labels;
		s->labels_len = (size_t)(p++ - s->labels);
		p = skip_blanks(p, end);
	}
	s->what = parse_value(p, end, &s->value);
	if (s->what)
		s->value = NAN;
	return NULL;
}

/* Which series it is of is not known. */
static void expfmt_lose(struct expfmt_sample *s, const char *what)
{
	s->labels = NULL;
	s->value = NAN;
	s->what = what;
	s->lost = true;
}

static bool is_eof_mark(const char *p, const char *end)
{
	return end - p == 5 && !memcmp(p, "# EOF", 5);
}

/* OpenMetrics: nothing may follow. A page with two ends is bad. */
static void end_of_file(struct expfmt_reader *r)
{
	while (r->at < r->end && (*r->at == '\n' || *r->at == '\r'))
		r->at++;
	r->bad = r->at < r->end;
	r->what = "something follows # EOF; write that last, and once";
	r->at = r->end;
}

void expfmt_init(struct expfmt_reader *r, const char *page, size_t size)
{
	assert(page || !size);
	if (!page) {
		page = "";
		size = 0;
	}
	*r = (struct expfmt_reader){.at = page, .end = page + size};
}

void expfmt_filter_add(struct expfmt_filter *f, const char *name)
{
	size_t n = 0;

	if (!f->first) {
		f->first = name;
		f->shared = strlen(name) - (*name != '\0');
	}
	while (n < f->shared && name[n] == f->first[n])
		n++;
	if (n < f->shared) {
		/* All names so far share this byte: the first difference is here. */
		memset(f->next, 0, sizeof(f->next));
		f->next[(unsigned char)f->first[n]] = true;
		f->shared = n;
	}
	if (name[n])
		f->next[(unsigned char)name[n]] = true;
	else
		f->next[' '] = f->next['\t'] = f->next['{'] = f->next['"'] = true;
}

static bool filter_passes(const struct expfmt_filter *f, const char *p, const char *end)
{
	return !f || (f->first && (size_t)(end - p) > f->shared &&
		      f->next[(unsigned char)p[f->shared]] && !memcmp(p, f->first, f->shared));
}

static bool stop_bad(struct expfmt_reader *r, const char *what)
{
	r->bad = true;
	r->what = what;
	r->at = r->end;
	return false;
}

/* Says what a line is that begins as no metric's name does. */
static const char *strange_line(const char *p, const char *end)
{
	if (end - p >= 2 && !memcmp(p, "\x1f\x8b", 2))
		return "it is compressed; serve the page as plain text";
	if (*p == '<')
		return "it is HTML; name the path of the metrics page";
	if (*p == '"')
		return "it is a text within JSON; the server must send the page as it is";
	if (*p == '{' || *p == '[')
		return "it is JSON; name the path of the metrics page";
	return "it begins as no metric's name does; write NAME{LABEL=\"VALUE\"} NUMBER";
}

static bool begins_well(const char *p, const char *end)
{
	struct expfmt_sample s;

	return p == end || *p == '#' || (name_char[(unsigned char)*p] & NAME_START) ||
	       parse_quoted_name(p, end, &s);
}

bool expfmt_next(struct expfmt_reader *r, bool (*want)(const char *name, size_t len, void *arg),
		 void *arg, struct expfmt_sample *out)
{
	while (r->at < r->end) {
		const char *p = r->at;
		const char *end = memchr(p, '\n', (size_t)(r->end - p));
		struct expfmt_sample s;
		const char *what, *quoted;

		r->line++;
		r->name = NULL;
		if (!end && !begins_well(skip_blanks(p, r->end), r->end))
			return stop_bad(r, strange_line(skip_blanks(p, r->end), r->end));
		if (!end) {
			if (!is_eof_mark(p, r->end))
				return stop_bad(r,
						"the page ends inside it; end it with a line end");
			end = r->end;
			r->at = end;
		} else {
			r->at = end + 1;
			if (end > p && end[-1] == '\r')
				end--;
		}
		p = skip_blanks(p, end);
		if (p == end)
			continue;
		if (*p == '#') {
			if (is_eof_mark(p, end))
				end_of_file(r);
			continue;
		}
		if (!begins_well(p, end))
			return stop_bad(r, strange_line(p, end));
		quoted = parse_quoted_name(p, end, &s);
		if (!filter_passes(r->filter, quoted ? s.name : p, end))
			continue;
		if (!quoted) {
			s.name = p;
			p = skip_name(p, end);
			s.name_len = (size_t)(p - s.name);
		} else {
			p = quoted;
		}
		/* A quoted name may have any bytes, and is shown only where it is a wanted one. */
		r->name = quoted ? NULL : s.name;
		r->name_len = s.name_len;
		if (!quoted && (p == end || (*p != '{' && !is_blank(*p))))
			return stop_bad(
				r,
				"its name ends with no blank; write NAME{LABEL=\"VALUE\"} NUMBER");
		if (!want(s.name, s.name_len, arg))
			continue;
		r->name = skip_name(s.name, s.name + s.name_len) == s.name + s.name_len ? s.name
											: NULL;
		what = parse_rest(p, end, quoted, &s);
		if (what && !r->goes_on)
			return stop_bad(r, what);
		if (what)
			expfmt_lose(&s, what);
		*out = s;
		return true;
	}
	return false;
}

uint64_t expfmt_series(const struct expfmt_sample *s)
{
	uint64_t series = hash_bytes(HASH_START, s->name, s->name_len);
	const char *p, *end;
	struct label label;

	if (!s->labels)
		return series;
	end = s->labels + s->labels_len;
	/* A sum, because the order of labels means nothing. Each label's hash is multiplied by
	 * itself, so that exchanging the values of two labels changes the sum. */
	for (p = skip_blanks(s->labels, end); p && p < end;) {
		uint64_t one;

		p = parse_label(p, end, &label);
		if (!p)
			break;
		one = hash_bytes(HASH_START, label.name, label.name_len);
		one = hash_bytes(hash_bytes(one, "=", 1), label.value, label.value_len);
		series += one * (one | 1);
	}
	return series;
}

static void expfmt_unescape(const struct label *label, char *buf, size_t size)
{
	const char *p = label->value, *end = p + label->value_len;
	size_t n = 0;

	for (; p < end && n + 1 < size; p++) {
		if (*p == '\\' && p + 1 < end && strchr("\\\"n", p[1]) && p[1])
			buf[n++] = *++p == 'n' ? '\n' : *p;
		else
			buf[n++] = *p;
	}
	buf[n] = '\0';
}

bool expfmt_label(const struct expfmt_sample *s, const char *label, char *buf, size_t size)
{
	size_t label_len = strlen(label);
	const char *p, *end;
	struct label found;

	assert(size > 0);
	if (!s->labels)
		return false;
	end = s->labels + s->labels_len;
	for (p = skip_blanks(s->labels, end); p && p < end;) {
		p = parse_label(p, end, &found);
		if (!p || found.name_len != label_len || memcmp(found.name, label, label_len))
			continue;
		expfmt_unescape(&found, buf, size);
		return true;
	}
	return false;
}

static bool has_one_label(const struct expfmt_sample *s, const struct label *want)
{
	const char *p = s->labels, *end = p ? p + s->labels_len : NULL;
	struct label has;

	for (p = p ? skip_blanks(p, end) : NULL; p && p < end;) {
		p = parse_label(p, end, &has);
		if (p && has.name_len == want->name_len && has.value_len == want->value_len &&
		    !memcmp(has.name, want->name, want->name_len) &&
		    !memcmp(has.value, want->value, want->value_len))
			return true;
	}
	return false;
}

bool expfmt_has_labels(const struct expfmt_sample *s, const struct expfmt_sample *wanted)
{
	const char *p = wanted->labels, *end = p ? p + wanted->labels_len : NULL;
	struct label want;

	for (p = p ? skip_blanks(p, end) : NULL; p && p < end;) {
		p = parse_label(p, end, &want);
		if (!p || !has_one_label(s, &want))
			return false;
	}
	return true;
}

bool expfmt_read_metric(const char *text, struct expfmt_sample *out)
{
	const char *p = text, *end = text + strlen(text);
	const char *quoted = parse_quoted_name(p, end, out);

	if (!quoted) {
		out->name = p;
		p = skip_name(p, end);
		out->name_len = (size_t)(p - out->name);
	}
	out->labels = NULL;
	out->labels_len = 0;
	if (!out->name_len || strpbrk(text, "\n\r"))
		return false;
	if (!quoted && p == end)
		return true;
	if (!quoted && *p++ != '{')
		return false;
	out->labels = quoted ?: p;
	p = skip_labels(out->labels, end);
	if (!p || p + 1 != end)
		return false;
	out->labels_len = (size_t)(p - out->labels);
	return true;
}
