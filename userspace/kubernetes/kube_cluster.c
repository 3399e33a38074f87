// SPDX-License-Identifier: Apache-2.0
#include "kube_cluster.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/log.h"
#include "../base/util.h"
#include "kube_cluster_internal.h"

#define SETTLE_MS 50  /* a Service and its slices change together */
#define PACE_MS   200 /* while pods churn, a configuration is made so often at most */

static void kube_cluster_on_settle(uv_timer_t *t);

static void cluster_changed(void *arg)
{
	struct kube_cluster *c = arg;
	uint64_t since = (monotonic_ns() - c->settled_ns) / NSEC_PER_MSEC;
	uint64_t ms = since >= PACE_MS ? SETTLE_MS : MAX(PACE_MS - since, (uint64_t)SETTLE_MS);

	c->judged = false;
	if (!uv_is_active((uv_handle_t *)&c->settle))
		uv_timer_start(&c->settle, kube_cluster_on_settle, ms, 0);
}

/* ---- kinds ----------------------------------------------------------------------------- */

static int read_service(const cJSON *object, void *to, char why[KUBE_WHY_SIZE])
{
	return kube_service_read(object, to, why);
}

static void clear_service(void *now)
{
	kube_service_clear(now);
}

static int read_slice(const cJSON *object, void *to, char why[KUBE_WHY_SIZE])
{
	return kube_slice_read(object, to, why);
}

static void clear_slice(void *now)
{
	kube_slice_clear(now);
}

static const struct kube_kind services = {
	.what = "services",
	.one = "Service",
	.group = "/api/v1",
	.size = sizeof(struct kube_service),
	.read = read_service,
	.clear = clear_service,
};

static const struct kube_kind slices = {
	.what = "endpointslices",
	.one = "EndpointSlice",
	.group = "/apis/discovery.k8s.io/v1",
	.size = sizeof(struct kube_slice),
	.read = read_slice,
	.clear = clear_slice,
};

static const struct kube_kind pods = {
	.what = "pods",
	.one = "Pod",
	.group = "/api/v1",
	.optional = true,
	.size = sizeof(struct kube_pod),
	.read = kube_pod_read_into,
	.clear = kube_pod_clear_at,
};

static int kube_cluster_read_space(const cJSON *object, void *to, char why[KUBE_WHY_SIZE])
{
	(void)why;
	return kube_namespace_read(object, to);
}

static const struct kube_kind spaces = {
	.what = "namespaces",
	.one = "Namespace",
	.group = "/api/v1",
	.optional = true,
	.of_cluster = true,
	.size = sizeof(struct kube_namespace),
	.read = kube_cluster_read_space,
};

static const struct {
	const struct kube_kind *kind;
	const char *selector; /* NULL: all objects */
} watched[ALL_COUNT] = {
	[ALL_SERVICES] = {&services, "labelSelector=pintle.dev%2Fmode"},
	[ALL_SLICES] = {&slices, "labelSelector=pintle.dev%2Fmode"},
	[ALL_INFERENCES] = {&kube_inferences, NULL},
	[ALL_POLICIES] = {&kube_policies, NULL},
	[ALL_OBJECTIVES] = {&kube_objectives, NULL},
	[ALL_FORMER_OBJECTIVES] = {&kube_former_objectives, NULL},
};

/* ---- owners ---------------------------------------------------------------------------- */

const struct owner_kind owner_kinds[KUBE_TARGET_KINDS] = {
	[KUBE_TARGET_SERVICE] = {ALL_SERVICES, "Service", "v1"},
	[KUBE_TARGET_POOL] = {ALL_INFERENCES, "InferencePool", "inference.networking.k8s.io/v1"},
};

const struct kube_item *owner_item(const struct owner *o)
{
	return kube_store_find(o->cluster->all[owner_kinds[o->kind].store], o->key);
}

struct owner *owner_find(const struct kube_cluster *c, enum kube_target_kind kind, const char *key)
{
	struct owner *o;

	LIST_FOREACH(o, &c->owners, all)
	if (o->kind == kind && !strcmp(o->key, key))
		return o;
	return NULL;
}

static void owner_add(struct kube_cluster *c, enum kube_target_kind kind, const char *key)
{
	struct owner *o = calloc(1, sizeof(*o));

	if (!o) {
		cluster_changed(c); /* again later */
		return;
	}
	o->cluster = c;
	o->kind = kind;
	snprintf(o->key, sizeof(o->key), "%s", key);
	LIST_INSERT_HEAD(&c->owners, o, all);
}

static void owned_unwatch(struct owned *w)
{
	kube_store_free(TAKE_PTR(w->store));
	free(TAKE_PTR(w->selector));
}

static void owner_free(struct owner *o)
{
	owned_unwatch(&o->members);
	owned_unwatch(&o->own);
	LIST_REMOVE(o, all);
	free(o);
}

bool kube_is_frontend(const struct kube_service *s, const struct kube_inference *p)
{
	char why[KUBE_WHY_SIZE];

	return s && !strcmp(s->space, p->space) && !strcmp(s->pool, p->name) && !s->local &&
	       !kube_pools_leave(s, why);
}

static bool has_frontend(const struct kube_cluster *c, const struct kube_inference *p)
{
	KUBE_STORE_EACH(item, c->all[ALL_SERVICES])
	if (kube_is_frontend(item->now, p))
		return true;
	return false;
}

static bool makes_pools(const struct kube_service *s)
{
	return kube_is_steered(s) && s->address_count && !s->pool[0];
}

bool kube_is_slice_of(const struct kube_slice *slice, const char *key)
{
	size_t space = strlen(slice->space);

	return !strncmp(slice->space, key, space) && key[space] == '/' &&
	       !strcmp(slice->service, key + space + 1);
}

static bool has_labelled_slice(const struct owner *o)
{
	KUBE_STORE_EACH(item, o->cluster->all[ALL_SLICES])
	if (item->now && kube_is_slice_of(item->now, o->key))
		return true;
	return false;
}

/* Whether a Service's slices are to be watched by its name. The controller gives slices the labels
 * of a Service that has a selector, one slice after the other; slices of other Services are written
 * by hand, or mirrored, and need not carry them. */
static bool needs_its_name(const struct owner *o, const struct kube_service *s)
{
	if (!s->selector || !has_labelled_slice(o))
		return true;
	if (!o->members.store)
		return false;
	if (!kube_store_known(o->members.store))
		return true;
	KUBE_STORE_EACH(item, o->members.store)
	if (!kube_store_find(o->cluster->all[ALL_SLICES], item->key))
		return true;
	return false;
}

/* By which selector the owner's members are to be watched, into *selector, which the caller frees;
 * NULL: they are not. */
static int wanted_selector(const struct owner *o, char **selector)
{
	const struct kube_item *item = owner_item(o);
	const struct kube_service *s = item ? item->now : NULL;
	const struct kube_inference *p = item ? item->now : NULL;
	int n = 0;

	*selector = NULL;
	if (!item || !item->now)
		return 0;
	if (o->kind == KUBE_TARGET_POOL && has_frontend(o->cluster, p))
		n = asprintf(selector, "%s", p->selector);
	else if (o->kind == KUBE_TARGET_SERVICE && makes_pools(s) && needs_its_name(o, s))
		n = asprintf(selector, "labelSelector=kubernetes.io%%2Fservice-name%%3D%s",
			     s->name);
	if (n >= 0)
		return 0;
	*selector = NULL;
	return -ENOMEM;
}

bool owner_waits(const struct owner *o)
{
	_cleanup_free_ char *selector = NULL;

	if (o->own.store && !kube_store_known(o->own.store))
		return true;
	/* Where they must be watched otherwise now, those that are known are as good. */
	if (o->slices_known)
		return false;
	if (o->members.store)
		return !kube_store_known(o->members.store);
	return wanted_selector(o, &selector) || selector;
}

static void owned_watch(struct owner *o, struct owned *w, const struct kube_kind *kind,
			char *selector)
{
	char space[KUBE_LABEL_SIZE];

	snprintf(space, sizeof(space), "%.*s", (int)(strchrnul(o->key, '/') - o->key), o->key);
	owned_unwatch(w);
	w->selector = selector;
	w->store = kube_store_new(o->cluster->client, kind, space, selector, cluster_changed,
				  o->cluster);
	if (!w->store)
		cluster_changed(o->cluster); /* no memory: again later */
}

/* Watches by that selector, which it takes; NULL: not at all. */
static void owned_tend(struct owner *o, struct owned *w, const struct kube_kind *kind,
		       char *selector)
{
	if (selector && w->store && !strcmp(selector, w->selector))
		free(selector);
	else if (selector)
		owned_watch(o, w, kind, selector);
	else
		owned_unwatch(w);
}

static void owner_tend(struct owner *o)
{
	bool is_service = o->kind == KUBE_TARGET_SERVICE;
	const struct kube_service *s = is_service ? owner_item(o)->now : NULL;
	char *selector = NULL, *own = NULL;

	if (wanted_selector(o, &selector)) {
		cluster_changed(o->cluster);
		return;
	}
	/* Only pods say whose an address is; slices may say anything. */
	if (s && makes_pools(s) && s->selector && !strcmp(s->intercept, "endpoints")) {
		own = strdup(s->selector);
		if (!own)
			cluster_changed(o->cluster);
	}
	owned_tend(o, &o->members, is_service ? &slices : &pods, selector);
	owned_tend(o, &o->own, &pods, own);
}

/* Watches what is to be watched, and forgets what is gone. */
static void cluster_tend(struct kube_cluster *c)
{
	struct owner *o, *next;

	for (size_t i = 0; i < ARRAY_SIZE(owner_kinds); i++)
		KUBE_STORE_EACH(item, c->all[owner_kinds[i].store])
	if (item->now && !owner_find(c, (enum kube_target_kind)i, item->key))
		owner_add(c, (enum kube_target_kind)i, item->key);
	for (o = LIST_FIRST(&c->owners); o; o = next) {
		const struct kube_item *item = owner_item(o);

		next = LIST_NEXT(o, all);
		if (item && item->now)
			owner_tend(o);
		else
			owner_free(o);
	}
}

bool kube_cluster_known(const struct kube_cluster *c)
{
	for (size_t i = 0; i < ALL_COUNT; i++)
		if (!kube_store_known(c->all[i]))
			return false;
	return true;
}

static bool kube_cluster_names_clients(const struct kube_cluster *c)
{
	KUBE_STORE_EACH(item, c->all[ALL_SERVICES])
	{
		const struct kube_service *s = item->now;

		if (s && s->except[0])
			return true;
	}
	return false;
}

/* Watches are begun and ended here, because a callback of one may end none. */
static void kube_cluster_on_settle(uv_timer_t *t)
{
	struct kube_cluster *c = t->data;

	c->settled_ns = monotonic_ns();
	if (!kube_cluster_known(c))
		return;
	c->clients_named = kube_cluster_names_clients(c);
	cluster_tend(c);
	c->changed(c->arg);
}

bool kube_cluster_listed(const struct kube_cluster *c)
{
	const struct owner *o;

	LIST_FOREACH(o, &c->owners, all)
	if (owner_waits(o))
		return false;
	return kube_cluster_known(c);
}

/* ---- life ------------------------------------------------------------------------------ */

static void free_cluster(uv_handle_t *h)
{
	struct kube_cluster *c = h->data;

	free(c->node);
	free(c);
}

static void on_node_begin(void *arg)
{
	(void)arg;
}

static void on_node(void *arg, const cJSON *object, bool gone)
{
	struct kube_cluster *c = arg;

	(void)gone;
	kube_node_read(object, &c->here);
}

static void on_node_listed(void *arg)
{
	cluster_changed(arg);
}

static const struct kube_watch_callbacks zone_callbacks = {
	.begin = on_node_begin,
	.object = on_node,
	.listed = on_node_listed,
	/* Without it no endpoint counts as in another zone. */
	.missing = cluster_changed,
};

int kube_cluster_at(struct kube_cluster *c, const char *node)
{
	char *copy = strdup(node), path[32 + KUBE_NAME_SIZE];

	assert(!c->node);
	if (!copy)
		return log_err_r(ENOMEM, "Kubernetes");
	c->node = copy;
	if (snprintf(path, sizeof(path), "/api/v1/nodes/%s", node) < (int)sizeof(path) &&
	    strspn(node, "abcdefghijklmnopqrstuvwxyz0123456789-.") == strlen(node))
		c->zone = kube_watch_get(c->client, "nodes", path, &zone_callbacks, c);
	return 0;
}

static void on_spaces(void *arg)
{
	struct kube_cluster *c = arg;

	c->pods_changed(c->pods_arg);
}

/* Some Services name clients by the labels of their pods. */
static void kube_cluster_on_pods(void *arg)
{
	struct kube_cluster *c = arg;

	c->pods_changed(c->pods_arg);
	if (c->clients_named)
		cluster_changed(c);
}

/* The name of a node goes into the query as it is: cluster.c lets none through that needs escaping.
 */
int kube_cluster_watch_pods(struct kube_cluster *c, void (*changed)(void *arg), void *arg)
{
	char selector[64 + KUBE_NAME_SIZE];

	assert(c->node && !c->pods);
	snprintf(selector, sizeof(selector), "fieldSelector=spec.nodeName%%3D%s", c->node);
	c->pods_changed = changed;
	c->pods_arg = arg;
	c->pods = kube_store_new(c->client, &pods, NULL, selector, kube_cluster_on_pods, c);
	c->spaces = kube_store_new(c->client, &spaces, NULL, NULL, on_spaces, c);
	return c->pods && c->spaces ? 0 : log_err_r(ENOMEM, "Kubernetes");
}

const struct kube_store *kube_cluster_pods(const struct kube_cluster *c)
{
	return c->pods;
}

bool kube_cluster_pods_known(const struct kube_cluster *c)
{
	return c->pods && kube_store_known(c->pods) && kube_store_known(c->spaces);
}

bool kube_cluster_left_alone(const struct kube_cluster *c, const struct kube_pod *pod)
{
	const struct kube_item *item = kube_store_find(c->spaces, pod->space);
	const struct kube_namespace *space = item ? item->now : NULL;

	return kube_pod_left_alone(pod, space ? space->steer : KUBE_STEER_NOT_SAID);
}

/* Both names, which the configuration checks, need no escaping. */
int kube_cluster_watch_gpus(struct kube_cluster *c, const char *space, const char *service)
{
	char selector[64 + KUBE_NAME_SIZE];

	assert(!c->gpus);
	snprintf(selector, sizeof(selector), "labelSelector=kubernetes.io%%2Fservice-name%%3D%s",
		 service);
	c->gpus = kube_store_new(c->client, &slices, space, selector, cluster_changed, c);
	return c->gpus ? 0 : log_err_r(ENOMEM, "Kubernetes");
}

static void on_lease(void *arg)
{
	kube_cluster_say(arg);
}

int kube_cluster_new(uv_loop_t *loop, struct kube_client *client, void (*changed)(void *arg),
		     void *arg, struct kube_cluster **out)
{
	struct kube_cluster *c = calloc(1, sizeof(*c));
	char identity[KUBE_IDENTITY_SIZE];
	bool whole = c;

	if (!c)
		return log_err_r(ENOMEM, "Kubernetes");
	*c = (struct kube_cluster){.loop = loop, .client = client, .changed = changed, .arg = arg};
	uv_timer_init(loop, &c->settle);
	c->settle.data = c;
	for (size_t i = 0; whole && i < ALL_COUNT; i++) {
		c->all[i] = kube_store_new(client, watched[i].kind, NULL, watched[i].selector,
					   cluster_changed, c);
		whole = c->all[i];
	}
	c->lease = kube_lease_new(client, kube_lease_own(identity), on_lease, c);
	c->teller = kube_teller_new(client);
	if (!whole || !c->lease || !c->teller) {
		kube_cluster_free(c);
		return log_err_r(ENOMEM, "Kubernetes");
	}
	*out = c;
	return 0;
}

void kube_cluster_free(struct kube_cluster *c)
{
	if (!c)
		return;
	while (!LIST_EMPTY(&c->owners))
		owner_free(LIST_FIRST(&c->owners));
	for (size_t i = 0; i < ALL_COUNT; i++)
		kube_store_free(c->all[i]);
	kube_lease_free(c->lease);
	kube_teller_free(c->teller);
	kube_store_free(c->pods);
	kube_store_free(c->spaces);
	kube_store_free(c->gpus);
	kube_watch_free(c->zone);
	config_founds_free(&c->restored);
	kube_share_free(&c->share);
	uv_close((uv_handle_t *)&c->settle, free_cluster);
}
