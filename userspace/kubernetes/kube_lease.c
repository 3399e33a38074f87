// SPDX-License-Identifier: Apache-2.0
#include "kube_lease.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../base/log.h"
#include "../base/util.h"
#include "kube_client.h"
#include "kube_parts.h"
#include "kube_request.h"

#define WHAT       "leases"
#define LEASE_MS   ((uint64_t)KUBE_LEASE_SECONDS * 1000)
#define RENEW_MS   (LEASE_MS / 3)
#define FIRST_MS   2000 /* after the start, so that 5,000 nodes do not come at once */
#define PATH_SIZE  256
#define STAMP_SIZE 40

enum step {
	LOOKING,
	CREATING,
	TAKING, /* or renewing */
};

struct kube_lease {
	struct kube_client *client;
	struct kube_request *request;
	uv_timer_t timer;
	char identity[KUBE_IDENTITY_SIZE];
	enum step step;
	uint64_t held_ns; /* when it was taken or renewed; 0: another has it */
	char seen[KUBE_IDENTITY_SIZE +
		  STAMP_SIZE]; /* its holder and time, as last seen to change */
	uint64_t seen_ns;      /* when that was */
	int64_t transitions;
	void (*changed)(void *arg);
	void *arg;
};

/* ---- who this is ------------------------------------------------------------------------ */

const char *kube_lease_own(char buf[KUBE_IDENTITY_SIZE])
{
	char host[64] = "", boot[16] = "";
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	struct stat st = {0};

	gethostname(host, sizeof(host) - 1);
	for (char *c = host; *c; c++)
		*c = isalnum((unsigned char)*c) || strchr("-.", *c) ? *c : '-';
	if (f && !fgets(boot, 9, f))
		boot[0] = '\0';
	if (f)
		fclose(f);
	if (stat("/proc/self/ns/net", &st))
		st.st_ino = 0;
	snprintf(buf, KUBE_IDENTITY_SIZE, "%s_%s_%ju", host, boot, (uintmax_t)st.st_ino);
	return buf;
}

const char *kube_lease_identity(const struct kube_lease *l)
{
	return l->identity;
}

/* ---- the object ------------------------------------------------------------------------- */

static const char *micro_now(char buf[STAMP_SIZE])
{
	struct timespec now;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	n = strftime(buf, STAMP_SIZE, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &tm));
	snprintf(buf + n, STAMP_SIZE - n, ".%06ldZ", now.tv_nsec / 1000);
	return buf;
}

/* `version` makes the API server refuse it if another came first; NULL: it is new. */
static char *lease_body(const struct kube_lease *l, const char *version, const char *acquired)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *metadata = cJSON_AddObjectToObject(root, "metadata");
	cJSON *spec = cJSON_AddObjectToObject(root, "spec");
	char now[STAMP_SIZE], *text = NULL;

	micro_now(now);
	if (cJSON_AddStringToObject(root, "apiVersion", "coordination.k8s.io/v1") &&
	    cJSON_AddStringToObject(root, "kind", "Lease") &&
	    cJSON_AddStringToObject(metadata, "name", KUBE_LEASE_NAME) &&
	    (!version || cJSON_AddStringToObject(metadata, "resourceVersion", version)) &&
	    cJSON_AddStringToObject(spec, "holderIdentity", l->identity) &&
	    cJSON_AddStringToObject(spec, "renewTime", now) &&
	    cJSON_AddStringToObject(spec, "acquireTime", acquired ?: now) &&
	    cJSON_AddNumberToObject(spec, "leaseDurationSeconds", KUBE_LEASE_SECONDS) &&
	    cJSON_AddNumberToObject(spec, "leaseTransitions", (double)l->transitions))
		text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return text;
}

static void lease_send(struct kube_lease *l, enum step step, const char *body)
{
	char path[PATH_SIZE];

	/* A look is answered from the API server's cache, which may be a little old: taking it then
	 * fails, which harms nobody. */
	snprintf(path, sizeof(path), "/apis/coordination.k8s.io/v1/namespaces/%s/leases%s%s",
		 kube_client_namespace(l->client), step == CREATING ? "" : "/" KUBE_LEASE_NAME,
		 step == LOOKING ? "?resourceVersion=0" : "");
	l->step = step;
	kube_request_send(l->request,
			  step == LOOKING    ? "GET"
			  : step == CREATING ? "POST"
					     : "PUT",
			  path, body);
}

static void lease_again(struct kube_lease *l, uint64_t ms);

static void lease_take(struct kube_lease *l, enum step step, const char *version,
		       const char *acquired)
{
	_cleanup_free_ char *body = lease_body(l, version, acquired);

	if (body)
		lease_send(l, step, body);
	else
		lease_again(l, RENEW_MS);
}

/* ---- answers ----------------------------------------------------------------------------- */

bool kube_lease_held(const struct kube_lease *l)
{
	return l->held_ns && monotonic_ns() - l->held_ns < LEASE_MS * NSEC_PER_MSEC;
}

static void lease_lose(struct kube_lease *l)
{
	if (l->held_ns)
		log_info("Kubernetes: another daemon writes conditions and Events now");
	l->held_ns = 0;
}

static void win(struct kube_lease *l)
{
	if (!l->held_ns)
		log_info("Kubernetes: this daemon writes the cluster's conditions and Events");
	l->held_ns = monotonic_ns();
	lease_again(l, RENEW_MS);
}

/* Whether its holder did not renew it for as long as it lasts. */
static bool has_run_out(struct kube_lease *l, const char *holder, const char *renewed,
			int64_t seconds)
{
	char seen[sizeof(l->seen)];

	snprintf(seen, sizeof(seen), "%.*s %.*s", KUBE_IDENTITY_SIZE - 1, holder, STAMP_SIZE - 2,
		 renewed);
	if (strcmp(seen, l->seen) != 0) {
		snprintf(l->seen, sizeof(l->seen), "%s", seen);
		l->seen_ns = monotonic_ns();
		return false;
	}
	return monotonic_ns() - l->seen_ns >= (uint64_t)seconds * NSEC_PER_SEC;
}

static void lease_look(struct kube_lease *l, const cJSON *object)
{
	const cJSON *spec = kube_member(object, "spec");
	const char *version = kube_text(kube_member(object, "metadata"), "resourceVersion");
	const char *holder = kube_text(spec, "holderIdentity") ?: "";
	const char *renewed = kube_text(spec, "renewTime") ?: "";
	int64_t seconds = kube_count(kube_member(spec, "leaseDurationSeconds"));
	bool ours = !strcmp(holder, l->identity);

	l->transitions = kube_count(kube_member(spec, "leaseTransitions"));
	seconds = seconds && seconds <= 3600 ? seconds : KUBE_LEASE_SECONDS;
	if (ours) {
		lease_take(l, TAKING, version ?: "0", kube_text(spec, "acquireTime"));
	} else if (!*holder || has_run_out(l, holder, renewed, seconds)) {
		l->transitions++;
		lease_take(l, TAKING, version ?: "0", NULL);
	} else {
		lease_lose(l);
		lease_again(l, LEASE_MS);
	}
}

static void lease_fail(struct kube_lease *l, long status, const char *why)
{
	char text[128];

	snprintf(text, sizeof(text), "HTTP status %ld%s", status,
		 status == 403 ? ", the right to get, create or update them is missing: no "
				 "condition or Event is written"
			       : "");
	kube_client_tell(l->client, WHAT, why ?: text, status == 403 || status == 404);
	lease_again(l, kube_lease_held(l) ? RENEW_MS / 4 : LEASE_MS);
}

static void lease_on_answer(void *arg, long status, const cJSON *object, const char *why)
{
	struct kube_lease *l = arg;

	if (l->step == LOOKING && status == 200 && object) {
		kube_client_well(l->client, WHAT);
		lease_look(l, object);
	} else if (l->step == LOOKING && status == 404) {
		lease_take(l, CREATING, NULL, NULL);
	} else if (l->step != LOOKING && (status == 200 || status == 201)) {
		kube_client_well(l->client, WHAT);
		win(l);
	} else if (status == 409) {
		lease_lose(l);
		lease_again(l, FIRST_MS);
	} else {
		lease_fail(l, status, why);
	}
	l->changed(l->arg);
}

/* ---- life ------------------------------------------------------------------------------ */

static void lease_on_timer(uv_timer_t *t)
{
	struct kube_lease *l = t->data;

	lease_send(l, LOOKING, NULL);
}

/* Between half of it and one and a half; who holds it is punctual. */
static void lease_again(struct kube_lease *l, uint64_t ms)
{
	uint64_t spread = kube_lease_held(l) ? 0 : ms;

	uv_timer_start(&l->timer, lease_on_timer,
		       ms - spread / 2 + arc4random_uniform((uint32_t)spread + 1), 0);
}

static void free_lease(uv_handle_t *h)
{
	free(h->data);
}

struct kube_lease *kube_lease_new(struct kube_client *c, const char *identity,
				  void (*changed)(void *arg), void *arg)
{
	struct kube_lease *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->client = c;
	l->changed = changed;
	l->arg = arg;
	snprintf(l->identity, sizeof(l->identity), "%s", identity);
	l->request = kube_request_new(c, lease_on_answer, l);
	if (!l->request) {
		free(l);
		return NULL;
	}
	uv_timer_init(kube_client_loop(c), &l->timer);
	l->timer.data = l;
	lease_again(l, FIRST_MS);
	return l;
}

void kube_lease_free(struct kube_lease *l)
{
	if (!l)
		return;
	kube_request_free(l->request);
	uv_close((uv_handle_t *)&l->timer, free_lease);
}
