/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_teller.h - writes what the cluster is to be told: conditions and Events, by server-side
 * apply, one after the other. Its user says, again and again, all that is to be known; what was
 * written is not written again until it changes.
 *
 *	kube_teller_begin(t);
 *	kube_teller_tell(t, ...);	for each thing
 *	kube_teller_end(t);
 */
#ifndef PINTLE_KUBE_TELLER_H
#define PINTLE_KUBE_TELLER_H

#include "kube_watch.h"

enum kube_telling {
	KUBE_TELL_STATUS, /* of a SteeringPolicy */
	KUBE_TELL_EVENT,
	/* The status of an InferencePool, which other controllers write, too: what another writer
	 * has stays his, and what another took away is not written again. */
	KUBE_TELL_POOL,
	KUBE_TELLINGS
};

struct kube_teller;

/** Returns NULL without memory. */
struct kube_teller *kube_teller_new(struct kube_client *c);
/** Frees it; NULL is fine. */
void kube_teller_free(struct kube_teller *t);

void kube_teller_begin(struct kube_teller *t);
/** Takes `body`, the object as JSON text; NULL, for want of memory, is left out. `path` is its
 * object's, with the query for server-side apply to come; `version` says whether it is what was
 * told before. */
void kube_teller_tell(struct kube_teller *t, enum kube_telling kind, const char *path,
		      uint64_t version, char *body);
/** Forgets what was not told since kube_teller_begin(), and begins to write. */
void kube_teller_end(struct kube_teller *t);

#endif
