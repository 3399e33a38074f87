/* SPDX-License-Identifier: Apache-2.0 */
/* load_source.h - a source address for each session, out of a prefix. */
#ifndef PINTLE_LOAD_SOURCE_H
#define PINTLE_LOAD_SOURCE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../userspace/net/addr.h"

union load_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct source_prefix {
	struct addr base;
	uint8_t bits; /* of the 128 */
	bool set;     /* else the kernel chooses */
};

/** "10.99.0.0/16", "fd01::/64", an address alone, or "none". Returns 0, or -EINVAL with *what
 * (if not NULL) a static sentence of what would be right, and *out untouched. */
int source_parse(const char *text, struct source_prefix *out, const char **what);
/** "10.99.0.0/16" into buf (ADDR_TEXT_SIZE); "none" if there is no prefix. */
const char *source_format(const struct source_prefix *p, char *buf);

/** The part of the prefix that belongs to class number `index` of `count`: equal slices, the whole
 * for all where the prefix is too short to cut. */
struct source_prefix source_slice(const struct source_prefix *p, unsigned int index,
				  unsigned int count);
/** The number-th address of a prefix that is set; the first and, of IPv4, the last stay out
 * where there are others. Numbers beyond the end begin anew. Port 0. */
void source_address(const struct source_prefix *p, uint64_t number, union load_address *out);
/** The same within a part of the prefix that belongs to the group: a /24 of IPv4, a /112 of IPv6,
 * or the whole where it is no longer than that. */
void source_address_in_group(const struct source_prefix *p, uint32_t group, uint64_t number,
			     union load_address *out);

#endif
