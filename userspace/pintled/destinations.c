/* SPDX-License-Identifier: Apache-2.0 */
#include "destinations.h"

#include "../base/log.h"
#include "../base/util.h"
#include "../maps/keys.h"
#include "traits.bpf.h"

struct destinations {
	struct pintle_frontend_key *keys;
	size_t n;
};

static void destinations_free(struct destinations *d)
{
	free(d->keys);
}

static int destination_put(const struct maps *m, struct destinations *d,
			   const struct frontend_addr *f, const struct pintle_ref *pool)
{
	struct pintle_frontend_key *k = &d->keys[d->n++];

	*k = key_of_frontend(f);
	return maps_put(m, MAP_oneshot, k, pool);
}

static int destinations_put(const struct maps *m, struct destinations *d,
			    const struct config_pool *c, const struct pintle_ref *pool)
{
	int err = 0;

	if (hook_has(c->decided_by, PINTLE_TRAIT_AT_SERVERS)) {
		for (size_t i = 0; !err && i < c->frontend_count; i++)
			err = destination_put(m, d, &c->frontends[i], pool);
		return err;
	}
	for (size_t i = 0; !err && i < c->endpoint_count; i++) {
		const struct endpoint_addr *e = &c->endpoints[i].address;
		const struct frontend_addr f = {
			.prefix = e->ip, .prefix_bits = 128, .port = e->port};

		err = destination_put(m, d, &f, pool);
	}
	return err;
}

static bool destination_wanted(const void *key, const void *arg)
{
	const struct destinations *d = arg;

	for (size_t i = 0; i < d->n; i++)
		if (!memcmp(key, &d->keys[i], sizeof(d->keys[i])))
			return true;
	return false;
}

int destinations_publish(const struct maps *m, const struct config *c, const struct publication *p)
{
	_cleanup_(destinations_free) struct destinations d = {0};
	size_t n = 1;
	int err = 0;

	for (size_t i = 0; i < c->pool_count; i++)
		n += c->pools[i].frontend_count + c->pools[i].endpoint_count;
	d.keys = calloc(n, sizeof(*d.keys));
	if (!d.keys)
		return log_err_r(ENOMEM, "destinations");
	for (size_t i = 0; !err && i < c->pool_count; i++)
		err = destinations_put(m, &d, &c->pools[i], &p->pools[i].ref);
	return err ? err : maps_prune(m, MAP_oneshot, destination_wanted, &d);
}
