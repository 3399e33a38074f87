/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poll.h - metrics pages: scraped, read, turned into a score, published in the map `scores`.
 *
 * A score stays until the next good page replaces it. A failed scrape or a bad page only sets
 * PINTLE_SCORE_FAILED; the kernel sees by scraped_ns how old the score is.
 *
 * The pages of a pool that this node does not use are read at scrape.idle, where the endpoint may
 * be chosen: such a score has PINTLE_SCORE_IDLE, and is believed for longer. The first connection,
 * seen by the kernel's counters, has all read at once.
 */
#ifndef PINTLE_POLL_H
#define PINTLE_POLL_H

#include <uv.h>

#include "../../config/config.h"
#include "../ground.h"
#include "../../policy/engines.h"
#include "../../policy/others.h"
#include "../publish/publication.h"
#include "../../fetch/scrape.h"

struct loaded_adapters;
struct poller;

/* What /metrics shows of an endpoint besides its score. */
struct poll_counters {
	struct signals signals; /* of the last good page */
	bool known;
	uint64_t scrapes, failures; /* since this daemon started */
	uint64_t page_ns;           /* when that page had come */
	uint64_t spoiled;           /* pages with a value that none can be, which was left out */
	uint64_t restarts;      /* pages of an engine that had started anew since the one before */
	bool checked, judged;   /* it has a health check; its fitness is judged at all */
	uint64_t checks;        /* health checks, since this daemon started */
	uint64_t failed_checks; /* of these; not while a new server was given time */
};

/* Sums over the pages of a pool's endpoints since this daemon began to read them. They only grow,
 * whichever endpoints and servers come and go. */
struct poll_sums {
	uint32_t generation; /* the pool's */
	uint64_t scrapes, failures;
	struct signals grown; /* by how much the signals that are counters have grown */
};

/** Scrapes from within the ground's namespace. Returns 0 and *out (poller_free() it), or -errno,
 * logged. */
int poller_new(const struct ground *g, struct poller **out);
/** Scrapes, from now on, exactly the endpoints of `c`; endpoints that stay keep their connection
 * and counters. `c` and `pub` are kept by reference until the next call, whatever this call
 * returns: 0; or -errno, logged: then some endpoints or GPUs are not scraped. Rounds of scrapes are
 * counted in node->scrape_rounds. */
int poller_configure(struct poller *p, const struct config *c, const struct publication *pub);
/* A probe of the endpoint was answered as a request is, or was not; as for progress_probe(). */
typedef void (*poller_probed)(void *arg, struct pintle_ref endpoint, bool good, uint64_t begun_ns,
			      uint64_t until_ns);
/** Has `probed` hear what probes find, too; `arg` must outlive the loop's run. */
void poller_tell(struct poller *p, poller_probed probed, void *arg);
/** Writes the scores of endpoints without a page; to be called several times in each pool's
 * staleness limit. */
void poller_count(struct poller *p);
/** Returns the LoRA adapters that pages name. Owned by the poller. */
struct loaded_adapters *poller_adapters(const struct poller *p);
/** Returns whether every endpoint has been scraped once since the start, successfully or not. */
bool poller_first_round_over(const struct poller *p);
/** Returns whether the LISTEN sockets should be looked at (register_listeners()), because pages and
 * known listeners of an endpoint disagree. Either its page answers, and no listener is known; or a
 * listener is known, and no page comes: the kernel does not report the end of a listener that the
 * daemon found, until a decision runs into it. For an endpoint that keeps disagreeing, this returns
 * true ever less often. */
bool poller_suspects_listener(struct poller *p);
/** Sets *out to ask `path` of the endpoint's own server, by scrape.scheme; with the pool's
 * credential and certificate only where the metrics page comes from the same port. Its label and
 * interval are the caller's to fill in. Returns 0; or -ENOMEM. The caller frees *url and *fallback,
 * whatever is returned, once *out is used. */
int poller_server_options(const struct config_pool *pool, const struct config_endpoint *e,
			  const char *path, struct scrape_options *out, char **url,
			  char **fallback);
/** Returns an endpoint's counters by its id. Owned by the poller, valid until the next
 * poller_configure(); NULL for an id that is not polled. */
const struct poll_counters *poller_counters(const struct poller *p, uint32_t endpoint);
/** Returns how many of the connections that wait at the endpoint's listener, by its id, are
 * pintled's own. */
uint32_t poller_knocks(const struct poller *p, uint32_t endpoint);
/** Returns whether the pool with this id is in use on this node (policy/demand.h). */
bool poller_in_use(const struct poller *p, uint32_t pool);
/** Returns what is known by pool id. Owned by the poller; NULL: no page of that pool was asked for
 * yet. */
const struct poll_sums *poller_sums(const struct poller *p, const struct pintle_ref *pool);
/** Returns the share of memory in use, 0..1, on the fullest of the endpoint's GPUs, by a DCGM page
 * that is not too old; -1: not known. */
double poller_gpu_memory(const struct poller *p, uint32_t endpoint);
/** The endpoint's GPUs whose utilization a DCGM page tells that is not too old. */
struct poll_gpus {
	unsigned int count;
	double busy; /* the sum of their utilizations, each 0..1 */
};
struct poll_gpus poller_gpus(const struct poller *p, uint32_t endpoint);
/** Returns how much of each pool's work other nodes place, by pool id. Owned by the poller. */
struct others *poller_others(struct poller *p);
/** Returns the mean over the pool's endpoints of score_saturation(), where a stale endpoint counts
 * as 1, as in GIE's utilization detector. `pool` is an index into the configuration. */
double poller_saturation(const struct poller *p, size_t pool);
void poller_free(struct poller *p);

#endif
