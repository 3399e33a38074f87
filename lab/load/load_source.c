// SPDX-License-Identifier: Apache-2.0
#include "load_source.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../userspace/base/util.h"

#define ALL_BITS 128
#define V4_BITS  32
/* Of a larger prefix only 2^62 addresses are used, so that their count fits into 64 bits. */
#define MOST_HOST_BITS 62
#define V4_GROUP_BITS  120
#define V6_GROUP_BITS  112

static const char wanted[] = "write none, or a prefix such as 10.99.0.0/16 or fd01::/64";

static int parse_address(const char *text, struct addr *out)
{
	struct in_addr v4;

	if (inet_pton(AF_INET, text, &v4) == 1) {
		addr_from_v4(out, v4.s_addr);
		return 0;
	}
	return inet_pton(AF_INET6, text, out->bytes) == 1 ? 0 : -EINVAL;
}

static int refuse(const char **what, const char *says)
{
	if (what)
		*what = says;
	return -EINVAL;
}

int source_parse(const char *text, struct source_prefix *out, const char **what)
{
	char address[INET6_ADDRSTRLEN] = "";
	const char *slash = strchrnul(text, '/');
	struct source_prefix p = {.set = true};
	struct addr masked;
	unsigned long length, longest;
	char *end;

	if (!strcmp(text, "none")) {
		*out = (struct source_prefix){};
		return 0;
	}
	if ((size_t)(slash - text) >= sizeof(address))
		return refuse(what, wanted);
	memcpy(address, text, (size_t)(slash - text));
	if (parse_address(address, &p.base))
		return refuse(what, wanted);
	longest = addr_is_v4(&p.base) ? V4_BITS : ALL_BITS;
	length = longest;
	if (*slash) {
		if (slash[1] < '0' || slash[1] > '9')
			return refuse(what, wanted);
		length = strtoul(slash + 1, &end, 10);
		if (*end || length > longest)
			return refuse(what, "write a length of 0 to 32 (IPv4) or 0 to 128 (IPv6)");
	}
	p.bits = (uint8_t)(ALL_BITS - longest + length);
	masked = p.base;
	addr_mask(&masked, p.bits);
	if (memcmp(&masked, &p.base, sizeof(masked)) != 0)
		return refuse(what, "set no bit beyond the prefix's length");
	*out = p;
	return 0;
}

const char *source_format(const struct source_prefix *p, char *buf)
{
	size_t used;

	if (!p->set)
		return strcpy(buf, "none");
	addr_format_ip(&p->base, buf);
	used = strlen(buf);
	snprintf(buf + used, ADDR_TEXT_SIZE - used, "/%d",
		 addr_is_v4(&p->base) ? p->bits - (ALL_BITS - V4_BITS) : p->bits);
	return buf;
}

/* Adds number * 2^shift to the address. */
static void source_add(struct addr *a, uint64_t number, unsigned int shift)
{
	unsigned int carry = 0;

	for (unsigned int i = 0; i < sizeof(a->bytes); i++) {
		unsigned int low = 8 * i, byte = 0;
		uint8_t *at = &a->bytes[sizeof(a->bytes) - 1 - i];

		if (low >= shift && low - shift < 64)
			byte = (unsigned int)(number >> (low - shift)) & 0xff;
		else if (low < shift && shift - low < 8)
			byte = (unsigned int)(number << (shift - low)) & 0xff;
		carry += *at + byte;
		*at = (uint8_t)carry;
		carry >>= 8;
	}
}

struct source_prefix source_slice(const struct source_prefix *p, unsigned int index,
				  unsigned int count)
{
	struct source_prefix slice = *p;
	unsigned int bits = 0;

	while (1U << bits < count)
		bits++;
	/* A slice needs four addresses: without its first and last, two are left. */
	if (!p->set || p->bits + bits + 2 > ALL_BITS)
		return slice;
	slice.bits = (uint8_t)(p->bits + bits);
	source_add(&slice.base, index, ALL_BITS - slice.bits);
	return slice;
}

void source_address(const struct source_prefix *p, uint64_t number, union load_address *out)
{
	unsigned int host = MIN(ALL_BITS - (unsigned int)p->bits, (unsigned int)MOST_HOST_BITS);
	bool v4 = addr_is_v4(&p->base);
	uint64_t count = 1ULL << host, first = host > 1;
	struct addr a = p->base;

	assert(p->set);
	count -= host > 1 ? 1 + v4 : 0;
	source_add(&a, first + number % count, 0);
	memset(out, 0, sizeof(*out));
	if (v4) {
		out->v4.sin_family = AF_INET;
		memcpy(&out->v4.sin_addr, a.bytes + sizeof(a.bytes) - sizeof(out->v4.sin_addr),
		       sizeof(out->v4.sin_addr));
	} else {
		out->v6.sin6_family = AF_INET6;
		memcpy(&out->v6.sin6_addr, a.bytes, sizeof(a.bytes));
	}
}

void source_address_in_group(const struct source_prefix *p, uint32_t group, uint64_t number,
			     union load_address *out)
{
	unsigned int bits = addr_is_v4(&p->base) ? V4_GROUP_BITS : V6_GROUP_BITS;
	struct source_prefix part = *p;
	unsigned int room;

	if (p->bits < bits) {
		room = MIN(bits - p->bits, 32U);
		part.bits = (uint8_t)bits;
		source_add(&part.base, group & ((1ULL << room) - 1), ALL_BITS - bits);
	}
	source_address(&part, number, out);
}
