/* SPDX-License-Identifier: Apache-2.0 */
#include "keys.h"

#include <netinet/in.h>

#include "../base/util.h"

struct pintle_frontend_key key_of_frontend(const struct frontend_addr *f)
{
	struct pintle_frontend_key k = {
		.prefixlen = PINTLE_FRONTEND_FIXED_BITS + f->prefix_bits,
		.scope = PINTLE_SCOPE_NODE,
		.port = f->port,
		.protocol = IPPROTO_TCP,
	};

	memcpy(k.address, f->prefix.bytes, sizeof(k.address));
	return k;
}

struct frontend_addr frontend_of_key(const struct pintle_frontend_key *k)
{
	uint32_t bits = MAX(k->prefixlen, (uint32_t)PINTLE_FRONTEND_FIXED_BITS);
	struct frontend_addr f = {
		.port = k->port,
		.prefix_bits = (uint8_t)MIN(bits - PINTLE_FRONTEND_FIXED_BITS, 128U),
	};

	memcpy(f.prefix.bytes, k->address, sizeof(f.prefix.bytes));
	return f;
}
