/* SPDX-License-Identifier: Apache-2.0 */
/* config_value.c - one scalar to one field. */
#include <ctype.h>
#include <curl/curl.h>
#include <math.h>

#include "config_internal.h"
#include "../maps/names.h"
#include "../base/util.h"

/* ---- numbers --------------------------------------------------------------- */

static size_t digits(const char *text)
{
	return strspn(text, "0123456789");
}

/* Takes a decimal number off the front of text: no hexadecimal, no infinity, no NaN, and no
 * leading zeros, which YAML 1.1 reads as octal. Returns its end, or NULL. */
static const char *take_number(const char *text, double *value)
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

static bool looks_not_finite(const char *text)
{
	text += *text == '+' || *text == '-';
	text += *text == '.';
	return !strcasecmp(text, "nan") || !strcasecmp(text, "inf") ||
	       !strcasecmp(text, "infinity");
}

/* ---- one value ------------------------------------------------------------- */

/* What a type's reader knows. `wrong` and `right` may be set instead of a value: the
 * message is "LABEL is VALUE, WRONG; write RIGHT". */
struct value {
	const struct key *key;
	const char *text;
	size_t length;
	bool plain;
	const char *wrong; /* NULL: "which is not right here" */
	const char *right; /* NULL: what the key wants */
	char buf[QUOTED_SIZE + 32];
};

/* Each returns 0 when the value is stored; -EINVAL when it is wrong; -ENOMEM. */
typedef int (*value_reader)(struct value *v, void *field);

static int wrong(struct value *v, const char *what)
{
	v->wrong = what;
	return -EINVAL;
}

static int set_text(void *field, const char *text)
{
	char *copy = strdup(text);
	char **old = field;

	if (!copy)
		return -ENOMEM;
	free(*old);
	*old = copy;
	return 0;
}

/* Returns the index of the choice that stands there, or -EINVAL. */
static int read_choice_index(struct value *v)
{
	struct nearest nearest = {0};

	for (int i = 0; v->key->choices[i]; i++) {
		if (!strcmp(v->text, v->key->choices[i]))
			return i;
		nearest_try(&nearest, v->text, v->key->choices[i]);
	}
	if (nearest.best && v->key->choices[1]) {
		snprintf(v->buf, sizeof(v->buf), "did you mean %s?", nearest.best);
		v->right = v->buf;
	}
	return wrong(v, "which is not known");
}

static int read_constant(struct value *v, void *field)
{
	(void)field;
	return MIN(read_choice_index(v), 0);
}

static int read_choice(struct value *v, void *field)
{
	int i = read_choice_index(v);

	if (i >= 0)
		*(uint32_t *)field = (uint32_t)i;
	return MIN(i, 0);
}

static int read_word(struct value *v, void *field)
{
	int i = read_choice_index(v);

	if (i >= 0)
		*(const char **)field = v->key->choices[i];
	return MIN(i, 0);
}

static int read_short_text(struct value *v, void *field)
{
	if (v->length > (size_t)v->key->max)
		return wrong(v, "which is too long");
	return set_text(field, v->text);
}

static int read_name(struct value *v, void *field)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char others[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";

	if (!v->length)
		return wrong(v, "which is empty");
	if (!memchr(first, v->text[0], sizeof(first) - 1) || strspn(v->text, others) != v->length)
		return wrong(v, "with a character that a name cannot have there");
	return read_short_text(v, field);
}

static int read_path(struct value *v, void *field)
{
	if (v->text[0] != '/')
		return wrong(v, "which does not begin with /");
	return read_short_text(v, field);
}

static int read_account(struct value *v, void *field)
{
	static const char taken[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_.-@";

	if (!v->length || v->text[0] == '-' || strspn(v->text, taken) != v->length)
		return wrong(v, v->key->type == KEY_USER ? "which is no user's name"
							 : "which is no group's name");
	return read_short_text(v, field);
}

static void free_url(CURLU **url)
{
	curl_url_cleanup(*url);
}

static void free_curl(char **text)
{
	curl_free(*text);
}

/* Returns a CURLUcode; *out, when asked for, is to be freed with curl_url_cleanup. */
static CURLUcode parse_url(const char *text, CURLU **out)
{
	_cleanup_(free_url) CURLU *url = curl_url();
	CURLUcode code = url ? curl_url_set(url, CURLUPART_URL, text, 0) : CURLUE_OUT_OF_MEMORY;

	if (!code && out)
		*out = TAKE_PTR(url);
	return code;
}

static int check_url(struct value *v, const char *text)
{
	CURLUcode code = parse_url(text, NULL);

	if (code == CURLUE_OUT_OF_MEMORY)
		return -ENOMEM;
	if (code)
		return wrong(v, "which is no valid URL");
	return 0;
}

static int read_url(struct value *v, void *field)
{
	int err;

	if (strncmp(v->text, "http://", 7) != 0 && strncmp(v->text, "https://", 8) != 0)
		return wrong(v, "which is not http:// or https://");
	err = check_url(v, v->text);
	return err ? err : read_short_text(v, field);
}

static int read_url_path(struct value *v, void *field)
{
	char url[sizeof("http://h") + 256];
	int err;

	if (v->text[0] != '/')
		return wrong(v, "which does not begin with /");
	if (v->length > (size_t)v->key->max)
		return wrong(v, "which is too long");
	snprintf(url, sizeof(url), "http://h%s", v->text);
	err = check_url(v, url);
	return err ? err : set_text(field, v->text);
}

static bool is_multicast(const struct addr *ip)
{
	return addr_is_v4(ip) ? ip->bytes[12] >= 224 : ip->bytes[0] == 0xff;
}

static int parse_listener(struct value *v, struct endpoint_addr *a)
{
	int err = addr_parse_endpoint(v->text, a, &v->right);

	if (err)
		return wrong(v, "which is no address and port");
	if (!a->any_ip && is_multicast(&a->ip))
		return wrong(v, "which is no address of one host");
	return 0;
}

static int read_serve(struct value *v, void *field)
{
	struct endpoint_addr a;
	char text[ADDR_TEXT_SIZE];
	char **metrics = field;
	int err;

	if (!strcmp(v->text, "off")) {
		free(*metrics);
		*metrics = NULL;
		return 0;
	}
	err = parse_listener(v, &a);
	v->right = NULL; /* that is of endpoints, which may be a port alone */
	if (err)
		return err;
	if (a.any_ip)
		return wrong(v, "which is a port without an address");
	return set_text(field, addr_format_endpoint(&a, text));
}

static int read_listen(struct value *v, void *field)
{
	struct endpoint_addr a;
	int err = parse_listener(v, &a);

	if (err)
		return err;
	if (!a.any_ip && addr_is_any(&a.ip)) {
		snprintf(v->buf, sizeof(v->buf), "write the port alone: \"%u\"", a.port);
		v->right = v->buf;
		return wrong(v, "which is no address to connect to");
	}
	*(struct endpoint_addr *)field = a;
	return 0;
}

static int read_address(struct value *v, void *field)
{
	struct endpoint_addr a;
	int err = parse_listener(v, &a);

	v->right = NULL; /* that is of those that may be a port alone */
	if (err)
		return err;
	if (a.any_ip)
		return wrong(v, "which is a port without an address");
	if (addr_is_any(&a.ip))
		return wrong(v, "which is no address to connect to");
	*(struct endpoint_addr *)field = a;
	return 0;
}

static int read_frontend(struct value *v, void *field)
{
	struct frontend_addr f;
	bool v4;

	if (addr_parse_frontend(v->text, &f, &v->right))
		return wrong(v, "which is no address and port");
	v4 = addr_is_v4(&f.prefix);
	if (f.prefix_bits == 128 && addr_is_any(&f.prefix)) {
		snprintf(v->buf, sizeof(v->buf),
			 v4 ? "for every address write 0.0.0.0/0:%u"
			    : "for every address write [::/0]:%u",
			 f.port);
		v->right = v->buf;
		return wrong(v, "which is no address to connect to");
	}
	if (is_multicast(&f.prefix))
		return wrong(v, "which no TCP connection can have");
	*(struct frontend_addr *)field = f;
	return 0;
}

static int read_bool(struct value *v, void *field)
{
	bool is_true = !strcmp(v->text, "true");

	if (!v->plain)
		return wrong(v, "which is text in quotes");
	if (!is_true && strcmp(v->text, "false") != 0)
		return wrong(v, "which is neither");
	*(bool *)field = is_true;
	return 0;
}

static int read_plain_number(struct value *v, double *value)
{
	const char *end;

	if (!v->plain)
		return wrong(v, "which is text in quotes");
	if (looks_not_finite(v->text))
		return wrong(v, "which is not finite");
	end = take_number(v->text, value);
	if (!end || *end)
		return wrong(v, "which is no number");
	/* Said so that a NaN, too, would be refused. */
	if (!(*value >= v->key->min && *value <= v->key->max))
		return wrong(v, "which is out of range");
	return 0;
}

static int read_number(struct value *v, void *field)
{
	double value;
	int err = read_plain_number(v, &value);

	if (!err)
		*(double *)field = value + 0.0; /* not -0 */
	return err;
}

static int read_integer(struct value *v, void *field)
{
	double value;
	int err = read_plain_number(v, &value);

	if (err)
		return err;
	if (value != floor(value))
		return wrong(v, "which is not whole");
	*(int *)field = (int)value;
	return 0;
}

static const struct unit *find_unit(const char *name)
{
	for (size_t i = 0; i < config_unit_count; i++) {
		if (!strcmp(name, config_units[i].name))
			return &config_units[i];
	}
	return NULL;
}

static int read_duration(struct value *v, void *field)
{
	const struct unit *unit;
	const char *end;
	double value, ns;

	if (looks_not_finite(v->text))
		return wrong(v, "which is not finite");
	end = take_number(v->text, &value);
	if (!end)
		return wrong(v, "which is no duration");
	if (!*end) {
		snprintf(v->buf, sizeof(v->buf), "write %.20s and ms, s, m or h, as in %.20sms",
			 v->text, v->text);
		v->right = v->buf;
		return wrong(v, "without a unit");
	}
	unit = find_unit(end);
	if (!unit)
		return wrong(v, "with a unit that is not known");
	ns = value * unit->nanoseconds;
	if (!(ns >= v->key->min && ns <= v->key->max))
		return wrong(v, "which is out of range");
	*(uint64_t *)field = (uint64_t)llround(ns);
	return 0;
}

/* "/24" or "/24/64", to its end. */
static const char *read_lengths(const char *text, unsigned int *v4, unsigned int *v6)
{
	double value;
	const char *end = text + 1;

	if (!digits(end) || !(end = take_number(end, &value)) || value != floor(value))
		return NULL;
	*v4 = value > 32 ? 33 : (unsigned int)value;
	if (*end != '/')
		return end;
	end++;
	if (!digits(end) || !(end = take_number(end, &value)) || value != floor(value))
		return NULL;
	*v6 = value > 128 ? 129 : (unsigned int)value;
	return end;
}

/* IPv6 hosts have a /64, and change address within it: bits beyond tell sessions apart that are
 * one, and let one host make any number. */
static int read_session(struct value *v, void *field)
{
	static const char source[] = "source";
	const char *end = v->text + sizeof(source) - 1;
	unsigned int v4 = CONFIG_KEY_BITS_V4, v6 = CONFIG_KEY_BITS_V6;
	struct nearest nearest = {0};
	struct key_bits *out = field;

	for (uint32_t i = 0; i < PINTLE_KEY_COUNT; i++) {
		if (i != PINTLE_KEY_SOURCE && !strcmp(v->text, key_name(i))) {
			*out = (struct key_bits){.kind = i};
			return 0;
		}
		nearest_try(&nearest, v->text, key_name(i));
	}
	if (strncmp(v->text, source, sizeof(source) - 1) != 0) {
		if (nearest.best) {
			snprintf(v->buf, sizeof(v->buf), "did you mean %s?", nearest.best);
			v->right = v->buf;
		}
		return wrong(v, "which is not known");
	}
	if (*end == '/')
		end = read_lengths(end, &v4, &v6);
	if (!end || *end)
		return wrong(v, "which has no prefix length where one should be");
	if (v4 > 32 || v6 > 128) {
		v->right = "write V4BITS from 0 to 32, and V6BITS from 0 to 128";
		return wrong(v, "which is out of range");
	}
	*out = (struct key_bits){PINTLE_KEY_SOURCE, (uint8_t)v4, (uint8_t)v6};
	return 0;
}

/* Without them a request is another, or none. */
static const char *const needed_headers[] = {
	"authorization:", "connection:", "content-encoding:",  "content-length:", "content-type:",
	"expect:",        "host:",       "transfer-encoding:", "upgrade:",
};

static int read_header(struct value *v, const char *text, size_t length,
		       struct pintle_header headers[PINTLE_MAX_HEADERS], size_t n)
{
	char name[PINTLE_HEADER_SIZE] = {0};

	if (!length || length > sizeof(name) - 2)
		return wrong(v, "with a name that is empty or too long");
	if (n == PINTLE_MAX_HEADERS)
		return wrong(v, "which are too many");
	for (size_t i = 0; i < length; i++) {
		if (!isalnum((unsigned char)text[i]) && text[i] != '-')
			return wrong(v, "with a name that no such header has");
		name[i] = (char)tolower((unsigned char)text[i]);
	}
	name[length] = ':';
	for (size_t i = 0; i < ARRAY_SIZE(needed_headers); i++)
		if (!strcmp(name, needed_headers[i]))
			return wrong(v, "with one that the answer needs");
	for (size_t i = 0; i < n; i++)
		if (!strcmp(name, headers[i].name))
			return wrong(v, "with one twice");
	memcpy(headers[n].name, name, sizeof(name));
	return 0;
}

static int read_headers(struct value *v, void *field)
{
	struct pintle_header headers[PINTLE_MAX_HEADERS] = {0};
	const char *at = v->text;
	bool none = !strcmp(at, "none");
	size_t n = 0;
	int err = 0;

	while (!none && !err) {
		size_t length;

		at += strspn(at, " ");
		length = strcspn(at, ", ");
		err = read_header(v, at, length, headers, n++);
		at += length;
		at += strspn(at, " ");
		if (!*at)
			break;
		if (!err && *at++ != ',')
			err = wrong(v, "with no comma between two names");
	}
	if (!err)
		memcpy(field, headers, sizeof(headers));
	return err;
}

static const value_reader readers[] = {
	[KEY_FRONTENDS] = read_frontend,
	[KEY_CONSTANT] = read_constant,
	[KEY_CHOICE] = read_choice,
	[KEY_WORD] = read_word,
	[KEY_NAME] = read_name,
	[KEY_PATH] = read_path,
	[KEY_GROUP_NAME] = read_account,
	[KEY_USER] = read_account,
	[KEY_URL] = read_url,
	[KEY_URL_PATH] = read_url_path,
	[KEY_SERVE] = read_serve,
	[KEY_LISTEN] = read_listen,
	[KEY_ADDRESS] = read_address,
	[KEY_BOOL] = read_bool,
	[KEY_INTEGER] = read_integer,
	[KEY_NUMBER] = read_number,
	[KEY_DURATION] = read_duration,
	[KEY_SESSION] = read_session,
	[KEY_HEADERS] = read_headers,
};

static bool is_null(const struct node *n)
{
	return n->plain && (!n->length || !strcmp(n->text, "~") || !strcasecmp(n->text, "null"));
}

static bool has_control(const struct node *n)
{
	for (size_t i = 0; i < n->length; i++) {
		if (iscntrl((unsigned char)n->text[i]))
			return true;
	}
	return false;
}

static const char *shown_value(const struct value *v, const struct node *n, char buf[QUOTED_SIZE])
{
	if (v->key->secret)
		return "(hidden)";
	/* A URL with a password is as secret where an address should stand. */
	if (v->key->type == KEY_URL || v->key->type == KEY_URL_PATH ||
	    memmem(n->text, n->length, "://", 3))
		return quote_url(n->text, n->length, buf);
	return quote(n->text, n->length, buf);
}

static void report_value(struct report *r, const struct value *v, const struct node *n)
{
	char shown[QUOTED_SIZE], wants[WANTED_SIZE];
	const char *right = v->right;

	if (right)
		report_error(r, n->line, n->column, "%s is %s, %s; %s", key_label(v->key),
			     shown_value(v, n, shown), v->wrong, right);
	else
		report_error(r, n->line, n->column, "%s is %s, %s; write %s", key_label(v->key),
			     shown_value(v, n, shown), v->wrong, key_wants(v->key, wants));
}

void value_read(struct report *r, const struct key *k, const struct node *n, void *field)
{
	struct value v = {.key = k, .text = n->text, .length = n->length, .plain = n->plain};
	char wants[WANTED_SIZE];
	int err;

	if (is_null(n)) {
		report_error(r, n->line, n->column, "%s has no value; write %s", key_label(k),
			     key_wants(k, wants));
		return;
	}
	err = has_control(n) ? wrong(&v, "which holds a control character")
			     : readers[k->type](&v, field);
	if (err == -ENOMEM)
		r->out_of_memory = true;
	else if (err)
		report_value(r, &v, n);
}

void value_read_frontend(struct report *r, const struct key *k, const struct node *n,
			 struct frontend_addr *out)
{
	if (n->kind == NODE_SCALAR)
		value_read(r, k, n, out);
	else if (n->kind != NODE_BROKEN)
		report_error(r, n->line, n->column,
			     "one of %s is no text; write it in quotes, as in \"[fd77::1]:8000\"",
			     key_label(k));
}

bool url_address(const char *text, struct addr *ip, uint16_t *port)
{
	_cleanup_(free_url) CURLU *url = NULL;
	_cleanup_(free_curl) char *host = NULL;
	_cleanup_(free_curl) char *port_text = NULL;
	struct endpoint_addr a;
	char address[ADDR_TEXT_SIZE];

	if (parse_url(text, &url) || curl_url_get(url, CURLUPART_HOST, &host, 0) ||
	    curl_url_get(url, CURLUPART_PORT, &port_text, CURLU_DEFAULT_PORT) ||
	    strlen(host) + strlen(port_text) + 2 > sizeof(address))
		return false;
	snprintf(address, sizeof(address), "%.46s:%.5s", host, port_text);
	if (addr_parse_endpoint(address, &a, NULL) || a.any_ip)
		return false;
	*ip = a.ip;
	*port = a.port;
	return true;
}
