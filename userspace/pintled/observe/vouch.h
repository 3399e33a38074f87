/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vouch.h - an endpoint's answers to the daemon, set against the failures of its clients.
 *
 * A client behind a firewall fails at healthy endpoints, and a malicious client can fail on
 * purpose. The daemon is a client that nobody else controls. So after clients have failed, the
 * daemon asks the endpoint over a new connection: a kept connection works even at a server that
 * accepts no new ones. An answer voids the failures in a row and the ejection, and for about as
 * long as an ejection would last no client's failure counts. A question without an answer takes
 * that back.
 *
 * The daemon asks for the metrics page, where the endpoint itself serves it. The page of a server
 * at 10.0.3.17:8000 may come from 10.0.3.17:8002, as Triton's does, and may still come when port
 * 8000 is dead. There the daemon asks 10.0.3.17:8000 for any answer at all.
 *
 * Where that port refuses the daemon, or resets its connection before a byte of an answer, the
 * daemon is one more client that failed: three of its questions in a row eject the endpoint before
 * a client has to find out. Its failures alone do not count for long where clients are served: a
 * firewall may stop the daemon and nobody else.
 *
 * The kernel does the rest from the two times that are written here, answered_ns and
 * vouched_until_ns: see struct pintle_health.
 */
#ifndef PINTLE_VOUCH_H
#define PINTLE_VOUCH_H

#include <pintle/abi.h>
#include <stdbool.h>

#include "../../config/config.h"

/* One for each endpoint; all zero at the start. */
struct vouch {
	bool fresh;         /* the newest question goes over a new connection */
	uint64_t asked_ns;  /* when the newest question was begun */
	uint64_t failures;  /* all failures of clients, as counted then */
	uint64_t answered;  /* `failures` of the newest question that was answered */
	unsigned int voids; /* ejections ended since a question last had no answer */
};

/** Returns whether clients have failed since the newest answer, so that there is something to
 * ask. */
bool vouch_wants(const struct vouch *v, const struct pintle_health *h,
		 const struct config_ejection *e);
/** Returns whether the question that is about to go to the endpoint's own address and port needs a
 * new connection, because clients have failed since the newest answer. */
bool vouch_ask(struct vouch *v, const struct pintle_health *h, const struct config_ejection *e);
/** Takes in that the endpoint has answered (`good`), or has failed to. Returns whether the answer
 * ended an ejection. */
bool vouch_hear(struct vouch *v, struct pintle_health *h, const struct config_ejection *e,
		bool good);

/** Counts a failure in the endpoint's row, after vouch_hear(), because its own port has turned the
 * daemon away, unless clients were served since the daemon failed last, and ejects the endpoint at
 * the end of the row. `health` is the whole map, `id` the endpoint's, `pool` the value of the
 * endpoint's pool. */
void vouch_turned_away(struct pintle_health health[], uint32_t id, const struct pintle_pool *pool,
		       enum pintle_failure failure);

#endif
