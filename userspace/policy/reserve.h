/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reserve.h - which endpoints of a pool are reserved for its classes of higher priority, and how
 * many connections of a class there is room for.
 *
 * Each class with a `reserve` gets so many of the ready endpoints, the class with the highest
 * priority first. Which ones follows from the endpoints alone (rendezvous hashing: Thaler and
 * Ravishankar, IEEE/ACM Transactions on Networking 6(1), 1998), so that the daemons of all nodes
 * reserve the same ones, and when one comes or goes, no more than one changes for it.
 */
#ifndef PINTLE_RESERVE_H
#define PINTLE_RESERVE_H

#include <pintle/abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reserve_member {
	uint64_t hash; /* of what names the endpoint on every node */
	bool ready;
	uint32_t closed; /* out: bit i: the endpoint is closed to class i */
};

/** Sets `closed` of each member. At least one ready endpoint stays open to all classes: a pool
 * whose endpoints are mostly down reserves fewer, or none. Returns 0 or -ENOMEM. */
int reserve_fold(const struct pintle_class *classes, uint32_t class_count,
		 struct reserve_member *members, size_t n);

/** Returns the connections of the class for which its bounds leave room at so many endpoints: a
 * request equivalent of its limit counts as one. 0: it has no bounds, or is not held to them. */
uint32_t reserve_places(const struct pintle_class *class, uint64_t ready);

#endif
