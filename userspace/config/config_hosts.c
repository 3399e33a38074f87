/* SPDX-License-Identifier: Apache-2.0 */
/* config_hosts.c - endpoints whose address is a host's name. Each address that DNS has for the host
 * becomes an endpoint, unless it is one to which a name must not lead. */
#include <ctype.h>

#include "config_internal.h"
#include "../base/util.h"

/* ---- the name -------------------------------------------------------------- */

/* Letters, digits, "-" and "_" in parts of at most 63, at least two parts, the last one not a
 * number: "10.0.0.300" is a mistake, not a name. */
bool config_is_host(const char *text, size_t length)
{
	size_t part = 0, parts = 1;
	bool letter = false;

	if (!length || length > CONFIG_MAX_HOST)
		return false;
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '.' && part && i + 1 < length) {
			parts++;
			part = 0;
			letter = false;
			continue;
		}
		if ((!isalnum(c) && c != '_' && (c != '-' || !part)) || ++part > 63)
			return false;
		letter |= !isdigit(c);
	}
	return parts > 1 && letter;
}

/* ---- checks ---------------------------------------------------------------- */

struct seen {
	const struct config_endpoint *e;
	const struct config_pool *pool;
};

static bool same_host(const struct config_endpoint *a, const struct config_endpoint *b)
{
	return a->host && b->host && a->address.port == b->address.port &&
	       !strcmp(a->host, b->host);
}

/* The first endpoint before this one that has its name and port. */
static struct seen find_same(const struct config *c, const struct config_endpoint *e)
{
	for (size_t i = 0; i < c->pool_count; i++) {
		const struct config_pool *p = &c->pools[i];

		for (size_t k = 0; k < p->endpoint_count; k++) {
			if (&p->endpoints[k] == e)
				return (struct seen){0};
			if (same_host(&p->endpoints[k], e))
				return (struct seen){&p->endpoints[k], p};
		}
	}
	return (struct seen){0};
}

/* What one address of several cannot have. */
static void config_hosts_check_keys(const struct config_endpoint *e, const struct yaml_node *n,
				    struct yaml_report *r)
{
	static const char *const keys[] = {"metrics", "gpu"};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const struct yaml_node *place = yaml_node_towards(n, keys[i], NULL);

		if (place != n && (i || e->metrics_url))
			yaml_report_error(
				r, place->line, place->column,
				"endpoint %s has %s, and a name as its address, which may "
				"stand for several servers; remove %s",
				endpoint_label(e), keys[i], keys[i]);
	}
}

static void check_host(const struct config *c, const struct config_endpoint *e,
		       const struct yaml_node *n, struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(n, "address", NULL);
	struct seen first = find_same(c, e);

	config_hosts_check_keys(e, n, r);
	if (first.e)
		yaml_report_error(
			r, place->line, place->column,
			"address %s:%u is that of endpoint %s/%s (line %d), too; write it "
			"once",
			e->host, e->address.port, pool_label(first.pool), endpoint_label(first.e),
			first.e->line);
	place = yaml_node_towards(n, "name", NULL);
	if (e->name && strlen(e->name) > CONFIG_MAX_HOST_NAME)
		yaml_report_error(
			r, place->line, place->column,
			"name has %zu characters, and an address is added to it; write at "
			"most %d",
			strlen(e->name), CONFIG_MAX_HOST_NAME);
}

void config_hosts_check(const struct config *c, const struct yaml_node *root, struct yaml_report *r)
{
	const struct yaml_node *pool = yaml_node_at(yaml_node_get(root, "pools"), 0);
	size_t hosts = 0;

	for (size_t i = 0; i < c->pool_count; i++, pool = pool->next) {
		const struct yaml_node *n = yaml_node_at(yaml_node_get(pool, "endpoints"), 0);

		for (size_t k = 0; k < c->pools[i].endpoint_count; k++, n = n->next) {
			const struct config_endpoint *e = &c->pools[i].endpoints[k];
			const struct yaml_node *place = yaml_node_towards(n, "allowPrefixes", NULL);

			if (e->host)
				check_host(c, e, n, r);
			else if (place != n && config_endpoint_at(e)->port)
				yaml_report_error(
					r, place->line, place->column,
					"endpoint %s has allowPrefixes, which is for the addresses of "
					"a name; write a name as its address, or remove allowPrefixes",
					endpoint_label(e));
			if (e->host && ++hosts == PINTLE_MAX_HOSTS + 1)
				yaml_report_error(r, n->line, n->column,
						  "more than %d endpoints have a name as their "
						  "address; write fewer",
						  PINTLE_MAX_HOSTS);
		}
	}
}

bool config_has_hosts(const struct config_pool *p)
{
	for (size_t i = 0; i < p->endpoint_count; i++)
		if (p->endpoints[i].host)
			return true;
	return p->host_count;
}

/* ---- apart from the others --------------------------------------------------- */

static int split_pool(struct config_pool *p)
{
	size_t kept = 0;

	if (!config_has_hosts(p))
		return 0;
	p->hosts = calloc(p->endpoint_count, sizeof(*p->hosts));
	if (!p->hosts)
		return -ENOMEM;
	for (size_t i = 0; i < p->endpoint_count; i++) {
		if (p->endpoints[i].host) {
			p->endpoints[i].metrics_none = true;
			p->hosts[p->host_count++].as = p->endpoints[i];
		} else {
			p->endpoints[kept++] = p->endpoints[i];
		}
	}
	p->endpoint_count = kept;
	return 0;
}

int config_hosts_split(struct config *c)
{
	int err = 0;

	for (size_t i = 0; !err && i < c->pool_count; i++)
		err = split_pool(&c->pools[i]);
	return err;
}

bool config_pool_takes(const struct config_pool *p, bool v4)
{
	for (size_t i = 0; i < p->frontend_count; i++)
		if (addr_is_v4(&p->frontends[i].prefix) == v4 ||
		    (v4 && !p->frontends[i].prefix_bits))
			return true;
	return !p->frontend_count;
}

/* ---- addresses ---------------------------------------------------------------- */

static bool config_hosts_is_multicast(const struct addr *ip)
{
	return addr_is_v4(ip) ? ip->bytes[12] >= 224 : ip->bytes[0] == 0xff;
}

#define V4(a, b, c, d)                                                                             \
	{                                                                                          \
		{                                                                                  \
			[10] = 0xff, 0xff, a, b, c, d                                              \
		}                                                                                  \
	}
#define V4_BITS 96

/* Ranges of the registries of special addresses of IANA (RFC 6890) that no provider on the Internet
 * has, and the metadata service of Azure. Those of other clouds are link-local, or in these. */
static bool is_public(const struct addr *ip)
{
	static const struct {
		struct addr prefix;
		unsigned int bits;
	} none[] = {
		{V4(10, 0, 0, 0), V4_BITS + 8},
		{V4(100, 64, 0, 0), V4_BITS + 10},
		{V4(172, 16, 0, 0), V4_BITS + 12},
		{V4(192, 168, 0, 0), V4_BITS + 16},
		{V4(192, 0, 0, 0), V4_BITS + 24},
		{V4(192, 0, 2, 0), V4_BITS + 24},
		{V4(198, 18, 0, 0), V4_BITS + 15},
		{V4(198, 51, 100, 0), V4_BITS + 24},
		{V4(203, 0, 113, 0), V4_BITS + 24},
		{V4(168, 63, 129, 16), V4_BITS + 32},
		{{{0x20, 0x01, 0x0d, 0xb8}}, 32}, /* for examples */
		{{{0x20, 0x01, 0x00, 0x00}}, 23}, /* Teredo, and others of the IETF */
		{{{0x20, 0x02}}, 16},             /* 6to4: any IPv4 address in disguise */
	};
	static const struct addr global = {{0x20}};

	if (addr_is_special(ip))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		if (addr_prefixes_overlap(&none[i].prefix, none[i].bits, ip, 128))
			return false;
	return addr_is_v4(ip) || addr_prefixes_overlap(&global, 3, ip, 128);
}

static bool config_hosts_is_allowed(const struct config_endpoint *e, const struct addr *ip)
{
	for (size_t i = 0; i < e->allowed_count; i++)
		if (addr_prefixes_overlap(&e->allowed[i].prefix, e->allowed[i].prefix_bits, ip,
					  128))
			return true;
	return false;
}

static bool is_frontend(const struct config *c, const struct addr *ip, uint16_t port)
{
	for (size_t i = 0; i < c->pool_count; i++)
		for (size_t k = 0; k < c->pools[i].frontend_count; k++) {
			const struct frontend_addr *f = &c->pools[i].frontends[k];

			if (f->port == port &&
			    addr_prefixes_overlap(&f->prefix, f->prefix_bits, ip, 128))
				return true;
		}
	return false;
}

static bool is_taken(const struct config *c, const struct addr *ip, uint16_t port)
{
	for (size_t i = 0; i < c->pool_count; i++)
		for (size_t k = 0; k < c->pools[i].endpoint_count; k++) {
			const struct endpoint_addr *at = &c->pools[i].endpoints[k].address;

			if (at->port == port && !memcmp(&at->ip, ip, sizeof(*ip)))
				return true;
		}
	return false;
}

struct expansion {
	struct config *config;
	struct config_pool *pool;
	struct config_host *host;
	size_t total; /* endpoints of all pools */
};

/* Returns CONFIG_LEFT_NOT if the address is to be an endpoint. */
static enum config_left judge_address(const struct expansion *x, const struct config_address *a)
{
	const struct config_endpoint *e = &x->host->as;

	if (addr_is_any(&a->ip) || config_hosts_is_multicast(&a->ip))
		return CONFIG_LEFT_SPECIAL;
	if (is_frontend(x->config, &a->ip, e->address.port))
		return CONFIG_LEFT_FRONTEND;
	if (!config_hosts_is_allowed(e, &a->ip)) {
		if (addr_is_special(&a->ip))
			return CONFIG_LEFT_SPECIAL;
		if (a->own)
			return CONFIG_LEFT_OWN;
		if (!is_public(&a->ip))
			return CONFIG_LEFT_PRIVATE;
	}
	if (is_taken(x->config, &a->ip, e->address.port))
		return CONFIG_LEFT_TAKEN;
	if (x->host->taken >= CONFIG_HOST_ADDRESSES ||
	    x->pool->endpoint_count >= PINTLE_MAX_MEMBERS || x->total >= PINTLE_MAX_ENDPOINTS)
		return CONFIG_LEFT_ROOM;
	return CONFIG_LEFT_NOT;
}

static int config_hosts_add_endpoint(struct expansion *x, const struct addr *ip)
{
	struct config_pool *p = x->pool;
	const struct config_endpoint *as = &x->host->as;
	struct config_endpoint e = *as, *more;
	char text[ADDR_TEXT_SIZE];

	more = reallocarray(p->endpoints, p->endpoint_count + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	p->endpoints = more;
	e.allowed = NULL;
	e.allowed_count = 0;
	e.address.ip = *ip;
	e.host = strdup(as->host);
	if (asprintf(&e.name, "%s@%s", as->name, addr_format_ip(ip, text)) < 0)
		e.name = NULL;
	if (!e.host || !e.name) {
		free(e.host);
		free(e.name);
		return -ENOMEM;
	}
	p->endpoints[p->endpoint_count++] = e;
	x->host->taken++;
	x->total++;
	return 0;
}

static int take_address(struct expansion *x, const struct config_address *a)
{
	struct config_host *h = x->host;
	enum config_left left;

	/* No client of the pool would ever reach it. */
	if (!config_pool_takes(x->pool, addr_is_v4(&a->ip)))
		return 0;
	left = judge_address(x, a);
	if (left == CONFIG_LEFT_NOT)
		return config_hosts_add_endpoint(x, &a->ip);
	if (!h->left++) {
		h->why = left;
		h->one = a->ip;
	}
	return 0;
}

static int expand_host(struct expansion *x, const struct config_answer *answers, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n; i++) {
		if (strcmp(answers[i].host, x->host->as.host) != 0)
			continue;
		for (size_t k = 0; !err && k < answers[i].count; k++)
			err = take_address(x, &answers[i].all[k]);
	}
	return err;
}

int config_hosts_expand(struct config *c, const struct config_answer *answers, size_t n)
{
	struct expansion x = {.config = c};
	int err = 0;

	for (size_t i = 0; i < c->pool_count; i++)
		x.total += c->pools[i].endpoint_count;
	for (size_t i = 0; i < c->pool_count; i++)
		for (size_t k = 0; !err && k < c->pools[i].host_count; k++) {
			x.pool = &c->pools[i];
			x.host = &c->pools[i].hosts[k];
			err = expand_host(&x, answers, n);
		}
	return err;
}

const char *config_left_text(enum config_left why)
{
	static const char *const texts[] = {
#define X(symbol, text) text,
		CONFIG_LEFTS(X)
#undef X
	};

	return texts[why];
}
