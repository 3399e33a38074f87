/* SPDX-License-Identifier: Apache-2.0 */
#include "places.h"

#include <bpf/bpf.h>
#include <netinet/in.h>

#include "../base/log.h"
#include "../base/util.h"
#include "traits.bpf.h"

#define SCOPE 0

struct places {
	struct pintle_frontend_key *keys;
	size_t n;
};

static void places_free(struct places *p)
{
	free(p->keys);
}

static int put_place(const struct maps *m, struct places *all, const struct frontend_addr *f,
		     const struct pintle_ref *pool)
{
	struct pintle_frontend_key *k = &all->keys[all->n++];

	*k = (struct pintle_frontend_key){
		.prefixlen = PINTLE_FRONTEND_FIXED_BITS + f->prefix_bits,
		.scope = SCOPE,
		.port = f->port,
		.protocol = IPPROTO_TCP,
	};
	memcpy(k->address, f->prefix.bytes, sizeof(k->address));
	if (bpf_map_update_elem(m->fd[MAP_oneshot], k, pool, BPF_ANY))
		return log_err_r(errno, "failed to write to map oneshot");
	return 0;
}

static int put_pool(const struct maps *m, struct places *all, const struct config_pool *c,
		    const struct pintle_ref *pool)
{
	int err = 0;

	if (hook_has(c->decided_by, PINTLE_TRAIT_AT_SERVERS)) {
		for (size_t i = 0; !err && i < c->frontend_count; i++)
			err = put_place(m, all, &c->frontends[i], pool);
		return err;
	}
	for (size_t i = 0; !err && i < c->endpoint_count; i++) {
		const struct endpoint_addr *e = &c->endpoints[i].address;
		const struct frontend_addr f = {
			.prefix = e->ip, .prefix_bits = 128, .port = e->port};

		err = put_place(m, all, &f, pool);
	}
	return err;
}

static bool wanted(const struct places *all, const struct pintle_frontend_key *key)
{
	for (size_t i = 0; i < all->n; i++)
		if (!memcmp(key, &all->keys[i], sizeof(*key)))
			return true;
	return false;
}

/* Walks by keys that stay: from one that was deleted the walk would begin again. */
static int prune(const struct maps *m, const struct places *all)
{
	struct pintle_frontend_key key, kept, *previous = NULL;
	int fd = m->fd[MAP_oneshot];

	while (!bpf_map_get_next_key(fd, previous, &key)) {
		if (wanted(all, &key)) {
			kept = key;
			previous = &kept;
		} else if (bpf_map_delete_elem(fd, &key) && errno != ENOENT) {
			return log_err_r(errno, "failed to delete from map oneshot");
		}
	}
	return 0;
}

int places_publish(const struct maps *m, const struct config *c, const struct publication *p)
{
	_cleanup_(places_free) struct places all = {0};
	size_t n = 1;
	int err = 0;

	for (size_t i = 0; i < c->pool_count; i++)
		n += c->pools[i].frontend_count + c->pools[i].endpoint_count;
	all.keys = calloc(n, sizeof(*all.keys));
	if (!all.keys)
		return log_err_r(ENOMEM, "places");
	for (size_t i = 0; !err && i < c->pool_count; i++)
		err = put_pool(m, &all, &c->pools[i], &p->pools[i].ref);
	return err ? err : prune(m, &all);
}
