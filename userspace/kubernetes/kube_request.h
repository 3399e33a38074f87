/* SPDX-License-Identifier: Apache-2.0 */
/* kube_request.h - single requests to the Kubernetes API, one after the other: what pintled writes.
 */
#ifndef PINTLE_KUBE_REQUEST_H
#define PINTLE_KUBE_REQUEST_H

#include <cjson/cJSON.h>

#include "kube_watch.h"

struct kube_request;

/** The answer: `status` is 0 where there was none, then `why` says why not. `object` is the
 * answer's JSON object, valid during the call; NULL: it has none, or one that is too large. Another
 * request may be started from it. */
typedef void (*kube_answer_fn)(void *arg, long status, const cJSON *object, const char *why);

/** Makes a request, to be used again and again. Returns NULL without memory. */
struct kube_request *kube_request_new(struct kube_client *c, kube_answer_fn answer, void *arg);
/** Ends what is on its way. Must not be called from `answer`. NULL is fine. */
void kube_request_free(struct kube_request *r);

bool kube_request_busy(const struct kube_request *r);
/** Sends it, which must not be busy: `method` is "GET", "POST", "PUT" or "PATCH"; `path` is a path
 * whose parts need no escaping, with a query; `body` is a JSON text, which is copied, or NULL.
 * PATCH is server-side apply. `answer` is called later, always once. */
void kube_request_send(struct kube_request *r, const char *method, const char *path,
		       const char *body);

/** Writes the time now, as the API has it: "2026-11-21T07:20:25Z". */
#define KUBE_NOW_SIZE 32
const char *kube_now(char buf[KUBE_NOW_SIZE]);

#endif
