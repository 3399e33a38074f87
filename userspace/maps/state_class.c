/* SPDX-License-Identifier: Apache-2.0 */
/* state_class.c - which class a client's connections have by the pool's rules, as the hooks find it
 * (bpf/classes.bpf.h). */
#include "state.h"

#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "classes.bpf.h"

/* As class_know_pod() in bpf/connect.bpf.c. */
static void know_pod(const struct maps *m, const struct state_client *from, uint32_t family,
		     struct class_client *c)
{
	struct pintle_pod pod;

	c->space = from->space_id;
	c->account = from->account_id;
	if (!from->has_ip && from->id && !bpf_map_lookup_elem(m->fd[MAP_pods], &from->id, &pod))
		memcpy(c->address, class_pod_address(&pod, family), sizeof(c->address));
}

static bool rule_matches(const struct maps *m, const struct pintle_class_rule *r,
			 const struct class_client *c, uint16_t port)
{
	const struct pintle_server_cgroup key = {.cgroup = c->cgroup, .pattern = r->pattern};
	uint32_t value;

	return !r->dscp && class_rule_matches(r, c, port) &&
	       (!r->pattern || !bpf_map_lookup_elem(m->fd[MAP_server_cgroups], &key, &value));
}

uint32_t state_client_class(const struct maps *m, const struct state_pool *p,
			    const struct state_client *from, uint32_t family, uint16_t port)
{
	_cleanup_free_ struct pintle_pool *pool = malloc(sizeof(*pool));
	struct class_client c = {.cgroup = from->cgroup};

	if (!pool || maps_value(m, MAP_pools, p->id, pool) || pool->generation != p->generation)
		return 0;
	if (from->has_ip)
		memcpy(c.address, from->ip.bytes, sizeof(c.address));
	know_pod(m, from, family, &c);
	for (uint32_t i = 0; i < pool->rule_count && i < PINTLE_MAX_RULES; i++)
		if (rule_matches(m, &pool->rules[i], &c, port))
			return pool->rules[i].class_id % PINTLE_MAX_CLASSES;
	return 0;
}
