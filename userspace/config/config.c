/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - the configuration file, from its text to a struct config. */
#include "config.h"

#include <arpa/inet.h>

#include "config_internal.h"
#include "../base/util.h"
#include "../net/url.h"

/* Makes the URL of the endpoint's page from scrape.scheme, its address and scrape.path, which are
 * all known by now, unless `metrics` gives one. */
static int derive_metrics_url(const struct config_pool *p, struct config_endpoint *e)
{
	const struct endpoint_addr *at = config_endpoint_at(e);
	struct addr loopback, page;
	char address[ADDR_TEXT_SIZE];
	uint16_t port;

	if (e->metrics_none)
		return 0;
	if (e->metrics_url) {
		e->metrics_own = url_address(e->metrics_url, &page, &port) && port == at->port &&
				 (at->any_ip || !memcmp(&page, &at->ip, sizeof(page)));
		return 0;
	}
	e->metrics_own = !at->any_ip;
	addr_from_v4(&loopback, htonl(INADDR_LOOPBACK));
	addr_format(at->any_ip ? &loopback : &at->ip, at->port, address);
	if (asprintf(&e->metrics_url, "%s://%s%s", p->scrape.scheme, address, p->scrape.path) < 0) {
		e->metrics_url = NULL;
		return -ENOMEM;
	}
	e->metrics_fallback_v6 = at->any_ip;
	return 0;
}

/* A llama-server that routes to several models loads the one that a page is asked of, unless the
 * request says otherwise. */
static int spare_model(const struct config_pool *p, char **url)
{
	size_t length = *url ? strcspn(*url, "#") : 0;
	char *spared;

	if (!config_may_route(p) || !*url || !config_query(*url, "model") ||
	    config_query(*url, "autoload"))
		return 0;
	if (asprintf(&spared, "%.*s&autoload=false%s", (int)length, *url, *url + length) < 0)
		return -ENOMEM;
	free(*url);
	*url = spared;
	return 0;
}

static void derive_page(struct config_endpoint *e)
{
	e->metrics_none = e->metrics_url && !strcmp(e->metrics_url, CONFIG_NO_PAGE);
	if (!e->metrics_none)
		return;
	free(e->metrics_url);
	e->metrics_url = NULL;
}

static void derive_pages(struct config *c)
{
	for (size_t p = 0; p < c->pool_count; p++)
		for (size_t e = 0; e < c->pools[p].endpoint_count; e++)
			derive_page(&c->pools[p].endpoints[e]);
}

static int derive_metrics_urls(struct config *c)
{
	for (size_t p = 0; p < c->pool_count; p++) {
		for (size_t e = 0; e < c->pools[p].endpoint_count; e++) {
			struct config_endpoint *at = &c->pools[p].endpoints[e];
			int err = derive_metrics_url(&c->pools[p], at)
					  ?: spare_model(&c->pools[p], &at->metrics_url);

			if (err)
				return err;
		}
		if (spare_model(&c->pools[p], &c->pools[p].health.path))
			return -ENOMEM;
	}
	return 0;
}

int config_read_root(struct yaml_report *r, const char *name, const struct yaml_node *root,
		     void *arg)
{
	_cleanup_(config_freep) struct config *c = calloc(1, sizeof(*c));
	struct config **out = arg;

	if (!c || !(c->path = strdup(name))) {
		r->out_of_memory = true;
		return -ENOMEM;
	}
	yaml_read_map(r, &config_table, root, c);
	c->kubernetes = yaml_node_get(root, "kubernetes");
	c->key_line = yaml_node_towards(root, "node", "keyFile")->line;
	derive_pages(c);
	config_hooks_derive(c, root);
	config_classes_derive(c, root);
	config_access_derive(c, root);
	config_daemonless_derive(c, root);
	if (config_tenants_derive(c)) {
		r->out_of_memory = true;
		return -ENOMEM;
	}
	config_check(c, root, r);
	if (r->errors || r->out_of_memory)
		return -EINVAL;
	if (config_hosts_split(c) || derive_metrics_urls(c)) {
		r->out_of_memory = true;
		return -ENOMEM;
	}
	*out = TAKE_PTR(c);
	return 0;
}

static const struct yaml_document document = {
	.file = CONFIG_FILE,
	.begin = "apiVersion: " CONFIG_API_VERSION,
	.read = config_read_root,
};

int config_parse(const char *name, const char *text, size_t size, const struct yaml_sink *sink,
		 struct config **out)
{
	return yaml_parse(&document, name, text, size, sink, out);
}

int config_load(const char *path, const struct yaml_sink *sink, struct config **out)
{
	return yaml_load(&document, path, sink, out);
}

int config_read(const char *path, const struct yaml_sink *sink, struct config_text *out)
{
	struct config_text t = {.name = path};
	int err = yaml_read_file(path, CONFIG_FILE, sink, &t.text, &t.size);

	if (!err)
		*out = t;
	return err;
}

static void free_endpoint(struct config_endpoint *e)
{
	free(e->name);
	free(e->metrics_url);
	free(e->user);
	free(e->cgroup);
	free(e->gpu_pod);
	free(e->gpu_namespace);
	free(e->gpu_exporter);
	free(e->host);
	free(e->allowed);
}

/* A scrape comes up to a tenth of its interval late, and then waits for its turn. */
uint64_t config_idle_more_ns(const struct config_scrape *s)
{
	return s->idle_ns > s->interval_ns ? s->idle_ns + s->idle_ns / 8 : 0;
}

const char *config_gpu_page(const struct config_pool *p, const struct config_endpoint *e)
{
	return e->gpu_index >= 0 || e->gpu_pod ? e->gpu_exporter ?: p->dcgm_url : NULL;
}

static void free_pool(struct config_pool *p)
{
	for (size_t i = 0; i < p->endpoint_count; i++)
		free_endpoint(&p->endpoints[i]);
	free(p->endpoints);
	for (size_t i = 0; i < p->host_count; i++)
		free_endpoint(&p->hosts[i].as);
	free(p->hosts);
	free(p->frontends);
	free(p->spared);
	config_classes_free(p);
	config_tenants_free(p);
	config_access_free(p);
	config_others_free(p);
	free(p->models);
	free(p->name);
	free(p->scrape.path);
	free(p->scrape.credentials_file);
	free(p->scrape.ca_file);
	free(p->scrape.cert_file);
	free(p->scrape.key_file);
	free(p->scrape.server_name);
	free(p->health.path);
	free(p->probe.path);
	free(p->probe.model);
	free(p->dcgm_url);
	for (size_t i = 0; i < CONFIG_METRICS; i++)
		free(p->metric_names[i]);
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->pool_count; i++)
		free_pool(&c->pools[i]);
	for (size_t i = 0; i < c->client_count; i++) {
		free(c->clients[i].name);
		free(c->clients[i].cgroup);
	}
	free(c->clients);
	free(c->audit.file);
	free(c->pools);
	free(c->path);
	free(c->bpffs);
	free(c->netns);
	free(c->cgroup);
	free(c->metrics);
	free(c->group);
	free(c->kubeconfig);
	free(c->prefixes);
	free(c->nameservers);
	free(c->key_file);
	free(c->kube_node);
	free(c->gpu_exporter.space);
	free(c->gpu_exporter.name);
	free(c);
}
