/* SPDX-License-Identifier: Apache-2.0 */
/* state_class.c - which class a session, or a client's connections, have, and whether the client
 * may connect, as the hooks find it (bpf/rule/classes.bpf.h, bpf/rule/access.bpf.h). */
#include "state.h"

#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "rule/classes.bpf.h"

/* As class_know_pod() in bpf/hooks/connect.bpf.c. */
static void know_pod(const struct maps *m, const struct state_client *from, uint32_t family,
		     struct class_client *c)
{
	struct pintle_pod pod;

	c->space = from->space_id;
	c->account = from->account_id;
	if (from->id && !bpf_map_lookup_elem(m->fd[MAP_pods], &from->id, &pod))
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

const char *state_giver_name(enum state_giver g)
{
	static const char *const names[] = {
#define X(symbol, name, says) [STATE_GIVER_##symbol] = (name),
		STATE_GIVERS(X)
#undef X
	};

	return names[g];
}

/* By one of these: the map that has the classes that he gave. */
static void class_by(const struct maps *m, const struct state_pool *p,
		     const struct pintle_affinity_key *key, enum map_id map, enum state_giver by,
		     struct state_classified *out)
{
	struct pintle_session_class said;

	*out = (struct state_classified){.by = STATE_GIVER_NOBODY};
	if (key->session.kind == PINTLE_KEY_NONE || bpf_map_lookup_elem(m->fd[map], key, &said))
		return;
	out->by = by;
	out->since_ns = said.since_ns;
	state_text(out->name, sizeof(out->name), said.name, sizeof(said.name));
	state_text(out->why, sizeof(out->why), said.why, sizeof(said.why));
	for (uint32_t i = 0; i < p->class_count && !out->known; i++) {
		out->known = !strcmp(p->classes[i].name, out->name);
		out->class_id = i;
	}
}

void state_session_class(const struct maps *m, const struct state_pool *p,
			 const struct pintle_affinity_key *key, struct state_classified *out)
{
	struct state_classified judged;

	class_by(m, p, key, MAP_classified, STATE_GIVER_OPERATOR, out);
	if (out->known || !p->classifies)
		return;
	class_by(m, p, key, MAP_sessions, STATE_GIVER_CLASSIFIER, &judged);
	if (judged.by)
		*out = judged;
}

/* The map holds no more; one that changes while it is walked may begin anew. */
#define MAX_STEPS (2 * PINTLE_MAX_CLASSIFIED)

int state_classified_walk(const struct maps *m, state_key_fn each, void *arg)
{
	int fd = m->fd[MAP_classified], err = 0;
	struct pintle_affinity_key key, next;
	bool more = !bpf_map_get_next_key(fd, NULL, &key);

	/* The next key is read first, because deleting a key loses the place in the map. */
	for (int i = 0; !err && more && i < MAX_STEPS; i++, key = next) {
		more = !bpf_map_get_next_key(fd, &key, &next);
		err = each(&key, arg);
	}
	return err;
}

static uint32_t class_by_rules(const struct maps *m, const struct state_pool *p,
			       const struct class_client *c, uint16_t port, enum state_giver *by)
{
	_cleanup_free_ struct pintle_pool *pool = malloc(sizeof(*pool));

	if (!pool || maps_value(m, MAP_pools, p->id, pool) || pool->generation != p->generation)
		return 0;
	for (uint32_t i = 0; i < pool->rule_count && i < PINTLE_MAX_RULES; i++)
		if (rule_matches(m, &pool->rules[i], c, port)) {
			*by = STATE_GIVER_RULE;
			return pool->rules[i].class_id % PINTLE_MAX_CLASSES;
		}
	return 0;
}

uint32_t state_client_class(const struct maps *m, const struct state_pool *p,
			    const struct state_client *from,
			    const struct pintle_session_key *session, uint32_t family,
			    uint16_t port, enum state_giver *by)
{
	const struct pintle_affinity_key key = {p->id, p->generation, *session};
	struct class_client c = {.cgroup = from->cgroup};
	struct state_classified said;
	uint32_t class;

	state_session_class(m, p, &key, &said);
	*by = said.known ? said.by : STATE_GIVER_NOBODY;
	if (*by == STATE_GIVER_OPERATOR)
		return said.class_id;
	if (from->has_ip)
		memcpy(c.address, from->ip.bytes, sizeof(c.address));
	know_pod(m, from, family, &c);
	class = class_by_rules(m, p, &c, port, by);
	return *by == STATE_GIVER_CLASSIFIER ? said.class_id : class;
}

bool state_client_forbidden(const struct maps *m, const struct state_pool *p,
			    const struct state_client *from, uint32_t family, uint16_t port)
{
	_cleanup_free_ struct pintle_pool *pool = malloc(sizeof(*pool));
	struct class_client c = {.cgroup = from->cgroup};
	bool forbidden;

	if (!pool || maps_value(m, MAP_pools, p->id, pool) || pool->generation != p->generation)
		return false;
	if (from->has_ip)
		memcpy(c.address, from->ip.bytes, sizeof(c.address));
	know_pod(m, from, family, &c);
	forbidden = pool->allow_count;
	for (uint32_t i = 0; forbidden && i < pool->allow_count && i < PINTLE_MAX_RULES; i++)
		forbidden = !rule_matches(m, &pool->allowed[i], &c, port);
	return forbidden;
}
