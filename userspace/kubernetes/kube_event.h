/* SPDX-License-Identifier: Apache-2.0 */
/* kube_event.h - Events, as the API has them. */
#ifndef PINTLE_KUBE_EVENT_H
#define PINTLE_KUBE_EVENT_H

#include <time.h>

#include "kube_objects.h"

/* What an Event says, and of which object. */
struct kube_event_said {
	const char *api_version, *kind, *name, *uid;
	char space[KUBE_LABEL_SIZE]; /* the Event's; "default": of an object that has none */
	bool normal;                 /* nothing is wrong */
	bool once;                   /* it is not told again while it lasts */
	const char *reason, *why;
	const char *node;     /* that it comes from; NULL: it is of no node */
	const char *instance; /* of pintled */
	time_t since;
	unsigned int count;
};

/** Writes the Event's path, without a query: its name is the object's, with `hash`, in hexadecimal
 * digits. */
#define KUBE_EVENT_PATH_SIZE (KUBE_LABEL_SIZE + KUBE_NAME_SIZE + 64)
void kube_event_path(const struct kube_event_said *said, uint64_t hash,
		     char path[KUBE_EVENT_PATH_SIZE]);
/** Returns the Event as JSON text, which the caller frees; NULL: out of memory. */
char *kube_event_body(const struct kube_event_said *said, uint64_t hash);

#endif
