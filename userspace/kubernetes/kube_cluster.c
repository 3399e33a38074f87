// SPDX-License-Identifier: Apache-2.0
#include "kube_cluster.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "../base/log.h"
#include "../base/util.h"
#include "kube_store.h"

#define SETTLE_MS 50  /* a Service and its slices change together */
#define PACE_MS   200 /* while pods churn, a configuration is made so often at most */

/* Kinds that are watched in the whole cluster. */
enum {
	ALL_SERVICES, /* that carry the label */
	ALL_COUNT,
};

/* A Service, and what belongs to it. */
struct service {
	LIST_ENTRY(service) all;
	struct kube_cluster *cluster;
	char key[KUBE_KEY_SIZE];
	struct kube_store *slices; /* NULL: it is not steered */
	bool told_once;
	char told[KUBE_WHY_SIZE]; /* why it is left to kube-proxy, as logged last */
};

struct kube_cluster {
	uv_loop_t *loop;
	struct kube_client *client;
	uv_timer_t settle;
	uint64_t settled_ns;
	void (*changed)(void *arg);
	void *arg;
	struct kube_store *all[ALL_COUNT];
	LIST_HEAD(, service) services;
	struct config_founds restored;
	char *node;              /* the name of this one; NULL: unknown */
	struct kube_store *pods; /* of that node; NULL: not watched */
};

static void on_settle(uv_timer_t *t);

static void cluster_changed(void *arg)
{
	struct kube_cluster *c = arg;
	uint64_t since = (monotonic_ns() - c->settled_ns) / NSEC_PER_MSEC;
	uint64_t ms = since >= PACE_MS ? SETTLE_MS : MAX(PACE_MS - since, (uint64_t)SETTLE_MS);

	if (!uv_is_active((uv_handle_t *)&c->settle))
		uv_timer_start(&c->settle, on_settle, ms, 0);
}

/* ---- kinds ----------------------------------------------------------------------------- */

static int read_service(const cJSON *object, void **out, char why[KUBE_WHY_SIZE])
{
	struct kube_service *s = calloc(1, sizeof(*s));
	int err;

	if (!s) {
		snprintf(why, KUBE_WHY_SIZE, "out of memory");
		return -ENOMEM;
	}
	err = kube_service_read(object, s, why);
	if (err)
		free(s);
	else
		*out = s;
	return err;
}

static int read_slice(const cJSON *object, void **out, char why[KUBE_WHY_SIZE])
{
	struct kube_slice *s = NULL;
	int err = kube_slice_read(object, &s, why);

	if (!err)
		*out = s;
	return err;
}

static void free_slice(void *now)
{
	kube_slice_free(now);
}

static const struct kube_kind services = {
	.what = "services",
	.one = "Service",
	.group = "/api/v1",
	.read = read_service,
	.free = free,
};

static const struct kube_kind slices = {
	.what = "endpointslices",
	.one = "EndpointSlice",
	.group = "/apis/discovery.k8s.io/v1",
	.read = read_slice,
	.free = free_slice,
};

static int read_pod(const cJSON *object, void **out, char why[KUBE_WHY_SIZE])
{
	struct kube_pod *p = calloc(1, sizeof(*p));
	int err;

	if (!p) {
		snprintf(why, KUBE_WHY_SIZE, "out of memory");
		return -ENOMEM;
	}
	err = kube_pod_read(object, p, why);
	if (err)
		free(p);
	else
		*out = p;
	return err;
}

static const struct kube_kind pods = {
	.what = "pods",
	.one = "Pod",
	.group = "/api/v1",
	.optional = true,
	.read = read_pod,
	.free = free,
};

static const struct {
	const struct kube_kind *kind;
	const char *selector; /* NULL: all objects */
} watched[ALL_COUNT] = {
	[ALL_SERVICES] = {&services, "labelSelector=pintle.dev%2Fmode"},
};

/* ---- Services -------------------------------------------------------------------------- */

/* The Service as the API server has it; NULL: it is gone, or cannot be read. */
static const struct kube_service *service_now(const struct service *v)
{
	const struct kube_item *item = kube_store_find(v->cluster->all[ALL_SERVICES], v->key);

	return item ? item->now : NULL;
}

static struct service *service_find(const struct kube_cluster *c, const char *key)
{
	struct service *v;

	LIST_FOREACH(v, &c->services, all)
	if (!strcmp(v->key, key))
		return v;
	return NULL;
}

static void service_add(struct kube_cluster *c, const char *key)
{
	struct service *v = calloc(1, sizeof(*v));

	if (!v) {
		cluster_changed(c); /* again later */
		return;
	}
	v->cluster = c;
	snprintf(v->key, sizeof(v->key), "%s", key);
	LIST_INSERT_HEAD(&c->services, v, all);
}

static void service_free(struct service *v)
{
	kube_store_free(v->slices);
	LIST_REMOVE(v, all);
	free(v);
}

static void watch_slices(struct service *v, const struct kube_service *now)
{
	char selector[128 + KUBE_LABEL_SIZE];

	snprintf(selector, sizeof(selector), "labelSelector=kubernetes.io%%2Fservice-name%%3D%s",
		 now->name);
	v->slices = kube_store_new(v->cluster->client, &slices, now->space, selector,
				   cluster_changed, v->cluster);
	if (!v->slices)
		cluster_changed(v->cluster); /* no memory: again later */
}

static bool wants_slices(const struct kube_service *now)
{
	return now && kube_is_steered(now) && now->address_count;
}

/* Watches what is to be watched, and forgets what is gone. */
static void cluster_tend(struct kube_cluster *c)
{
	struct service *v = LIST_FIRST(&c->services), *next;

	KUBE_STORE_EACH(item, c->all[ALL_SERVICES])
	if (item->now && !service_find(c, item->key))
		service_add(c, item->key);
	for (; v; v = next) {
		const struct kube_service *now = service_now(v);

		next = LIST_NEXT(v, all);
		if (!now)
			service_free(v);
		else if (!wants_slices(now))
			kube_store_free(TAKE_PTR(v->slices));
	}
	LIST_FOREACH(v, &c->services, all)
	if (!v->slices && wants_slices(service_now(v)))
		watch_slices(v, service_now(v));
}

/* What an unfinished list has not named yet is no less there. */
static bool is_known(const struct kube_cluster *c)
{
	for (size_t i = 0; i < ALL_COUNT; i++)
		if (!kube_store_known(c->all[i]))
			return false;
	return true;
}

/* Watches are begun and ended here, because a callback of one may end none. */
static void on_settle(uv_timer_t *t)
{
	struct kube_cluster *c = t->data;

	c->settled_ns = monotonic_ns();
	if (!is_known(c))
		return;
	cluster_tend(c);
	c->changed(c->arg);
}

/* ---- pools
 * --------------------------------------------------------------------------------------------- */

void kube_cluster_restore(struct kube_cluster *c, struct config_founds *p)
{
	config_founds_free(&c->restored);
	c->restored = *p;
	*p = (struct config_founds){0};
}

static int by_age(const void *left, const void *right)
{
	const struct kube_item *a = *(const struct kube_item *const *)left;
	const struct kube_item *b = *(const struct kube_item *const *)right;

	return strcmp(a->meta.created, b->meta.created) ?: strcmp(a->key, b->key);
}

static void tell(struct service *v, const char *why)
{
	if (v->told_once && !strcmp(v->told, why))
		return;
	v->told_once = true;
	if (why[0])
		log_warn("Kubernetes: Service %s is left to kube-proxy: %s", v->key, why);
	else
		log_info("Kubernetes: Service %s is taken up", v->key);
	snprintf(v->told, sizeof(v->told), "%s", why);
}

/* Adds the restored pools of that Service (NULL: of all). */
static int add_restored(const struct kube_cluster *c, const char *key, struct config_founds *out)
{
	for (size_t i = 0; i < c->restored.count; i++) {
		const struct config_found *from = &c->restored.all[i];
		int err = key && !kube_pool_is_of(from->name, key) ? 0
								   : config_founds_copy(out, from);

		if (err)
			return err;
	}
	return 0;
}

static int add_service(struct kube_cluster *c, struct service *v, const struct kube_service *now,
		       struct config_founds *out)
{
	_cleanup_free_ struct kube_slice **all = NULL;
	char why[KUBE_WHY_SIZE];
	size_t n = 0;
	int err;

	if (wants_slices(now) && !(v->slices && kube_store_known(v->slices)))
		return add_restored(c, v->key, out);
	all = calloc((v->slices ? kube_store_count(v->slices) : 0) + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	if (v->slices) {
		KUBE_STORE_EACH(item, v->slices)
		if (item->now)
			all[n++] = item->now;
	}
	err = kube_pools_add(out, now, all, n, why);
	if (!err)
		tell(v, why);
	return err;
}

/* Services by age: if there is no room for all, the youngest are left out. Their structs are made
 * before any pools are asked for (cluster_tend()). */
static int add_services(struct kube_cluster *c, struct config_founds *out)
{
	struct kube_store *all = c->all[ALL_SERVICES];
	_cleanup_free_ const struct kube_item **order =
		calloc(kube_store_count(all) + 1, sizeof(*order));
	size_t n = 0;
	int err = 0;

	if (!order)
		return -ENOMEM;
	KUBE_STORE_EACH(item, all)
	if (item->now)
		order[n++] = item;
	if (n)
		qsort(order, n, sizeof(*order), by_age);
	for (size_t i = 0; !err && i < n; i++) {
		struct service *v = service_find(c, order[i]->key);

		err = v ? add_service(c, v, order[i]->now, out)
			: add_restored(c, order[i]->key, out);
	}
	return err;
}

int kube_cluster_pools(struct kube_cluster *c, struct config_founds *out)
{
	struct config_founds p = {0};
	int err = is_known(c) ? add_services(c, &p) : add_restored(c, NULL, &p);

	if (err)
		config_founds_free(&p);
	else
		*out = p;
	return err;
}

bool kube_cluster_listed(const struct kube_cluster *c)
{
	const struct service *v;

	LIST_FOREACH(v, &c->services, all)
	if (wants_slices(service_now(v)) && !(v->slices && kube_store_known(v->slices)))
		return false;
	return is_known(c);
}

/* ---- life ------------------------------------------------------------------------------ */

static void free_cluster(uv_handle_t *h)
{
	struct kube_cluster *c = h->data;

	free(c->node);
	free(c);
}

int kube_cluster_at(struct kube_cluster *c, const char *node)
{
	char *copy = strdup(node);

	if (!copy)
		return log_err_r(ENOMEM, "Kubernetes");
	free(c->node);
	c->node = copy;
	return 0;
}

/* The name of a node goes into the query as it is: cluster.c lets none through that needs escaping.
 */
int kube_cluster_watch_pods(struct kube_cluster *c, void (*changed)(void *arg), void *arg)
{
	char selector[64 + KUBE_NAME_SIZE];

	assert(c->node && !c->pods);
	snprintf(selector, sizeof(selector), "fieldSelector=spec.nodeName%%3D%s", c->node);
	c->pods = kube_store_new(c->client, &pods, NULL, selector, changed, arg);
	return c->pods ? 0 : log_err_r(ENOMEM, "Kubernetes");
}

const struct kube_store *kube_cluster_pods(const struct kube_cluster *c)
{
	return c->pods;
}

int kube_cluster_new(uv_loop_t *loop, struct kube_client *client, void (*changed)(void *arg),
		     void *arg, struct kube_cluster **out)
{
	struct kube_cluster *c = calloc(1, sizeof(*c));
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
	if (!whole) {
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
	while (!LIST_EMPTY(&c->services))
		service_free(LIST_FIRST(&c->services));
	for (size_t i = 0; i < ALL_COUNT; i++)
		kube_store_free(c->all[i]);
	kube_store_free(c->pods);
	config_founds_free(&c->restored);
	uv_close((uv_handle_t *)&c->settle, free_cluster);
}
