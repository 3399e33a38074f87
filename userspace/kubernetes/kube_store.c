// SPDX-License-Identifier: Apache-2.0
#include "kube_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/hash.h"
#include "../base/log.h"
#include "../base/util.h"
#include "kube_parts.h"

struct kube_store {
	const struct kube_kind *kind;
	struct kube_watch *watch;
	LIST_HEAD(, kube_item) items;
	size_t count;
	unsigned int round; /* of the newest list */
	bool listed;        /* completely, once */
	void (*changed)(void *arg);
	void *arg;
};

/* ---- items ----------------------------------------------------------------------------- */

struct kube_item *kube_store_first(const struct kube_store *s)
{
	return LIST_FIRST(&s->items);
}

size_t kube_store_count(const struct kube_store *s)
{
	return s->count;
}

struct kube_item *kube_store_find(const struct kube_store *s, const char *key)
{
	uint64_t hash = hash_text(key);

	KUBE_STORE_EACH(item, s)
	if (item->hash == hash && !strcmp(item->key, key))
		return item;
	return NULL;
}

static struct kube_item *item_get(struct kube_store *s, const char *key)
{
	struct kube_item *item = kube_store_find(s, key);

	if (item || !(item = calloc(1, sizeof(*item))))
		return item;
	snprintf(item->key, sizeof(item->key), "%s", key);
	item->hash = hash_text(key);
	LIST_INSERT_HEAD(&s->items, item, all);
	s->count++;
	return item;
}

static void item_clear(const struct kube_kind *kind, struct kube_item *item)
{
	if (item->now && kind->clear)
		kind->clear(item->now);
	free(TAKE_PTR(item->now));
}

static void item_free(struct kube_store *s, struct kube_item *item)
{
	LIST_REMOVE(item, all);
	s->count--;
	item_clear(s->kind, item);
	free(item->why);
	free(item);
}

static void item_read(struct kube_store *s, struct kube_item *item, const cJSON *object)
{
	_cleanup_free_ void *now = calloc(1, s->kind->size);
	char why[KUBE_WHY_SIZE] = "out of memory";
	int err = now ? s->kind->read(object, now, why) : -ENOMEM;

	item_clear(s->kind, item);
	kube_object_meta(object, &item->meta);
	if (!err)
		item->now = TAKE_PTR(now);
	/* Its status changes often, and says nothing new. */
	if (err && (!item->why || strcmp(why, item->why) != 0))
		log_warn("Kubernetes: %s %s is left out: %s", s->kind->one, item->key, why);
	free(item->why);
	item->why = err ? strdup(why) : NULL;
}

/* ---- the watch ------------------------------------------------------------------------- */

static void store_on_begin(void *arg)
{
	struct kube_store *s = arg;

	s->round++;
}

static bool take_key(const struct kube_kind *kind, const cJSON *object, char key[KUBE_KEY_SIZE])
{
	if (!kind->of_cluster)
		return kube_object_key(object, key);
	return kube_take_name(kube_text(kube_member(object, "metadata"), "name"), key,
			      KUBE_KEY_SIZE);
}

static void on_object(void *arg, const cJSON *object, bool gone)
{
	struct kube_store *s = arg;
	char key[KUBE_KEY_SIZE];
	struct kube_item *item;

	if (!take_key(s->kind, object, key)) {
		log_warn("Kubernetes: one of the %s has no name that the API allows; it is left "
			 "out",
			 s->kind->what);
		return;
	}
	item = gone ? kube_store_find(s, key) : item_get(s, key);
	if (gone && item) {
		item_free(s, item);
	} else if (item) {
		item->round = s->round;
		item_read(s, item, object);
	}
	s->changed(s->arg);
}

static void on_listed(void *arg)
{
	struct kube_store *s = arg;
	struct kube_item *item = LIST_FIRST(&s->items), *next;

	for (; item; item = next) {
		next = LIST_NEXT(item, all);
		if (item->round != s->round)
			item_free(s, item);
	}
	s->listed = true;
	s->changed(s->arg);
}

static void on_missing(void *arg)
{
	struct kube_store *s = arg;

	s->changed(s->arg);
}

static const struct kube_watch_callbacks callbacks = {
	.begin = store_on_begin, .object = on_object, .listed = on_listed, .missing = on_missing};
static const struct kube_watch_callbacks callbacks_needed = {
	.begin = store_on_begin, .object = on_object, .listed = on_listed};

bool kube_store_known(const struct kube_store *s)
{
	return s->listed || kube_store_missing(s);
}

const char *kube_store_missing(const struct kube_store *s)
{
	return kube_watch_missing(s->watch);
}

/* ---- life ------------------------------------------------------------------------------ */

struct kube_store *kube_store_new(struct kube_client *c, const struct kube_kind *kind,
				  const char *space, const char *selector,
				  void (*changed)(void *arg), void *arg)
{
	struct kube_store *s = calloc(1, sizeof(*s));
	char path[160 + KUBE_LABEL_SIZE];

	if (!s)
		return NULL;
	*s = (struct kube_store){.kind = kind, .changed = changed, .arg = arg};
	snprintf(path, sizeof(path), "%s%s%s/%s", kind->group, space ? "/namespaces/" : "",
		 space ?: "", kind->what);
	s->watch = kube_watch_new(c, kind->called ?: kind->what, path, selector,
				  kind->optional ? &callbacks : &callbacks_needed, s);
	if (s->watch)
		return s;
	free(s);
	return NULL;
}

void kube_store_free(struct kube_store *s)
{
	struct kube_item *item, *next;

	if (!s)
		return;
	kube_watch_free(s->watch);
	for (item = LIST_FIRST(&s->items); item; item = next) {
		next = LIST_NEXT(item, all);
		item_free(s, item);
	}
	free(s);
}
