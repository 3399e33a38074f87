// SPDX-License-Identifier: Apache-2.0
#include "kube_cluster_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/log.h"
#include "../base/util.h"

void kube_cluster_restore(struct kube_cluster *c, struct config_founds *p)
{
	config_founds_free(&c->restored);
	c->restored = *p;
	*p = (struct config_founds){0};
}

int kube_by_age(const void *left, const void *right)
{
	const struct kube_item *a = *(const struct kube_item *const *)left;
	const struct kube_item *b = *(const struct kube_item *const *)right;

	return strcmp(a->meta.created, b->meta.created) ?: strcmp(a->key, b->key);
}

bool kube_same_reason(const char *a, const char *b)
{
	static const char digits[] = "0123456789";

	for (;; a++, b++) {
		size_t n = strcspn(a, " "), m = strcspn(b, " ");
		bool numbers = strcspn(a, digits) < n && strcspn(b, digits) < m;

		if (!numbers && (n != m || memcmp(a, b, n) != 0))
			return false;
		a += n;
		b += m;
		if (!*a || !*b)
			return *a == *b;
	}
}

static void tell_left(struct owner *o, const char *why)
{
	const char *one = owner_kinds[o->kind].one;
	bool same = o->told_once && kube_same_reason(o->told, why);

	snprintf(o->told, sizeof(o->told), "%s", why);
	if (same)
		return;
	o->told_once = true;
	if (why[0])
		log_write(o->idle ? LOG_INFO : LOG_WARN,
			  "Kubernetes: %s %s is left to kube-proxy: %s", one, o->key, why);
	else
		log_info("Kubernetes: %s %s is taken up", one, o->key);
	o->told_since = time(NULL);
}

static void tell_direct(struct owner *o, const char *why)
{
	bool same = kube_same_reason(o->direct, why);

	snprintf(o->direct, sizeof(o->direct), "%s", why);
	if (same)
		return;
	if (why[0])
		log_warn("Kubernetes: connections to the pods of %s %s are not intercepted: %s",
			 owner_kinds[o->kind].one, o->key, why);
	o->direct_since = time(NULL);
}

static void cluster_pools_tell(struct owner *o, const struct kube_whys *whys)
{
	o->idle = whys->idle;
	tell_left(o, whys->left);
	tell_direct(o, whys->left[0] ? "" : whys->direct);
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

const struct kube_item *kube_policy_of(const struct kube_cluster *c, enum kube_target_kind kind,
				       const char *key)
{
	const char *slash = strchr(key, '/');
	const struct kube_item *oldest = NULL;
	size_t length = slash ? (size_t)(slash - key) : 0;

	KUBE_STORE_EACH(item, c->all[ALL_POLICIES])
	{
		const struct kube_policy *p = item->now;

		if (p && p->keys && slash && strlen(p->space) == length &&
		    !strncmp(p->space, key, length) && kube_policy_target(p, kind, slash + 1) &&
		    (!oldest || kube_by_age(&item, &oldest) < 0))
			oldest = item;
	}
	return oldest;
}

static struct kube_extra extra_of(const struct kube_cluster *c, struct owner *o)
{
	const struct kube_item *item = kube_policy_of(c, o->kind, o->key);
	const struct kube_policy *p = item ? item->now : NULL;
	struct kube_extra extra = {0};

	o->prefix[0] = '\0';
	if (!p)
		return extra;
	extra.keys = p->keys;
	extra.fails_close = p->fails_close;
	extra.has_locality = p->has_locality;
	if (p->prefix_count && kube_prefixes_good(c, o, item, o->prefix)) {
		extra.prefixes = p->prefixes;
		extra.prefix_count = p->prefix_count;
	}
	return extra;
}

/* Lists what a store's objects are read as, into *out, which the caller frees. Returns how many, or
 * -ENOMEM. */
static ssize_t list_known(const struct kube_store *store, void ***out)
{
	void **all = calloc((store ? kube_store_count(store) : 0) + 1, sizeof(void *));
	size_t n = 0;

	if (!all)
		return -ENOMEM;
	if (store) {
		KUBE_STORE_EACH(item, store)
		if (item->now)
			all[n++] = item->now;
	}
	*out = all;
	return (ssize_t)n;
}

/* What an owner's pools are made of. owner_parts_free() it. */
struct owner_parts {
	struct kube_parts parts;
	struct kube_here here;
	const struct kube_service **group;
	size_t slice_count, slice_room;
	void **slices, **pods, **on_node, **gpus;
};

static void owner_parts_free(struct owner_parts *p)
{
	free(p->group);
	free(p->slices);
	free(p->pods);
	free(p->on_node);
	free(p->gpus);
}

/* Lists objects by age. Returns how many, or -ENOMEM. */
static ssize_t list_by_age(const struct kube_store *const *stores, size_t count,
			   const struct kube_item ***out)
{
	const struct kube_item **order;
	size_t room = 1, n = 0;

	for (size_t i = 0; i < count; i++)
		room += kube_store_count(stores[i]);
	order = calloc(room, sizeof(struct kube_item *));
	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		KUBE_STORE_EACH(item, stores[i])
	if (item->now)
		order[n++] = item;
	if (n)
		qsort(order, n, sizeof(struct kube_item *), kube_by_age);
	*out = order;
	return (ssize_t)n;
}

/* Adds the slices of that Service, which are among those that carry its label, or were watched by
 * its name. */
static int add_slices(struct owner_parts *p, const struct owner *o)
{
	const struct kube_store *all = o->cluster->all[ALL_SLICES], *own = o->members.store;

	KUBE_STORE_EACH(item, own && kube_store_known(own) ? own : all)
	{
		if (!item->now || !kube_is_slice_of(item->now, o->key))
			continue;
		if (!ROOM_FOR_ONE(p->slices, p->slice_count, p->slice_room, 8))
			return -ENOMEM;
		p->slices[p->slice_count++] = item->now;
	}
	return 0;
}

/* Whether the Service, besides an older one of the same pods, asks for nothing else: both have the
 * same policy, or this one has none. */
static bool may_join(const struct kube_cluster *c, const struct kube_item *older,
		     const struct kube_item *item)
{
	const struct kube_service *a = older->now, *b = item->now;
	const struct kube_item *policy = kube_policy_of(c, KUBE_TARGET_SERVICE, item->key);
	char why[KUBE_WHY_SIZE];

	return !a->pool[0] && !b->pool[0] && kube_pools_alike(a, b) && !kube_pools_leave(a, why) &&
	       (!policy || policy == kube_policy_of(c, KUBE_TARGET_SERVICE, older->key));
}

/* Whether there is another Service of the same pods: of most there is none. */
static bool has_alike(const struct kube_cluster *c, const struct kube_service *s)
{
	KUBE_STORE_EACH(item, c->all[ALL_SERVICES])
	if (item->now && item->now != s && kube_pools_alike(item->now, s))
		return true;
	return false;
}

/* Finds the Services with which this one shares pools, itself among them, and all their slices. */
static int cluster_pools_find_group(struct owner *o, const struct kube_item *item,
				    struct owner_parts *p)
{
	const struct kube_cluster *c = o->cluster;
	const struct kube_store *const stores[] = {c->all[ALL_SERVICES]};
	_cleanup_free_ const struct kube_item **order = NULL;
	const struct kube_item *head = NULL;
	ssize_t n = has_alike(c, item->now) ? list_by_age(stores, 1, &order) : 0;
	int err = n < 0 ? (int)n : 0;

	o->head[0] = '\0';
	if (n <= 0)
		return err ?: add_slices(p, o);
	p->group = calloc((size_t)n + 1, sizeof(struct kube_service *));
	if (!p->group)
		return -ENOMEM;
	for (ssize_t i = 0; !head && i < n; i++)
		if (order[i] == item || may_join(c, order[i], item))
			head = order[i];
	for (ssize_t i = 0; !err && i < n; i++) {
		const struct owner *one = owner_find(c, KUBE_TARGET_SERVICE, order[i]->key);

		if (!one || (order[i] != head && !may_join(c, head, order[i])))
			continue;
		p->group[p->parts.group_count++] = order[i]->now;
		err = add_slices(p, one);
	}
	if (head != item)
		snprintf(o->head, sizeof(o->head), "%s", head->key);
	return err;
}

static int owner_parts(struct owner *o, const struct kube_item *item, struct owner_parts *p)
{
	const struct kube_cluster *c = o->cluster;
	bool is_service = o->kind == KUBE_TARGET_SERVICE;
	const struct kube_store *own = is_service ? o->own.store : o->members.store;
	int err = is_service ? cluster_pools_find_group(o, item, p) : 0;
	ssize_t pods = list_known(own, &p->pods),
		on_node = list_known(c->clients_named ? c->pods : NULL, &p->on_node);
	ssize_t gpus = list_known(c->gpus, &p->gpus);

	if (err || pods < 0 || on_node < 0 || gpus < 0)
		return -ENOMEM;
	p->here = (struct kube_here){
		.node = c->node,
		.zone = c->here.zone,
		.pods = (const struct kube_pod *const *)p->on_node,
		.pod_count = (size_t)on_node,
		.gpus = (const struct kube_slice *const *)p->gpus,
		.gpus_count = (size_t)gpus,
	};
	p->parts = (struct kube_parts){
		.here = &p->here,
		.group = p->group,
		.group_count = p->parts.group_count,
		.slices = (const struct kube_slice *const *)p->slices,
		.slice_count = p->slice_count,
		.pods = (const struct kube_pod *const *)p->pods,
		.pod_count = (size_t)pods,
		.pods_missing = own ? kube_store_missing(own) : "it has no selector",
	};
	return 0;
}

/* A Service that only adds frontends to an older one's pool is left alone with it. */
static void share_fate(struct owner *o)
{
	const struct owner *head = owner_find(o->cluster, KUBE_TARGET_SERVICE, o->head);

	if (head && head->whys.left[0] && !o->whys.left[0]) {
		o->whys.idle = head->whys.idle;
		snprintf(o->whys.left, sizeof(o->whys.left),
			 "its pods are those of Service %.130s, which is older: %.300s", o->head,
			 head->whys.left);
	}
	if (head)
		o->no_room = head->no_room;
}

static int add_service(struct kube_cluster *c, struct owner *o, const struct kube_item *item,
		       struct config_founds *out)
{
	_cleanup_(owner_parts_free) struct owner_parts p = {0};
	const struct kube_extra extra = extra_of(c, o);
	size_t first = out->count;
	int err;

	o->slices_known = true;
	err = owner_parts(o, item, &p)
		      ?: kube_pools_add(out, item->now, &p.parts, &extra, &o->whys);
	if (o->head[0] && out->count == first)
		share_fate(o);
	return err;
}

/* The Services that are the pool's frontends: those with the mode of the oldest. */
static ssize_t frontends_of(const struct kube_cluster *c, const struct kube_inference *p,
			    const struct kube_service ***out)
{
	const struct kube_store *const stores[] = {c->all[ALL_SERVICES]};
	_cleanup_free_ const struct kube_item **order = NULL;
	ssize_t count = list_by_age(stores, 1, &order), n = 0;
	const struct kube_service **found;

	if (count < 0)
		return count;
	found = calloc((size_t)count + 1, sizeof(struct kube_service *));
	if (!found)
		return -ENOMEM;
	for (ssize_t i = 0; i < count; i++) {
		const struct kube_service *s = order[i]->now;

		if (kube_is_frontend(s, p) && (!n || !strcmp(s->mode, found[0]->mode)))
			found[n++] = s;
	}
	*out = found;
	return n;
}

/* Sets *keys, which the caller frees, to the policy's keys with the priorities of objectives. Those
 * of the newer group are set last, so they hold where both groups have one. */
static int inference_keys(const struct kube_cluster *c, const struct kube_inference *p,
			  const struct kube_extra *extra, char **keys)
{
	_cleanup_free_ void **all = NULL, **former = NULL;
	_cleanup_free_ char *first = NULL;
	ssize_t n = list_known(c->all[ALL_OBJECTIVES], &all);
	ssize_t m = list_known(c->all[ALL_FORMER_OBJECTIVES], &former);

	if (n < 0 || m < 0)
		return -ENOMEM;
	return kube_objectives_apply((const struct kube_objective *const *)former, (size_t)m,
				     p->space, p->name, extra->keys, &first)
		       ?: kube_objectives_apply((const struct kube_objective *const *)all,
						(size_t)n, p->space, p->name, first, keys);
}

static int add_inference(struct kube_cluster *c, struct owner *o, const struct kube_inference *p,
			 struct config_founds *out)
{
	_cleanup_free_ const struct kube_service **frontends = NULL;
	_cleanup_(owner_parts_free) struct owner_parts parts = {0};
	struct kube_extra extra = extra_of(c, o);
	ssize_t n = frontends_of(c, p, &frontends);
	_cleanup_free_ char *keys = NULL;
	int err;

	/* It is no frontend's pool: most of a cluster's, and nothing is wrong with that. */
	if (n <= 0)
		return (int)n;
	err = owner_parts(o, NULL, &parts) ?: inference_keys(c, p, &extra, &keys);
	extra.keys = keys;
	return err
		       ?: kube_inference_add(out, p, frontends, (size_t)n, &parts.parts, &extra,
					     &o->whys);
}

/* Why the Service's InferencePool has it not as a frontend; "": it has. */
static int judge_frontend(const struct kube_cluster *c, const struct kube_service *s, char *why)
{
	_cleanup_free_ const struct kube_service **frontends = NULL;
	char key[KUBE_KEY_SIZE];
	const struct kube_item *item;
	const struct owner *o;
	ssize_t n;

	if (kube_pools_leave(s, why))
		return 0;
	if (s->local) {
		snprintf(
			why, KUBE_WHY_SIZE,
			"its internalTrafficPolicy is Local, but an InferencePool's pods are on any node");
		return 0;
	}
	snprintf(key, sizeof(key), "%s/%s", s->space, s->pool);
	item = kube_store_find(c->all[ALL_INFERENCES], key);
	o = owner_find(c, KUBE_TARGET_POOL, key);
	if (!item || !item->now) {
		const char *missing = kube_store_missing(c->all[ALL_INFERENCES]);

		if (missing)
			snprintf(why, KUBE_WHY_SIZE,
				 "InferencePool %.100s of its annotation is not known: %.300s; "
				 "no other group and version is read",
				 s->pool, missing);
		else
			snprintf(why, KUBE_WHY_SIZE,
				 "InferencePool %.100s of its annotation %.300s", s->pool,
				 item && item->why ? item->why : "is not there");
		return 0;
	}
	n = frontends_of(c, item->now, &frontends);
	if (n < 0)
		return (int)n;
	if (n && strcmp(frontends[0]->mode, s->mode) != 0)
		snprintf(why, KUBE_WHY_SIZE,
			 "its label " KUBE_LABEL_MODE " is %s, but Service %s, which is older, has "
			 "%s for the same InferencePool",
			 s->mode, frontends[0]->name, frontends[0]->mode);
	else if (o && o->told[0])
		snprintf(why, KUBE_WHY_SIZE, "InferencePool %.100s: %.300s", s->pool, o->told);
	return 0;
}

/* Whether it is a Service that makes no pool of its own. */
static bool is_of_pool(const struct owner *o, const struct kube_item *item)
{
	const struct kube_service *s = item->now;

	return o->kind == KUBE_TARGET_SERVICE && s->pool[0];
}

/* Keeps the pools that were added since there were `first`, if there is room for all of them. */
static int owner_share(struct kube_cluster *c, struct owner *o, size_t first,
		       struct config_founds *out)
{
	const struct kube_item *item = kube_policy_of(c, o->kind, o->key);
	const struct kube_policy *policy = item ? item->now : NULL;
	struct kube_amount amount = {.pools = out->count - first};
	char space[KUBE_LABEL_SIZE], why[KUBE_WHY_SIZE];
	int err;

	for (size_t i = first; i < out->count; i++) {
		amount.endpoints += out->all[i].endpoint_count;
		amount.largest = MAX(amount.largest, out->all[i].endpoint_count);
		amount.frontends += out->all[i].frontend_count;
		amount.spared += out->all[i].spared_count;
	}
	if (!amount.pools)
		return 0;
	amount.models = policy ? amount.pools * policy->model_count : 0;
	snprintf(space, sizeof(space), "%.*s", (int)strcspn(o->key, "/"), o->key);
	err = kube_share_take(&c->share, space, amount, why);
	o->no_room = !err && why[0];
	if (o->no_room) {
		config_founds_cut(out, first);
		snprintf(o->whys.left, sizeof(o->whys.left), "%s", why);
		o->whys.idle = false;
	}
	return err;
}

static int make_pools(struct kube_cluster *c, struct owner *o, const struct kube_item *item,
		      struct config_founds *out)
{
	if (owner_waits(o))
		return add_restored(c, o->key, out);
	if (o->kind == KUBE_TARGET_POOL)
		return add_inference(c, o, item->now, out);
	return is_of_pool(o, item) ? 0 : add_service(c, o, item, out);
}

static int cluster_pools_add_owner(struct kube_cluster *c, struct owner *o,
				   const struct kube_item *item, struct config_founds *out)
{
	size_t first = out->count;
	int err;

	o->no_room = false;
	o->whys = (struct kube_whys){0};
	err = make_pools(c, o, item, out) ?: owner_share(c, o, first, out);
	o->first = first;
	o->count = out->count - first;
	if (!err && !is_of_pool(o, item) && !owner_waits(o))
		cluster_pools_tell(o, &o->whys);
	return err;
}

static enum kube_target_kind cluster_pools_kind_of(const struct kube_cluster *c,
						   const struct kube_item *item)
{
	return kube_store_find(c->all[ALL_INFERENCES], item->key) == item ? KUBE_TARGET_POOL
									  : KUBE_TARGET_SERVICE;
}

/* By age: if there is no room for all, the youngest are left out. */
static int add_owners(struct kube_cluster *c, struct config_founds *out)
{
	const struct kube_store *const stores[] = {c->all[ALL_SERVICES], c->all[ALL_INFERENCES]};
	_cleanup_free_ const struct kube_item **order = NULL;
	ssize_t n = list_by_age(stores, ARRAY_SIZE(stores), &order);
	int err = n < 0 ? (int)n : 0;

	for (ssize_t i = 0; !err && i < n; i++) {
		struct owner *o = owner_find(c, cluster_pools_kind_of(c, order[i]), order[i]->key);

		err = o ? cluster_pools_add_owner(c, o, order[i], out)
			: add_restored(c, order[i]->key, out);
	}
	/* Once it is known what becomes of their pools. */
	for (ssize_t i = 0; !err && i < n; i++) {
		struct owner *o = owner_find(c, cluster_pools_kind_of(c, order[i]), order[i]->key);
		struct kube_whys whys = {0};

		if (!o || !is_of_pool(o, order[i]))
			continue;
		err = judge_frontend(c, order[i]->now, whys.left);
		if (!err)
			cluster_pools_tell(o, &whys);
	}
	return err;
}

int kube_cluster_pools(struct kube_cluster *c, struct config_founds *out)
{
	struct config_founds p = {0};
	int err;

	kube_share_free(&c->share);
	c->share.taken = c->taken;
	err = kube_cluster_known(c) ? add_owners(c, &p) : add_restored(c, NULL, &p);

	if (err)
		config_founds_free(&p);
	else
		*out = p;
	return err;
}

/* ---- what became of them ----------------------------------------------------------------- */

void kube_cluster_allow(struct kube_cluster *c, const struct frontend_addr *prefixes, size_t count)
{
	c->allowed_count = MIN(count, (size_t)KUBE_MAX_ALLOWED);
	if (c->allowed_count)
		memcpy(c->allowed, prefixes, c->allowed_count * sizeof(*prefixes));
}

void kube_cluster_room(struct kube_cluster *c, struct kube_amount taken)
{
	c->taken = taken;
}

/* What became of the pool in which its frontends are. */
static void judge_joined(const struct kube_cluster *c, struct owner *o)
{
	const struct owner *head = owner_find(c, KUBE_TARGET_SERVICE, o->head);

	if (!head)
		return;
	o->holding = head->holding;
	if (head->refused[0])
		snprintf(o->refused, sizeof(o->refused), "its pool is Service %.100s's: %.300s",
			 o->head, head->refused);
}

/* Sets `refused` and `holding`. Returns the name of a pool that holds, and of whose servers no page
 * was read; NULL: of none. */
static const char *judge_own(struct owner *o, const struct config_founds *pools, bool applied,
			     const struct kube_judge *judge)
{
	const char *unread = NULL;

	o->holding = 0;
	o->refused[0] = '\0';
	for (size_t i = o->first; i < o->first + o->count && i < pools->count; i++) {
		const struct config_found *p = &pools->all[i];

		if (p->holds && applied) {
			o->holding++;
			if (!unread && p->endpoint_count && !judge->is_read(judge->arg, p->name))
				unread = p->name;
		} else if (!o->refused[0]) {
			snprintf(o->refused, sizeof(o->refused), "%s",
				 p->holds ? "it could not be applied; pintled's log says why"
					  : p->why);
		}
	}
	return unread;
}

static void judge_unread(struct owner *o, const char *pool)
{
	if (pool && !o->unread[0])
		o->unread_since = time(NULL);
	o->unread[0] = '\0';
	if (pool)
		snprintf(
			o->unread, sizeof(o->unread),
			"connections to pool %.250s are kube-proxy's until a metrics page of one of "
			"its servers was read",
			pool);
}

static void judge_steered(struct owner *o)
{
	bool now = o->holding && !owner_left(o) && !o->unread[0];

	if (now && !o->steered)
		o->steered_since = time(NULL);
	o->steered = now;
}

void kube_cluster_judged(struct kube_cluster *c, const struct config_founds *pools, bool applied,
			 const struct kube_judge *judge)
{
	struct owner *o;

	LIST_FOREACH(o, &c->owners, all)
	judge_unread(o, judge_own(o, pools, applied, judge));
	LIST_FOREACH(o, &c->owners, all)
	{
		if (o->head[0] && !o->count)
			judge_joined(c, o);
		judge_steered(o);
		kube_judge_request(o, pools, judge);
	}
	c->judged = true;
	kube_cluster_say(c);
}

bool kube_cluster_is_judged(const struct kube_cluster *c)
{
	return c->judged;
}

void kube_cluster_left(const struct kube_cluster *c, struct kube_left *out)
{
	const struct owner *o;

	*out = (struct kube_left){0};
	LIST_FOREACH(o, &c->owners, all)
	{
		const char *why = owner_left(o);

		out->outside |= owner_outside(o) != 0;
		if (!why)
			continue;
		out->count++;
		out->no_room += o->no_room;
		/* The one that lacks room tells most. */
		if (out->one[0] && !o->no_room)
			continue;
		snprintf(out->one, sizeof(out->one), "%s", o->key);
		snprintf(out->why, sizeof(out->why), "%s", why);
	}
}

uint32_t owner_outside(const struct owner *o)
{
	const struct kube_item *item = owner_item(o);
	const struct kube_service *s = item && o->kind == KUBE_TARGET_SERVICE ? item->now : NULL;

	return s && o->steered ? s->outside : 0;
}

const char *owner_left(const struct owner *o)
{
	const struct kube_item *item = owner_item(o);
	const struct kube_service *s = item && o->kind == KUBE_TARGET_SERVICE ? item->now : NULL;

	if (s && !strcmp(s->mode, "off"))
		return NULL;
	return o->told[0] ? o->told : o->refused[0] ? o->refused : NULL;
}
