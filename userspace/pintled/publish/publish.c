/* SPDX-License-Identifier: Apache-2.0 */
#include "publish.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <limits.h>
#include <math.h>
#include <pwd.h>

#include "../../base/hash.h"
#include "../../base/log.h"
#include "../../maps/kernel.h"
#include "../../maps/names.h"
#include "../../maps/rows.h"
#include "../../base/util.h"
#include "../../net/url.h"
#include "clients.h"
#include "destinations.h"
#include "frontends.h"
#include "homes.h"
#include "rule/prefix.bpf.h"
#include "prefixes.h"
#include "ids.h"
#include "members.h"
#include "model_pools.h"
#include "../../policy/maglev.h"
#include "../../policy/reserve.h"
#include "../../policy/work.h"
#include "register.h"
#include "rests.h"
#include "server_cgroups.h"
#include "tenants.h"
#include "traits.bpf.h"

/* ---- pools ----------------------------------------------------------------------- */

static __u32 milli(double load)
{
	return (__u32)fmin(load * 1000 + 0.5, (double)PINTLE_MAX_LOAD);
}

/* The least but 0 keeps prompts looked at. */
static __u32 prompt_weight(double weight)
{
	__u32 v = milli(weight * PREFIX_CHUNK / PINTLE_REQUEST_BYTES);

	return v ?: 1;
}

/* Loading an adapter weighs nothing where no request names a model. */
static __u32 adapter_weight(const struct config *all, const struct config_pool *c)
{
	for (size_t i = 0; i < all->pool_count; i++)
		if (config_serves_models_of(c, &all->pools[i]))
			return milli(c->weights.adapter);
	return 0;
}

static void set_ejection(struct pintle_pool *v, const struct config_pool *c)
{
	/* 0.3 * 10 may come out a little below 3 in binary. */
	double most = floor(c->ejection.max_share * (double)c->endpoint_count + 1e-9);

	v->eject_after = (__u32)c->ejection.failures;
	v->eject_most = (__u32)most;
	v->eject_ns = MIN(c->ejection.time_ns, c->ejection.max_time_ns);
	v->eject_max_ns = c->ejection.max_time_ns;
}

/* What order.c and same_model.c found out about the pool holds on; the order, while the members are
 * the same. */
static void keep_findings(struct pintle_pool *v, const struct pintle_pool *from)
{
	if (from->generation != v->generation)
		return;
	v->sample = from->sample;
	v->tie = from->tie;
	v->left_ns = from->left_ns;
	for (size_t i = 0; i < PINTLE_MAX_OTHERS; i++)
		if (!memcmp(&v->others[i].pool, &from->others[i].pool, sizeof(v->others[i].pool)))
			v->others[i].checked = from->others[i].checked;
	for (size_t i = 0; i < v->class_count; i++)
		if (v->class_of[i].places && from->class_of[i].places)
			v->class_of[i].places = from->class_of[i].places;
	if (from->member_count != v->member_count ||
	    memcmp(from->members, v->members, v->member_count * sizeof(*v->members)) != 0)
		return;
	v->ready = from->ready;
	memcpy(v->order, from->order, sizeof(v->order));
}

static void set_rule(struct pintle_class_rule *v, const struct config_rule *c, size_t class)
{
	v->class_id = (__u8) class;
	v->port = (__u16)c->port;
	v->dscp = (__u8)(c->dscp + 1);
	v->space = c->space ? client_id(c->space) : 0;
	v->account = c->account ? client_id(c->account) : 0;
	v->pattern = c->cgroup ? client_id(c->cgroup) : 0;
	v->flags = c->hints_trusted ? PINTLE_RULE_TRUSTED : 0;
	if (!c->has_source)
		return;
	v->flags |= PINTLE_RULE_SOURCE;
	for (unsigned int bit = 0; bit < c->source.prefix_bits; bit++)
		v->mask[bit / 8] |= (__u8)(0x80 >> bit % 8);
	for (size_t i = 0; i < sizeof(v->prefix); i++)
		v->prefix[i] = c->source.prefix.bytes[i] & v->mask[i];
}

static void publish_set_access(struct pintle_pool *v, const struct config_pool *c)
{
	for (size_t i = 0; i < c->allow_count; i++)
		set_rule(&v->allowed[v->allow_count++], &c->allowed[i], 0);
}

void publish_class(struct pintle_class *v, const struct config_pool *p,
		   const struct config_class *c)
{
	v->flags = (config_class_bounded(p, c) ? PINTLE_CLASS_BOUNDED : 0) |
		   (c->reserve.percent ? PINTLE_CLASS_PERCENT : 0);
	v->connections = (__u32)c->connections;
	v->pool_connections = (__u32)c->pool_connections;
	v->reserve = c->reserve.number;
	v->limit = milli(c->limit);
	v->admission = c->admission;
	v->priority = c->priority;
	snprintf(v->name, sizeof(v->name), "%s", c->name);
	v->places = reserve_places(v, MAX(p->endpoint_count, (size_t)1)); /* order.c corrects it */
	if (c->max_extra_load == CONFIG_EXTRA_POOL)
		return;
	v->flags |= PINTLE_CLASS_EXTRA;
	v->max_extra_load = milli(c->max_extra_load);
}

/* Connections of a class that the pool no longer has are counted until they end: `now` is the
 * pool's row. */
static void set_classes(struct pintle_pool *v, const struct config_pool *c,
			const struct pintle_pool *now)
{
	v->class_count = (__u32)c->class_count;
	v->classes = MAX((__u32)c->class_count, 1U);
	if (now->generation == v->generation && now->classes <= PINTLE_MAX_CLASSES)
		v->classes = MAX(v->classes, now->classes);
	v->hints_trusted = c->hints_trusted;
	v->classify = c->classify;
	for (size_t i = 0; i < c->class_count; i++) {
		publish_class(&v->class_of[i], c, &c->classes[i]);
		for (size_t j = 0; j < c->classes[i].rule_count; j++)
			set_rule(&v->rules[v->rule_count++], &c->classes[i].rules[j], i);
	}
}

/* A connection counts for the place that its class had in the list. */
static void tell_moved(const struct pintle_pool *v, const struct pintle_pool *now, const char *pool)
{
	for (__u32 i = 0; i < v->class_count && i < now->class_count; i++)
		if (now->generation == v->generation &&
		    strncmp(v->class_of[i].name, now->class_of[i].name, PINTLE_CLASS_NAME_SIZE)) {
			log_warn(
				"pool %s: class %s has the place of %s in the list now: what counted "
				"for the one counts for the other, until those connections end",
				pool, v->class_of[i].name, now->class_of[i].name);
			return;
		}
}

/* A class's class in another pool: the one of the same name, else the first. */
static __u8 class_in(const struct config_pool *other, const char *name)
{
	for (size_t i = 0; i < other->class_count; i++)
		if (!strcmp(other->classes[i].name, name))
			return (__u8)i;
	return 0;
}

static void set_others(struct pintle_pool *v, const struct config *all, const struct config_pool *c,
		       const struct publication *p)
{
	v->canary_share = (__u32)(c->canary_percent / 100 * PINTLE_SHARE_WHOLE + 0.5);
	for (size_t i = 0; i < PINTLE_MAX_OTHERS; i++) {
		const char *name = config_other_name(c, i);
		const struct config_pool *other = name ? config_pool_named(all, name) : NULL;

		if (!other)
			continue;
		v->others[i].pool = p->pools[other - all->pools].ref;
		v->others[i].checked = 1;
		for (size_t k = 0; k < c->class_count; k++)
			v->others[i].class_of[k] = class_in(other, c->classes[k].name);
	}
}

/* Whether a pool that is decided at the SYN may send connections to this one. */
static bool asked_at_syn(const struct config *all, const struct config_pool *c)
{
	for (size_t i = 0; i < all->pool_count; i++)
		for (size_t k = 0; k < PINTLE_MAX_OTHERS; k++) {
			const struct config_pool *from = &all->pools[i];
			const char *name = config_other_name(from, k);

			if (name && from->decide != PINTLE_DECIDE_REQUEST && !strcmp(name, c->name))
				return true;
		}
	return false;
}

static bool reads_prompts(const struct config_pool *c)
{
	return config_wants_prompts(c) && c->decide == PINTLE_DECIDE_REQUEST;
}

/* The file's author knows that model servers listen at its endpoints. A Service has ports of
 * other servers, too, an admin page say: FailClose refuses connections to those that pages show to
 * be model servers, and to a Service without a pod, as kube-proxy does. */
static bool closes_once_read(const struct config_pool *c)
{
	return c->line <= 0 && c->failure_mode == PINTLE_FAIL_CLOSE && c->endpoint_count;
}

/* `now` is the pool's row, `v` the one that takes its place. */
static __u32 failure_mode(const struct pintle_pool *v, const struct config_pool *c,
			  const struct pintle_pool *now)
{
	bool known = now->generation == v->generation && now->member_count &&
		     now->failure_mode == PINTLE_FAIL_CLOSE;

	return closes_once_read(c) && !known ? PINTLE_FAIL_OPEN : c->failure_mode;
}

/* One policy holds for nodes of any kernel: so what an old one lacks keeps nothing else of it, nor
 * other pools, from their effect. */
static bool rests_by_kernel(const struct config_pool *c)
{
	return c->splice && c->decide == PINTLE_DECIDE_REQUEST && !kernel_hands_over();
}

/* While pods churn, most pools stay as they are. */
static int put_pool(const struct maps *m, const struct config *all, const struct publication *all_p,
		    size_t i)
{
	const struct published_pool *p = &all_p->pools[i];
	const struct config_pool *c = &all->pools[i];
	_cleanup_free_ struct pintle_pool *v = calloc(1, sizeof(*v)), *now = malloc(sizeof(*now));
	int err;

	assert(c->class_count <= PINTLE_MAX_CLASSES && c->fallback_count <= PINTLE_MAX_FALLBACKS);
	if (!v || !now)
		return log_err_r(ENOMEM, "publish");
	err = maps_value(m, MAP_pools, p->ref.id, now);
	if (err)
		return log_err_r(err, "failed to read map pools");
	v->generation = p->ref.generation;
	v->mode = c->mode;
	v->failure_mode = failure_mode(v, c, now);
	set_classes(v, c, now);
	publish_set_access(v, c);
	set_others(v, all, c, all_p);
	v->decided_by = c->decided_by;
	v->reach = c->reach;
	v->in_pods = c->in_pods;
	v->no_models = !c->model_count;
	set_ejection(v, c);
	v->key_kind = c->stickiness.key_kind;
	v->key_bits_v4 = c->stickiness.key_bits_v4;
	v->key_bits_v6 = c->stickiness.key_bits_v6;
	v->group_kind = c->stickiness.group_kind;
	v->group_bits_v4 = c->stickiness.group_bits_v4;
	v->group_bits_v6 = c->stickiness.group_bits_v6;
	v->hints_shared = c->stickiness.shared;
	v->ttl_ns = c->stickiness.ttl_ns;
	if (c->stickiness.max_extra_load == CONFIG_EXTRA_AUTO) {
		v->max_extra_load = milli(CONFIG_EXTRA_UNKNOWN);
		v->context_bytes = WORK_CONTEXT_BYTES;
	} else {
		v->max_extra_load = milli(c->stickiness.max_extra_load);
	}
	v->staleness_ns = c->saturation.staleness_ns;
	v->idle_ms = (__u32)(config_idle_more_ns(&c->scrape) / NSEC_PER_MSEC);
	if (c->tenants.kind)
		v->tenant_key = c->tenants.kind | (__u32)c->tenants.bits_v4 << 8 |
				(__u32)c->tenants.bits_v6 << 16;
	v->departure = milli(c->weights.running);
	v->requests = c->requests;
	v->decide = config_rests(c) || rests_by_kernel(c) ? PINTLE_DECIDE_RESTS : c->decide;
	if (c->decide == PINTLE_DECIDE_REQUEST) {
		v->asked = c->stickiness.asked;
		v->asked_at_syn = asked_at_syn(all, c);
	}
	if (reads_prompts(c)) {
		v->prompt_weight = prompt_weight(c->weights.prefix);
		v->prompt_seed = prefixes_seed(m->node->hint_key, c->name);
	}
	v->adapter_weight = adapter_weight(all, c);
	v->follow = c->follow;
	v->daemonless_ns = c->daemonless_ns;
	v->proxied = c->proxied;
	v->intercept = c->intercept == INTERCEPT_ENDPOINTS;
	v->rewrite.http10 = c->http10;
	memcpy(v->rewrite.headers, c->spare_headers, sizeof(v->rewrite.headers));
	v->member_count = (__u32)c->endpoint_count;
	memcpy(v->members, p->endpoints, c->endpoint_count * sizeof(*v->members));
	if (v->decide == PINTLE_DECIDE_REQUEST && !c->in_pods && !c->splice && kernel_hands_over())
		m->node->handed = 1;
	keep_findings(v, now);
	tell_moved(v, now, c->name);
	return memcmp(v, now, sizeof(*v)) ? maps_put(m, MAP_pools, &p->ref.id, v) : 0;
}

/* Groups have homes, and so have prompts. */
static bool wants_homes(const struct config_pool *c)
{
	return c->stickiness.group_kind != PINTLE_KEY_NONE || reads_prompts(c);
}

/* A hash of all that the pool's Maglev table is made of. */
static uint64_t hash_homes(const struct config_pool *c, const struct published_pool *p)
{
	uint64_t hash = hash_bytes(HASH_START, &p->ref, sizeof(p->ref));
	const bool wanted = wants_homes(c);

	hash = hash_bytes(hash, &wanted, sizeof(wanted));
	for (size_t i = 0; wanted && i < c->endpoint_count; i++) {
		hash = hash_bytes(hash, &p->endpoints[i], sizeof(p->endpoints[i]));
		hash = hash_bytes(hash, &c->endpoints[i].drained, sizeof(c->endpoints[i].drained));
		hash = hash_bytes(hash, &c->endpoints[i].weight, sizeof(c->endpoints[i].weight));
		hash = hash_bytes(hash, c->endpoints[i].name, strlen(c->endpoints[i].name) + 1);
	}
	return hash;
}

/* Whether the pool's table was written by `former` as it is to be. */
static bool has_homes(const struct publication *former, const struct published_pool *p)
{
	for (size_t i = 0; former && i < former->pool_count; i++)
		if (former->pools[i].homes == p->homes)
			return true;
	return false;
}

/* Builds the pool's Maglev table apart from the map, and replaces the old one by one write. */
static int put_homes(const struct maps *m, const struct config_pool *c,
		     const struct published_pool *p)
{
	_cleanup_free_ struct maglev_member *members = calloc(c->endpoint_count, sizeof(*members));
	_cleanup_free_ struct pintle_homes *v = calloc(1, sizeof(*v));
	size_t n = 0;
	int err;

	if (!wants_homes(c)) {
		if (bpf_map_delete_elem(m->fd[MAP_homes], &p->ref.id) && errno != ENOENT)
			return log_err_r(errno, "failed to clear map homes");
		return 0;
	}
	if (!members || !v)
		return log_err_r(ENOMEM, "publish");
	/* A drained endpoint is no home, unless there is no other. */
	for (int round = 0; round < 2 && !n; round++)
		for (size_t i = 0; i < c->endpoint_count; i++)
			if (round || !c->endpoints[i].drained)
				members[n++] = (struct maglev_member){
					p->endpoints[i].id, p->endpoints[i].generation,
					c->endpoints[i].name, (uint32_t)c->endpoints[i].weight};
	v->pool_generation = p->ref.generation;
	err = maglev_build(members, n, v->home, PINTLE_HOME_ENTRIES);
	if (err)
		return log_err_r(err, "failed to build the homes of pool %s", c->name);
	err = homes_put(m, p->ref.id, v);
	return err ? log_err_r(err, "failed to make the homes of pool %s", c->name) : 0;
}

/* ---- addresses ------------------------------------------------------------------- */

struct address_row {
	struct pintle_address_key key;
	struct pintle_address value;
};

/* Adds whose listener it must be: the user and the cgroup, if the endpoint names any. */
static int publish_add_owner(const struct config_endpoint *c, struct pintle_address *a)
{
	char *end;
	unsigned long uid;
	const struct passwd *p;

	if (c->cgroup) {
		a->flags |= PINTLE_ADDRESS_CGROUP;
		a->pattern = client_id(c->cgroup);
	}
	if (!c->user)
		return 0;
	a->flags |= PINTLE_ADDRESS_USER;
	errno = 0;
	uid = strtoul(c->user, &end, 10);
	if (*c->user && !*end && !errno && uid < UINT32_MAX) {
		a->user = (__u32)uid;
		return 0;
	}
	p = getpwnam(c->user);
	if (!p) {
		log_error(
			"endpoint %s: there is no user '%s' on this machine; in a container write "
			"the number",
			c->name, c->user);
		return -ENOENT;
	}
	a->user = p->pw_uid;
	return 0;
}

static int add_address(struct map_rows *to, const struct address_row *row, const struct addr *ip,
		       __u32 flags)
{
	struct address_row a = *row;

	a.value.flags |= flags;
	memcpy(a.key.address, ip->bytes, sizeof(a.key.address));
	return map_rows_add(to, &a.key, &a.value);
}

static __u32 family_flag(const struct addr *ip)
{
	return addr_is_v4(ip) ? PINTLE_ADDRESS_V4 : PINTLE_ADDRESS_V6;
}

/* For an endpoint that is configured by its port alone, such as 8001. Its page is read from
 * 127.0.0.1:8001: so only a listener that accepts connections there is the endpoint, and a stranger
 * at 10.0.0.5:8001 is not. Where there is no page, or it comes from elsewhere, any listener at the
 * port is. */
static int add_port(struct map_rows *to, const struct address_row *row,
		    const struct config_endpoint *c)
{
	static const struct addr any;
	struct addr ip, v6 = {.bytes = {[15] = 1}};
	uint16_t port;
	int err;

	if (!c->metrics_url || !url_address(c->metrics_url, &ip, &port) || port != c->listen.port ||
	    addr_is_any(&ip))
		return add_address(to, row, &any, PINTLE_ADDRESS_ANY);
	err = add_address(to, row, &ip, 0);
	if (!err && c->metrics_fallback_v6)
		err = add_address(to, row, &v6, 0);
	return err ? err
		   : add_address(to, row, &any,
				 PINTLE_ADDRESS_PORT | family_flag(&ip) |
					 (c->metrics_fallback_v6 ? PINTLE_ADDRESS_V6 : 0));
}

/* Most servers listen on every address, although the configuration names one. So a wildcard
 * listener is the endpoint, too, if no other endpoint has that port. */
static int publish_add_endpoint(struct map_rows *to, const struct config_endpoint *c,
				const struct published_pool *p, size_t i, bool alone_at_port)
{
	static const struct addr any;
	struct address_row row = {
		.key = {.scope = PINTLE_SCOPE_NODE, .port = c->listen.port},
		.value = {.endpoint = p->endpoints[i].id,
			  .generation = p->endpoints[i].generation,
			  .pool = p->ref.id},
	};
	int err = publish_add_owner(c, &row.value);

	if (err)
		return err;
	if (c->listen.any_ip)
		return add_port(to, &row, c);
	err = add_address(to, &row, &c->listen.ip, 0);
	return err || !alone_at_port ? err
				     : add_address(to, &row, &any, family_flag(&c->listen.ip));
}

/* Visits each endpoint that is a listener in the namespace that is steered. */
#define FOR_EACH_SERVER(c, i, j)                                                                   \
	for (size_t i = 0; i < (c)->pool_count; i++)                                               \
		for (size_t j = 0; (c)->pools[i].reach == PINTLE_REACH_LISTENER &&                 \
				   !(c)->pools[i].in_pods && j < (c)->pools[i].endpoint_count;     \
		     j++)

static int collect_addresses(const struct config *c, const struct publication *p,
			     struct map_rows *out)
{
	_cleanup_free_ uint16_t *at_port = calloc(UINT16_MAX + 1, sizeof(*at_port));
	int err = 0;

	if (!at_port)
		return log_err_r(ENOMEM, "addresses");
	FOR_EACH_SERVER(c, i, j)
	at_port[c->pools[i].endpoints[j].listen.port]++;
	FOR_EACH_SERVER(c, i, j)
	{
		const struct config_endpoint *e = &c->pools[i].endpoints[j];

		err = publish_add_endpoint(out, e, &p->pools[i], j, at_port[e->listen.port] == 1)
			      ?: err;
	}
	return err;
}

/* Returns no error: an endpoint whose cgroups are missing here has no listener. That is logged, and
 * later walks add them. */
static void put_server_cgroups(const struct maps *m, const struct config *c)
{
	char root[PATH_MAX] = "", below[PATH_MAX] = "";

	if (!server_cgroups_wanted(c) || clients_root(m, root, below))
		server_cgroups_update(m, c, root, below);
}

/* ---- all together ---------------------------------------------------------------- */

static void publication_freep(struct publication **p)
{
	publication_free(*p);
}

static struct publication *publication_new(const struct config *c)
{
	_cleanup_(publication_freep) struct publication *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->pools = calloc(c->pool_count, sizeof(*p->pools));
	if (!p->pools)
		return NULL;
	for (; p->pool_count < c->pool_count; p->pool_count++) {
		struct published_pool *pp = &p->pools[p->pool_count];

		pp->closes_once_read = closes_once_read(&c->pools[p->pool_count]);
		pp->endpoints =
			calloc(c->pools[p->pool_count].endpoint_count, sizeof(*pp->endpoints));
		if (!pp->endpoints)
			return NULL;
	}
	return TAKE_PTR(p);
}

static int put_pools(const struct maps *m, const struct config *c, const struct publication *former,
		     struct publication *p)
{
	int err = 0;

	for (size_t i = 0; !err && i < c->pool_count; i++) {
		p->pools[i].homes = hash_homes(&c->pools[i], &p->pools[i]);
		if (!has_homes(former, &p->pools[i]))
			err = put_homes(m, &c->pools[i], &p->pools[i]);
		if (!err)
			err = put_pool(m, c, p, i);
	}
	return err;
}

int publish(const struct maps *m, int netns_fd, const struct config *c,
	    const struct publication *former, struct publication **out)
{
	_cleanup_(publication_freep) struct publication *p = publication_new(c);
	_cleanup_(frontends_free) struct frontends old = {0}, wanted = {0};
	_cleanup_(map_rows_free) struct map_rows addresses = {.id = MAP_addresses};
	_cleanup_(ids_freep) struct ids *ids = NULL;
	int err = p ? ids_load(m, &ids) : log_err_r(ENOMEM, "publish");

	assert(m->writable);
	/* First comes whatever is likely to fail. It changes nothing that steers. */
	if (!err)
		err = ids_plan(ids, c, p);
	if (!err)
		err = frontends_load(m, &old);
	if (!err)
		err = frontends_wanted(c, p, &wanted);
	if (!err)
		err = collect_addresses(c, p, &addresses);
	if (!err)
		err = frontends_announce(m, netns_fd, &old, &wanted);
	if (err)
		return err;

	/* Then come new entries, to which nothing refers yet. */
	err = ids_write(ids);
	put_server_cgroups(m, c);
	/* These rows take no part in decisions, they only tell whose a listener is; and there an
	 * old row, 127.0.0.1:8001, would be found before a new one, port 8001 at any address. */
	if (!err)
		err = map_rows_put(m, &addresses);
	if (err)
		return err;
	register_listeners(m, netns_fd);

	/* Then the pools and frontends, by which connections are decided, each in one step. */
	m->node->daemonless_ns = c->daemonless_ns;
	rests_begin(m, netns_fd, c, p);
	err = tenants_publish(m, c, p);
	if (!err)
		err = prefixes_publish(m, c);
	if (!err)
		err = put_pools(m, c, former, p);
	if (!err)
		err = model_pools_publish(m, c, p);
	if (!err)
		err = frontends_put(m, &old, &wanted);
	if (!err)
		err = destinations_publish(m, c, p) ?: members_publish(m, c, p);

	/* Last, entries to which nothing refers any more are removed. */
	if (!err)
		err = frontends_settle(m, netns_fd, &wanted);
	if (!err)
		err = ids_retire(ids);
	if (err)
		return err;
	*out = TAKE_PTR(p);
	return 0;
}
