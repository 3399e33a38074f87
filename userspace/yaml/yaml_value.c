/* SPDX-License-Identifier: Apache-2.0 */
/* yaml_value.c - reads one scalar into one field. */
#include "yaml_value.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>

#include "../base/util.h"

/* ---- what every type's reader uses ----------------------------------------- */

int yaml_wrong(struct yaml_value *v, const char *what)
{
	v->wrong = what;
	return -EINVAL;
}

void yaml_suggest(struct yaml_value *v, const struct text_nearest *nearest)
{
	if (!nearest->best)
		return;
	snprintf(v->buf, sizeof(v->buf), "did you mean %s?", nearest->best);
	v->right = v->buf;
}

int yaml_set_text(void *field, const char *text)
{
	char *copy = strdup(text);
	char **old = field;

	if (!copy)
		return -ENOMEM;
	free(*old);
	*old = copy;
	return 0;
}

int yaml_take_text(struct yaml_value *v, void *field)
{
	if (v->length > (size_t)v->key->max)
		return yaml_wrong(v, "which is too long");
	return yaml_set_text(field, v->text);
}

/* ---- numbers --------------------------------------------------------------- */

static size_t digits(const char *text)
{
	return strspn(text, "0123456789");
}

const char *yaml_take_number(const char *text, double *value)
{
	const char *start = text, *whole;
	size_t fraction = 0;

	text += *text == '+' || *text == '-';
	whole = text;
	text += digits(text);
	if (text - whole > 1 && *whole == '0')
		return NULL;
	if (*text == '.') {
		fraction = digits(text + 1);
		text += 1 + fraction;
	}
	if (text == whole || (!fraction && text[-1] == '.'))
		return NULL;
	if (*text == 'e' || *text == 'E') {
		const char *exponent = text + 1;

		exponent += *exponent == '+' || *exponent == '-';
		if (digits(exponent))
			text = exponent + digits(exponent);
	}
	*value = strtod(start, NULL);
	return text;
}

/* ---- choices --------------------------------------------------------------- */

/* Returns the index of the choice that the value is, or -EINVAL. */
static int read_choice_index(struct yaml_value *v)
{
	struct text_nearest nearest = {0};

	for (int i = 0; v->key->choices[i]; i++) {
		if (!strcmp(v->text, v->key->choices[i]))
			return i;
		text_nearest_try(&nearest, v->text, v->key->choices[i]);
	}
	if (v->key->choices[1])
		yaml_suggest(v, &nearest);
	return yaml_wrong(v, "which is not known");
}

static int read_constant(struct yaml_value *v, void *field)
{
	(void)field;
	return MIN(read_choice_index(v), 0);
}

static int read_choice(struct yaml_value *v, void *field)
{
	int i = read_choice_index(v);

	if (i >= 0)
		*(uint32_t *)field = (uint32_t)i;
	return MIN(i, 0);
}

static int value_read_word(struct yaml_value *v, void *field)
{
	int i = read_choice_index(v);

	if (i >= 0)
		*(const char **)field = v->key->choices[i];
	return MIN(i, 0);
}

static void choices_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	const char *lead = k->choices[1] ? "one of " : "";
	size_t n = strlen(lead);

	strcpy(buf, lead);
	for (size_t i = 0; k->choices[i]; i++)
		text_list_add(buf + n, YAML_WANTS_SIZE - n, k->choices[i]);
}

/* ---- texts ----------------------------------------------------------------- */

static int most_bytes(const struct yaml_key *k)
{
	return (int)MIN(k->max, 1e9);
}

static int value_read_name(struct yaml_value *v, void *field)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char others[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";

	if (!v->length)
		return yaml_wrong(v, "which is empty");
	if (!memchr(first, v->text[0], sizeof(first) - 1) || strspn(v->text, others) != v->length)
		return yaml_wrong(v, "with a character that a name cannot have there");
	return yaml_take_text(v, field);
}

static void name_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE,
		 "1 to %d of a-z, 0-9, \"-\" and \".\", beginning with a letter or digit",
		 most_bytes(k));
}

static int read_path(struct yaml_value *v, void *field)
{
	if (v->text[0] != '/')
		return yaml_wrong(v, "which does not begin with /");
	return yaml_take_text(v, field);
}

static void path_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE, "a path from / on, of at most %d bytes", most_bytes(k));
}

/* ---- numbers and durations ------------------------------------------------- */

static bool looks_not_finite(const char *text)
{
	text += *text == '+' || *text == '-';
	text += *text == '.';
	return !strcasecmp(text, "nan") || !strcasecmp(text, "inf") ||
	       !strcasecmp(text, "infinity");
}

static int read_bool(struct yaml_value *v, void *field)
{
	bool is_true = !strcmp(v->text, "true");

	if (!v->plain)
		return yaml_wrong(v, "which is text in quotes");
	if (!is_true && strcmp(v->text, "false") != 0)
		return yaml_wrong(v, "which is neither");
	*(bool *)field = is_true;
	return 0;
}

static void bool_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "true or false");
}

static int read_plain_number(struct yaml_value *v, double *value)
{
	const char *end;

	if (!v->plain)
		return yaml_wrong(v, "which is text in quotes");
	if (looks_not_finite(v->text))
		return yaml_wrong(v, "which is not finite");
	end = yaml_take_number(v->text, value);
	if (!end || *end)
		return yaml_wrong(v, "which is no number");
	/* Written so that a NaN would be refused, too. */
	if (!(*value >= v->key->min && *value <= v->key->max))
		return yaml_wrong(v, "which is out of range");
	return 0;
}

static int read_number(struct yaml_value *v, void *field)
{
	double value;
	int err = read_plain_number(v, &value);

	if (!err)
		*(double *)field = value + 0.0; /* not -0 */
	return err;
}

static void number_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE, "a number from %.15g to %.15g", k->min, k->max);
}

static int read_integer(struct yaml_value *v, void *field)
{
	double value;
	int err = read_plain_number(v, &value);

	if (err)
		return err;
	if (value != floor(value))
		return yaml_wrong(v, "which is not whole");
	*(int *)field = (int)value;
	return 0;
}

static void integer_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE, "a whole number from %.15g to %.15g", k->min, k->max);
}

struct unit {
	const char *name;
	double nanoseconds;
};

static const struct unit units[] = {
	{"ms", 1e6},
	{"s", 1e9},
	{"m", 60e9},
	{"h", 3600e9},
};

static const struct unit *find_unit(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (!strcmp(name, units[i].name))
			return &units[i];
	}
	return NULL;
}

static int read_duration(struct yaml_value *v, void *field)
{
	const struct unit *unit;
	const char *end;
	double value, ns;

	if (looks_not_finite(v->text))
		return yaml_wrong(v, "which is not finite");
	end = yaml_take_number(v->text, &value);
	if (!end)
		return yaml_wrong(v, "which is no duration");
	if (!*end) {
		snprintf(v->buf, sizeof(v->buf), "write %.20s and ms, s, m or h, as in %.20sms",
			 v->text, v->text);
		v->right = v->buf;
		return yaml_wrong(v, "without a unit");
	}
	unit = find_unit(end);
	if (!unit)
		return yaml_wrong(v, "with a unit that is not known");
	ns = value * unit->nanoseconds;
	if (!(ns >= v->key->min && ns <= v->key->max))
		return yaml_wrong(v, "which is out of range");
	*(uint64_t *)field = (uint64_t)llround(ns);
	return 0;
}

static const char *format_duration(double ns, char *buf, size_t size)
{
	const struct unit *unit = &units[0];

	if (ns == 0)
		unit = &units[1];
	for (size_t i = 0; ns != 0 && i < ARRAY_SIZE(units); i++) {
		if (fmod(ns, units[i].nanoseconds) == 0)
			unit = &units[i];
	}
	snprintf(buf, size, "%.15g%s", ns / unit->nanoseconds, unit->name);
	return buf;
}

static void duration_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	char from[32], to[32];

	snprintf(buf, YAML_WANTS_SIZE, "a duration from %s to %s, in ms, s, m or h",
		 format_duration(k->min, from, sizeof(from)),
		 format_duration(k->max, to, sizeof(to)));
}

/* ---- the types ------------------------------------------------------------- */

const struct yaml_type yaml_map = {.kind = YAML_MAP};
const struct yaml_type yaml_maps = {.kind = YAML_LIST};
const struct yaml_type yaml_constant = {.wants = choices_wants, .read = read_constant};
const struct yaml_type yaml_choice = {.wants = choices_wants, .read = read_choice};
const struct yaml_type yaml_word = {.wants = choices_wants, .read = value_read_word};
const struct yaml_type yaml_name = {.wants = name_wants, .read = value_read_name};
const struct yaml_type yaml_path = {.wants = path_wants, .read = read_path};
const struct yaml_type yaml_bool = {.wants = bool_wants, .read = read_bool};
const struct yaml_type yaml_integer = {.wants = integer_wants, .read = read_integer};
const struct yaml_type yaml_number = {.wants = number_wants, .read = read_number};
const struct yaml_type yaml_duration = {.wants = duration_wants, .read = read_duration};

/* ---- one value ------------------------------------------------------------- */

static bool is_null(const struct yaml_node *n)
{
	return n->plain && (!n->length || !strcmp(n->text, "~") || !strcasecmp(n->text, "null"));
}

static bool has_control(const struct yaml_node *n)
{
	for (size_t i = 0; i < n->length; i++) {
		if (iscntrl((unsigned char)n->text[i]))
			return true;
	}
	return false;
}

static const char *shown_value(const struct yaml_value *v, const struct yaml_node *n,
			       char buf[TEXT_QUOTED_SIZE])
{
	if (v->key->secret)
		return "(hidden)";
	/* A URL with a password is as secret where an address should stand. */
	if (v->key->type->is_url || memmem(n->text, n->length, "://", 3))
		return text_quote_url(n->text, n->length, buf);
	return text_quote(n->text, n->length, buf);
}

static void report_value(struct yaml_report *r, const struct yaml_value *v,
			 const struct yaml_node *n)
{
	char shown[TEXT_QUOTED_SIZE], wants[YAML_WANTS_SIZE];
	const char *right = v->right;

	if (right)
		yaml_report_error(r, n->line, n->column, "%s is %s, %s; %s", yaml_key_label(v->key),
				  shown_value(v, n, shown), v->wrong, right);
	else
		yaml_report_error(r, n->line, n->column, "%s is %s, %s; write %s",
				  yaml_key_label(v->key), shown_value(v, n, shown), v->wrong,
				  yaml_key_wants(NULL, v->key, wants));
}

void yaml_value_read(struct yaml_report *r, const struct yaml_key *k, const struct yaml_node *n,
		     void *field)
{
	struct yaml_value v = {.key = k, .text = n->text, .length = n->length, .plain = n->plain};
	char wants[YAML_WANTS_SIZE];
	int err;

	assert(n->kind == YAML_SCALAR);
	if (is_null(n)) {
		yaml_report_error(r, n->line, n->column, "%s has no value; write %s",
				  yaml_key_label(k), yaml_key_wants(NULL, k, wants));
		return;
	}
	err = has_control(n) ? yaml_wrong(&v, "which holds a control character")
			     : k->type->read(&v, field);
	if (err == -ENOMEM)
		r->out_of_memory = true;
	else if (err)
		report_value(r, &v, n);
}
