/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster.h"

#include <assert.h>
#include <ctype.h>
#include <limits.h>
#include <sys/stat.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../kubernetes/kube_cluster.h"
#include "../../kubernetes/kube_removal.h"
#include "../../maps/maps.h"
#include "../../maps/state_found.h"

struct cluster {
	struct kube_access *access;    /* until cluster_start() */
	char *node;                    /* the name of this one in the cluster */
	char *gpu_space, *gpu_service; /* the DCGM exporter's; NULL: none */
	struct config_founds pinned;   /* the same */
	struct kube_client *client;
	struct kube_cluster *kube;
	struct kube_removal *removal;
};

/* A kubelet takes the host's name in small letters for its node's, unless it is told otherwise. */
static char *find_node(const struct config *config)
{
	const char *given = config->kube_node ?: getenv("NODE_NAME");
	char host[HOST_NAME_MAX + 1] = "";

	if (given && *given)
		return strdup(given);
	gethostname(host, sizeof(host) - 1);
	for (char *p = host; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return strdup(host);
}

int cluster_new(const struct config *config, struct cluster **out)
{
	struct kube_access *a = NULL;
	struct cluster *c;
	int err = kube_access_find(config->kubeconfig, &a);

	if (err)
		return err;
	*out = NULL;
	if (!a && config->kubernetes) {
		log_error("%s: kubernetes is there, but pintled runs in no pod with a service "
			  "account's token; name kubernetes.kubeconfig",
			  config->path);
		return -EINVAL;
	}
	if (!a)
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c) {
		kube_access_free(a);
		return log_err_r(ENOMEM, "Kubernetes");
	}
	c->access = a;
	c->node = find_node(config);
	if (c->node && config->gpu_exporter.name) {
		c->gpu_space = strdup(config->gpu_exporter.space);
		c->gpu_service = strdup(config->gpu_exporter.name);
	}
	if (!c->node || (config->gpu_exporter.name && (!c->gpu_space || !c->gpu_service))) {
		cluster_free(c);
		return log_err_r(ENOMEM, "Kubernetes");
	}
	*out = c;
	return 0;
}

int cluster_start(struct cluster *c, uv_loop_t *loop, void (*changed)(void *arg), void *arg)
{
	int err;

	assert(c->access && !c->client /* it was not called yet */);
	log_info("Kubernetes: watching the Services of %s that carry the label " KUBE_LABEL_MODE,
		 c->access->server);
	err = kube_client_new(loop, TAKE_PTR(c->access), &kube_times, &c->client);
	if (!err)
		err = kube_cluster_new(loop, c->client, changed, arg, &c->kube);
	if (!err)
		err = kube_cluster_at(c->kube, c->node);
	if (!err && c->gpu_service)
		err = kube_cluster_watch_gpus(c->kube, c->gpu_space, c->gpu_service);
	if (!err)
		kube_cluster_restore(c->kube, &c->pinned);
	return err;
}

int cluster_watch_removal(struct cluster *c, uv_loop_t *loop, bool stands,
			  void (*changed)(void *arg), void *arg)
{
	int err =
		c->client ? 0 : kube_client_new(loop, TAKE_PTR(c->access), &kube_times, &c->client);

	if (err)
		return err;
	c->removal = kube_removal_new(c->client, stands, changed, arg);
	return c->removal ? 0 : log_err_r(ENOMEM, "Kubernetes");
}

bool cluster_removed(const struct cluster *c)
{
	return c->removal && kube_removal_stands(c->removal);
}

void cluster_detached(struct cluster *c)
{
	assert(c->removal /* cluster_watch_removal() was called */);
	kube_removal_detached(c->removal, c->node);
}

void cluster_free(struct cluster *c)
{
	if (!c)
		return;
	kube_cluster_free(c->kube);
	kube_removal_free(c->removal);
	kube_client_free(c->client);
	kube_access_free(c->access);
	config_founds_free(&c->pinned);
	free(c->node);
	free(c->gpu_space);
	free(c->gpu_service);
	free(c);
}

/* What the API takes for a node's name. */
static bool is_node(const char *name)
{
	return *name && strlen(name) < KUBE_NAME_SIZE &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == strlen(name);
}

int cluster_watch_pods(struct cluster *c, void (*changed)(void *arg), void *arg)
{
	assert(c->kube /* cluster_start() was called */);
	if (is_node(c->node))
		return kube_cluster_watch_pods(c->kube, changed, arg);
	log_warn("Kubernetes: '%s' is the name of no node, so the pods of this node are not known; "
		 "set kubernetes.node, or NODE_NAME in the environment",
		 c->node);
	return 0;
}

const struct kube_store *cluster_pods(const struct cluster *c)
{
	return c && c->kube ? kube_cluster_pods(c->kube) : NULL;
}

bool cluster_pods_known(const struct cluster *c)
{
	return c && c->kube && kube_cluster_pods_known(c->kube);
}

bool cluster_left_alone(const struct cluster *c, const struct kube_pod *pod)
{
	assert(c->kube /* the pods are its */);
	return kube_cluster_left_alone(c->kube, pod);
}

const char *cluster_node(const struct cluster *c)
{
	return c->node;
}

int cluster_restore(struct cluster *c, const struct state *s)
{
	int err = s ? state_found(s, &c->pinned) : 0;

	if (err)
		return log_err_r(err, "failed to read the pinned pools of the cluster");
	if (c->pinned.count)
		log_info("Kubernetes: going on with %zu pinned pool%s until the API server answers",
			 c->pinned.count, plural(c->pinned.count));
	return 0;
}

void cluster_tell_node(struct cluster *c, const char *why)
{
	assert(c->kube /* cluster_start() was called */);
	kube_cluster_tell_node(c->kube, why);
}

int cluster_pools(struct cluster *c, struct config_founds *out)
{
	struct config_founds f = {0};
	int err = 0;

	if (c->kube)
		err = kube_cluster_pools(c->kube, &f);
	for (size_t i = 0; !c->kube && !err && i < c->pinned.count; i++)
		err = config_founds_copy(&f, &c->pinned.all[i]);
	if (err) {
		config_founds_free(&f);
		return log_err_r(err, "Kubernetes");
	}
	*out = f;
	return 0;
}

void cluster_room(struct cluster *c, const struct config *config)
{
	struct kube_amount taken = {0};

	for (size_t i = 0; i < config->pool_count; i++) {
		const struct config_pool *p = &config->pools[i];

		if (p->line <= 0)
			continue;
		taken.pools++;
		taken.endpoints += p->endpoint_count;
		taken.frontends += p->frontend_count;
		taken.spared += p->spared_count;
		taken.models += p->model_count;
	}
	if (!c || !c->kube)
		return;
	kube_cluster_room(c->kube, taken);
	kube_cluster_allow(c->kube, config->prefixes, config->prefix_count);
}

void cluster_judged(struct cluster *c, const struct config_founds *pools, bool applied,
		    const struct kube_judge *judge)
{
	if (c && c->kube)
		kube_cluster_judged(c->kube, pools, applied, judge);
}

bool cluster_is_judged(const struct cluster *c)
{
	return c && c->kube && kube_cluster_is_judged(c->kube);
}

struct cluster_figures cluster_figures(const struct cluster *c)
{
	if (!c || !c->kube)
		return (struct cluster_figures){.there = c};
	struct cluster_figures f = {
		.there = true,
		.well = !kube_client_trouble(c->client),
		.listed = kube_cluster_listed(c->kube),
		.requests = kube_client_requests(c->client),
		.failures = kube_client_failures(c->client),
		.leads = kube_cluster_leads(c->kube),
	};

	kube_cluster_left(c->kube, &f.left);
	return f;
}

static void show_missing(const struct cluster *c, char *to, size_t size)
{
	const char *line;
	size_t n = 0;

	to[0] = '\0';
	for (size_t i = 0; n < size && (line = kube_client_missing(c->client, i)); i++)
		n += (size_t)snprintf(to + n, size - n, "%s%s", n ? "\n" : "", line);
}

void cluster_show(const struct cluster *c, struct pintle_node *node)
{
	const struct cluster_figures f = cluster_figures(c);

	if (!c || !c->kube) {
		node->kube = 0;
		return;
	}
	node->kube = PINTLE_KUBE_THERE | (f.well ? PINTLE_KUBE_WELL : 0U) |
		     (f.listed ? PINTLE_KUBE_LISTED : 0U) | (f.leads ? PINTLE_KUBE_LEADS : 0U) |
		     (f.left.outside ? PINTLE_KUBE_OUTSIDE : 0U);
	node->kube_left = (uint32_t)f.left.count;
	node->kube_no_room = (uint32_t)f.left.no_room;
	show_missing(c, node->kube_missing, sizeof(node->kube_missing));
	snprintf(node->kube_why, sizeof(node->kube_why), "%.317s%s%.440s", f.left.one,
		 f.left.one[0] ? ": " : "", f.left.why);
}
