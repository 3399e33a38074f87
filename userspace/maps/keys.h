/* SPDX-License-Identifier: Apache-2.0 */
/* keys.h - keys of maps, made of addresses and read back. */
#ifndef PINTLE_KEYS_H
#define PINTLE_KEYS_H

#include <pintle/abi.h>

#include "../net/addr.h"

/** The key of a prefix and port in the node's own scope. */
struct pintle_frontend_key key_of_frontend(const struct frontend_addr *f);
/** The prefix and port of a key. Of a key that Pintle did not write, with too few or too many bits,
 * 0 or 128 bits are taken. */
struct frontend_addr frontend_of_key(const struct pintle_frontend_key *k);

#endif
