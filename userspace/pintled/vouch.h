/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vouch.h - what an endpoint answers the daemon, against the failures of its clients.
 *
 * A client that a firewall cuts off fails at healthy endpoints, and one that means harm can do so
 * on purpose. The daemon is a client, too, that nobody else controls. So when clients have failed,
 * it asks the endpoint over a new connection: a kept one says nothing of a server that takes no new
 * ones. If an answer comes, the row and the ejection are void, and no client's failure counts for
 * about as long as an ejection would last. A question without an answer takes that back.
 *
 * What is asked for is the metrics page, where the endpoint itself serves it. The page of a server
 * at 10.0.3.17:8000 may come from 10.0.3.17:8002, as Triton's does, and goes on when 8000 is dead:
 * there the daemon asks 10.0.3.17:8000 for any answer at all.
 *
 * The kernel does the rest, from the two times that are written here: see struct pintle_health.
 */
#ifndef PINTLE_VOUCH_H
#define PINTLE_VOUCH_H

#include <pintle/abi.h>
#include <stdbool.h>

#include "../config/config.h"

/* One for each endpoint; all zero at the start. */
struct vouch {
	bool fresh;         /* the question goes over a new connection */
	uint64_t asked_ns;  /* when that was begun */
	uint64_t failures;  /* of clients, ever, as they stood then */
	uint64_t answered;  /* the same of the newest question that was answered */
	unsigned int voids; /* ejections that were void, since an answer last failed to come */
};

/** Before the endpoint is asked at its own address and port. Returns whether a connection of its
 * own is needed for that: clients have failed since the newest answer. */
bool vouch_ask(struct vouch *v, const struct pintle_health *h, const struct config_ejection *e);
/** It answered (`good`), or did not. Returns whether that ended an ejection. */
bool vouch_hear(struct vouch *v, struct pintle_health *h, const struct config_ejection *e,
		bool good);

#endif
