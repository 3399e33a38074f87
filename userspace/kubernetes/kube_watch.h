/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_watch.h - lists objects of the Kubernetes API and watches them, on the daemon's loop: pages,
 * bookmarks, versions that are too old, watches that end, break or fall silent. Whatever happens,
 * the watch goes on by itself, and its user keeps what it knows until a list was complete.
 *
 *	begin()     a list begins
 *	object()    an object of the list; after the list one that changed, or is gone
 *	listed()    the list is complete: what it did not name since begin() is gone
 *	missing()   the API server does not have such objects, or gives no right to them
 *
 * A list that breaks off is begun again: begin() then comes without listed().
 */
#ifndef PINTLE_KUBE_WATCH_H
#define PINTLE_KUBE_WATCH_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "kube_access.h"

struct kube_client; /* one API server, and all watches of it */
struct kube_watch;

/* Milliseconds. */
struct kube_times {
	uint64_t retry, retry_max; /* first and longest pause after a failure, +- half */
	uint64_t connect;          /* TLS handshake included */
	uint64_t list_silence;     /* a list without a byte for so long is begun anew */
	uint64_t watch_silence;    /* the API server sends a bookmark each minute */
	uint64_t lifetime;         /* of a watch: between half of it and all of it */
};
extern const struct kube_times kube_times;

struct kube_watch_callbacks {
	void (*begin)(void *arg);
	void (*object)(void *arg, const cJSON *object, bool gone);
	void (*listed)(void *arg);
	/* NULL: they are needed, and their absence is a trouble as any other. Else Pintle does
	 * without them, and the watch goes on trying. */
	void (*missing)(void *arg);
};

/** Takes `a`. `times` are not copied. Returns 0 with *out (kube_client_free() it), or -errno,
 * logged. */
int kube_client_new(uv_loop_t *loop, struct kube_access *a, const struct kube_times *times,
		    struct kube_client **out);
/** Frees the client, whose watches were all freed. The loop must then run until it has no handles
 * left. NULL is fine. */
void kube_client_free(struct kube_client *c);
/** Returns why requests for some kind fail, for people; NULL: none does. What is missing(), and may
 * be, is no trouble. */
const char *kube_client_trouble(const struct kube_client *c);
/** Returns the i-th thing that is missing, as in "inferencepools: HTTP status 404, ..."; NULL:
 * there are no more. */
const char *kube_client_missing(const struct kube_client *c, size_t i);
/** Returns how many requests failed, and were made, so far. */
uint64_t kube_client_failures(const struct kube_client *c);
uint64_t kube_client_requests(const struct kube_client *c);

/** Begins a watch. `what` is the plural for messages, "services", not copied; `path` as in
 * "/api/v1/services"; `selector`, as it stands in a query, as in "labelSelector=a%2Fb"; NULL: all
 * objects. Callbacks never come from within this call. Returns NULL without memory. */
struct kube_watch *kube_watch_new(struct kube_client *c, const char *what, const char *path,
				  const char *selector,
				  const struct kube_watch_callbacks *callbacks, void *arg);
/** Begins to get one object by its name, the path's last part, now and then: it takes the right to
 * `get` that object alone. It comes as a list of one. Otherwise as kube_watch_new(). */
struct kube_watch *kube_watch_get(struct kube_client *c, const char *what, const char *path,
				  const struct kube_watch_callbacks *callbacks, void *arg);
/** Ends it. Must not be called from a callback of any watch. NULL is fine. */
void kube_watch_free(struct kube_watch *w);
/** Returns why its objects are missing; NULL: they are not, or it was not answered yet. */
const char *kube_watch_missing(const struct kube_watch *w);

#endif
