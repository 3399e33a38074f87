/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maglev.h - tables that give every group a home endpoint, and keep most groups' homes when
 * endpoints come and go: Eisenbud et al., "Maglev", NSDI '16, section 3.4.
 */
#ifndef PINTLE_MAGLEV_H
#define PINTLE_MAGLEV_H

#include <pintle/abi.h>
#include <stddef.h>
#include <stdint.h>

struct maglev_member {
	uint32_t id;
	uint32_t generation; /* not 0 */
	const char *name;    /* unique in the pool */
	uint32_t weight;     /* takes so many entries each turn; 0 counts as 1 */
};

/**
 * Fills all `size` entries of the table; the numbers of entries of two members with the
 * same weight differ by at most that.
 *
 * Which member gets an entry depends on the members' names alone, not on their order, ids or
 * generations: a restarted daemon and other nodes come to the same homes. `size` is a prime
 * (PINTLE_HOME_ENTRIES), and at least `n`. With n = 0 every entry is {0, 0}: no endpoint.
 * Returns 0; or, with the table untouched, -EINVAL for a size that is no prime or too small, or for
 * a generation of 0, or -ENOMEM.
 */
int maglev_build(const struct maglev_member *members, size_t n, struct pintle_ref *table,
		 size_t size);

#endif
