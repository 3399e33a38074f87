/* SPDX-License-Identifier: Apache-2.0 */
/* nested.h - which prefixes hold which, without comparing each with each. */
#ifndef PINTLE_NESTED_H
#define PINTLE_NESTED_H

#include "addr.h"

/* A prefix at a port. Those of different kinds have nothing to do with each other. */
struct nested {
	uint32_t kind;
	uint16_t port;
	struct addr prefix;
	unsigned int bits; /* of 128 */
	bool inner;        /* holds no other */
	size_t item;       /* the caller's */
};

/** Sorts the prefixes, clears the bits behind each, and visits each pair of a kind and a port of
 * which `outer`, which is not `inner`, holds `in` or is equal to it; each pair once. Returns 0, or
 * -ENOMEM. */
int nested_pairs(struct nested *all, size_t n,
		 void (*visit)(const struct nested *outer, const struct nested *in, void *arg),
		 void *arg);

#endif
