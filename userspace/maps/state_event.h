/* SPDX-License-Identifier: Apache-2.0 */
/* state_event.h - an event of the kernel as a row: for `pintle events`, and for the audit. */
#ifndef PINTLE_STATE_EVENT_H
#define PINTLE_STATE_EVENT_H

#include "../base/columns.h"
#include "state.h"

#define EVENT_CGROUP_SIZE 512

/* An event with the names that belong to it; NULL or "": none, or gone. */
struct event_row {
	const struct pintle_event *e;
	const char *pool, *endpoint, *class;
	const struct state_pod *pod;    /* the client's */
	char cgroup[EVENT_CGROUP_SIZE]; /* the client's, below the cgroup2 root */
};

/* Rows are struct event_row. */
extern const struct columns event_columns;

const char *event_type_name(uint32_t type);
/** Returns whether the event is about a connection, and not about an endpoint or the events
 * themselves. */
bool event_is_of_connection(const struct pintle_event *e);
bool event_is_closed(const struct pintle_event *e);
/** Returns how the endpoint failed its client; NULL: it did not. */
const char *event_failure(const struct pintle_event *e);

/** Returns what ended a connection, by its errno; NULL: it ended in order, or that is no errno. */
const char *event_error(uint32_t error);
/** Returns an address and port as a column shows them. */
struct value event_address(const uint8_t address[16], uint16_t port);
/** Returns the pod's namespace and name; NULL: none. */
struct value event_pod(const struct state_pod *pod);

/* What is known of the clients of events; all zeros: nothing. */
struct event_clients {
	struct state_pod *pods;
	size_t pod_count;
	char *root; /* of cgroup2 */
};

/** Reads it anew. Returns 0 or -errno. */
int event_clients_read(const struct maps *m, struct event_clients *c);
void event_clients_free(struct event_clients *c);
/** Sets row->pod and row->cgroup. At the connect hook by the process's cgroup, since it may claim
 * any address; else by the address. */
void event_clients_find(const struct maps *m, const struct event_clients *c, struct event_row *row);

#endif
