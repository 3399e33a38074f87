/* SPDX-License-Identifier: Apache-2.0 */
#include "destinations.h"

#include "../base/log.h"
#include "../base/util.h"
#include "../maps/keys.h"
#include "traits.bpf.h"

struct destinations {
	struct destination {
		struct pintle_frontend_key key;
		struct pintle_ref pool;
	} * all;
	size_t n;
};

static void destinations_free(struct destinations *d)
{
	free(d->all);
}

static void destination_add(struct destinations *d, const struct frontend_addr *f,
			    const struct pintle_ref *pool)
{
	d->all[d->n++] = (struct destination){key_of_frontend(f), *pool};
}

static void destinations_add(struct destinations *d, const struct config_pool *c,
			     const struct pintle_ref *pool)
{
	if (hook_has(c->decided_by, PINTLE_TRAIT_AT_SERVERS)) {
		for (size_t i = 0; i < c->frontend_count; i++)
			destination_add(d, &c->frontends[i], pool);
		return;
	}
	for (size_t i = 0; i < c->endpoint_count; i++) {
		const struct endpoint_addr *e = &c->endpoints[i].address;
		const struct frontend_addr f = {
			.prefix = e->ip, .prefix_bits = 128, .port = e->port};

		destination_add(d, &f, pool);
	}
}

static bool destination_wanted(const void *key, const void *arg)
{
	const struct destinations *d = arg;

	for (size_t i = 0; i < d->n; i++)
		if (!memcmp(key, &d->all[i].key, sizeof(d->all[i].key)))
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
	d.all = calloc(n, sizeof(*d.all));
	if (!d.all)
		return log_err_r(ENOMEM, "destinations");
	for (size_t i = 0; i < c->pool_count; i++)
		destinations_add(&d, &c->pools[i], &p->pools[i].ref);
	/* First, because the map has room for what is wanted, not for the former ones besides. */
	err = maps_prune(m, MAP_oneshot, destination_wanted, &d);
	for (size_t i = 0; !err && i < d.n; i++)
		err = maps_put(m, MAP_oneshot, &d.all[i].key, &d.all[i].pool);
	return err;
}
