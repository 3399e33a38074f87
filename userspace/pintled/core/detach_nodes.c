/* SPDX-License-Identifier: Apache-2.0 */
#include "detach_nodes.h"

#include <uv.h>

#include "../../base/hash.h"
#include "../../base/log.h"
#include "../../base/text.h"
#include "../../base/util.h"
#include "../../kubernetes/kube_client.h"
#include "../../kubernetes/kube_event.h"
#include "../../kubernetes/kube_lease.h"
#include "../../kubernetes/kube_parts.h"
#include "../../kubernetes/kube_removal.h"
#include "../../kubernetes/kube_request.h"
#include "../../kubernetes/kube_store.h"

#define TICK_MS     200
#define RETRY_MS    1000
#define PROGRESS_NS (10 * NSEC_PER_SEC)
#define NAMES_SIZE  800 /* an Event's message has up to 1,024 bytes */

#define PODS   "labelSelector=app.kubernetes.io%2Fname%3D" KUBE_DAEMONSET
#define EVENTS "fieldSelector=involvedObject.name%3D" KUBE_REMOVAL
#define APPLY  "?fieldManager=" KUBE_REMOVAL "&force=true"

enum step { FINDING, MARKING, WAITING, TELLING };

struct detaching {
	uv_loop_t loop;
	uv_timer_t tick, again;
	struct kube_client *client;
	struct kube_request *request;
	struct kube_store *pods, *answers;
	enum step step;
	uint64_t until_ns, progress_ns;
	char daemonset[KUBE_UID_SIZE], marker[KUBE_UID_SIZE];
	char why[256]; /* the newest failure */
	int err;
};

/* ---- what nodes answer ----------------------------------------------------------------- */

struct answer {
	char node[KUBE_NAME_SIZE];
	char marker[KUBE_UID_SIZE];
	bool detached;
};

static int read_answer(const cJSON *object, void *to, char why[KUBE_WHY_SIZE])
{
	const char *reason = kube_text(object, "reason") ?: "";
	struct answer *a = to;

	(void)why;
	a->detached = !strcmp(reason, KUBE_DETACHED);
	kube_take_name(kube_text(kube_member(object, "source"), "host"), a->node, sizeof(a->node));
	kube_take_plain(kube_text(kube_member(object, "involvedObject"), "uid"),
			"0123456789abcdef-", a->marker, sizeof(a->marker));
	return 0;
}

static const struct kube_kind answers = {
	.what = "events",
	.one = "Event",
	.group = "/api/v1",
	.size = sizeof(struct answer),
	.read = read_answer,
};

static const struct kube_kind pods = {
	.what = "pods",
	.one = "Pod",
	.group = "/api/v1",
	.size = sizeof(struct kube_pod),
	.read = kube_pod_read_into,
	.clear = kube_pod_clear_at,
};

static bool is_detached(const struct detaching *d, const char *node)
{
	KUBE_STORE_EACH(item, d->answers)
	{
		const struct answer *a = item->now;

		if (a && a->detached && !strcmp(a->marker, d->marker) && !strcmp(a->node, node))
			return true;
	}
	return false;
}

/* Of two pods on a node, as one ends and the next begins, the first in the list counts. */
static bool is_first(const struct detaching *d, const struct kube_item *of)
{
	const char *node = ((const struct kube_pod *)of->now)->node;

	KUBE_STORE_EACH(item, d->pods)
	{
		const struct kube_pod *p = item->now;

		if (item == of)
			return true;
		if (p && !strcmp(p->node, node))
			return false;
	}
	return true;
}

/* Counts the nodes; names, in *names, those that did not answer. */
static size_t count_nodes(const struct detaching *d, size_t *detached, char names[NAMES_SIZE])
{
	size_t count = 0;

	*detached = 0;
	names[0] = '\0';
	KUBE_STORE_EACH(item, d->pods)
	{
		const struct kube_pod *p = item->now;
		char text[KUBE_NAME_SIZE + 32];

		if (!p || !p->node[0] || !is_first(d, item))
			continue;
		count++;
		if (is_detached(d, p->node)) {
			++*detached;
			continue;
		}
		snprintf(text, sizeof(text), "%s%s", p->node,
			 p->running ? "" : " (its pod does not run)");
		text_list_add(names, NAMES_SIZE, text);
	}
	return count;
}

/* ---- step by step ---------------------------------------------------------------------- */

static void detach_nodes_end(struct detaching *d, int err)
{
	d->err = err;
	uv_stop(&d->loop);
}

static char *marker_body(const struct detaching *d)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *metadata = cJSON_AddObjectToObject(root, "metadata");
	cJSON *owners = cJSON_AddArrayToObject(metadata, "ownerReferences");
	cJSON *data = cJSON_AddObjectToObject(root, "data"), *owner = cJSON_CreateObject();
	char *text = NULL;

	if (!cJSON_AddItemToArray(owners, owner))
		cJSON_Delete(owner);
	else if (cJSON_AddStringToObject(root, "apiVersion", "v1") &&
		 cJSON_AddStringToObject(root, "kind", "ConfigMap") &&
		 cJSON_AddStringToObject(metadata, "name", KUBE_REMOVAL) &&
		 cJSON_AddStringToObject(owner, "apiVersion", "apps/v1") &&
		 cJSON_AddStringToObject(owner, "kind", "DaemonSet") &&
		 cJSON_AddStringToObject(owner, "name", KUBE_DAEMONSET) &&
		 cJSON_AddStringToObject(owner, "uid", d->daemonset) &&
		 cJSON_AddStringToObject(data, "daemonset", d->daemonset))
		text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return text;
}

static void set_marker(struct detaching *d)
{
	_cleanup_free_ char *body = marker_body(d);
	char path[KUBE_DAEMONSET_PATH_SIZE];

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/configmaps/" KUBE_REMOVAL APPLY,
		 kube_client_namespace(d->client));
	if (body)
		kube_request_send(d->request, "PATCH", path, body);
	else
		detach_nodes_end(d, log_err_r(ENOMEM, "the marker"));
}

static void detach_nodes_on_again(uv_timer_t *t)
{
	struct detaching *d = t->data;
	char path[KUBE_DAEMONSET_PATH_SIZE];

	if (d->step == FINDING)
		kube_request_send(d->request, "GET", kube_daemonset_path(d->client, path), NULL);
	else if (d->step == MARKING)
		set_marker(d);
}

static void no_change(void *arg)
{
	(void)arg;
}

static void begin_to_wait(struct detaching *d)
{
	const char *space = kube_client_namespace(d->client);

	d->step = WAITING;
	d->progress_ns = monotonic_ns();
	log_info("%s/" KUBE_REMOVAL " is set: every node is to detach, and to stay detached",
		 space);
	d->pods = kube_store_new(d->client, &pods, space, PODS, no_change, d);
	d->answers = kube_store_new(d->client, &answers, space, EVENTS, no_change, d);
	if (!d->pods || !d->answers)
		detach_nodes_end(d, log_err_r(ENOMEM, "Kubernetes"));
}

static void detach_nodes_take_uid(const cJSON *object, char to[KUBE_UID_SIZE])
{
	kube_take_plain(kube_text(kube_member(object, "metadata"), "uid"), "0123456789abcdef-", to,
			KUBE_UID_SIZE);
}

static void detach_nodes_fail(struct detaching *d, long status, const char *why)
{
	if (why || !status)
		snprintf(d->why, sizeof(d->why), "%s", why ?: "no answer");
	else
		snprintf(d->why, sizeof(d->why), "HTTP status %ld%s", status,
			 status == 403 ? ": the right to do it is missing" : "");
	if (status == 403)
		detach_nodes_end(d, -EACCES);
	else
		uv_timer_start(&d->again, detach_nodes_on_again, RETRY_MS, 0);
}

static void detach_nodes_on_answer(void *arg, long status, const cJSON *object, const char *why)
{
	struct detaching *d = arg;
	bool good = (status == 200 || status == 201) && object;

	if (d->step == TELLING) {
		detach_nodes_end(d, 0);
	} else if (d->step == FINDING && status == 404) {
		log_info("there is no DaemonSet %s/" KUBE_DAEMONSET ": nothing to detach",
			 kube_client_namespace(d->client));
		detach_nodes_end(d, 0);
	} else if (!good) {
		detach_nodes_fail(d, status, why);
	} else if (d->step == FINDING) {
		detach_nodes_take_uid(object, d->daemonset);
		d->step = MARKING;
		set_marker(d);
	} else {
		detach_nodes_take_uid(object, d->marker);
		begin_to_wait(d);
	}
}

/* An Event outlives the marker, by an hour. */
static void detach_nodes_tell_missing(struct detaching *d, const char *what)
{
	char path[KUBE_EVENT_PATH_SIZE + sizeof(APPLY)], instance[KUBE_IDENTITY_SIZE];
	struct kube_event_said said = {
		.api_version = "v1",
		.kind = "ConfigMap",
		.name = KUBE_REMOVAL,
		.uid = d->marker,
		.reason = "NotDetached",
		.why = what,
		.instance = kube_lease_own(instance),
		.since = time(NULL),
		.count = 1,
	};
	uint64_t hash = hash_text(d->marker);
	_cleanup_free_ char *body = NULL;

	snprintf(said.space, sizeof(said.space), "%s", kube_client_namespace(d->client));
	kube_event_path(&said, hash, path);
	strcat(path, APPLY);
	body = kube_event_body(&said, hash);
	d->step = TELLING;
	if (body)
		kube_request_send(d->request, "PATCH", path, body);
	else
		detach_nodes_end(d, 0);
}

static void look_at_nodes(struct detaching *d, uint64_t now)
{
	char names[NAMES_SIZE], what[NAMES_SIZE + 128];
	size_t detached = 0, count;

	if (!kube_store_known(d->pods) || !kube_store_known(d->answers))
		return;
	count = count_nodes(d, &detached, names);
	if (detached == count) {
		log_info("%zu of %zu nodes are detached", detached, count);
		detach_nodes_end(d, 0);
	} else if (now >= d->until_ns) {
		snprintf(what, sizeof(what),
			 "%zu of %zu nodes did not answer, and may steer on: %s", count - detached,
			 count, names);
		log_warn("%s; on each of them: pintled --detach", what);
		detach_nodes_tell_missing(d, what);
	} else if (now - d->progress_ns >= PROGRESS_NS) {
		d->progress_ns = now;
		log_info("%zu of %zu nodes are detached; waiting for %s", detached, count, names);
	}
}

static void detach_nodes_on_tick(uv_timer_t *t)
{
	struct detaching *d = t->data;
	uint64_t now = monotonic_ns();
	bool late = now >= d->until_ns;

	if (d->step == WAITING)
		look_at_nodes(d, now);
	if (!late || d->step == TELLING || d->err)
		return;
	if (d->step == WAITING && kube_store_known(d->pods) && kube_store_known(d->answers))
		return;
	if (d->step == WAITING)
		log_warn("which nodes are detached is not known: %s",
			 kube_client_trouble(d->client) ?: "the API server does not answer");
	detach_nodes_end(d, d->step == WAITING ? 0 : -ETIMEDOUT);
}

/* ---- life ------------------------------------------------------------------------------ */

static int detaching_start(struct detaching *d, struct kube_access *a, unsigned int seconds)
{
	int err;

	uv_timer_init(&d->loop, &d->tick);
	uv_timer_init(&d->loop, &d->again);
	d->tick.data = d->again.data = d;
	err = kube_client_new(&d->loop, a, &kube_times, &d->client);
	if (err)
		return err;
	d->request = kube_request_new(d->client, detach_nodes_on_answer, d);
	if (!d->request)
		return log_err_r(ENOMEM, "Kubernetes");
	d->until_ns = monotonic_ns() + seconds * NSEC_PER_SEC;
	uv_timer_start(&d->tick, detach_nodes_on_tick, TICK_MS, TICK_MS);
	uv_timer_start(&d->again, detach_nodes_on_again, 0, 0);
	return 0;
}

static void detaching_stop(struct detaching *d)
{
	kube_store_free(d->pods);
	kube_store_free(d->answers);
	kube_request_free(d->request);
	kube_client_free(d->client);
	uv_close((uv_handle_t *)&d->tick, NULL);
	uv_close((uv_handle_t *)&d->again, NULL);
	uv_run(&d->loop, UV_RUN_DEFAULT);
	uv_loop_close(&d->loop);
}

int detach_nodes(const char *kubeconfig, unsigned int seconds)
{
	struct kube_access *a = NULL;
	struct detaching d = {0};
	int err = kube_access_find(kubeconfig, &a);

	if (!err && !a)
		log_error(
			"this is no pod with a service account's token: name a configuration with "
			"kubernetes.kubeconfig by --config");
	if (err || !a)
		return err ?: -EINVAL;
	err = uv_loop_init(&d.loop);
	if (err) {
		kube_access_free(a);
		return log_err_r(err, "event loop");
	}
	d.err = detaching_start(&d, a, seconds);
	if (!d.err) {
		uv_run(&d.loop, UV_RUN_DEFAULT);
		if (d.err)
			log_error("no node was told to detach, and all steer on: %s",
				  d.why[0] ? d.why : "the API server does not answer");
	}
	detaching_stop(&d);
	return d.err;
}
