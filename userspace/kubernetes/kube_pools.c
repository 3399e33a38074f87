// SPDX-License-Identifier: Apache-2.0
#include "kube_pools.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "kube_parts.h"

bool kube_pool_is_of(const char *pool, const char *service_key)
{
	size_t length = strlen(service_key);

	return !strncmp(pool, service_key, length) && (!pool[length] || pool[length] == ':');
}

/* ---- of a Service -------------------------------------------------------------------------------
 */

static const char *const steered_modes[] = {"enforce", "shadow", "baseline"};

bool kube_is_steered(const struct kube_service *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(steered_modes); i++)
		if (!strcmp(s->mode, steered_modes[i]))
			return true;
	return false;
}

bool kube_pools_leave(const struct kube_service *s, char why[KUBE_WHY_SIZE])
{
	why[0] = '\0';
	if (!strcmp(s->mode, "off"))
		kube_refuse(why, "its label " KUBE_LABEL_MODE " says off");
	else if (!kube_is_steered(s))
		kube_refuse(why,
			    "its label " KUBE_LABEL_MODE
			    " is '%s', which is no mode; write enforce, shadow, baseline or off",
			    s->mode);
	else if (!s->address_count)
		kube_refuse(why, "it has no ClusterIP: clients of a headless Service, or of an "
				 "ExternalName, dial other addresses");
	else if (!s->port_count)
		kube_refuse(why, "it has no TCP port");
	else if (s->intercept[0] && strcmp(s->intercept, "endpoints") != 0)
		kube_refuse(why,
			    "its annotation " KUBE_INTERCEPT
			    " is '%s', which is no such word; write endpoints, or remove it",
			    s->intercept);
	else if (!kube_is_selectors(s->except))
		kube_refuse(why, "its annotation " KUBE_INTERCEPT_EXCEPT
				 " names no pods by their labels; write such as app=prometheus");
	return why[0];
}

uint32_t kube_place(const struct kube_here *here, const char *node, const char *zone)
{
	if (here->node && !strcmp(here->node, node))
		return PLACE_NODE;
	if (!here->node || !node[0])
		return PLACE_UNKNOWN;
	/* A zone that is not known is not held against the endpoint. */
	return here->zone[0] && zone[0] && strcmp(here->zone, zone) != 0 ? PLACE_AWAY : PLACE_ZONE;
}

static bool has_gpus(const struct kube_slice *s, const struct kube_endpoint *e, const char *node)
{
	return s->port_count && e->ready && !strcmp(e->node, node);
}

const char *kube_gpus(const struct kube_here *here, const char *node, char buf[KUBE_PAGE_SIZE])
{
	char address[ADDR_TEXT_SIZE];

	buf[0] = '\0';
	for (size_t i = 0; node[0] && i < here->gpus_count; i++)
		for (size_t k = 0; k < here->gpus[i]->endpoint_count; k++) {
			const struct kube_slice *s = here->gpus[i];
			const struct kube_endpoint *e = &s->endpoints[k];

			if (!has_gpus(s, e, node))
				continue;
			addr_format(&e->address, s->ports[0].port, address);
			snprintf(buf, KUBE_PAGE_SIZE, "http://%s/metrics", address);
			return buf;
		}
	return buf;
}

/* A pod that terminates is no longer ready, but serves until it ends: it is a member that is
 * drained. Where the Service publishes pods that are not ready, all are called ready. */
static bool is_member(const struct kube_endpoint *e)
{
	return e->ready || (e->terminating && e->serving);
}

/* ---- pods' own addresses --------------------------------------------------------------- */

/* Its addresses, in order, of pods that have a network of their own: another pod of the node may
 * serve at the node's address. */
struct own {
	struct addr *all;
	size_t count;
};

static void own_free(struct own *o)
{
	free(o->all);
}

static int kube_pools_by_address(const void *left, const void *right)
{
	return memcmp(left, right, sizeof(struct addr));
}

static int own_collect(struct own *o, const struct kube_parts *parts)
{
	o->all = calloc(2 * parts->pod_count + 1, sizeof(*o->all));
	if (!o->all)
		return -ENOMEM;
	for (size_t i = 0; i < parts->pod_count; i++)
		for (size_t k = 0;
		     !parts->pods[i]->host_network && k < parts->pods[i]->address_count; k++)
			o->all[o->count++] = parts->pods[i]->addresses[k];
	qsort(o->all, o->count, sizeof(*o->all), kube_pools_by_address);
	return 0;
}

static bool kube_pools_is_own(const struct own *o, const struct addr *address)
{
	return bsearch(address, o->all, o->count, sizeof(*o->all), kube_pools_by_address);
}

/* The Service's own pods on this node, in whatever condition, which may have to reach each other,
 * and the clients that it names. */
static int spare_clients(struct kube_making *m, const struct kube_service *s,
			 const struct kube_parts *parts)
{
	const struct kube_here *here = parts->here;
	int err = 0;

	for (size_t i = 0; !err && i < parts->pod_count; i++)
		if (!here->node || !strcmp(here->node, parts->pods[i]->node))
			err = kube_making_spare(m, parts->pods[i]->uid);
	for (size_t i = 0; !err && i < here->pod_count; i++)
		if (kube_selects(s->except, here->pods[i]))
			err = kube_making_spare(m, here->pods[i]->uid);
	return err;
}

int kube_pools_intercept(struct kube_making *m, const struct kube_service *s,
			 const struct kube_parts *parts, char why[KUBE_WHY_SIZE])
{
	_cleanup_(own_free) struct own own = {0};
	const struct kube_member *other = NULL;

	if (strcmp(s->intercept, "endpoints") != 0)
		return 0;
	if (parts->pods_missing) {
		kube_refuse(why, "whose addresses these are is not known: %.300s",
			    parts->pods_missing);
		return 0;
	}
	if (own_collect(&own, parts))
		return -ENOMEM;
	for (size_t i = 0; i < m->member_count && !other; i++)
		if (!kube_pools_is_own(&own, &m->members[i].ip))
			other = &m->members[i];
	if (other) {
		kube_refuse(why,
			    "%s is the address of no pod that its selector finds in its namespace "
			    "and that has a network of its own",
			    other->address);
		return 0;
	}
	m->intercept = true;
	return spare_clients(m, s, parts);
}

/* ---- the Services of the same pods ------------------------------------------------------- */

static uint16_t slice_port(const struct kube_slice *slice, const char *name)
{
	for (size_t i = 0; i < slice->port_count; i++)
		if (!strcmp(slice->ports[i].name, name))
			return slice->ports[i].port;
	return 0;
}

bool kube_pools_alike(const struct kube_service *a, const struct kube_service *b)
{
	return a->selector && b->selector && !strcmp(a->selector, b->selector) &&
	       !strcmp(a->space, b->space) && !strcmp(a->mode, b->mode) && a->local == b->local &&
	       !strcmp(a->distribution, b->distribution) && !strcmp(a->intercept, b->intercept) &&
	       !strcmp(a->except, b->except);
}

/* A port of one of the Services of the same pods. */
struct door {
	const struct kube_service *service;
	const struct kube_port *port;
	uint16_t number; /* at the pods; 0: they differ, or none is known */
	size_t target;   /* the first of the doors that leads to the same port of the pods */
};

struct doors {
	struct door *all;
	size_t count;
};

static void doors_free(struct doors *d)
{
	free(d->all);
}

/* A name of a pod's port stands for another number in each pod that says so. */
static uint16_t kube_pools_number_of(const struct kube_parts *parts, const struct kube_service *s,
				     const struct kube_port *port)
{
	uint16_t number = 0;

	for (size_t i = 0; i < parts->slice_count; i++) {
		const struct kube_slice *slice = parts->slices[i];
		uint16_t one = strcmp(slice->service, s->name) ? 0 : slice_port(slice, port->name);

		if (one && number && one != number)
			return 0;
		number = one ?: number;
	}
	return number;
}

static bool is_same_target(const struct door *a, const struct door *b)
{
	return !strcmp(a->port->target, b->port->target) || (a->number && a->number == b->number);
}

static void doors_add(struct doors *d, const struct kube_service *s, const struct kube_parts *parts)
{
	for (size_t i = 0; i < s->port_count; i++) {
		struct door *one = &d->all[d->count];

		*one = (struct door){s, &s->ports[i], kube_pools_number_of(parts, s, &s->ports[i]),
				     0};
		while (one->target < d->count && !is_same_target(&d->all[one->target], one))
			one->target++;
		if (one->target < d->count)
			one->target = d->all[one->target].target;
		d->count++;
	}
}

static int doors_collect(struct doors *d, const struct kube_service *s,
			 const struct kube_parts *parts)
{
	size_t room = s->port_count + 1;

	for (size_t i = 0; i < parts->group_count; i++)
		room += parts->group[i]->port_count;
	d->all = calloc(room, sizeof(*d->all));
	if (!d->all)
		return -ENOMEM;
	for (size_t i = 0; i < parts->group_count; i++)
		doors_add(d, parts->group[i], parts);
	if (!parts->group_count)
		doors_add(d, s, parts);
	return 0;
}

/* Whether the Service has several targets, so that its pools need its ports' names. */
static bool has_several(const struct doors *d, const struct kube_service *s)
{
	const struct door *first = NULL;

	for (size_t i = 0; i < d->count; i++) {
		if (d->all[i].service != s)
			continue;
		if (first && first->target != d->all[i].target)
			return true;
		first = first ?: &d->all[i];
	}
	return false;
}

/* ---- hints ------------------------------------------------------------------------------- */

/* By which hints of its slices a pool's members are those for clients on this node. */
enum hints { NO_HINTS, HINTS_OF_ZONES, HINTS_OF_NODES };

static bool kube_pools_is_named(const char *names, const char *name)
{
	char line[KUBE_NAME_SIZE + 2];

	return name && name[0] &&
	       snprintf(line, sizeof(line), "\n%s\n", name) < (int)sizeof(line) &&
	       strstr(names, line);
}

static bool is_for_here(const struct kube_endpoint *e, const struct kube_here *here,
			enum hints hints)
{
	if (hints == HINTS_OF_NODES)
		return kube_pools_is_named(e->for_nodes, here->node);
	return hints == NO_HINTS || kube_pools_is_named(e->for_zones, here->zone);
}

/* The hints of all ready members, while they are looked at. */
struct hinting {
	bool all[3], some[3]; /* by enum hints: all have such; some are for this node's clients */
};

static void look_at_hints(struct hinting *h, const struct door *door, const struct kube_here *here,
			  const struct kube_slice *slice)
{
	bool is_its =
		!strcmp(slice->service, door->service->name) && slice_port(slice, door->port->name);

	for (size_t k = 0; is_its && k < slice->endpoint_count; k++) {
		const struct kube_endpoint *e = &slice->endpoints[k];

		if (!e->ready || e->terminating)
			continue;
		h->all[HINTS_OF_ZONES] &= e->for_zones[0] != '\0';
		h->all[HINTS_OF_NODES] &= e->for_nodes[0] != '\0';
		h->some[HINTS_OF_ZONES] |= is_for_here(e, here, HINTS_OF_ZONES);
		h->some[HINTS_OF_NODES] |= is_for_here(e, here, HINTS_OF_NODES);
	}
}

/* As kube-proxy does: hints count where all ready endpoints have them, and some are for this node;
 * those for nodes count first. */
static enum hints hints_of(const struct doors *d, size_t target, const struct kube_parts *parts,
			   const struct kube_extra *extra)
{
	struct hinting h = {.all = {true, true, true}};

	if (d->all[target].service->local || (extra && extra->has_locality))
		return NO_HINTS;
	for (size_t i = target; i < d->count; i++)
		for (size_t k = 0; d->all[i].target == target && k < parts->slice_count; k++)
			look_at_hints(&h, &d->all[i], parts->here, parts->slices[k]);
	return h.all[HINTS_OF_NODES] && h.some[HINTS_OF_NODES]   ? HINTS_OF_NODES
	       : h.all[HINTS_OF_ZONES] && h.some[HINTS_OF_ZONES] ? HINTS_OF_ZONES
								 : NO_HINTS;
}

/* ---- its pools --------------------------------------------------------------------------- */

/* With internalTrafficPolicy: Local only the pods of the client's own node serve it. */
static bool is_here(const struct kube_service *s, const struct kube_here *here,
		    const struct kube_endpoint *e)
{
	return !s->local || !strcmp(here->node, e->node);
}

static int add_slice(struct kube_making *m, const struct door *door, const struct kube_here *here,
		     const struct kube_slice *slice, enum hints hints)
{
	uint16_t port = slice_port(slice, door->port->name);
	char page[KUBE_PAGE_SIZE];
	int err = 0;

	if (!port || strcmp(slice->service, door->service->name) != 0)
		return 0;
	for (size_t k = 0; !err && k < slice->endpoint_count; k++) {
		const struct kube_endpoint *e = &slice->endpoints[k];

		/* The controller gives a pod that terminates no hint; it is drained anyway. */
		if (is_member(e) && is_here(door->service, here, e) &&
		    (e->terminating || is_for_here(e, here, hints)))
			err = kube_making_member(m, e->name, &e->address, port, 0, e->terminating,
						 kube_place(here, e->node, e->zone),
						 kube_gpus(here, e->node, page));
	}
	return err;
}

static int kube_pools_add_frontends(struct kube_making *m, const struct kube_service *s,
				    const struct kube_port *port, const struct kube_extra *extra)
{
	int err = 0;

	for (size_t a = 0; !err && a < s->address_count; a++)
		err = kube_making_frontend(m, &s->addresses[a], port->port);
	return err ?: kube_making_prefixes(m, extra, port->port);
}

int kube_pools_frontends(struct kube_making *m, const struct kube_service *s,
			 const struct kube_extra *extra)
{
	int err = 0;

	for (size_t i = 0; !err && i < s->port_count; i++)
		err = kube_pools_add_frontends(m, s, &s->ports[i], extra);
	return err;
}

/* Frontends first: members are of their families. */
static int add_doors(struct kube_making *m, const struct doors *d, size_t target,
		     const struct kube_parts *parts, const struct kube_extra *extra)
{
	enum hints hints = hints_of(d, target, parts, extra);
	int err = 0;

	for (size_t i = target; !err && i < d->count; i++)
		if (d->all[i].target == target)
			err = kube_pools_add_frontends(m, d->all[i].service, d->all[i].port, extra);
	for (size_t i = target; !err && i < d->count; i++)
		for (size_t k = 0; !err && d->all[i].target == target && k < parts->slice_count;
		     k++)
			err = add_slice(m, &d->all[i], parts->here, parts->slices[k], hints);
	return err;
}

/* The pool of a door's target. */
static int add_target(struct config_founds *p, const struct doors *d, size_t target,
		      const struct kube_parts *parts, const struct kube_extra *extra,
		      struct kube_whys *whys)
{
	_cleanup_(kube_making_free) struct kube_making m = {0};
	const struct kube_service *s = d->all[target].service;
	const struct kube_port *port = d->all[target].port;
	bool several = has_several(d, s);
	char name[2 * KUBE_LABEL_SIZE + KUBE_PORT_SIZE + 2];
	int err = add_doors(&m, d, target, parts, extra)
			  ?: kube_pools_intercept(&m, s, parts, whys->direct);

	if (err)
		return err;
	if (!m.member_count && !(extra && extra->fails_close)) {
		kube_refuse(whys->left, "port %u has no ready endpoint%s%s", port->port,
			    s->local ? " on node " : "", s->local ? parts->here->node : "");
		whys->idle = true;
		return 0;
	}
	snprintf(name, sizeof(name), "%s/%s%s%s", s->space, s->name, several ? ":" : "",
		 several ? port->name : "");
	return kube_making_put(&m, name, s->mode, extra ? extra->keys : NULL, p);
}

int kube_pools_add(struct config_founds *p, const struct kube_service *s,
		   const struct kube_parts *parts, const struct kube_extra *extra,
		   struct kube_whys *whys)
{
	_cleanup_(doors_free) struct doors d = {0};
	int err;

	*whys = (struct kube_whys){0};
	if (!kube_pools_leave(s, whys->left) && s->local && !parts->here->node)
		kube_refuse(
			whys->left,
			"its internalTrafficPolicy is Local, and this node's name is not known");
	if (whys->left[0])
		return 0;
	err = doors_collect(&d, s, parts);
	for (size_t i = 0; !err && i < d.count; i++)
		if (d.all[i].target == i && d.all[i].service == s)
			err = add_target(p, &d, i, parts, extra, whys);
	return err;
}
