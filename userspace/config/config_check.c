/* SPDX-License-Identifier: Apache-2.0 */
/* config_check.c - checks that take several values: names that are given twice, listeners and
 * frontends that overlap, keys that contradict each other. */
#include <arpa/inet.h>

#include "config_internal.h"
#include "../base/util.h"
#include "../net/nested.h"
#include "../net/url.h"

/* An endpoint or a frontend, with its pool and its place in the file. */
struct item {
	const struct config_pool *pool;
	const struct config_endpoint *endpoint;
	const struct frontend_addr *frontend;
	const struct yaml_node *node;
	struct addr scrape_ip; /* the host in the endpoint's `metrics`, with scrape_port */
	uint16_t scrape_port;  /* 0: `metrics` is not given, or has a host name */
};

struct items {
	struct item *all;
	size_t count, room;
};

static void free_items(struct items *items)
{
	free(items->all);
}

static void add_item(struct yaml_report *r, struct items *items, struct item item)
{
	struct item *grown;

	if (items->count == items->room) {
		items->room = items->room ? 2 * items->room : 64;
		grown = reallocarray(items->all, items->room, sizeof(*grown));
		if (!grown) {
			r->out_of_memory = true;
			items->room = items->count;
			return;
		}
		items->all = grown;
	}
	items->all[items->count++] = item;
}

/* ---- names ----------------------------------------------------------------- */

/* "a/b" in the file could be the name of a cluster's pool, too. */
static void check_pool_name(const struct config_pool *p, const struct yaml_node *place,
			    struct yaml_report *r)
{
	if (p->name && p->line > 0 && strpbrk(p->name, "/:"))
		yaml_report_error(r, place->line, place->column,
				  "name is \"%s\", with a character that a name cannot have there; "
				  "write 1 to %d of a-z, 0-9, \"-\" and \".\", beginning with a "
				  "letter or digit",
				  p->name, PINTLE_NAME_SIZE - 1);
}

/* ---- what was there before ------------------------------------------------- */

#define NONE SIZE_MAX

/* By item: the first one of those before it that it may not stand beside; NONE: there is none. */
static size_t *firsts_new(size_t n, struct yaml_report *r)
{
	size_t *first = malloc((n + 1) * sizeof(*first));

	if (!first)
		r->out_of_memory = true;
	for (size_t i = 0; first && i < n; i++)
		first[i] = NONE;
	return first;
}

static void firsts_take(size_t *first, size_t a, size_t b)
{
	size_t later = MAX(a, b);

	if (a != b && (first[later] == NONE || MIN(a, b) < first[later]))
		first[later] = MIN(a, b);
}

struct named {
	const char *name;
	size_t item;
};

static int config_check_by_name(const void *left, const void *right)
{
	const struct named *a = left, *b = right;
	int order = strcmp(a->name, b->name);

	return order ? order : (a->item > b->item) - (a->item < b->item);
}

/* Sorts the names, of `n` items, some of which may have none. Returns for each item the first one
 * of that name, which the caller frees; NULL without memory. */
static size_t *first_of_name(struct named *names, size_t named, size_t n, struct yaml_report *r)
{
	size_t *first = firsts_new(n, r);

	if (named)
		qsort(names, named, sizeof(*names), config_check_by_name);
	for (size_t i = 1, begin = 0; first && i < named; i++) {
		if (strcmp(names[begin].name, names[i].name) != 0)
			begin = i;
		firsts_take(first, names[begin].item, names[i].item);
	}
	return first;
}

static void check_pool_names(const struct config *c, const struct yaml_node *pools,
			     struct yaml_report *r)
{
	_cleanup_free_ struct named *names = calloc(c->pool_count + 1, sizeof(*names));
	_cleanup_free_ size_t *first = NULL;
	const struct yaml_node *n = yaml_node_at(pools, 0);
	size_t named = 0;

	for (size_t i = 0; names && i < c->pool_count; i++)
		if (c->pools[i].name)
			names[named++] = (struct named){c->pools[i].name, i};
	first = names ? first_of_name(names, named, c->pool_count, r) : NULL;
	r->out_of_memory |= !first;
	for (size_t i = 0; first && i < c->pool_count; i++, n = n->next) {
		const struct yaml_node *place = yaml_node_towards(n, "name", NULL);

		check_pool_name(&c->pools[i], place, r);
		if (first[i] != NONE)
			yaml_report_error(
				r, place->line, place->column,
				"the pool of line %d has the name \"%s\" already; choose another",
				c->pools[first[i]].line, c->pools[i].name);
	}
}

static void check_endpoint_names(const struct config_pool *p, const struct yaml_node *endpoints,
				 struct yaml_report *r)
{
	_cleanup_free_ struct named *names = calloc(p->endpoint_count + 1, sizeof(*names));
	_cleanup_free_ size_t *first = NULL;
	const struct yaml_node *n = yaml_node_at(endpoints, 0);
	char at[CONFIG_PLACE_SIZE];
	size_t named = 0;

	for (size_t i = 0; names && i < p->endpoint_count; i++)
		if (p->endpoints[i].name)
			names[named++] = (struct named){p->endpoints[i].name, i};
	first = names ? first_of_name(names, named, p->endpoint_count, r) : NULL;
	r->out_of_memory |= !first;
	for (size_t i = 0; first && i < p->endpoint_count; i++, n = n->next) {
		const struct yaml_node *place;

		if (first[i] == NONE)
			continue;
		place = yaml_node_towards(n, "name", NULL);
		yaml_report_error(r, place->line, place->column,
				  "the endpoint of %s has the name \"%s\" already; choose another",
				  config_place(p->endpoints[first[i]].line, at),
				  p->endpoints[i].name);
	}
}

/* ---- addresses ------------------------------------------------------------- */

static bool same_listener(const struct endpoint_addr *a, const struct endpoint_addr *b)
{
	return a->port && a->port == b->port &&
	       (a->any_ip || b->any_ip || !memcmp(&a->ip, &b->ip, sizeof(a->ip)));
}

/* A server may be an endpoint by `listen` and another by `address`, but not two of the same
 * kind. */
enum { LISTEN, ADDRESS };

static void config_check_add_place(struct nested *all, size_t *n, uint32_t kind,
				   const struct endpoint_addr *at, size_t item)
{
	if (at->port)
		all[(*n)++] = (struct nested){.kind = kind,
					      .port = at->port,
					      .prefix = at->ip,
					      .bits = at->any_ip ? 0 : 128,
					      .item = item};
}

static void take_pair(const struct nested *outer, const struct nested *in, void *arg)
{
	firsts_take(arg, outer->item, in->item);
}

/* Returns for each of `items` items, of which all[] holds the places, the first one before it whose
 * place is the same, holds it or lies in it; NULL without memory. */
static size_t *first_overlap(struct nested *all, size_t n, size_t items, struct yaml_report *r)
{
	size_t *first = all ? firsts_new(items, r) : NULL;

	if (first && !nested_pairs(all, n, take_pair, first))
		return first;
	r->out_of_memory = true;
	free(first);
	return NULL;
}

/* The cluster chose the endpoint's address, so the message asks the user for nothing. */
static void config_check_tell_found(const struct item *a, const struct item *b,
				    struct yaml_report *r)
{
	const struct yaml_node *place = yaml_node_towards(a->node, "address", NULL);
	char text[ADDR_TEXT_SIZE], at[CONFIG_PLACE_SIZE];

	yaml_report_error(r, place->line, place->column,
			  "%s is an endpoint of pool %s (%s) already; an address is in one pool",
			  addr_format_endpoint(config_endpoint_at(a->endpoint), text),
			  pool_label(b->pool), config_place(b->endpoint->line, at));
}

static void tell_server(const struct item *a, const struct item *b, struct yaml_report *r)
{
	char text[ADDR_TEXT_SIZE], other[ADDR_TEXT_SIZE], at[CONFIG_PLACE_SIZE];
	bool listens = a->endpoint->listen.port;
	const char *key = listens ? "listen" : "address";
	const struct yaml_node *place = yaml_node_towards(a->node, key, NULL);

	yaml_report_error(
		r, place->line, place->column,
		"%s %s claims the %s of endpoint %s/%s (%s, %s); give each endpoint its own", key,
		addr_format_endpoint(config_endpoint_at(a->endpoint), text),
		listens ? "listener" : "address", pool_label(b->pool), endpoint_label(b->endpoint),
		config_place(b->endpoint->line, at),
		addr_format_endpoint(config_endpoint_at(b->endpoint), other));
}

static void check_servers(const struct items *endpoints, struct yaml_report *r)
{
	_cleanup_free_ struct nested *all = calloc(2 * endpoints->count + 1, sizeof(*all));
	_cleanup_free_ size_t *first = NULL;
	size_t n = 0;

	for (size_t i = 0; all && i < endpoints->count; i++) {
		config_check_add_place(all, &n, LISTEN, &endpoints->all[i].endpoint->listen, i);
		config_check_add_place(all, &n, ADDRESS, &endpoints->all[i].endpoint->address, i);
	}
	first = first_overlap(all, n, endpoints->count, r);
	for (size_t i = 0; first && i < endpoints->count; i++)
		if (first[i] != NONE)
			(endpoints->all[i].endpoint->line > 0 ? tell_server
							      : config_check_tell_found)(
				&endpoints->all[i], &endpoints->all[first[i]], r);
}

static struct nested place_of_frontend(const struct frontend_addr *f, size_t item)
{
	return (struct nested){
		.port = f->port, .prefix = f->prefix, .bits = f->prefix_bits, .item = item};
}

static void tell_overlap(const struct item *a, const struct item *b, struct yaml_report *r)
{
	char text[ADDR_TEXT_SIZE], other[ADDR_TEXT_SIZE], at[CONFIG_PLACE_SIZE];

	yaml_report_error(
		r, a->node->line, a->node->column,
		"frontend %s overlaps %s of pool %s (%s); list each address and port once",
		addr_format_frontend(a->frontend, text), addr_format_frontend(b->frontend, other),
		pool_label(b->pool), config_place(b->node->line, at));
}

static void check_overlaps(const struct items *frontends, struct yaml_report *r)
{
	_cleanup_free_ struct nested *all = calloc(frontends->count + 1, sizeof(*all));
	_cleanup_free_ size_t *first = NULL;
	size_t n = 0;

	for (size_t i = 0; all && i < frontends->count; i++)
		if (frontends->all[i].frontend->port)
			all[n++] = place_of_frontend(frontends->all[i].frontend, i);
	first = first_overlap(all, n, frontends->count, r);
	for (size_t i = 0; first && i < frontends->count; i++)
		if (first[i] != NONE)
			tell_overlap(&frontends->all[i], &frontends->all[first[i]], r);
}

static bool config_check_covers(const struct frontend_addr *f, const struct addr *ip, uint16_t port)
{
	return f->port && f->port == port &&
	       addr_prefixes_overlap(&f->prefix, f->prefix_bits, ip, 128);
}

/* Pages of an endpoint that is a port alone are read from both loopback addresses. */
static bool covers_listener(const struct frontend_addr *f, const struct endpoint_addr *a)
{
	struct addr v4, v6 = {.bytes = {[15] = 1}};

	if (!a->any_ip)
		return config_check_covers(f, &a->ip, a->port);
	addr_from_v4(&v4, htonl(INADDR_LOOPBACK));
	return config_check_covers(f, &v4, a->port) || config_check_covers(f, &v6, a->port);
}

static void add_point(struct nested *all, size_t *n, const struct addr *ip, uint16_t port,
		      size_t item)
{
	if (port)
		all[(*n)++] = (struct nested){
			.port = port, .prefix = *ip, .bits = 128, .inner = true, .item = item};
}

/* Where pintled asks the endpoint: at most three addresses. */
static void add_asked(struct nested *all, size_t *n, const struct item *e, size_t item)
{
	const struct endpoint_addr *at = config_endpoint_at(e->endpoint);
	struct addr v4, v6 = {.bytes = {[15] = 1}};

	add_point(all, n, &e->scrape_ip, e->scrape_port, item);
	if (!at->any_ip) {
		add_point(all, n, &at->ip, at->port, item);
		return;
	}
	addr_from_v4(&v4, htonl(INADDR_LOOPBACK));
	add_point(all, n, &v4, at->port, item);
	add_point(all, n, &v6, at->port, item);
}

static void take_covered(const struct nested *outer, const struct nested *in, void *arg)
{
	size_t *first = arg;

	if (in->inner && in->item < first[outer->item])
		first[outer->item] = in->item;
}

/* Returns for each frontend the first endpoint that it covers, NONE: none; NULL without memory. */
static size_t *first_covered(const struct items *frontends, const struct items *endpoints,
			     struct yaml_report *r)
{
	_cleanup_free_ struct nested *all =
		calloc(frontends->count + 3 * endpoints->count + 1, sizeof(*all));
	size_t *first = all ? firsts_new(frontends->count, r) : NULL;
	size_t n = 0;

	for (size_t i = 0; first && i < frontends->count; i++)
		if (frontends->all[i].frontend->port)
			all[n++] = place_of_frontend(frontends->all[i].frontend, i);
	for (size_t i = 0; first && i < endpoints->count; i++)
		add_asked(all, &n, &endpoints->all[i], i);
	if (first && !nested_pairs(all, n, take_covered, first))
		return first;
	r->out_of_memory = true;
	free(first);
	return NULL;
}

static void tell_cover(const struct item *f, const struct item *e, struct yaml_report *r)
{
	bool server = covers_listener(f->frontend, config_endpoint_at(e->endpoint));
	char text[ADDR_TEXT_SIZE], at[CONFIG_PLACE_SIZE];

	yaml_report_error(r, f->node->line, f->node->column,
			  "frontend %s covers where endpoint %s/%s (%s) %s, so that its scrapes "
			  "would be steered; keep them apart by address or port",
			  addr_format_frontend(f->frontend, text), pool_label(e->pool),
			  endpoint_label(e->endpoint), config_place(e->endpoint->line, at),
			  !server                    ? "has its metrics"
			  : e->endpoint->listen.port ? "listens"
						     : "is");
}

/* Addresses that pintled itself connects to, or serves, must not be steered. With a frontend
 * 127.0.0.0/8:8001 and an endpoint 127.0.0.1:8001, a scrape of that endpoint would be steered, and
 * read the page of whichever endpoint has the least load. */
static void check_cover(const struct config *c, const struct items *frontends,
			const struct items *endpoints, struct yaml_report *r)
{
	_cleanup_free_ size_t *first = first_covered(frontends, endpoints, r);
	struct endpoint_addr served;
	bool serves = c->metrics && !addr_parse_endpoint(c->metrics, &served, NULL);
	char text[ADDR_TEXT_SIZE];

	for (size_t i = 0; first && i < frontends->count; i++) {
		const struct item *f = &frontends->all[i];

		if (first[i] != NONE)
			tell_cover(f, &endpoints->all[first[i]], r);
		if (serves && config_check_covers(f->frontend, &served.ip, served.port))
			yaml_report_error(r, f->node->line, f->node->column,
					  "frontend %s covers node.metrics; keep them apart by "
					  "address or port",
					  addr_format_frontend(f->frontend, text));
		if (c->overload.port &&
		    config_check_covers(f->frontend, &c->overload.ip, c->overload.port))
			yaml_report_error(
				r, f->node->line, f->node->column,
				"frontend %s covers node.overload.listen; keep them apart "
				"by address or port",
				addr_format_frontend(f->frontend, text));
	}
}

/* `key` says which page it is, of `label`. */
static void check_cover_page(const char *url, const char *key, const char *label,
			     const struct items *frontends, struct yaml_report *r)
{
	char text[ADDR_TEXT_SIZE];
	struct addr ip;
	uint16_t port;

	if (!url || !url_address(url, &ip, &port))
		return;
	for (size_t i = 0; i < frontends->count; i++) {
		const struct item *f = &frontends->all[i];

		if (config_check_covers(f->frontend, &ip, port))
			yaml_report_error(r, f->node->line, f->node->column,
					  "frontend %s covers %s %s; keep them apart by address or "
					  "port",
					  addr_format_frontend(f->frontend, text), key, label);
	}
}

static void check_cover_dcgm(const struct config_pool *p, const struct items *frontends,
			     struct yaml_report *r)
{
	check_cover_page(p->dcgm_url, "dcgm.url of pool", pool_label(p), frontends, r);
	for (size_t i = 0; i < p->endpoint_count; i++)
		check_cover_page(p->endpoints[i].gpu_exporter, "gpu.exporter of endpoint",
				 endpoint_label(&p->endpoints[i]), frontends, r);
}

/* `key` is that of an address where pintled itself listens. */
static void check_own(const char *key, const struct endpoint_addr *own,
		      const struct items *endpoints, struct yaml_report *r)
{
	char text[ADDR_TEXT_SIZE];

	for (size_t i = 0; i < endpoints->count; i++) {
		const struct item *e = &endpoints->all[i];
		const struct yaml_node *place = yaml_node_towards(e->node, "listen", NULL);

		if (same_listener(own, &e->endpoint->listen))
			yaml_report_error(r, place->line, place->column,
					  "listen is %s (%s), where pintled itself listens; "
					  "choose another port for one of them",
					  key, addr_format(&own->ip, own->port, text));
	}
}

static bool config_check_is_loopback(const struct addr *ip)
{
	static const struct addr v6 = {.bytes = {[15] = 1}};

	return addr_is_v4(ip) ? ip->bytes[12] == 127 : !memcmp(ip, &v6, sizeof(v6));
}

/* Whether connections of pods go to the overload responder. */
static bool diverts_pods(const struct config *c)
{
	for (size_t i = 0; i < c->pool_count; i++)
		for (size_t j = 0; j < c->pools[i].class_count; j++)
			if (c->pools[i].reach == PINTLE_REACH_ADDRESS &&
			    c->pools[i].classes[j].admission == PINTLE_ADMISSION_DIVERT)
				return true;
	return false;
}

static void check_served(const struct config *c, const struct yaml_node *root,
			 const struct items *endpoints, struct yaml_report *r)
{
	const struct yaml_node *overload =
		yaml_node_towards(yaml_node_get(root, "node"), "overload", "listen");
	struct endpoint_addr served = {0};

	if (c->overload.port)
		check_own("node.overload.listen", &c->overload, endpoints, r);
	if (c->overload.port && config_check_is_loopback(&c->overload.ip) && diverts_pods(c))
		yaml_report_warning(r, overload->line, overload->column,
				    "listen is a loopback address, and a pod that is sent there "
				    "finds its own; write an address of this node that pods reach");
	if (!c->metrics || addr_parse_endpoint(c->metrics, &served, NULL))
		return;
	served.any_ip = addr_is_any(&served.ip);
	check_own("node.metrics", &served, endpoints, r);
	if (c->overload.port && same_listener(&served, &c->overload))
		yaml_report_error(
			r, overload->line, overload->column,
			"listen is node.metrics (%s), too; choose another port for one of "
			"them",
			c->metrics);
}

/* ---- frontends with their pool --------------------------------------------- */

static void check_announce(const struct item *f, struct yaml_report *r)
{
	bool v4 = addr_is_v4(&f->frontend->prefix);
	unsigned int least = v4 ? 96 + 8 : 16;
	char text[ADDR_TEXT_SIZE];

	if (f->pool->announce && f->frontend->port && f->frontend->prefix_bits < least)
		yaml_report_error(
			r, f->node->line, f->node->column,
			"announce would make all of %s local to this node; announce prefixes "
			"of /%u or longer",
			addr_format_frontend(f->frontend, text), v4 ? least - 96 : least);
}

static bool config_check_takes_family(const struct config_endpoint *e, bool v4)
{
	const struct endpoint_addr *at = config_endpoint_at(e);

	return e->host || at->any_ip || !at->port || addr_is_v4(&at->ip) == v4;
}

/* A server at an IPv4 address takes no IPv6 connection, nor the reverse: clients of the frontend
 * never reach it. */
static void config_check_check_family(const struct item *f, struct yaml_report *r)
{
	const struct config_endpoint *first = NULL;
	bool v4 = addr_is_v4(&f->frontend->prefix);
	char text[ADDR_TEXT_SIZE];
	size_t unfit = 0;

	if (!f->frontend->port)
		return;
	for (size_t i = 0; i < f->pool->endpoint_count; i++) {
		const struct config_endpoint *e = &f->pool->endpoints[i];

		if (config_check_takes_family(e, v4))
			continue;
		first = first ? first : e;
		unfit++;
	}
	if (first)
		yaml_report_warning(
			r, f->node->line, f->node->column,
			"frontend %s is %s: its clients never reach %zu of %zu endpoint%s of pool "
			"%s, on "
			"%s alone (first %s); %s",
			addr_format_frontend(f->frontend, text), v4 ? "IPv4" : "IPv6", unfit,
			f->pool->endpoint_count, plural(f->pool->endpoint_count),
			pool_label(f->pool), v4 ? "IPv6" : "IPv4", endpoint_label(first),
			f->pool->reach == PINTLE_REACH_LISTENER
				? "have the servers listen on [::] and write their ports alone"
				: "make a pool for each family");
}

/* ---- GPUs ------------------------------------------------------------------ */

/* Returns whether the endpoint has `gpu`, right or wrong. */
static bool check_gpu(const struct config_endpoint *e, const struct yaml_node *n, bool has_dcgm,
		      struct yaml_report *r)
{
	const struct yaml_node *gpu = yaml_node_get(n, "gpu");
	bool index = yaml_node_get(gpu, "index"), pod = yaml_node_get(gpu, "pod");

	if (!gpu || gpu->kind != YAML_MAP)
		return gpu;
	if (index == pod)
		yaml_report_error(r, gpu->line, gpu->column,
				  "gpu of endpoint %s has %s; write one of them", endpoint_label(e),
				  index ? "index and pod" : "neither index nor pod");
	if (yaml_node_get(gpu, "namespace") && !pod)
		yaml_report_error(r, gpu->line, gpu->column,
				  "gpu of endpoint %s has a namespace, and no pod in it; add pod",
				  endpoint_label(e));
	if (!has_dcgm && !e->gpu_exporter)
		yaml_report_error(r, gpu->line, gpu->column,
				  "gpu of endpoint %s has no page to be read from; add dcgm: {url: "
				  "\"http://127.0.0.1:9400/metrics\"} to the pool",
				  endpoint_label(e));
	return true;
}

static void check_gpus(const struct config_pool *p, const struct yaml_node *n,
		       struct yaml_report *r)
{
	const struct yaml_node *dcgm = yaml_node_get(n, "dcgm");
	const struct yaml_node *child = yaml_node_at(yaml_node_get(n, "endpoints"), 0);
	const struct yaml_node *weight = yaml_node_towards(n, "weights", "gpu");
	size_t joined = 0;

	for (size_t i = 0; i < p->endpoint_count; i++, child = child->next)
		joined += check_gpu(&p->endpoints[i], child, dcgm, r);
	if (joined)
		return;
	if (dcgm)
		yaml_report_warning(
			r, dcgm->line, dcgm->column,
			"dcgm has no effect, because no endpoint names its gpu; give endpoints "
			"their gpu: {index: 0}");
	if (p->weights.gpu > 0)
		yaml_report_warning(
			r, weight->line, weight->column,
			"weights.gpu has no effect, because no endpoint names its gpu; give them "
			"gpu: {index: 0}");
}

/* ---- pages ------------------------------------------------------------------- */

/* Whether the endpoint's page is read by https: the page that `metrics` names, or the derived
 * one. */
static bool is_https(const struct config_pool *p, const struct config_endpoint *e)
{
	const char *url = e->metrics_url ? e->metrics_url : p->scrape.scheme;

	return url && !strncmp(url, "https", 5);
}

static bool stays_here(const struct config_endpoint *e)
{
	const struct endpoint_addr *at = config_endpoint_at(e);
	struct addr ip;
	uint16_t port;

	if (e->metrics_url)
		return url_address(e->metrics_url, &ip, &port) && config_check_is_loopback(&ip);
	return at->any_ip || config_check_is_loopback(&at->ip);
}

static void check_pages(const struct config_pool *p, const struct yaml_node *n,
			struct yaml_report *r)
{
	const struct yaml_node *scrape = yaml_node_get(n, "scrape"),
			       *tls = yaml_node_get(scrape, "tlsConfig");
	const struct yaml_node *authorization = yaml_node_towards(n, "scrape", "authorization");
	const struct config_endpoint *open = NULL;
	bool https = false;

	for (size_t i = 0; i < p->endpoint_count; i++) {
		const struct config_endpoint *e = &p->endpoints[i];

		https |= is_https(p, e);
		if (!e->metrics_none && !e->host && !is_https(p, e) && !stays_here(e))
			open = open ? open : e;
	}
	if (p->scrape.credentials_file && open)
		yaml_report_warning(
			r, authorization->line, authorization->column,
			"the credential goes to endpoint %s unencrypted, so anybody on the path "
			"can read it; read its page by https",
			endpoint_label(open));
	if (tls && !yaml_node_get(tls, "certFile") != !yaml_node_get(tls, "keyFile"))
		yaml_report_error(r, tls->line, tls->column,
				  "tlsConfig has %s alone; write certFile and keyFile, or neither",
				  yaml_node_get(tls, "certFile") ? "certFile" : "keyFile");
	if (tls && !https)
		yaml_report_warning(
			r, tls->line, tls->column,
			"tlsConfig has no effect, because no page is read by https; write scheme: "
			"https, or metrics: \"https://...\" of an endpoint");
}

/* Pages are asked for several times a second: no model would ever be unloaded. */
static void check_autoload(const struct config_pool *p, const char *url, const char *key,
			   const struct yaml_node *place, struct yaml_report *r)
{
	const char *value = url ? config_query(url, "autoload") : NULL;

	if (value && config_may_route(p) && strncmp(value, "false", 5) != 0 && *value != '0')
		yaml_report_error(r, place->line, place->column,
				  "%s has autoload, with which each request for it loads a model; "
				  "leave it out",
				  key);
}

static void check_autoloads(const struct config_pool *p, const struct yaml_node *n,
			    struct yaml_report *r)
{
	const struct yaml_node *child = yaml_node_at(yaml_node_get(n, "endpoints"), 0);

	check_autoload(p, p->scrape.path, "scrape.path", yaml_node_towards(n, "scrape", "path"), r);
	check_autoload(p, p->health.path, "health.path", yaml_node_towards(n, "health", "path"), r);
	for (size_t i = 0; i < p->endpoint_count; i++, child = child->next)
		check_autoload(p, p->endpoints[i].metrics_url, "metrics",
			       yaml_node_towards(child, "metrics", NULL), r);
}

/* Of `auto` there are only the names that the file gives. */
static void check_metrics(const struct config_pool *p, const struct yaml_node *n,
			  struct yaml_report *r)
{
	const struct yaml_node *metrics = yaml_node_get(n, "metrics");

	if (metrics && metrics->kind == YAML_MAP && p->engine && !strcmp(p->engine, "auto") &&
	    !yaml_node_get(metrics, "waiting") && !yaml_node_get(metrics, "running") &&
	    !yaml_node_get(metrics, "kv"))
		yaml_report_error(r, metrics->line, metrics->column,
				  "metrics names none for the load, and engine: auto has no other; "
				  "write waiting, running or kv, or name the engine");
}

/* ---- settings that contradict each other ----------------------------------- */

static void check_settings(const struct config_pool *p, const struct yaml_node *n,
			   struct yaml_report *r)
{
	const struct yaml_node *running = yaml_node_towards(n, "weights", "running");
	const struct yaml_node *ttl = yaml_node_towards(n, "stickiness", "ttl");
	const struct yaml_node *timeout = yaml_node_towards(n, "scrape", "timeout");
	const struct yaml_node *staleness = yaml_node_towards(n, "saturation", "staleness");

	if (p->weights.running == 0)
		yaml_report_warning(
			r, running->line, running->column,
			"with weights.running 0, running requests weigh nothing, and without fresh "
			"scores no load is known; the default is 1");
	if (p->stickiness.key_kind != PINTLE_KEY_NONE && p->stickiness.ttl_ns == 0)
		yaml_report_warning(
			r, ttl->line, ttl->column,
			"with stickiness.ttl 0 every binding is forgotten at once; write key: none "
			"if that is intended");
	if (p->saturation.staleness_ns < p->scrape.interval_ns)
		yaml_report_warning(
			r, staleness->line, staleness->column,
			"saturation.staleness is shorter than scrape.interval: scores are too "
			"old most of the time; make it several intervals");
	if (p->scrape.timeout_ns > p->saturation.staleness_ns)
		yaml_report_warning(
			r, timeout->line, timeout->column,
			"scrape.timeout is longer than saturation.staleness: a score is too "
			"old before a slow page counts as a failure; make it shorter");
}

/* ---- all ------------------------------------------------------------------- */

static void collect_items(const struct config_pool *p, const struct yaml_node *n,
			  struct yaml_report *r, struct items *endpoints, struct items *frontends)
{
	const struct yaml_node *child = yaml_node_at(yaml_node_get(n, "endpoints"), 0);

	for (size_t i = 0; i < p->endpoint_count; i++, child = child->next) {
		struct item item = {.pool = p, .endpoint = &p->endpoints[i], .node = child};

		/* Its addresses are not known yet. */
		if (item.endpoint->host)
			continue;
		if (item.endpoint->metrics_url &&
		    !url_address(item.endpoint->metrics_url, &item.scrape_ip, &item.scrape_port))
			item.scrape_port = 0;
		add_item(r, endpoints, item);
	}
	child = yaml_node_at(yaml_node_get(n, "frontends"), 0);
	for (size_t i = 0; i < p->frontend_count; i++, child = child->next)
		add_item(r, frontends,
			 (struct item){.pool = p, .frontend = &p->frontends[i], .node = child});
}

/* Where pools come from. */
static void check_sources(const struct yaml_node *root, struct yaml_report *r)
{
	char wants[YAML_WANTS_SIZE];

	if (root->kind != YAML_MAP || yaml_node_get(root, "pools") ||
	    yaml_node_get(root, "kubernetes"))
		return;
	for (size_t i = 0; i < config_table.count; i++)
		if (!strcmp(config_table.keys[i].path, "pools"))
			yaml_report_error(
				r, root->line, root->column,
				"\"pools\" is missing at the top; add it: %s",
				yaml_key_wants(&config_table, &config_table.keys[i], wants));
}

/* Only a pool of a cluster may be without a server, for a while. */
static void check_empty(const struct config_pool *p, const struct yaml_node *n,
			struct yaml_report *r)
{
	const struct yaml_node *list = yaml_node_get(n, "endpoints");

	if (list && list->kind == YAML_LIST && !list->count && p->line > 0)
		yaml_report_error(r, list->line, list->column,
				  "endpoints is empty; write at least one");
}

static void check_audit(const struct config *c, const struct yaml_node *root, struct yaml_report *r)
{
	const struct yaml_node *audit = yaml_node_get(root, "audit");

	if (audit && audit->kind == YAML_MAP && !yaml_node_get(audit, "file") && !c->audit.journald)
		yaml_report_error(r, audit->line, audit->column,
				  "audit goes nowhere; write file: /var/log/pintle/audit.jsonl, or "
				  "journald: true");
}

void config_check(const struct config *c, const struct yaml_node *root, struct yaml_report *r)
{
	_cleanup_(free_items) struct items endpoints = {0};
	_cleanup_(free_items) struct items frontends = {0};
	const struct yaml_node *pools = yaml_node_get(root, "pools");
	const struct yaml_node *n = yaml_node_at(pools, 0);

	check_sources(root, r);
	check_audit(c, root, r);
	config_hooks_check(c, root, r);
	config_hosts_check(c, root, r);
	check_pool_names(c, pools, r);
	for (size_t i = 0; i < c->pool_count; i++, n = n->next) {
		collect_items(&c->pools[i], n, r, &endpoints, &frontends);
		check_empty(&c->pools[i], n, r);
		check_endpoint_names(&c->pools[i], yaml_node_get(n, "endpoints"), r);
		check_gpus(&c->pools[i], n, r);
		check_pages(&c->pools[i], n, r);
		check_metrics(&c->pools[i], n, r);
		check_autoloads(&c->pools[i], n, r);
		check_settings(&c->pools[i], n, r);
		config_classes_check(c, &c->pools[i], n, r);
		config_tenants_check(c, &c->pools[i], n, r);
		config_access_check(&c->pools[i], n, r);
		config_others_check(c, &c->pools[i], n, r);
		config_models_check(c, &c->pools[i], n, r);
	}
	config_models_check_all(c, pools, r);
	check_servers(&endpoints, r);
	check_served(c, root, &endpoints, r);
	check_overlaps(&frontends, r);
	check_cover(c, &frontends, &endpoints, r);
	for (size_t i = 0; i < frontends.count; i++) {
		check_announce(&frontends.all[i], r);
		config_check_check_family(&frontends.all[i], r);
	}
	for (size_t i = 0; i < c->pool_count; i++)
		check_cover_dcgm(&c->pools[i], &frontends, r);
}
