/* SPDX-License-Identifier: Apache-2.0 */
/* config_asked.c - stickiness.key: what of a request names its session, and the key of the
 * connection behind that. */
#include <assert.h>
#include <ctype.h>
#include <strings.h>

#include "config_internal.h"
#include "../base/util.h"
#include "../maps/names.h"
#include "../policy/agent_keys.h"

#define HEADER_PREFIX "header/"
#define COOKIE_PREFIX "cookie/"
#define BODY_PREFIX   "body/"
#define AUTHORIZATION "authorization"
#define AGENT         "agent"

#define MAX_WRITTEN 8 /* of them in a pool; `agent` is one */

#define X(key, ...) key,
static const char *const agent_keys[] = {PINTLE_AGENT_KEYS(X)};
#undef X
_Static_assert(ARRAY_SIZE(agent_keys) + MAX_WRITTEN - 1 <= PINTLE_MAX_ASKED_KEYS,
	       "room for agent, and for all that may be written beside it");

#define TOKEN_CHARACTERS "!#$%&'*+-.^_`|~"

/* Whether it is a token of RFC 9110 5.6.2. */
static bool types_is_token(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) &&
		    !memchr(TOKEN_CHARACTERS, text[i], strlen(TOKEN_CHARACTERS)))
			return false;
	return length;
}

/* Room for the name, the character behind it, and a zero. */
static bool fits_header(size_t length)
{
	return length + 2 <= PINTLE_HEADER_SIZE;
}

static bool is_authorization(const char *text)
{
	return !strncmp(text, AUTHORIZATION, strlen(AUTHORIZATION));
}

static bool is_in_body(const char *text)
{
	return !strncmp(text, BODY_PREFIX, strlen(BODY_PREFIX));
}

static bool is_agent(const char *text)
{
	return !strncmp(text, AGENT, strlen(AGENT));
}

static bool is_asked(const char *text)
{
	return !strncmp(text, HEADER_PREFIX, strlen(HEADER_PREFIX)) ||
	       !strncmp(text, COOKIE_PREFIX, strlen(COOKIE_PREFIX)) || is_in_body(text) ||
	       is_authorization(text) || is_agent(text);
}

/* Whether it is the name of a member of a JSON object, or two with a dot between: nothing that a
 * client would have to escape. */
static bool is_member(const char *text, size_t length)
{
	size_t dots = 0;

	for (size_t i = 0; i < length; i++) {
		bool dot = text[i] == '.';

		if (!isalnum((unsigned char)text[i]) && !memchr("_-.", text[i], 3))
			return false;
		if (dot && (!i || i == length - 1))
			return false;
		dots += dot;
	}
	return length && length < PINTLE_HEADER_SIZE && dots <= 1;
}

static void put_name(struct pintle_header *h, const char *name, size_t length, char end, bool small)
{
	for (size_t i = 0; i < length; i++)
		h->name[i] = small ? (char)tolower((unsigned char)name[i]) : name[i];
	h->name[length] = end;
}

/* Headers that say how a request is sent. Requests of one length are of no one session, and
 * one-shot changes `Connection`. */
static bool is_of_sending(const struct pintle_header *h)
{
	static const char *const names[] = {"connection:", "content-length:", "transfer-encoding:"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(h->name, names[i]))
			return true;
	return false;
}

/* One of the list. */
struct asked_key {
	struct pintle_header header, part;
};

static int read_body_key(struct yaml_value *v, const char *name, size_t length, struct asked_key *k)
{
	if (!is_member(name, length)) {
		v->right = "write body/NAME, with a NAME of 1 to 31 letters, digits and any of _-, "
			   "or two with a dot between";
		return yaml_wrong(v, "which has a name that no member of a body has");
	}
	memcpy(k->header.name, PINTLE_ASKED_BODY, sizeof(PINTLE_ASKED_BODY));
	memcpy(k->part.name, name, length);
	return 0;
}

/* Reads one of the list, of `length` characters, but for `agent`. */
static int read_asked_key(struct yaml_value *v, const char *text, size_t length,
			  struct asked_key *k)
{
	bool cookie = !strncmp(text, COOKIE_PREFIX, strlen(COOKIE_PREFIX));
	const char *slash = memchr(text, '/', length);
	const char *name = slash ? slash + 1 : text;
	size_t size = length - (size_t)(name - text);

	*k = (struct asked_key){0};
	if (is_in_body(text))
		return read_body_key(v, name, size, k);
	if (!types_is_token(name, size) || !fits_header(size) ||
	    (is_authorization(text) && length != strlen(AUTHORIZATION)) || is_agent(text)) {
		v->right = "write header/NAME or cookie/NAME, with a NAME of 1 to 30 letters, "
			   "digits and any of " TOKEN_CHARACTERS
			   ", body/NAME, or authorization or agent alone";
		return yaml_wrong(v, "which has a name that no header or cookie has");
	}
	put_name(&k->header, cookie ? "cookie" : name, cookie ? strlen("cookie") : size, ':', true);
	if (is_of_sending(&k->header)) {
		v->right = "write a header by which clients name their sessions";
		return yaml_wrong(v,
				  "which has a header that says how a request is sent, not whose "
				  "it is");
	}
	if (cookie)
		put_name(&k->part, name, size, '=', false);
	return 0;
}

static void put_asked(struct pintle_asked *asked, size_t *n, const struct asked_key *k)
{
	asked->headers[*n] = k->header;
	asked->parts[*n] = k->part;
	(*n)++;
	if (!asked->in_body && k->header.name[0] == PINTLE_ASKED_BODY[0])
		asked->in_body = (uint32_t)*n;
}

/* A key of agent's that was written before it is there twice, and counts where it was written. */
static void put_agent(struct pintle_asked *asked, size_t *n)
{
	struct asked_key k;
	struct yaml_value v = {0};

	for (size_t i = 0; i < ARRAY_SIZE(agent_keys); i++) {
		int err = read_asked_key(&v, agent_keys[i], strlen(agent_keys[i]), &k);

		assert(!err);
		(void)err;
		put_asked(asked, n, &k);
	}
}

void config_asked_agent(struct pintle_asked *asked)
{
	size_t n = 0;

	*asked = (struct pintle_asked){0};
	put_agent(asked, &n);
}

bool config_asks_agent(const struct config_pool *p)
{
	const struct pintle_asked *asked = &p->stickiness.asked;
	const size_t size = ARRAY_SIZE(agent_keys) * sizeof(asked->headers[0]);
	struct pintle_asked agent;

	config_asked_agent(&agent);
	for (size_t i = 0; i + ARRAY_SIZE(agent_keys) <= PINTLE_MAX_ASKED_KEYS; i++)
		if (!memcmp(&asked->headers[i], agent.headers, size) &&
		    !memcmp(&asked->parts[i], agent.parts, size))
			return true;
	return false;
}

/* What is read of the list so far. */
struct asked_list {
	struct pintle_asked asked;
	size_t n;
	size_t written;
	size_t agent; /* 1 + the index of what `agent` stands for first; 0: it is not there */
};

/* Whether `agent` was read, and has it: it counts there. */
static bool agent_has(const struct asked_list *l, const struct asked_key *k)
{
	size_t from = l->agent - 1;

	for (size_t i = 0; l->agent && i < ARRAY_SIZE(agent_keys); i++)
		if (!memcmp(&l->asked.headers[from + i], &k->header, sizeof(k->header)) &&
		    !strcmp(l->asked.parts[from + i].name, k->part.name))
			return true;
	return false;
}

/* Whether it is one of those that were read. Cookies whose names differ in small and capital
 * letters alone are told apart by some servers. */
static int check_again(struct yaml_value *v, const struct asked_list *l, const struct asked_key *k)
{
	for (size_t i = 0; i < l->n; i++) {
		const char *other = l->asked.parts[i].name;

		if (memcmp(&l->asked.headers[i], &k->header, sizeof(k->header)) != 0)
			continue;
		v->right = "write each once";
		if (!strcmp(other, k->part.name))
			return yaml_wrong(v, "which has a name twice");
		v->right = "write the one that clients send";
		if (k->header.name[0] != PINTLE_ASKED_BODY[0] && !strcasecmp(other, k->part.name))
			return yaml_wrong(v,
					  "which has a cookie in small and in capital letters, and "
					  "servers do not agree whether these are two");
	}
	return 0;
}

/* Reads one of the list, of `length` characters. */
static int read_asked(struct yaml_value *v, const char *text, size_t length, struct asked_list *l)
{
	struct asked_key k;
	int err;

	if (l->written++ == MAX_WRITTEN) {
		v->right = "write at most eight of agent, header/NAME, cookie/NAME, body/NAME and "
			   "authorization";
		return yaml_wrong(v, "which has too many names");
	}
	if (length == strlen(AGENT) && is_agent(text)) {
		v->right = "write each once";
		if (l->agent)
			return yaml_wrong(v, "which has agent twice");
		l->agent = l->n + 1;
		put_agent(&l->asked, &l->n);
		return 0;
	}
	err = read_asked_key(v, text, length, &k);
	if (!err && agent_has(l, &k))
		return 0;
	err = err ?: check_again(v, l, &k);
	if (!err)
		put_asked(&l->asked, &l->n, &k);
	return err;
}

/* Whether a key of the connection begins there, with others behind it. */
static bool is_before_others(const char *text)
{
	size_t length = strcspn(text, ",/ ");

	if (!strchr(text, ','))
		return false;
	for (uint32_t i = 0; i < CONFIG_SESSION_KEYS; i++) {
		const char *name = key_name(config_session_kind(i));

		if (strlen(name) == length && !strncmp(text, name, length))
			return true;
	}
	return false;
}

/* The one key behind what requests name. */
static int read_last_key(struct yaml_value *v, const char *text, struct key_bits *bits)
{
	struct yaml_value whole = *v;
	int err;

	if (is_before_others(text)) {
		v->right = "write agent, header/NAME, cookie/NAME, body/NAME and authorization "
			   "first, and one other key behind them";
		return yaml_wrong(v, "which has a key of the connection before another");
	}
	v->text = text;
	v->length = strlen(text);
	err = config_session.read(v, bits);
	v->text = whole.text;
	v->length = whole.length;
	return err;
}

/* A list with commas: what requests name, and last what a client's address or the like makes. */
static int read_session_key(struct yaml_value *v, void *field)
{
	struct config_stickiness *s = field;
	struct asked_list list = {0};
	struct key_bits bits = {PINTLE_KEY_SOURCE, CONFIG_KEY_BITS_V4, CONFIG_KEY_BITS_V6};
	const char *at = v->text;
	int err = 0;

	_Static_assert(offsetof(struct config_stickiness, key_kind) == 0,
		       "the field is the struct");
	while (!err && is_asked(at)) {
		size_t length = strcspn(at, ", ");

		err = read_asked(v, at, length, &list);
		at += length;
		at += strspn(at, " ");
		if (!*at)
			break;
		if (!err && *at != ',') {
			v->right = "write a comma between two keys";
			err = yaml_wrong(v, "which has no comma where one should be");
		}
		at += strspn(at, ", ");
	}
	if (err)
		return err;
	if (*at || !list.n)
		err = read_last_key(v, at, &bits);
	if (err)
		return err;
	memcpy(s, &bits, sizeof(bits));
	s->asked = list.asked;
	return 0;
}

static void session_key_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	size_t n;

	config_session.wants(k, buf);
	n = strlen(buf);
	snprintf(buf + n, YAML_WANTS_SIZE - n,
		 ", up to eight of agent, header/NAME, cookie/NAME, body/NAME and authorization "
		 "before it");
}

/* The same as a list of YAML. */
static void read_key_list(struct yaml_report *r, const struct yaml_key *k,
			  const struct yaml_node *n, void *base)
{
	char text[YAML_WANTS_SIZE] = "", wants[YAML_WANTS_SIZE];
	struct yaml_node written = *n;

	for (const struct yaml_node *one = n->first; n->kind == YAML_LIST && one; one = one->next) {
		if (one->kind != YAML_SCALAR || !one->length || strlen(one->text) != one->length ||
		    strchr(one->text, ',')) {
			yaml_report_error(r, one->line, one->column,
					  "%s has a place without a word; write one word in each",
					  yaml_key_label(k));
			return;
		}
		text_list_add(text, sizeof(text), one->text);
	}
	if (n->kind == YAML_LIST && !n->count) {
		yaml_report_error(r, n->line, n->column, "%s is an empty list; write %s",
				  yaml_key_label(k), yaml_key_wants(NULL, k, wants));
		return;
	}
	if (n->kind == YAML_LIST)
		written = (struct yaml_node){
			.line = n->line, .column = n->column, .text = text, .length = strlen(text)};
	if (written.kind == YAML_SCALAR)
		yaml_value_read(r, k, &written, (char *)base + k->offset);
	else
		yaml_report_kind(r, n, yaml_key_label(k), yaml_key_wants(NULL, k, wants));
}

static void read_session_keys(struct yaml_report *r, const struct yaml_key *k,
			      const struct yaml_node *n, void *base)
{
	struct config_stickiness *s = (void *)((char *)base + k->offset);
	size_t errors = r->errors;

	read_key_list(r, k, n, base);
	s->key_wrong = r->errors > errors;
}

const struct yaml_type config_session_key = {
	.wants = session_key_wants, .read = read_session_key, .read_node = read_session_keys};
