/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - a pool's probe: one request of one token to a server whose answers are in doubt. Its
 * status is the server's own word, which outweighs its clients and its page.
 *
 * A server that stands still is in doubt, too: its probe is the try that a client's request would
 * otherwise be. A healthy server gets none, and one that nobody uses gets none: it may sleep, or
 * have unloaded its model, and a probe would wake it. There is one probe at a time for each
 * server of this node, at most one in each probe.interval, with at most 512 bytes; of the answer
 * only the head is read. Endpoints of several pools that ask a server the same share one probe. A
 * SteeringPolicy cannot have one: pintled sends work to a server only where the node's file says
 * so.
 */
#ifndef PINTLE_PROBE_H
#define PINTLE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "../../config/config.h"
#include "../../fetch/scrape.h"

struct probe;

/* Called on the loop. */
struct probe_callbacks {
	/** Whether to ask the server now, which was asked at asked_ns before; 0: not yet. */
	bool (*wants)(void *arg, uint64_t asked_ns);
	/** The HTTP status that came to the probe of asked_ns, 0: none; retry_ns as
	 * scraper_retry_ns(). */
	void (*done)(void *arg, unsigned int status, uint64_t retry_ns, uint64_t asked_ns);
};

/** Writes the request for the pool's probe. Returns a text that the caller frees, or NULL. */
char *probe_request(const struct config_probe *p);

/** Makes *p what the pool asks for, `to` being the options of a request to the endpoint's server
 * (poller_server_options()): with probe.path NULL there is none. `callbacks` must outlive it.
 * Returns 0 or -errno, as scraper_add(). */
int probe_configure(struct probe **p, struct scraper *s, const struct config_probe *config,
		    const struct scrape_options *to, const struct probe_callbacks *callbacks,
		    void *arg);
/** Returns what it asks, and with which credentials: the same text for the same question. */
const char *probe_asks(const struct probe *p);
/** Returns in how long the result of a probe is known that is wanted from now on; 0: there is
 * none. */
uint64_t probe_known_ns(const struct config_probe *p);
/** Frees it; NULL is fine. */
void probe_free(struct probe *p);

#endif
