/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vouch.h - an endpoint's own page against the failures of its clients.
 *
 * A client that a firewall cuts off fails at healthy endpoints, and one that means harm can do so
 * on purpose. The daemon is a client, too, that nobody else controls. So when clients have failed,
 * it asks for the next page over a new connection: a kept one says nothing of a server that takes
 * no new ones. If the page comes, the row and the ejection are void, and no client's failure counts
 * for about as long as an ejection would last. A page that does not come takes that back.
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
	bool fresh;         /* the page that is asked for comes over a new connection */
	uint64_t asked_ns;  /* when that was begun */
	uint64_t failures;  /* of clients, ever, as they stood then */
	uint64_t answered;  /* the same of the newest page that came so */
	unsigned int voids; /* ejections that were void, since a page last failed */
};

/** Before a page is asked for at the endpoint's own address and port. Returns whether it has to
 * come over a connection of its own. */
bool vouch_ask(struct vouch *v, const struct pintle_health *h, const struct config_ejection *e);
/** The scrape is over; `good`: the page came, and was one. Returns whether that ended an ejection.
 */
bool vouch_hear(struct vouch *v, struct pintle_health *h, const struct config_ejection *e,
		bool good);

#endif
