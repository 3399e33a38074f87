/* SPDX-License-Identifier: Apache-2.0 */
/* kube_client.h - what watches and requests share of the client (kube_watch.c). */
#ifndef PINTLE_KUBE_CLIENT_H
#define PINTLE_KUBE_CLIENT_H

#include "../fetch/curl_loop.h"
#include "kube_watch.h"

/* One transfer at a time. `easy` and `headers` are its user's to free, `done` its user's to set. */
struct kube_transfer {
	void (*done)(struct kube_transfer *t, CURLcode result); /* `easy` is the user's again */
	CURL *easy;
	struct curl_slist *headers;
	char message[CURL_ERROR_SIZE];
};

/** Sets whatever holds for all requests, with the token as it is now; further options come after
 * it. `content_type` is that of the body; NULL: there is none. Returns 0; -EACCES with *why: the
 * token cannot be read; or -ENOMEM. */
int kube_client_prepare(struct kube_client *c, struct kube_transfer *t, const char *content_type,
			const char **why);
/** Starts it; `done` may be called before this returns. Returns 0 or -ENOMEM. */
int kube_client_start(struct kube_client *c, struct kube_transfer *t);
/** Ends it without a call of `done`. */
void kube_client_stop(struct kube_client *c, struct kube_transfer *t);

/** Join and leave the client: each of its users joins it, and leaves before it is freed. */
void kube_client_join(struct kube_client *c);
void kube_client_leave(struct kube_client *c);

/** Notes and logs, once, that requests for this kind fail; `missing`: Pintle does without. `what`
 * is not copied. */
void kube_client_tell(struct kube_client *c, const char *what, const char *why, bool missing);
/** Notes that they succeed. */
void kube_client_well(struct kube_client *c, const char *what);

const char *kube_client_server(const struct kube_client *c); /* "https://10.96.0.1:443" */
/** Returns the namespace that pintled runs in, or that the kubeconfig's context names. */
const char *kube_client_namespace(const struct kube_client *c);
uv_loop_t *kube_client_loop(const struct kube_client *c);
const struct kube_times *kube_client_times(const struct kube_client *c);

#endif
