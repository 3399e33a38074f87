/* SPDX-License-Identifier: Apache-2.0 */
/* keys.h - the key of a frontend in the maps, from its address and back. */
#ifndef PINTLE_KEYS_H
#define PINTLE_KEYS_H

#include <pintle/abi.h>

#include "../net/addr.h"

/** Returns the key of a prefix and port in the node's own scope. */
struct pintle_frontend_key key_of_frontend(const struct frontend_addr *f);
/** Returns the prefix and port of a key. A prefix length out of range, which Pintle never writes,
 * comes out as 0 or 128 bits. */
struct frontend_addr frontend_of_key(const struct pintle_frontend_key *k);

#endif
