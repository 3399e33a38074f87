/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poll.h - the way of a metrics page: scraped, read, weighed, published into `scores`.
 *
 * A score stands until a better one comes: a failed scrape or a bad page changes nothing but the
 * flag that says so, and the kernel sees the score grow old.
 */
#ifndef PINTLE_POLL_H
#define PINTLE_POLL_H

#include <uv.h>

#include "../config/config.h"
#include "../maps/maps.h"
#include "../policy/engines.h"
#include "publish.h"
#include "../fetch/scrape.h"

struct poller;

/* What was last read of an endpoint beyond its score, for /metrics. */
struct poll_counters {
	struct signals signals; /* of the last good page */
	bool known;
	uint64_t scrapes, failures; /* since this daemon started */
};

/** `m`, `netns_fd` and the loop must outlive the poller. Returns 0 and *out, or -errno, logged. */
int poller_new(uv_loop_t *loop, int netns_fd, const struct maps *m, struct poller **out);
/** Asks for exactly the endpoints of this configuration from now on; those that stay keep
 * their connection and counters. `c` and `pub` are kept by reference until the next call, whatever
 * this one returns: 0; or -errno, logged: then some endpoints or GPUs are not asked. Rounds of
 * scrapes are counted in node->scrape_rounds. */
int poller_configure(struct poller *p, const struct config *c, const struct publication *pub);
/** Whether every endpoint of the first configuration has been asked once, with whatever result. */
bool poller_first_round_over(const struct poller *p);
/** To be asked at regular times: whether a page of an endpoint came that nobody is known to listen
 * for, or none comes any more although somebody is (the kernel does not see the end of a listener
 * that the daemon found, until a decision runs into it), so that it is time to look. For an
 * endpoint that stays so it is, ever more seldom. */
bool poller_suspects_listener(struct poller *p);
/** By endpoint id; NULL for an id that is not polled. */
const struct poll_counters *poller_counters(const struct poller *p, uint32_t endpoint);
/** Share of GPU memory in use, 0..1, of the fullest of the endpoint's GPUs, by a DCGM page that is
 * not too old; -1: not known. */
double poller_gpu_memory(const struct poller *p, uint32_t endpoint);
/** Mean over the pool's endpoints of score_saturation(), a stale one counting as 1; as GIE's
 * utilization detector takes it. `pool` is an index into the configuration. */
double poller_saturation(const struct poller *p, size_t pool);
void poller_free(struct poller *p);

#endif
