/* SPDX-License-Identifier: Apache-2.0 */
/* state_class.c - which class a session, or a client's connections, have, and whether the client
 * may connect, by the text that the hooks run, on copies of the maps (world.h). */
#include "state.h"

#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "world.h"

#include "rule/access.bpf.h"
#include "rule/classes.bpf.h"

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

static void client_take(struct class_client *c, const struct state_client *from, uint32_t family)
{
	const struct pintle_pod *pod = from->id ? world_find(pods, &from->id) : NULL;

	*c = (struct class_client){
		.cgroup = from->cgroup, .space = from->space_id, .account = from->account_id};
	if (from->has_ip)
		memcpy(c->address, from->ip.bytes, sizeof(c->address));
	if (pod)
		class_take_pod(c, pod, family);
}

static enum state_giver giver_of(const struct terms *t, const struct class_found *f)
{
	const struct pintle_pool *pool = pool_of(t);

	if (class_of_session(t, 0))
		return STATE_GIVER_OPERATOR;
	if (f->given)
		return STATE_GIVER_RULE;
	return pool && pool->classify && class_of_session(t, 1) ? STATE_GIVER_CLASSIFIER
								: STATE_GIVER_NOBODY;
}

int state_client_judge(const struct maps *m, const struct pintle_affinity_key *key,
		       const struct state_client *from, uint32_t family, uint16_t port,
		       struct state_judged *out)
{
	_cleanup_(world_freep) struct world *world = NULL;
	struct terms t = {.key = *key};
	struct class_found found = {0};
	struct class_client c;
	int err = world_new(m, &world);

	if (err)
		return err;
	world_enter(world);
	client_take(&c, from, family);
	access_judge(&t, &c, port);
	class_find(&t, &c, &found, port);
	out->class_id = t.class_id;
	out->by = giver_of(&t, &found);
	out->forbidden = t.forbidden;
	world_enter(NULL);
	return world_error(world);
}
