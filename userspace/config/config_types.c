/* SPDX-License-Identifier: Apache-2.0 */
/* config_types.c - types of values that only Pintle's configuration has: accounts, addresses, URLs,
 * session keys, headers. */
#include <ctype.h>
#include <math.h>
#include <strings.h>

#include "config_internal.h"
#include "../base/expfmt.h"
#include "../maps/names.h"
#include "../net/cgroup2.h"
#include "../net/url.h"
#include "../base/util.h"

static int read_owner(struct yaml_value *v, void *field)
{
	static const char taken[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_.-@";

	if (!v->length || v->text[0] == '-' || strspn(v->text, taken) != v->length)
		return yaml_wrong(v, v->key->type == &config_user ? "which is no user's name"
								  : "which is no group's name");
	return yaml_take_text(v, field);
}

static void owner_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE, "the name or number of a %s, of at most %.0f bytes",
		 k->type == &config_user ? "user" : "group", k->max);
}

const struct yaml_type config_user = {.wants = owner_wants, .read = read_owner};
const struct yaml_type config_group_name = {.wants = owner_wants, .read = read_owner};

/* ---- cgroups --------------------------------------------------------------- */

static int read_cgroup(struct yaml_value *v, void *field)
{
	return v->text[0] == '*' ? yaml_take_text(v, field) : yaml_path.read(v, field);
}

static void cgroup_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE,
		 "a path from / on, or a pattern that begins with / or *, of at most %.0f bytes",
		 k->max);
}

static int read_cgroup_node(struct yaml_value *v, void *field)
{
	return !strcmp(v->text, CGROUP2_KUBEPODS) ? yaml_take_text(v, field)
						  : yaml_path.read(v, field);
}

static void cgroup_node_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE,
		 CGROUP2_KUBEPODS ", or a path from / on, of at most %.0f bytes", k->max);
}

const struct yaml_type config_cgroup_node = {.wants = cgroup_node_wants, .read = read_cgroup_node};

const struct yaml_type config_cgroup = {.wants = cgroup_wants, .read = read_cgroup};

/* ---- pools ------------------------------------------------------------------ */

/* "NAMESPACE/NAME:PORT" is a name in a cluster: config_check.c refuses it in the file. */
static int read_pool_name(struct yaml_value *v, void *field)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char others[] = "abcdefghijklmnopqrstuvwxyz0123456789-./:";

	if (!v->length || !memchr(first, v->text[0], sizeof(first) - 1) ||
	    strspn(v->text, others) != v->length)
		return yaml_name.read(v, field);
	return yaml_take_text(v, field);
}

static void pool_name_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	yaml_name.wants(k, buf);
}

const struct yaml_type config_pool_name = {.wants = pool_name_wants, .read = read_pool_name};

/* ---- URLs ------------------------------------------------------------------ */

static int check_url(struct yaml_value *v, const char *text)
{
	int err = url_check(text);

	return err == -EINVAL ? yaml_wrong(v, "which is no valid URL") : err;
}

static int read_url(struct yaml_value *v, void *field)
{
	int err;

	if (strncmp(v->text, "http://", 7) != 0 && strncmp(v->text, "https://", 8) != 0)
		return yaml_wrong(v, "which is not http:// or https://");
	err = check_url(v, v->text);
	return err ? err : yaml_take_text(v, field);
}

static int read_url_path(struct yaml_value *v, void *field)
{
	char url[sizeof("http://h") + 256];
	int err;

	if (v->text[0] != '/')
		return yaml_wrong(v, "which does not begin with /");
	if (v->length > (size_t)v->key->max)
		return yaml_wrong(v, "which is too long");
	snprintf(url, sizeof(url), "http://h%s", v->text);
	err = check_url(v, url);
	return err ? err : yaml_set_text(field, v->text);
}

static void url_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE, "an http:// or https:// URL of at most %.0f bytes", k->max);
}

static void url_path_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE, "a URL's path, from / on, of at most %.0f bytes", k->max);
}

static int read_page(struct yaml_value *v, void *field)
{
	return strcmp(v->text, CONFIG_NO_PAGE) ? read_url(v, field) : yaml_set_text(field, v->text);
}

static void page_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE,
		 "an http:// or https:// URL of at most %.0f bytes, or " CONFIG_NO_PAGE, k->max);
}

const struct yaml_type config_page = {.wants = page_wants, .read = read_page, .is_url = true};
const struct yaml_type config_url = {.wants = url_wants, .read = read_url, .is_url = true};
const struct yaml_type config_url_path = {
	.wants = url_path_wants, .read = read_url_path, .is_url = true};

static int read_metric(struct yaml_value *v, void *field)
{
	struct expfmt_sample metric;

	if (!expfmt_read_metric(v->text, &metric))
		return yaml_wrong(v, "which is no metric's name");
	return yaml_take_text(v, field);
}

static void metric_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE,
		 "a metric's name, or NAME{LABEL=\"VALUE\"} for series with that label, of at most "
		 "%.0f bytes",
		 k->max);
}

const struct yaml_type config_metric = {.wants = metric_wants, .read = read_metric};

static int read_model_name(struct yaml_value *v, void *field)
{
	if (!v->length)
		return yaml_wrong(v, "which is empty");
	return yaml_take_text(v, field);
}

static void model_name_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	snprintf(buf, YAML_WANTS_SIZE, "a model's name of at most %.0f bytes", k->max);
}

const struct yaml_type config_model_name = {.wants = model_name_wants, .read = read_model_name};

/* ---- addresses ------------------------------------------------------------- */

static bool types_is_multicast(const struct addr *ip)
{
	return addr_is_v4(ip) ? ip->bytes[12] >= 224 : ip->bytes[0] == 0xff;
}

static int parse_listener(struct yaml_value *v, struct endpoint_addr *a)
{
	int err = addr_parse_endpoint(v->text, a, &v->right);

	if (err)
		return yaml_wrong(v, "which is no address and port");
	if (!a->any_ip && types_is_multicast(&a->ip))
		return yaml_wrong(v, "which is no address of one host");
	return 0;
}

static int read_serve(struct yaml_value *v, void *field)
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
	v->right = NULL; /* the parser's advice is for endpoints, which may be a port alone */
	if (err)
		return err;
	if (a.any_ip)
		return yaml_wrong(v, "which is a port without an address");
	return yaml_set_text(field, addr_format_endpoint(&a, text));
}

static void serve_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "ADDRESS:PORT, [ADDRESS]:PORT or off");
}

static const char *find_port(const char *text);

static int read_listen(struct yaml_value *v, void *field)
{
	struct endpoint_addr a;
	int err = parse_listener(v, &a);

	if (err && find_port(v->text)) {
		v->right = "write address: for a server that has a name";
		return yaml_wrong(v, "which is a name");
	}
	if (err)
		return err;
	if (!a.any_ip && addr_is_any(&a.ip)) {
		snprintf(v->buf, sizeof(v->buf), "write the port alone: \"%u\"", a.port);
		v->right = v->buf;
		return yaml_wrong(v, "which is no address to connect to");
	}
	*(struct endpoint_addr *)field = a;
	return 0;
}

static void listen_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "ADDRESS:PORT, [ADDRESS]:PORT or a port alone");
}

static int types_read_address(struct yaml_value *v, void *field)
{
	struct endpoint_addr a;
	int err = parse_listener(v, &a);

	v->right = NULL; /* the parser's advice is for `listen`, which may be a port alone */
	if (err)
		return err;
	if (a.any_ip)
		return yaml_wrong(v, "which is a port without an address");
	if (addr_is_any(&a.ip))
		return yaml_wrong(v, "which is no address to connect to");
	*(struct endpoint_addr *)field = a;
	return 0;
}

static void address_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "ADDRESS:PORT or [ADDRESS]:PORT");
}

/* Whether the text is a host's name and a port. */
static const char *find_port(const char *text)
{
	const char *colon = strrchr(text, ':');

	return colon && config_is_host(text, (size_t)(colon - text)) ? colon + 1 : NULL;
}

static int read_server(struct yaml_value *v, void *field)
{
	const char *port = find_port(v->text);
	struct config_server_at *to = field;
	struct endpoint_addr a;
	char *host;

	if (!port)
		return types_read_address(v, &to->at);
	if (addr_parse_endpoint(port, &a, NULL)) {
		v->right = "write a port from 1 to 65535 behind the name, without leading zeros";
		return yaml_wrong(v, "which has no port");
	}
	host = strndup(v->text, (size_t)(port - 1 - v->text));
	if (!host)
		return -ENOMEM;
	for (char *p = host; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	free(to->host);
	to->host = host;
	to->at = (struct endpoint_addr){.port = a.port};
	return 0;
}

static void server_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE,
		 "ADDRESS:PORT, [ADDRESS]:PORT or NAME:PORT, with the name's domain");
}

/* Port 53 may be left out. */
static int read_nameserver(struct yaml_value *v, void *field)
{
	char text[ADDR_TEXT_SIZE];
	struct frontend_addr f;

	snprintf(text, sizeof(text), strchr(v->text, ':') ? "[%.48s]:53" : "%.48s:53", v->text);
	if (strchr(v->text, '/') || addr_parse_frontend(text, &f, NULL))
		return types_read_address(v, field);
	if (addr_is_any(&f.prefix) || types_is_multicast(&f.prefix))
		return yaml_wrong(v, "which is no address to connect to");
	*(struct endpoint_addr *)field = (struct endpoint_addr){.ip = f.prefix, .port = f.port};
	return 0;
}

static void nameserver_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "a list such as [\"10.0.0.53\", \"[fd00::53]:5353\"]");
}

static int read_frontend(struct yaml_value *v, void *field)
{
	struct frontend_addr f;
	bool v4;

	if (addr_parse_frontend(v->text, &f, &v->right))
		return yaml_wrong(v, "which is no address and port");
	v4 = addr_is_v4(&f.prefix);
	if (f.prefix_bits == 128 && addr_is_any(&f.prefix)) {
		snprintf(v->buf, sizeof(v->buf),
			 v4 ? "for every address write 0.0.0.0/0:%u"
			    : "for every address write [::/0]:%u",
			 f.port);
		v->right = v->buf;
		return yaml_wrong(v, "which is no address to connect to");
	}
	if (types_is_multicast(&f.prefix))
		return yaml_wrong(v, "which no TCP connection can have");
	*(struct frontend_addr *)field = f;
	return 0;
}

static void frontends_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "a list such as [\"10.77.0.1:8000\", \"[fd77::1]:8000\"]");
}

/* A client's name, as `pintle sessions` writes it. */
static int read_spared(struct yaml_value *v, void *field)
{
	struct config_spared s = {0};

	if (!v->length || v->length >= sizeof(s.name))
		return yaml_wrong(v, "which is no name of a client");
	for (size_t i = 0; i < v->length; i++)
		if (!isalnum((unsigned char)v->text[i]) && !strchr("/-._", v->text[i]))
			return yaml_wrong(v, "which is no name of a client");
	memcpy(s.name, v->text, v->length);
	*(struct config_spared *)field = s;
	return 0;
}

/* A pool's name, as another pool's `name` has it. */
static int read_other(struct yaml_value *v, void *field)
{
	struct config_other o = {0};

	if (!v->length || v->length >= sizeof(o.name))
		return yaml_wrong(v, "which is no name of a pool");
	for (size_t i = 0; i < v->length; i++)
		if (!isgraph((unsigned char)v->text[i]))
			return yaml_wrong(v, "which is no name of a pool");
	memcpy(o.name, v->text, v->length);
	*(struct config_other *)field = o;
	return 0;
}

static void others_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "a list of pools such as [llama-8b-spare]");
}

static void spared_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "a list of clients such as [prometheus, pod/UID]");
}

const struct yaml_type config_spared = {
	.kind = YAML_LIST,
	.wants = spared_wants,
	.read = read_spared,
	.example = "prometheus",
};

const struct yaml_type config_others = {
	.kind = YAML_LIST,
	.wants = others_wants,
	.read = read_other,
	.example = "prometheus",
};

/* An address or a prefix without a port, as one of frontends has it. */
static int read_prefix(struct yaml_value *v, void *field)
{
	char text[ADDR_TEXT_SIZE];
	struct frontend_addr f;

	snprintf(text, sizeof(text), strchr(v->text, ':') ? "[%.48s]:1" : "%.48s:1", v->text);
	if (addr_parse_frontend(text, &f, &v->right))
		return yaml_wrong(v, "which is no prefix of addresses");
	if (types_is_multicast(&f.prefix))
		return yaml_wrong(v, "which no TCP connection can have");
	f.port = 0;
	*(struct frontend_addr *)field = f;
	return 0;
}

static void source_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "an address, or a prefix such as 10.9.0.0/16");
}

const struct yaml_type config_source = {.wants = source_wants, .read = read_prefix};

static int read_account(struct yaml_value *v, void *field)
{
	static const char taken[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";
	const char *slash = strchr(v->text, '/');
	size_t space = slash ? (size_t)(slash - v->text) : 0;

	if (!space || !slash[1] || strspn(v->text, taken) != space ||
	    space + 1 + strspn(slash + 1, taken) != v->length)
		return yaml_wrong(v, "which is no service account");
	return yaml_take_text(v, field);
}

static void account_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "NAMESPACE/NAME");
}

const struct yaml_type config_account = {.wants = account_wants, .read = read_account};

static void prefixes_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "a list such as [\"10.99.0.0/16\", \"fd99::/64\"]");
}

const struct yaml_type config_prefixes = {
	.kind = YAML_LIST,
	.wants = prefixes_wants,
	.read = read_prefix,
	.example = "\"10.99.0.0/16\"",
};
const struct yaml_type config_serve = {.wants = serve_wants, .read = read_serve};
const struct yaml_type config_listen = {.wants = listen_wants, .read = read_listen};
const struct yaml_type config_address = {.wants = address_wants, .read = types_read_address};
const struct yaml_type config_server = {.wants = server_wants, .read = read_server};
const struct yaml_type config_nameserver = {
	.kind = YAML_LIST,
	.wants = nameserver_wants,
	.read = read_nameserver,
	.example = "\"10.0.0.53\"",
};
const struct yaml_type config_frontends = {
	.kind = YAML_LIST,
	.wants = frontends_wants,
	.read = read_frontend,
	.example = "\"[fd77::1]:8000\"",
};

/* ---- sessions -------------------------------------------------------------- */

/* Reads "/24" or "/24/64", and returns its end; NULL: it has no such form. A length out of range
 * comes out as 33 or 129. */
static const char *read_lengths(const char *text, unsigned int *v4, unsigned int *v6)
{
	double value;
	const char *end = text + 1;

	if (!isdigit((unsigned char)*end) || !(end = yaml_take_number(end, &value)) ||
	    value != floor(value))
		return NULL;
	*v4 = value > 32 ? 33 : (unsigned int)value;
	if (*end != '/')
		return end;
	end++;
	if (!isdigit((unsigned char)*end) || !(end = yaml_take_number(end, &value)) ||
	    value != floor(value))
		return NULL;
	*v6 = value > 128 ? 129 : (unsigned int)value;
	return end;
}

/* By default 64 bits of an IPv6 address count. A host has a whole /64 and changes its address
 * within it: with all 128 bits fd77::1 and fd77::2, the same host, would be two sessions, and one
 * host could make any number. */
static int read_session(struct yaml_value *v, void *field)
{
	static const char source[] = "source";
	const char *end = v->text + sizeof(source) - 1;
	unsigned int v4 = CONFIG_KEY_BITS_V4, v6 = CONFIG_KEY_BITS_V6;
	struct text_nearest nearest = {0};
	struct key_bits *out = field;

	for (uint32_t i = 0; i < CONFIG_SESSION_KEYS; i++) {
		uint32_t kind = config_session_kind(i);

		if (kind != PINTLE_KEY_SOURCE && !strcmp(v->text, key_name(kind))) {
			*out = (struct key_bits){.kind = kind};
			return 0;
		}
		text_nearest_try(&nearest, v->text, key_name(kind));
	}
	if (strncmp(v->text, source, sizeof(source) - 1) != 0) {
		yaml_suggest(v, &nearest);
		return yaml_wrong(v, "which is not known");
	}
	if (*end == '/')
		end = read_lengths(end, &v4, &v6);
	if (!end || *end)
		return yaml_wrong(v, "which has no prefix length where one should be");
	if (v4 > 32 || v6 > 128) {
		v->right = "write V4BITS from 0 to 32, and V6BITS from 0 to 128";
		return yaml_wrong(v, "which is out of range");
	}
	*out = (struct key_bits){PINTLE_KEY_SOURCE, (uint8_t)v4, (uint8_t)v6};
	return 0;
}

static void session_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	size_t n = 0;

	(void)k;
	for (uint32_t i = 0; i < CONFIG_SESSION_KEYS && n < YAML_WANTS_SIZE; i++) {
		uint32_t kind = config_session_kind(i);

		n += (size_t)snprintf(
			buf + n, YAML_WANTS_SIZE - n, "%s%s%s",
			!i                             ? ""
			: i == CONFIG_SESSION_KEYS - 1 ? " or "
						       : ", ",
			key_name(kind),
			kind == PINTLE_KEY_SOURCE ? ", source/V4BITS, source/V4BITS/V6BITS" : "");
	}
}

const struct yaml_type config_session = {.wants = session_wants, .read = read_session};

static void tenant_by_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE,
		 "source, source/V4BITS or source/V4BITS/V6BITS; with `address` also namespace, "
		 "serviceAccount or cgroup");
}

/* The other words are read, so that the check can say why not. */
const struct yaml_type config_tenant_by = {.wants = tenant_by_wants, .read = read_session};

/* ---- maxExtraLoad ---------------------------------------------------------- */

static int read_extra(struct yaml_value *v, void *field)
{
	if (strcmp(v->text, "auto") != 0)
		return yaml_number.read(v, field);
	*(double *)field = CONFIG_EXTRA_AUTO;
	return 0;
}

static void extra_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	size_t n;

	yaml_number.wants(k, buf);
	n = strlen(buf);
	snprintf(buf + n, YAML_WANTS_SIZE - n, ", or auto");
}

const struct yaml_type config_extra = {.wants = extra_wants, .read = read_extra};

/* ---- headers --------------------------------------------------------------- */

/* Headers without which the server would answer another request, or none. */
static const char *const needed_headers[] = {
	"authorization:", "connection:", "content-encoding:",  "content-length:", "content-type:",
	"expect:",        "host:",       "transfer-encoding:", "upgrade:",
};

static int read_header(struct yaml_value *v, const char *text, size_t length,
		       struct pintle_header headers[PINTLE_MAX_HEADERS], size_t n)
{
	char name[PINTLE_HEADER_SIZE] = {0};

	if (!length || length > sizeof(name) - 2)
		return yaml_wrong(v, "with a name that is empty or too long");
	if (n == PINTLE_MAX_HEADERS)
		return yaml_wrong(v, "which are too many");
	for (size_t i = 0; i < length; i++) {
		if (!isalnum((unsigned char)text[i]) && text[i] != '-')
			return yaml_wrong(v, "with a name that no such header has");
		name[i] = (char)tolower((unsigned char)text[i]);
	}
	name[length] = ':';
	for (size_t i = 0; i < ARRAY_SIZE(needed_headers); i++)
		if (!strcmp(name, needed_headers[i]))
			return yaml_wrong(v, "with one that the answer needs");
	for (size_t i = 0; i < n; i++)
		if (!strcmp(name, headers[i].name))
			return yaml_wrong(v, "with one twice");
	memcpy(headers[n].name, name, sizeof(name));
	return 0;
}

static int read_headers(struct yaml_value *v, void *field)
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
			err = yaml_wrong(v, "with no comma between two names");
	}
	if (!err)
		memcpy(field, headers, sizeof(headers));
	return err;
}

static void headers_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "up to %d names of headers with commas between, or none",
		 PINTLE_MAX_HEADERS);
}

const struct yaml_type config_headers = {.wants = headers_wants, .read = read_headers};

/* ---- reserve --------------------------------------------------------------- */

static int read_reserve(struct yaml_value *v, void *field)
{
	struct config_reserve *out = field;
	const char *end;
	double n;

	v->right = "write a number of endpoints, such as 2, or a percentage, such as \"25%\"";
	if (!isdigit((unsigned char)v->text[0]) || !(end = yaml_take_number(v->text, &n)) ||
	    n != floor(n) || (*end && strcmp(end, "%") != 0))
		return yaml_wrong(v, "which is no number of endpoints, and no percentage");
	if (n < 1 || n > (*end ? 99 : PINTLE_MAX_MEMBERS))
		return yaml_wrong(v, "which is out of range");
	*out = (struct config_reserve){.number = (uint32_t)n, .percent = *end};
	return 0;
}

static void reserve_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "a number of endpoints, or a percentage of them: \"25%%\"");
}

const struct yaml_type config_reserve = {.wants = reserve_wants, .read = read_reserve};

/* ---- rates ----------------------------------------------------------------- */

static int read_rate(struct yaml_value *v, void *field)
{
	static const struct {
		const char *end;
		double ns;
	} units[] = {{"/s", (double)NSEC_PER_SEC},
		     {"/m", 60 * (double)NSEC_PER_SEC},
		     {"/h", 3600 * (double)NSEC_PER_SEC}};
	const char *end;
	double n;

	v->right = "write a number for each second, minute or hour, such as 10/s, 5/m or 100/h";
	if (!isdigit((unsigned char)v->text[0]) || !(end = yaml_take_number(v->text, &n)))
		return yaml_wrong(v, "which is no rate");
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (strcmp(end, units[i].end) != 0)
			continue;
		if (n < 1 || units[i].ns / n < 1000)
			return yaml_wrong(v, "which is out of range");
		*(uint64_t *)field = (uint64_t)(units[i].ns / n);
		return 0;
	}
	return yaml_wrong(v, "which is no rate");
}

static void rate_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "a rate such as 10/s, 5/m or 100/h");
}

const struct yaml_type config_rate = {.wants = rate_wants, .read = read_rate};

static int read_tenant(struct yaml_value *v, void *field)
{
	bool good = v->length;

	for (size_t i = 0; i < v->length; i++)
		good = good && isgraph((unsigned char)v->text[i]);
	if (!good)
		return yaml_wrong(v, "which is no tenant");
	return yaml_take_text(v, field);
}

static void tenant_wants(const struct yaml_key *k, char buf[YAML_WANTS_SIZE])
{
	(void)k;
	snprintf(buf, YAML_WANTS_SIZE, "a tenant as `by` has it: a namespace, say, or an address");
}

const struct yaml_type config_tenant = {.wants = tenant_wants, .read = read_tenant};
