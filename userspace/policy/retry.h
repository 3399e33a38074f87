/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry.h - when a client that was told no should come back: pure functions.
 *
 *   time   = requests under way / requests begun per second, both means of about RETRY_MEMORY_S:
 *            how long a request takes (Little, "A Proof for the Queuing Formula L = lambda W",
 *            Operations Research 9(3), 1961)
 *   wait   = time x (load - room + 1) / requests at the endpoint: until so many of them have ended
 *            that the load is below `room`, from which on a full endpoint takes more, if none comes
 *            meanwhile
 *   answer = the least wait of the pool's endpoints
 */
#ifndef PINTLE_RETRY_H
#define PINTLE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#define RETRY_MEMORY_S 30.0

/* What is known of an endpoint's requests. Begins as zeros. */
struct retry_pace {
	bool looked;
	double seconds;   /* for which it was watched */
	double under_way; /* mean */
	double rate;      /* begun per second, mean */
	uint64_t begun;   /* ever, as of the newest look */
};

/** Takes in what happened in the `seconds` since the last call: so many requests were begun ever,
 * and so many are under way now. A count that fell only counts from here on. */
void retry_look(struct retry_pace *p, uint64_t begun, double under_way, double seconds);

/** Returns how long a request takes, in seconds; negative: nothing is known. A request that none
 * has followed takes at least as long as it was watched. */
double retry_time(const struct retry_pace *p);

/** Returns the requests below which an endpoint that was full takes more: a class's limit is one of
 * the load divided by the endpoint's weight (`rate`, as in struct pintle_score), and requests are
 * not. */
double retry_room(double limit, uint32_t rate);

/** Returns the time until an endpoint with this load, in requests, is below `room`; negative:
 * nothing is known. `requests`: at the endpoint, anybody's. */
double retry_wait(const struct retry_pace *p, double load, double room, double requests);

#endif
