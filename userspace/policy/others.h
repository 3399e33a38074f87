/* SPDX-License-Identifier: Apache-2.0 */
/*
 * others.h - how much of a pool's work other nodes place, and what follows for the rule.
 *
 * A page is as old as the scrape interval. What this node placed since, it knows; what others
 * placed since, nobody tells it. The more of the work is theirs, the less the order of the loads
 * means, and the more nodes would all choose the endpoint that was best on the page. Hence the rule
 * compares fewer endpoints and takes loads within a wider range as equal (Mitzenmacher, "How Useful
 * Is Old Information?", IEEE TPDS 11(1), 2000).
 */
#ifndef PINTLE_OTHERS_H
#define PINTLE_OTHERS_H

#include <pintle/abi.h>
#include <stdbool.h>
#include <stdint.h>

/* How much of one pool's work others place. Must begin as zeros. */
struct others {
	double theirs, all; /* requests on the pool's pages: means over OTHERS_PAGES pages */
	double pages;       /* seen of each endpoint, at most OTHERS_PAGES */
	uint32_t level;     /* 0: this node is alone, to OTHERS_LEVELS: it hardly matters */
};
#define OTHERS_PAGES  200 /* of each endpoint: 40 s by default */
#define OTHERS_LEVELS 8

/** Takes in a page that counts `page` requests, of which this node knows `own` to be its own.
 * `endpoints`, at least 1, is how many the pool has. Values below 0 and NaN count as 0. */
void others_page(struct others *o, double page, double own, uint32_t endpoints);

/** Sets o->level: OTHERS_LEVELS x (share of the work that is others')^4. Returns whether it
 * changed; it changes only when it is clearly another one. While there is no work it stays, and
 * before OTHERS_PAGES pages of each endpoint were seen: servers may have been at work before this
 * daemon came. */
bool others_judge(struct others *o);

/** Returns how many endpoints to compare (pool.sample): PINTLE_SAMPLE for a node that is alone,
 * down to 2. */
uint32_t others_sample(uint32_t level);
/** Returns how far apart loads may be that count as equal (pool.tie), in milli-requests: 0 for a
 * node that is alone, up to 16 requests. */
uint32_t others_tie(uint32_t level);

#endif
