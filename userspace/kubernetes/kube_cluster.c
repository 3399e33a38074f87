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

#define SETTLE_MS 50  /* a Service and its slices change together */
#define PACE_MS   200 /* while pods churn, a configuration is made so often at most */

struct slice {
	LIST_ENTRY(slice) all;
	char key[KUBE_KEY_SIZE];
	unsigned int round;     /* of the list that named it last */
	struct kube_slice *now; /* NULL: it cannot be read */
};

struct service {
	LIST_ENTRY(service) all;
	struct kube_cluster *cluster;
	char key[KUBE_KEY_SIZE];
	unsigned int round;
	struct kube_service *now; /* NULL: it is gone, or cannot be read */
	struct kube_watch *watch; /* of its slices; NULL: it is not steered */
	LIST_HEAD(, slice) slices;
	unsigned int slice_round; /* of the newest list */
	bool listed;              /* the slices, completely */
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
	struct kube_watch *watch; /* of Services */
	LIST_HEAD(, service) services;
	unsigned int round;
	bool listed; /* the Services, completely */
	struct config_founds restored;
};

static void on_settle(uv_timer_t *t);

static void cluster_changed(struct kube_cluster *c)
{
	uint64_t since = (monotonic_ns() - c->settled_ns) / NSEC_PER_MSEC;
	uint64_t ms = since >= PACE_MS ? SETTLE_MS : MAX(PACE_MS - since, (uint64_t)SETTLE_MS);

	if (!uv_is_active((uv_handle_t *)&c->settle))
		uv_timer_start(&c->settle, on_settle, ms, 0);
}

/* ---- slices
 * -------------------------------------------------------------------------------------- */

static void slice_free(struct slice *s)
{
	LIST_REMOVE(s, all);
	kube_slice_free(s->now);
	free(s);
}

static struct slice *slice_find(const struct service *v, const char *key)
{
	struct slice *s;

	LIST_FOREACH(s, &v->slices, all)
	if (!strcmp(s->key, key))
		return s;
	return NULL;
}

static struct slice *slice_get(struct service *v, const char *key)
{
	struct slice *s = slice_find(v, key);

	if (s || !(s = calloc(1, sizeof(*s))))
		return s;
	snprintf(s->key, sizeof(s->key), "%s", key);
	LIST_INSERT_HEAD(&v->slices, s, all);
	return s;
}

static void on_slices_begin(void *arg)
{
	struct service *v = arg;

	v->slice_round++;
}

static void on_slice(void *arg, const cJSON *object, bool gone)
{
	char key[KUBE_KEY_SIZE], why[KUBE_WHY_SIZE];
	struct service *v = arg;
	struct slice *s;

	if (!kube_object_key(object, key)) {
		log_warn("Kubernetes: an EndpointSlice of %s has no name that the API allows; it "
			 "is left out",
			 v->key);
		return;
	}
	s = gone ? slice_find(v, key) : slice_get(v, key);
	if (gone && s)
		slice_free(s);
	cluster_changed(v->cluster);
	if (gone || !s)
		return;
	s->round = v->slice_round;
	kube_slice_free(TAKE_PTR(s->now));
	if (kube_slice_read(object, &s->now, why))
		log_warn("Kubernetes: EndpointSlice %s is left out: %s", key, why);
}

static void on_slices_listed(void *arg)
{
	struct service *v = arg;
	struct slice *s = LIST_FIRST(&v->slices), *next;

	for (; s; s = next) {
		next = LIST_NEXT(s, all);
		if (s->round != v->slice_round)
			slice_free(s);
	}
	v->listed = true;
	cluster_changed(v->cluster);
}

static const struct kube_watch_callbacks slice_callbacks = {
	.begin = on_slices_begin,
	.object = on_slice,
	.listed = on_slices_listed,
};

/* ---- Services
 * ------------------------------------------------------------------------------------- */

static struct service *service_find(const struct kube_cluster *c, const char *key)
{
	struct service *v;

	LIST_FOREACH(v, &c->services, all)
	if (!strcmp(v->key, key))
		return v;
	return NULL;
}

static struct service *service_get(struct kube_cluster *c, const char *key)
{
	struct service *v = service_find(c, key);

	if (v || !(v = calloc(1, sizeof(*v))))
		return v;
	v->cluster = c;
	snprintf(v->key, sizeof(v->key), "%s", key);
	LIST_INSERT_HEAD(&c->services, v, all);
	return v;
}

static void on_services_begin(void *arg)
{
	struct kube_cluster *c = arg;

	c->round++;
}

static void service_read(struct service *v, const cJSON *object)
{
	char why[KUBE_WHY_SIZE];

	v->now = calloc(1, sizeof(*v->now));
	if (v->now && !kube_service_read(object, v->now, why))
		return;
	log_warn("Kubernetes: Service %s is left to kube-proxy: %s", v->key,
		 v->now ? why : "out of memory");
	free(TAKE_PTR(v->now));
}

/* Watches are begun and ended by on_settle(), because a callback of one may end none. */
static void on_service(void *arg, const cJSON *object, bool gone)
{
	struct kube_cluster *c = arg;
	char key[KUBE_KEY_SIZE];
	struct service *v;

	if (!kube_object_key(object, key)) {
		log_warn("Kubernetes: a Service has no name that the API allows; it is left out");
		return;
	}
	v = gone ? service_find(c, key) : service_get(c, key);
	cluster_changed(c);
	if (!v)
		return;
	v->round = c->round;
	free(TAKE_PTR(v->now));
	if (!gone)
		service_read(v, object);
}

static void on_services_listed(void *arg)
{
	struct kube_cluster *c = arg;
	struct service *v;

	LIST_FOREACH(v, &c->services, all)
	if (v->round != c->round)
		free(TAKE_PTR(v->now));
	if (!c->listed)
		log_info("Kubernetes: the Services are listed");
	c->listed = true;
	cluster_changed(c);
}

static const struct kube_watch_callbacks service_callbacks = {
	.begin = on_services_begin,
	.object = on_service,
	.listed = on_services_listed,
};

static void forget_slices(struct service *v)
{
	kube_watch_free(TAKE_PTR(v->watch));
	while (!LIST_EMPTY(&v->slices))
		slice_free(LIST_FIRST(&v->slices));
	v->listed = false;
}

static void service_free(struct service *v)
{
	forget_slices(v);
	LIST_REMOVE(v, all);
	free(v->now);
	free(v);
}

/* The key's parts were checked (kube_object_key()) and need no escaping. */
static void watch_slices(struct service *v)
{
	char path[128 + KUBE_LABEL_SIZE], selector[128 + KUBE_LABEL_SIZE];

	snprintf(path, sizeof(path), "/apis/discovery.k8s.io/v1/namespaces/%s/endpointslices",
		 v->now->space);
	snprintf(selector, sizeof(selector), "labelSelector=kubernetes.io%%2Fservice-name%%3D%s",
		 v->now->name);
	v->watch = kube_watch_new(v->cluster->client, "endpointslices", path, selector,
				  &slice_callbacks, v);
	if (!v->watch)
		cluster_changed(v->cluster); /* no memory: again later */
}

static bool wants_slices(const struct service *v)
{
	return v->now && kube_is_steered(v->now) && v->now->address_count;
}

/* Watches what is to be watched, and forgets what is gone. */
static void cluster_tend(struct kube_cluster *c)
{
	struct service *v = LIST_FIRST(&c->services), *next;

	for (; v; v = next) {
		next = LIST_NEXT(v, all);
		if (!v->now)
			service_free(v);
		else if (wants_slices(v) && !v->watch)
			watch_slices(v);
		else if (!wants_slices(v) && v->watch)
			forget_slices(v);
	}
}

static void on_settle(uv_timer_t *t)
{
	struct kube_cluster *c = t->data;

	c->settled_ns = monotonic_ns();
	/* What an unfinished list has not named yet is no less there. */
	if (!c->listed)
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
	const struct service *a = *(struct service *const *)left;
	const struct service *b = *(struct service *const *)right;

	return strcmp(a->now->created, b->now->created) ?: strcmp(a->key, b->key);
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

static int add_service(struct kube_cluster *c, struct service *v, struct config_founds *out)
{
	_cleanup_free_ struct kube_slice **slices = NULL;
	char why[KUBE_WHY_SIZE];
	struct slice *s;
	size_t n = 0, i = 0;
	int err;

	if (wants_slices(v) && !v->listed)
		return add_restored(c, v->key, out);
	LIST_FOREACH(s, &v->slices, all)
	n++;
	slices = calloc(n + 1, sizeof(*slices));
	if (!slices)
		return -ENOMEM;
	LIST_FOREACH(s, &v->slices, all)
	if (s->now)
		slices[i++] = s->now;
	err = kube_pools_add(out, v->now, slices, i, why);
	if (!err)
		tell(v, why);
	return err;
}

/* Services by age: if there is no room for all, the youngest are left out. */
int kube_cluster_pools(struct kube_cluster *c, struct config_founds *out)
{
	_cleanup_free_ struct service **order = NULL;
	struct config_founds p = {0};
	struct service *v;
	size_t n = 0, i = 0;
	int err = 0;

	LIST_FOREACH(v, &c->services, all)
	n++;
	order = calloc(n + 1, sizeof(struct service *));
	if (!order)
		return -ENOMEM;
	LIST_FOREACH(v, &c->services, all)
	if (v->now)
		order[i++] = v;
	if (i)
		qsort(order, i, sizeof(struct service *), by_age);
	if (!c->listed)
		err = add_restored(c, NULL, &p);
	for (size_t k = 0; c->listed && !err && k < i; k++)
		err = add_service(c, order[k], &p);
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
	if (wants_slices(v) && !v->listed)
		return false;
	return c->listed;
}

/* ---- life
 * --------------------------------------------------------------------------------------------------
 */

static void free_cluster(uv_handle_t *h)
{
	free(h->data);
}

int kube_cluster_new(uv_loop_t *loop, struct kube_client *client, void (*changed)(void *arg),
		     void *arg, struct kube_cluster **out)
{
	struct kube_cluster *c = calloc(1, sizeof(*c));

	if (!c)
		return log_err_r(ENOMEM, "Kubernetes");
	*c = (struct kube_cluster){.loop = loop, .client = client, .changed = changed, .arg = arg};
	c->watch = kube_watch_new(client, "services", "/api/v1/services",
				  "labelSelector=pintle.dev%2Fmode", &service_callbacks, c);
	if (!c->watch) {
		free(c);
		return log_err_r(ENOMEM, "Kubernetes");
	}
	uv_timer_init(loop, &c->settle);
	c->settle.data = c;
	*out = c;
	return 0;
}

void kube_cluster_free(struct kube_cluster *c)
{
	if (!c)
		return;
	kube_watch_free(c->watch);
	while (!LIST_EMPTY(&c->services))
		service_free(LIST_FIRST(&c->services));
	config_founds_free(&c->restored);
	uv_close((uv_handle_t *)&c->settle, free_cluster);
}
