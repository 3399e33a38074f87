/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_store.h - the objects of one kind that a watch knows, each as its kind's reader has it. What
 * is known stays until a list says otherwise.
 *
 * A kind is a row: how it is called, where it is, how it is read. Whoever adds one writes the row
 * and the reader, beside the functions for its objects; kube_cluster.c has the table of those that
 * are watched in the whole cluster.
 */
#ifndef PINTLE_KUBE_STORE_H
#define PINTLE_KUBE_STORE_H

#include <sys/queue.h>

#include "kube_objects.h"
#include "kube_watch.h"

struct kube_kind {
	const char *what; /* the plural in paths: "endpointslices" */
	/* in messages: of a kind that other groups or versions have, too, whose objects are not
	 * read, with these; NULL: as in paths */
	const char *called;
	const char *one;   /* in messages: "EndpointSlice" */
	const char *group; /* "/apis/discovery.k8s.io/v1" */
	/* Whether Pintle does without it where the API server does not have it, or gives no right
	 * to it: kube_store_missing(). */
	bool optional;
	bool of_cluster; /* its objects are in no namespace: their key is their name */
	size_t size;     /* of what `read` fills */
	/* Returns 0 with *to, which is all 0 before; or, with the reason in `why` and nothing in
	 * *to to be cleared, -EBADMSG or -ENOMEM. */
	int (*read)(const cJSON *object, void *to, char why[KUBE_WHY_SIZE]);
	void (*clear)(void *now); /* frees what *now holds; NULL: nothing */
};

/* An object. */
struct kube_item {
	LIST_ENTRY(kube_item) all;
	char key[KUBE_KEY_SIZE];
	uint64_t hash;         /* of the key */
	unsigned int round;    /* of the list that named it last */
	struct kube_meta meta; /* who it is */
	void *now;             /* NULL: it cannot be read */
	char *why;             /* why it cannot; NULL: it can */
};

struct kube_store; /* the objects of one watch */

/** Begins to watch: in the namespace `space` (NULL: in all), and by `selector` as for
 * kube_watch_new(). The key's parts, which come from kube_object_key(), need no escaping. `changed`
 * is called after each change. Returns NULL without memory. */
struct kube_store *kube_store_new(struct kube_client *c, const struct kube_kind *kind,
				  const char *space, const char *selector,
				  void (*changed)(void *arg), void *arg);
/** Ends the watch, and forgets the objects. Must not be called from `changed`. NULL is fine. */
void kube_store_free(struct kube_store *s);

/** Returns whether the objects are known: they were listed completely, or are missing. */
bool kube_store_known(const struct kube_store *s);
/** For what reason there are no such objects at all, for people; NULL: there may be. */
const char *kube_store_missing(const struct kube_store *s);

/** Returns the objects, in no order; NULL: there are no more. Those that cannot be read are among
 * them. */
struct kube_item *kube_store_first(const struct kube_store *s);
struct kube_item *kube_store_find(const struct kube_store *s, const char *key);
size_t kube_store_count(const struct kube_store *s);

#define KUBE_STORE_EACH(item, s)                                                                   \
	for (struct kube_item *item = kube_store_first(s); item; item = LIST_NEXT(item, all))

#endif
