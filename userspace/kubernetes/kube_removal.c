// SPDX-License-Identifier: Apache-2.0
#include "kube_removal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/hash.h"
#include "../base/log.h"
#include "../base/util.h"
#include "kube_client.h"
#include "kube_event.h"
#include "kube_lease.h"
#include "kube_parts.h"
#include "kube_request.h"
#include "kube_teller.h"

#define WHAT     "daemonsets"
#define RETRY_MS 2000

struct kube_removal {
	struct kube_client *client;
	struct kube_store *markers; /* one at most */
	struct kube_request *request;
	struct kube_teller *teller;
	uv_timer_t again;
	bool stale; /* the marker changed while the DaemonSet was asked for */
	bool stands;
	char node[KUBE_NAME_SIZE]; /* that is detached; "": it is not */
	char instance[KUBE_IDENTITY_SIZE];
	void (*changed)(void *arg);
	void *arg;
};

/* ---- the marker ------------------------------------------------------------------------ */

static int read_marker(const cJSON *object, void *to, char why[KUBE_WHY_SIZE])
{
	struct kube_marker *m = to;

	kube_take_plain(kube_text(kube_member(object, "data"), "daemonset"), "0123456789abcdef-",
			m->daemonset, sizeof(m->daemonset));
	return m->daemonset[0] ? 0
			       : kube_refuse(why, "data.daemonset is no uid, which says for which "
						  "DaemonSet it stands");
}

const struct kube_kind kube_markers = {
	.what = "configmaps",
	.called = "configmaps " KUBE_REMOVAL,
	.one = "ConfigMap",
	.group = "/api/v1",
	.optional = true,
	.size = sizeof(struct kube_marker),
	.read = read_marker,
};

const char *kube_daemonset_path(const struct kube_client *c, char buf[KUBE_DAEMONSET_PATH_SIZE])
{
	snprintf(buf, KUBE_DAEMONSET_PATH_SIZE, "/apis/apps/v1/namespaces/%s/daemonsets/%s",
		 kube_client_namespace(c), KUBE_DAEMONSET);
	return buf;
}

static const struct kube_item *marker(const struct kube_removal *r)
{
	const struct kube_item *item = kube_store_first(r->markers);

	return item && item->now ? item : NULL;
}

/* ---- what it says ---------------------------------------------------------------------- */

static void tell_detached(struct kube_removal *r)
{
	const struct kube_item *item = marker(r);
	struct kube_event_said said = {
		.api_version = "v1",
		.kind = "ConfigMap",
		.name = KUBE_REMOVAL,
		.normal = true,
		.reason = KUBE_DETACHED,
		.node = r->node,
		.instance = r->instance,
		.since = time(NULL),
		.count = 1,
	};
	char path[KUBE_EVENT_PATH_SIZE], why[KUBE_NAME_SIZE + 64];
	uint64_t hash;

	if (!item || !r->node[0])
		return;
	said.uid = item->meta.uid;
	said.why = why;
	snprintf(said.space, sizeof(said.space), "%s", kube_client_namespace(r->client));
	snprintf(why, sizeof(why), "node %s: nothing of Pintle steers", r->node);
	hash = hash_bytes(hash_text(said.uid), r->node, strlen(r->node));
	kube_event_path(&said, hash, path);
	kube_teller_begin(r->teller);
	kube_teller_tell(r->teller, KUBE_TELL_EVENT, path, hash, kube_event_body(&said, hash));
	kube_teller_end(r->teller);
}

static void decide(struct kube_removal *r, bool stands)
{
	bool was = r->stands;

	r->stands = stands;
	if (stands)
		tell_detached(r);
	if (stands != was)
		r->changed(r->arg);
}

static void ask_again(struct kube_removal *r);

/* A marker that is gone while its DaemonSet is, or goes, went with it: whoever removes the chart
 * ends this pintled next. */
static void on_daemonset(void *arg, long status, const cJSON *object, const char *why)
{
	struct kube_removal *r = arg;
	const cJSON *metadata = kube_member(object, "metadata");
	const char *uid = kube_text(metadata, "uid") ?: "";
	const struct kube_item *item = marker(r);
	char text[64];

	if (r->stale) {
		ask_again(r);
	} else if (status == 200) {
		kube_client_well(r->client, WHAT);
		if (item)
			decide(r, !strcmp(((struct kube_marker *)item->now)->daemonset, uid));
		else if (!kube_member(metadata, "deletionTimestamp"))
			decide(r, false);
	} else if (status != 404) {
		snprintf(text, sizeof(text), "HTTP status %ld", status);
		kube_client_tell(r->client, WHAT, why ?: text, false);
		ask_again(r);
	}
}

static void kube_removal_on_again(uv_timer_t *t)
{
	struct kube_removal *r = t->data;
	char path[KUBE_DAEMONSET_PATH_SIZE];

	r->stale = false;
	if (!kube_request_busy(r->request))
		kube_request_send(r->request, "GET", kube_daemonset_path(r->client, path), NULL);
}

static void ask_again(struct kube_removal *r)
{
	uv_timer_start(&r->again, kube_removal_on_again, r->stale ? 0 : RETRY_MS, 0);
}

static void on_marker(void *arg)
{
	struct kube_removal *r = arg;

	if (!kube_store_known(r->markers) || kube_store_missing(r->markers))
		return;
	/* The usual case: none stands, and none did. */
	if (!marker(r) && !r->stands)
		return;
	r->stale = true;
	if (!kube_request_busy(r->request))
		ask_again(r);
}

/* ---- life ------------------------------------------------------------------------------ */

struct kube_removal *kube_removal_new(struct kube_client *c, bool stands,
				      void (*changed)(void *arg), void *arg)
{
	struct kube_removal *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct kube_removal){.client = c, .stands = stands, .changed = changed, .arg = arg};
	uv_timer_init(kube_client_loop(c), &r->again);
	r->again.data = r;
	kube_lease_own(r->instance);
	r->request = kube_request_new(c, on_daemonset, r);
	r->teller = kube_teller_new(c);
	r->markers = kube_store_new(c, &kube_markers, kube_client_namespace(c),
				    KUBE_REMOVAL_SELECTOR, on_marker, r);
	if (r->request && r->teller && r->markers)
		return r;
	kube_removal_free(r);
	return NULL;
}

static void free_removal(uv_handle_t *h)
{
	free(h->data);
}

void kube_removal_free(struct kube_removal *r)
{
	if (!r)
		return;
	kube_store_free(r->markers);
	kube_teller_free(r->teller);
	kube_request_free(r->request);
	uv_close((uv_handle_t *)&r->again, free_removal);
}

bool kube_removal_stands(const struct kube_removal *r)
{
	return r->stands;
}

void kube_removal_detached(struct kube_removal *r, const char *node)
{
	kube_take_name(node, r->node, sizeof(r->node));
	if (r->stands)
		tell_detached(r);
}
