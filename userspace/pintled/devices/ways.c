/* SPDX-License-Identifier: Apache-2.0 */
#include "ways.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/rows.h"
#include "../../net/routes.h"

#define TRIES 4 /* addresses of a prefix that are tried, where the first are this machine's */

/* ---- prefixes within which all is routed alike ----------------------------------------- */

typedef unsigned __int128 wide;

static wide wide_of(const struct addr *a)
{
	wide w = 0;

	for (size_t i = 0; i < sizeof(a->bytes); i++)
		w = w << 8 | a->bytes[i];
	return w;
}

static struct addr ways_addr_of(wide w)
{
	struct addr a;

	for (size_t i = sizeof(a.bytes); i-- > 0; w >>= 8)
		a.bytes[i] = (uint8_t)w;
	return a;
}

static wide last_of(const struct frontend_addr *f)
{
	if (!f->prefix_bits)
		return ~(wide)0;
	return wide_of(&f->prefix) | (((wide)1 << (128 - f->prefix_bits)) - 1);
}

/* Finds an address of prefix i, from `from` on, that is in none of the prefixes within that.
 * Returns false if there is none. */
static bool alone(const struct route_bounds *b, size_t i, wide from, wide *out)
{
	const wide last = last_of(&b->all[i]);

	for (size_t j = i + 1; j < b->n; j++) {
		wide first = wide_of(&b->all[j].prefix), end = last_of(&b->all[j]);

		if (first > from)
			break;
		if (end < from)
			continue;
		if (end >= last)
			return false;
		from = end + 1;
	}
	*out = from;
	return from <= last;
}

/* ---- asking ------------------------------------------------------------------------------ */

/* Routes to 0.0.0.0 and :: are those to this machine. */
static wide ways_first_of(const struct frontend_addr *f)
{
	const wide first = wide_of(&f->prefix);

	if (!first)
		return (wide)1 << 112;
	return first == (wide)0xffff << 32 ? first + (1 << 24) : first;
}

static bool ways_is_elsewhere(const struct route_path *r)
{
	return r->type != RTN_LOCAL && r->type != RTN_BROADCAST && r->type != RTN_ANYCAST;
}

/* What the kernel answers for prefix i. Returns false if that is none of another machine. */
static bool ways_ask(int netns_fd, const struct route_bounds *b, size_t i, const struct addr *from,
		     struct pintle_way *out)
{
	struct pintle_way way = {0};
	struct route_path r;
	struct addr to;
	wide at = ways_first_of(&b->all[i]);

	for (int t = 0; t < TRIES; t++, at++) {
		if (!alone(b, i, at, &at))
			return false;
		to = ways_addr_of(at);
		r = (struct route_path){.type = RTN_UNREACHABLE};
		if (!routes_between(netns_fd, from, &to, &r) && !ways_is_elsewhere(&r))
			continue;
		if (r.type == RTN_UNICAST)
			way = (struct pintle_way){.device = r.device, .mtu = r.mtu, .mss = r.mss};
		memcpy(way.mac, r.mac, sizeof(way.mac));
		memcpy(way.gateway, &r.via, sizeof(way.gateway));
		*out = way;
		return true;
	}
	return false;
}

static int ways_add(const struct ground *g, const struct route_bounds *b, const struct addr *from,
		    struct map_rows *rows)
{
	for (size_t i = 0; i < b->n; i++) {
		struct pintle_way_key key = {.prefixlen =
						     PINTLE_WAY_FIXED_BITS + b->all[i].prefix_bits};
		struct pintle_way way;
		int err;

		if (from && addr_is_v4(from) != addr_is_v4(&b->all[i].prefix))
			continue;
		if (!ways_ask(g->netns_fd, b, i, from, &way))
			continue;
		if (from)
			memcpy(key.local, from, sizeof(key.local));
		memcpy(key.client, &b->all[i].prefix, sizeof(key.client));
		err = map_rows_add(rows, &key, &way);
		if (err)
			return err;
	}
	return 0;
}

static int add_all(const struct ground *g, const struct config *c, const bool *wanted,
		   const struct route_bounds *b, struct map_rows *rows)
{
	int err = ways_add(g, b, NULL, rows);

	for (size_t i = 0; b->by_source && i < c->pool_count; i++) {
		const struct config_pool *p = &c->pools[i];

		for (size_t f = 0; !err && wanted[i] && f < p->frontend_count; f++)
			if (rows->n + b->n <= PINTLE_MAX_WAYS)
				err = ways_add(g, b, &p->frontends[f].prefix, rows);
	}
	return err;
}

/* With too many prefixes none is written: a part of them would send answers by routes that are not
 * theirs. */
static void say_many(bool many, bool *said)
{
	if (many && !*said)
		log_warn(
			"the hand-off: the routes have more than %u prefixes, which is too many to "
			"follow: where this machine does not forward, answers leave by the device "
			"that the client's SYN came by",
			PINTLE_MAX_WAYS);
	else if (!many && *said)
		log_info("the hand-off: the routes have no more than %u prefixes, and are followed",
			 PINTLE_MAX_WAYS);
	*said = many;
}

void ways_publish(const struct ground *g, const struct config *c, const bool *wanted, bool *many)
{
	struct map_rows rows = {.id = MAP_hand_ways};
	struct route_bounds b = {0};
	bool any = false;
	int err = 0;

	for (size_t i = 0; i < c->pool_count; i++)
		any |= wanted[i];
	if (any)
		err = routes_bounds(g->netns_fd, PINTLE_MAX_WAYS, &b);
	say_many(err == -E2BIG, many);
	if (err == -E2BIG)
		err = 0;
	else if (!err)
		err = add_all(g, c, wanted, &b, &rows);
	if (!err)
		err = map_rows_put(g->maps, &rows);
	if (err)
		log_err_r(err, "the hand-off: the routes to clients cannot be read");
	map_rows_free(&rows);
	free(b.all);
}
