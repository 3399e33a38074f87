// SPDX-License-Identifier: Apache-2.0
#include "kube_teller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "../base/log.h"
#include "../base/util.h"
#include "kube_client.h"
#include "kube_request.h"

#define PACE_MS      20 /* between two requests */
#define RETRY_MS     5000
#define RETRY_MAX_MS 300000

struct entry {
	TAILQ_ENTRY(entry) all;
	enum kube_telling kind;
	char *path, *body;
	uint64_t version;
	bool named; /* since kube_teller_begin() */
	bool done;  /* it is written, or refused for good */
};

static const struct {
	const char *what, *query;
	bool yields; /* to another writer of the same fields */
} kinds[KUBE_TELLINGS] = {
	[KUBE_TELL_STATUS] = {"steeringpolicies/status", "?fieldManager=pintle&force=true", false},
	[KUBE_TELL_EVENT] = {"events", "?fieldManager=pintle&force=true", false},
	[KUBE_TELL_POOL] = {"inferencepools/status", "?fieldManager=pintle", true},
};

struct kube_teller {
	struct kube_client *client;
	struct kube_request *request;
	uv_timer_t timer;
	TAILQ_HEAD(, entry) entries;
	struct entry *sent; /* NULL: nothing is on its way, or it is forgotten */
	enum kube_telling sent_kind;
	struct {
		unsigned int failures; /* in a row */
		uint64_t not_before_ns;
	} pace[KUBE_TELLINGS];
};

static void entry_free(struct kube_teller *t, struct entry *e)
{
	if (t->sent == e)
		t->sent = NULL;
	TAILQ_REMOVE(&t->entries, e, all);
	free(e->path);
	free(e->body);
	free(e);
}

/* ---- writing --------------------------------------------------------------------------- */

static void teller_on_timer(uv_timer_t *timer);

/* The first thing to write now; NULL: there is none, and *wait_ms is when to look again, 0: never.
 */
static struct entry *next_entry(const struct kube_teller *t, uint64_t *wait_ms)
{
	uint64_t now = monotonic_ns(), soonest = UINT64_MAX;
	struct entry *e;

	TAILQ_FOREACH(e, &t->entries, all)
	{
		if (e->done)
			continue;
		if (t->pace[e->kind].not_before_ns <= now)
			return e;
		soonest = MIN(soonest, t->pace[e->kind].not_before_ns);
	}
	*wait_ms = soonest == UINT64_MAX ? 0 : (soonest - now) / NSEC_PER_MSEC + 1;
	return NULL;
}

static void teller_on_timer(uv_timer_t *timer)
{
	struct kube_teller *t = timer->data;
	uint64_t wait_ms = 0;
	struct entry *e = kube_request_busy(t->request) ? NULL : next_entry(t, &wait_ms);

	if (!e) {
		if (wait_ms)
			uv_timer_start(&t->timer, teller_on_timer, wait_ms, 0);
		return;
	}
	t->sent = e;
	t->sent_kind = e->kind;
	kube_request_send(t->request, "PATCH", e->path, e->body);
}

/* A second try at an object that is refused as such would be refused again. */
static bool is_final(enum kube_telling kind, long status)
{
	return (status == 409 && kinds[kind].yields) || status == 400 || status == 404 ||
	       status == 413 || status == 422;
}

static void note_failure(struct kube_teller *t, long status, const char *why)
{
	uint64_t ms = RETRY_MS << MIN(t->pace[t->sent_kind].failures, 6U);
	char text[128];

	snprintf(text, sizeof(text), "HTTP status %ld%s", status,
		 status == 403 ? ", the right to write them is missing" : "");
	kube_client_tell(t->client, kinds[t->sent_kind].what, why ?: text, status == 403);
	t->pace[t->sent_kind].failures++;
	ms = MIN(ms, (uint64_t)RETRY_MAX_MS);
	ms = ms / 2 + arc4random_uniform((uint32_t)ms);
	t->pace[t->sent_kind].not_before_ns = monotonic_ns() + ms * NSEC_PER_MSEC;
}

static void teller_on_answer(void *arg, long status, const cJSON *object, const char *why)
{
	struct kube_teller *t = arg;
	struct entry *e = TAKE_PTR(t->sent);

	(void)object;
	if (status == 200 || status == 201) {
		kube_client_well(t->client, kinds[t->sent_kind].what);
		t->pace[t->sent_kind].failures = 0;
	} else if (is_final(t->sent_kind, status)) {
		log_info("Kubernetes: the API server refused what was written to %s: HTTP status "
			 "%ld",
			 e ? e->path : kinds[t->sent_kind].what, status);
	} else {
		note_failure(t, status, why);
		e = NULL;
	}
	if (e)
		e->done = true;
	uv_timer_start(&t->timer, teller_on_timer, PACE_MS, 0);
}

/* ---- what is to be known ----------------------------------------------------------------- */

void kube_teller_begin(struct kube_teller *t)
{
	struct entry *e;

	TAILQ_FOREACH(e, &t->entries, all)
	e->named = false;
}

static struct entry *entry_get(struct kube_teller *t, enum kube_telling kind, const char *path)
{
	const char *query = kinds[kind].query;
	struct entry *e;

	TAILQ_FOREACH(e, &t->entries, all)
	if (!strncmp(e->path, path, strlen(path)) && !strcmp(e->path + strlen(path), query))
		return e;
	e = calloc(1, sizeof(*e));
	if (e && asprintf(&e->path, "%s%s", path, query) < 0) {
		free(e);
		e = NULL;
	}
	if (e)
		TAILQ_INSERT_TAIL(&t->entries, e, all);
	return e;
}

void kube_teller_tell(struct kube_teller *t, enum kube_telling kind, const char *path,
		      uint64_t version, char *body)
{
	struct entry *e = body ? entry_get(t, kind, path) : NULL;

	if (!e) {
		free(body);
		return;
	}
	e->named = true;
	if (e->body && e->version == version) {
		free(body);
		return;
	}
	/* What is on its way is old: its answer says nothing about this one. */
	if (t->sent == e)
		t->sent = NULL;
	free(e->body);
	e->kind = kind;
	e->body = body;
	e->version = version;
	e->done = false;
}

void kube_teller_end(struct kube_teller *t)
{
	struct entry *e = TAILQ_FIRST(&t->entries), *next;

	for (; e; e = next) {
		next = TAILQ_NEXT(e, all);
		if (!e->named)
			entry_free(t, e);
	}
	if (!kube_request_busy(t->request))
		uv_timer_start(&t->timer, teller_on_timer, PACE_MS, 0);
}

/* ---- life ------------------------------------------------------------------------------ */

static void free_teller(uv_handle_t *h)
{
	free(h->data);
}

struct kube_teller *kube_teller_new(struct kube_client *c)
{
	struct kube_teller *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->client = c;
	TAILQ_INIT(&t->entries);
	t->request = kube_request_new(c, teller_on_answer, t);
	if (!t->request) {
		free(t);
		return NULL;
	}
	uv_timer_init(kube_client_loop(c), &t->timer);
	t->timer.data = t;
	return t;
}

void kube_teller_free(struct kube_teller *t)
{
	struct entry *e, *next;

	if (!t)
		return;
	kube_request_free(t->request);
	for (e = TAILQ_FIRST(&t->entries); e; e = next) {
		next = TAILQ_NEXT(e, all);
		entry_free(t, e);
	}
	uv_close((uv_handle_t *)&t->timer, free_teller);
}
