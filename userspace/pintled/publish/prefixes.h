/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prefixes.h - the table of prompts' beginnings (`prefixes`), which is made when the first pool
 * wants it, and removed when no pool does.
 */
#ifndef PINTLE_PREFIXES_H
#define PINTLE_PREFIXES_H

#include "../../config/config.h"
#include "../../maps/maps.h"

/** Makes the secret of the table's hashes out of the node's. */
void prefixes_key(const __u64 hint_key[2], struct pintle_chunk_key *out);
/** Returns the number from which the hashes of a pool's prompts are chained: a keyed hash of the
 * pool's name. */
uint64_t prefixes_seed(const __u64 hint_key[2], const char *pool);
/** Makes or removes the table as `c` wants it. A table that is there is kept, with what it holds;
 * of another key, nothing in it is found any more. Returns 0 or -errno, logged. */
int prefixes_publish(const struct maps *m, const struct config *c);

#endif
