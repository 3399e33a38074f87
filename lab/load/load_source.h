/* SPDX-License-Identifier: Apache-2.0 */
/* load_source.h - source addresses for sessions, from a prefix. */
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
	uint8_t bits; /* the prefix's length, of 128; 112 for 10.99.0.0/16 */
	bool set;     /* false: the kernel chooses the address */
};

/** Parses "10.99.0.0/16", "fd01::/64", an address alone, or "none". Returns 0; or -EINVAL, with
 * *out untouched and *what, if `what` is not NULL, a static sentence that says what to write. */
int source_parse(const char *text, struct source_prefix *out, const char **what);
/** Writes "10.99.0.0/16" into buf (ADDR_TEXT_SIZE), or "none" if no prefix is set; returns buf. */
const char *source_format(const struct source_prefix *p, char *buf);

/** The slice of the prefix for class number `index` of `count`; all slices have the same size. If a
 * slice would have fewer than four addresses, every class gets the whole prefix. */
struct source_prefix source_slice(const struct source_prefix *p, unsigned int index,
				  unsigned int count);
/** The number-th usable address of a prefix, which must be set, with port 0. The prefix's first
 * address and, for IPv4, its last are not used if it has others: 10.99.0.0/24 gives 10.99.0.1 to
 * 10.99.0.254, then 10.99.0.1 again. */
void source_address(const struct source_prefix *p, uint64_t number, union load_address *out);
/** Like source_address(), in the group's part of the prefix: a /24 for IPv4, a /112 for IPv6. A
 * prefix that is no larger than such a part is used whole by all groups. */
void source_address_in_group(const struct source_prefix *p, uint32_t group, uint64_t number,
			     union load_address *out);

#endif
