/* SPDX-License-Identifier: Apache-2.0 */
/* state.c - reads the maps once: node, pools, their decisions, frontends, and all of it
 * together. */
#include "state_internal.h"

#include "../base/text.h"

#include "traits.bpf.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>

#include "rule/eligible.bpf.h"
#include "kernel.h"
#include "keys.h"

/* A frontend that is deleted during the walk sends the walk back to its start. After so many steps
 * the walk ends in any case. */
#define MAX_FRONTEND_STEPS 16384

#define MILLI 1000.0

/* ---- node ----------------------------------------------------------------------- */

/* A daemon that took over pins sends its first heartbeat once it has asked each endpoint for its
 * page, or a few seconds after its start. Until then it counts as alive without one. */
static bool daemon_alive(const struct pintle_node *n, uint64_t now)
{
	if ((int64_t)(n->started_ns - n->heartbeat_ns) > 0 &&
	    now - n->started_ns <= STATE_FIRST_HEARTBEAT_NS)
		return true;
	return n->heartbeat_ns && (int64_t)(now - n->heartbeat_ns) <= (int64_t)STATE_HEARTBEAT_NS;
}

/* Copies a text of lines, all else printable, as state_text() makes it. */
static void lines_read(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%.*s", (int)size - 1, from);
	for (; *to; to++)
		if (*to != '\n' && (*to < ' ' || *to > '~'))
			*to = '?';
}

static int node_read(const struct maps *m, struct state *s)
{
	struct pintle_node n;
	int err = maps_value(m, MAP_node, 0, &n);

	if (err)
		return err;
	s->node = n;
#define TEXT(field) state_text(s->node.field, sizeof(n.field), n.field, sizeof(n.field))
	TEXT(netns);
	TEXT(cgroup);
	TEXT(version);
	TEXT(config);
	TEXT(metrics);
	TEXT(kube_why);
#undef TEXT
	lines_read(s->node.kube_missing, sizeof(n.kube_missing), n.kube_missing);
	s->daemon_alive = daemon_alive(&n, s->now_ns);
	return 0;
}

/* ---- pools ---------------------------------------------------------------------- */

static void overrides_read(const struct maps *m, const struct state *s, struct state_pool *p)
{
	struct pintle_override o;

	p->mode = p->mode_otherwise = p->mode_configured;
	p->requests = p->requests_configured;
	if (maps_value(m, MAP_overrides, p->id, &o) || o.generation != p->generation)
		return;
	p->overridden_since_ns = o.since_ns;
	if (o.flags & PINTLE_OVERRIDE_MODE) {
		p->mode = p->mode_otherwise = o.mode;
		p->overridden = true;
	}
	if (state_read_trial(m, p->id, &o, s->now_ns, &p->trial)) {
		p->trial_runs = true;
		p->mode = state_trial_mode(&p->trial, p->daemonless, s->now_ns, p->mode);
	}
	if (o.flags & PINTLE_OVERRIDE_REQUESTS) {
		p->requests = o.requests;
		p->requests_overridden = true;
	}
}

uint32_t state_mode_now(const struct maps *m, const struct pintle_ref *pool, uint32_t configured)
{
	const struct state s = {.now_ns = monotonic_ns()};
	struct state_pool p = {
		.id = pool->id, .generation = pool->generation, .mode_configured = configured};

	overrides_read(m, &s, &p);
	return p.mode;
}

const char *state_by_connection(bool hands_over, uint32_t mode, bool used,
				const struct pintle_node *n)
{
	if (!hands_over)
		return KERNEL_NO_HAND;
	if (mode == PINTLE_MODE_SHADOW)
		return "in mode shadow no request is read";
	if (mode == PINTLE_MODE_BASELINE)
		return "in mode baseline no request is read";
	if (!used || mode == PINTLE_MODE_OFF)
		return NULL;
	return !n->splice_devices  ? STATE_SPLICE_NOWHERE
	       : !n->splice_spaces ? STATE_SPLICE_UNSEEN
				   : NULL;
}

static const char *pool_by_connection(const struct pintle_pool *from, const struct state_pool *p,
				      const struct state *s)
{
	bool rests = from->decide == PINTLE_DECIDE_RESTS;

	if (p->reach != PINTLE_REACH_ADDRESS || from->decide == PINTLE_DECIDE_CONNECTION)
		return NULL;
	return state_by_connection(!rests, p->mode, true, &s->node);
}

/* Adds the `count` values from index `at` on, each summed over all CPUs, to `sums`; and all of them
 * to *total. */
static int sums_read(const struct maps *m, enum map_id map, uint32_t at, uint32_t count,
		     uint64_t *sums, uint64_t *total)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ uint64_t *by_cpu = calloc(cpus > 0 ? (size_t)cpus : 1, sizeof(*by_cpu));

	if (!by_cpu || cpus <= 0)
		return by_cpu ? cpus : -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		int err = maps_value(m, map, at + i, by_cpu);

		if (err)
			return err;
		for (int cpu = 0; cpu < cpus; cpu++)
			sums[i] += by_cpu[cpu];
		if (total)
			*total += sums[i];
	}
	return 0;
}

int state_decisions(const struct maps *m, uint32_t pool, uint64_t *sums, uint64_t *total)
{
	return sums_read(m, MAP_stats, PINTLE_STAT(pool, 0), PINTLE_OUTCOME_COUNT, sums, total);
}

uint64_t outcomes_with(const uint64_t *by, enum pintle_outcome_trait trait)
{
	uint64_t sum = 0;

	for (uint32_t o = 0; o < PINTLE_OUTCOME_COUNT; o++)
		sum += outcome_has(o, trait) ? by[o] : 0;
	return sum;
}

int state_rest(const struct maps *m, uint32_t pool, uint32_t generation, struct pintle_rest *out,
	       uint32_t *families)
{
	struct pintle_rest r[2];
	uint32_t resting = 0;

	for (uint32_t v6 = 0; v6 < ARRAY_SIZE(r); v6++) {
		int err = maps_value(m, MAP_resting, PINTLE_REST(pool, v6), &r[v6]);

		if (err)
			return err;
		if (r[v6].generation != generation)
			r[v6] = (struct pintle_rest){0};
		if (r[v6].until_ns)
			resting |= v6 ? PINTLE_FAMILY_V6 : PINTLE_FAMILY_V4;
	}
	*out = !r[0].until_ns == !r[1].until_ns ? r[r[1].newest_ns > r[0].newest_ns]
						: r[!!r[1].until_ns];
	*families = resting;
	return 0;
}

const char *state_rest_words(uint32_t families)
{
	return families == PINTLE_FAMILY_V4   ? " for IPv4"
	       : families == PINTLE_FAMILY_V6 ? " for IPv6"
					      : "";
}

static int counts_read(const struct maps *m, struct state_pool *p)
{
	int err = state_decisions(m, p->id, p->decisions, &p->decisions_total);

	if (!err)
		err = sums_read(m, MAP_shadow_stats, PINTLE_STAT(p->id, 0), PINTLE_OUTCOME_COUNT,
				p->shadows, &p->shadows_total);
	if (!err)
		err = sums_read(m, MAP_oneshot_stats, PINTLE_ONESHOT_STAT(p->id, 0),
				PINTLE_ONESHOT_COUNT, p->oneshots, &p->oneshots_total);
	if (!err)
		err = sums_read(m, MAP_hand_stats, PINTLE_HAND_STAT(p->id, 0), PINTLE_HAND_COUNT,
				p->hands, &p->hands_total);
	if (!err)
		err = state_rest(m, p->id, p->generation, &p->rest, &p->rests);
	if (!err)
		err = sums_read(m, MAP_hold_stats, PINTLE_HOLD_STAT(p->id, 0), PINTLE_HOLD_COUNT,
				p->holds, NULL);
	return err ? err
		   : sums_read(m, MAP_prompt_stats, PINTLE_PROMPT_STAT(p->id, 0),
			       PINTLE_PROMPTED_COUNT, p->prompts, NULL);
}

static void state_pool_take(struct state_pool *p, uint32_t id, const struct pintle_pool *from,
			    const struct state *s)
{
	*p = (struct state_pool){
		.id = id,
		.generation = from->generation,
		.mode_configured = from->mode,
		.requests_configured = from->requests,
		.decide = from->decide == PINTLE_DECIDE_REQUEST ? PINTLE_DECIDE_REQUEST
								: PINTLE_DECIDE_CONNECTION,
		.prompt_weight = from->prompt_weight,
		.adapter_weight = from->adapter_weight,
		.decided_by = from->decided_by,
		.reach = pool_reach(from),
		.in_pods = from->in_pods,
		.spliced = from->decide == PINTLE_DECIDE_REQUEST &&
			   pool_reach(from) == PINTLE_REACH_ADDRESS,
		.allow_count = from->allow_count,
		.intercepts = from->intercept,
		.failure_mode = from->failure_mode,
		.group_kind = from->group_kind,
		.tenant_key = from->tenant_key,
		.eject_after = from->eject_after,
		.eject_most = from->eject_most,
		.eject_ns = from->eject_ns,
		.eject_max_ns = from->eject_max_ns,
		.key_kind = from->key_kind,
		.asked = from->asked,
		.shared = from->hints_shared,
		.key_bits_v4 = from->key_bits_v4 > 32 ? 32 : from->key_bits_v4,
		.key_bits_v6 = from->key_bits_v6 > 128 ? 128 : from->key_bits_v6,
		.group_bits_v4 = from->group_bits_v4 > 32 ? 32 : from->group_bits_v4,
		.group_bits_v6 = from->group_bits_v6 > 128 ? 128 : from->group_bits_v6,
		.ttl_ns = from->ttl_ns,
		.staleness_ns = from->staleness_ns,
		.max_extra_load = (double)from->max_extra_load / MILLI,
		.canary_share = MIN(from->canary_share / (double)PINTLE_SHARE_WHOLE, 1),
		.daemonless = eligible_daemonless(from, s->node.heartbeat_ns, s->now_ns),
		.passes = hook_has(from->decided_by, PINTLE_TRAIT_DAEMONLESS) &&
			  eligible_left(from, &s->node, s->now_ns),
	};
}

const struct state_pool *state_pool_find(const struct state *s, const struct pintle_ref *ref)
{
	for (size_t i = 0; ref->generation && i < s->pool_count; i++)
		if (s->pools[i].id == ref->id && s->pools[i].generation == ref->generation)
			return &s->pools[i];
	return NULL;
}

const struct state_endpoint *state_endpoint_find(const struct state *s,
						 const struct pintle_ref *ref)
{
	for (size_t i = 0; ref->generation && i < s->endpoint_count; i++)
		if (s->endpoints[i].id == ref->id && s->endpoints[i].generation == ref->generation)
			return &s->endpoints[i];
	return NULL;
}

static void classes_take(struct state_pool *p, const struct pintle_pool *from)
{
	p->classifies = from->classify;
	memcpy(p->others, from->others, sizeof(p->others));
	p->class_count = MIN(from->class_count, (uint32_t)PINTLE_MAX_CLASSES);
	for (uint32_t i = 0; i < p->class_count; i++) {
		struct pintle_class *to = &p->classes[i];

		*to = from->class_of[i];
		state_text(to->name, sizeof(to->name), from->class_of[i].name, sizeof(to->name));
	}
}

static int pools_read(const struct maps *m, struct state *s)
{
	_cleanup_free_ struct pintle_pool *pool = malloc(sizeof(*pool));
	bool seen[PINTLE_MAX_ENDPOINTS] = {false};
	int err = 0;

	if (!pool)
		return -ENOMEM;
	for (uint32_t id = 0; !err && id < PINTLE_MAX_POOLS; id++) {
		struct state_pool *p = &s->pools[s->pool_count];

		err = maps_value(m, MAP_pools, id, pool);
		if (err || !pool->generation)
			continue;
		state_pool_take(p, id, pool, s);
		classes_take(p, pool);
		state_read_name(m, id, p->generation, "pool", id, p->name);
		overrides_read(m, s, p);
		p->by_connection = pool_by_connection(pool, p, s);
		err = counts_read(m, p);
		if (!err)
			err = state_read_majority(m, p);
		if (!err)
			err = state_read_endpoints(m, s, p, pool, seen);
		s->pool_count++;
	}
	return err;
}

/* ---- frontends ------------------------------------------------------------------ */

static struct state_pool *state_pool_of(struct state *s, const struct pintle_frontend *f)
{
	const struct pintle_ref ref = {f->pool, f->generation};
	const struct state_pool *p = state_pool_find(s, &ref);

	return p ? &s->pools[p - s->pools] : NULL;
}

static int address_compare(const struct frontend_addr *a, const struct frontend_addr *b)
{
	int order = memcmp(&a->prefix, &b->prefix, sizeof(a->prefix));

	if (!order)
		order = a->prefix_bits - b->prefix_bits;
	return order ? order : a->port - b->port;
}

/* A walk that had to start over meets frontends that the pool has already. */
static int frontend_add(struct state_pool *p, const struct pintle_frontend_key *key, uint32_t flags)
{
	struct frontend_addr a = frontend_of_key(key);
	struct state_frontend *more, *f;

	for (size_t i = 0; i < p->frontend_count; i++) {
		if (!address_compare(&p->frontends[i].addr, &a))
			return 0;
	}
	more = realloc(p->frontends, (p->frontend_count + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	p->frontends = more;
	f = &more[p->frontend_count++];
	*f = (struct state_frontend){.addr = a, .announced = flags & PINTLE_FRONTEND_ANNOUNCED};
	addr_format_frontend(&f->addr, f->text);
	return 0;
}

static int frontend_compare(const void *left, const void *right)
{
	return address_compare(&((const struct state_frontend *)left)->addr,
			       &((const struct state_frontend *)right)->addr);
}

static int frontends_read(const struct maps *m, struct state *s)
{
	struct pintle_frontend_key key, *previous = NULL;
	int fd = m->fd[MAP_frontends];

	for (int i = 0; i < MAX_FRONTEND_STEPS && !bpf_map_get_next_key(fd, previous, &key); i++) {
		struct pintle_frontend f;
		struct state_pool *p;
		int err;

		previous = &key;
		/* The map is a trie: if 10.0.0.1:80 was deleted since the last call, the lookup
		 * finds 10.0.0.0/24:80, perhaps of another pool. That pool then shows 10.0.0.1:80
		 * in this one reading. */
		if (bpf_map_lookup_elem(fd, &key, &f) || !(p = state_pool_of(s, &f)))
			continue;
		err = frontend_add(p, &key, f.flags);
		if (err)
			return err;
	}
	for (size_t i = 0; i < s->pool_count; i++) {
		struct state_pool *p = &s->pools[i];

		if (p->frontend_count)
			qsort(p->frontends, p->frontend_count, sizeof(*p->frontends),
			      frontend_compare);
	}
	return 0;
}

/* ---- spared clients --------------------------------------------------------------- */

static int spared_add(struct state_pool *p, const struct pintle_spared *from)
{
	struct pintle_spared *more = realloc(p->spared, (p->spared_count + 1) * sizeof(*p->spared));

	if (!more)
		return -ENOMEM;
	p->spared = more;
	more[p->spared_count] = *from;
	more[p->spared_count].name[sizeof(from->name) - 1] = '\0';
	text_make_printable(more[p->spared_count++].name, '?');
	return 0;
}

static int spared_compare(const void *left, const void *right)
{
	return strcmp(((const struct pintle_spared *)left)->name,
		      ((const struct pintle_spared *)right)->name);
}

static int spared_read(const struct maps *m, struct state *s)
{
	struct pintle_spared_key key, *previous = NULL;
	int fd = m->fd[MAP_spared], err = 0;

	for (int i = 0;
	     !err && i < 2 * PINTLE_MAX_SPARED && !bpf_map_get_next_key(fd, previous, &key); i++) {
		struct pintle_spared spared;

		previous = &key;
		for (size_t k = 0; !err && k < s->pool_count; k++)
			if (s->pools[k].id == key.pool &&
			    s->pools[k].generation == key.pool_generation &&
			    !bpf_map_lookup_elem(fd, &key, &spared))
				err = spared_add(&s->pools[k], &spared);
	}
	for (size_t i = 0; i < s->pool_count; i++)
		if (s->pools[i].spared_count)
			qsort(s->pools[i].spared, s->pools[i].spared_count,
			      sizeof(*s->pools[i].spared), spared_compare);
	return err;
}

/* ---- keys of a cluster's pools --------------------------------------------------------- */

static int keys_read(const struct maps *m, struct state *s)
{
	for (size_t i = 0; i < s->pool_count; i++) {
		struct pintle_policy_key key = {0};
		struct pintle_policy v;

		snprintf(key.pool, sizeof(key.pool), "%s", s->pools[i].name);
		if (bpf_map_lookup_elem(m->fd[MAP_policies], &key, &v))
			continue;
		v.keys[sizeof(v.keys) - 1] = '\0';
		s->pools[i].keys = strdup(v.keys);
		if (!s->pools[i].keys)
			return -ENOMEM;
	}
	return 0;
}

/* ---- the whole ------------------------------------------------------------------ */

int state_read(const struct maps *m, struct state **out)
{
	_cleanup_(state_freep) struct state *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->pools = calloc(PINTLE_MAX_POOLS, sizeof(*s->pools));
	s->endpoints = calloc(PINTLE_MAX_ENDPOINTS, sizeof(*s->endpoints));
	if (!s->pools || !s->endpoints)
		return -ENOMEM;
	s->now_ns = monotonic_ns();
	err = node_read(m, s);
	if (!err)
		err = pools_read(m, s);
	if (!err)
		err = frontends_read(m, s) ?: spared_read(m, s) ?: keys_read(m, s);
	if (!err)
		err = state_read_tenants(m, s) ?: state_read_models(m, s)
			?: state_read_hosts(m, s)
			?: state_read_devices(m, s) ?: state_read_settings(m, s);
	if (err)
		return err;
	*out = TAKE_PTR(s);
	return 0;
}

void state_free(struct state *s)
{
	if (!s)
		return;
	for (size_t i = 0; s->pools && i < PINTLE_MAX_POOLS; i++) {
		free(s->pools[i].frontends);
		free(s->pools[i].spared);
		free(s->pools[i].keys);
		free(s->pools[i].models);
	}
	free(s->pools);
	free(s->endpoints);
	free(s->settings);
	free(s->hosts);
	free(s->devices);
	free(s);
}
