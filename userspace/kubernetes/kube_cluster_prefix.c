// SPDX-License-Identifier: Apache-2.0
/* kube_cluster_prefix.c - whether a SteeringPolicy may have the prefixes that it names. Otherwise
 * whoever may write policies in one namespace could draw the connections of others to his pods. */
#include <stdio.h>
#include <string.h>

#include "../base/util.h"
#include "kube_cluster_internal.h"

static bool is_inside(const struct frontend_addr *in, const struct frontend_addr *f)
{
	return f->prefix_bits >= in->prefix_bits &&
	       addr_prefixes_overlap(&in->prefix, in->prefix_bits, &f->prefix, f->prefix_bits);
}

static bool cluster_prefix_is_allowed(const struct kube_cluster *c, const struct frontend_addr *f)
{
	for (size_t i = 0; i < c->allowed_count; i++)
		if (is_inside(&c->allowed[i], f))
			return true;
	return false;
}

static bool cluster_prefix_has_port(const struct kube_service *s, uint16_t port)
{
	for (size_t i = 0; s && i < s->port_count; i++)
		if (s->ports[i].port == port)
			return true;
	return false;
}

/* Whether the owner, or for an InferencePool a Service in front of it, has the port. */
static bool owner_has_port(const struct kube_cluster *c, const struct owner *o, uint16_t port)
{
	const struct kube_item *item = owner_item(o);

	if (o->kind == KUBE_TARGET_SERVICE)
		return item && cluster_prefix_has_port(item->now, port);
	KUBE_STORE_EACH(service, c->all[ALL_SERVICES])
	if (item && kube_is_frontend(service->now, item->now) &&
	    cluster_prefix_has_port(service->now, port))
		return true;
	return false;
}

static bool cluster_prefix_covers(const struct frontend_addr *f, const struct addr *ip)
{
	return addr_prefixes_overlap(&f->prefix, f->prefix_bits, ip, 128);
}

/* Another policy's prefix, whichever port it is for: the older policy has the addresses. */
static bool overlaps_policy(const struct kube_cluster *c, const struct kube_item *policy,
			    const struct frontend_addr *f, char *why)
{
	char text[ADDR_TEXT_SIZE], other[ADDR_TEXT_SIZE];

	KUBE_STORE_EACH(item, c->all[ALL_POLICIES])
	{
		const struct kube_policy *p = item->now;

		for (size_t i = 0; p && p->keys && item != policy && i < p->prefix_count; i++) {
			const struct frontend_addr *o = &p->prefixes[i];

			if (kube_by_age(&item, &policy) > 0 || !cluster_prefix_is_allowed(c, o) ||
			    !addr_prefixes_overlap(&f->prefix, f->prefix_bits, &o->prefix,
						   o->prefix_bits))
				continue;
			snprintf(why, KUBE_WHY_SIZE,
				 "%s overlaps %s of another SteeringPolicy, which is older; choose "
				 "another prefix",
				 addr_format_frontend(f, text), addr_format_frontend(o, other));
			return true;
		}
	}
	return false;
}

static bool overlaps_service(const struct kube_cluster *c, const struct frontend_addr *f, char *why)
{
	char text[ADDR_TEXT_SIZE];

	KUBE_STORE_EACH(item, c->all[ALL_SERVICES])
	{
		const struct kube_service *s = item->now;

		for (size_t i = 0; s && i < s->address_count; i++) {
			if (!cluster_prefix_covers(f, &s->addresses[i]))
				continue;
			snprintf(why, KUBE_WHY_SIZE,
				 "%s has the ClusterIP of a Service in it; choose another prefix",
				 addr_format_frontend(f, text));
			return true;
		}
	}
	return false;
}

static bool has_member(const struct owner *o, const struct frontend_addr *f)
{
	KUBE_STORE_EACH(item, o->members.store)
	{
		const struct kube_slice *slice = item->now;
		const struct kube_pod *pod = item->now;

		for (size_t i = 0;
		     slice && o->kind == KUBE_TARGET_SERVICE && i < slice->endpoint_count; i++)
			if (cluster_prefix_covers(f, &slice->endpoints[i].address))
				return true;
		for (size_t i = 0; pod && o->kind == KUBE_TARGET_POOL && i < pod->address_count;
		     i++)
			if (cluster_prefix_covers(f, &pod->addresses[i]))
				return true;
	}
	return false;
}

static bool overlaps_member(const struct kube_cluster *c, const struct frontend_addr *f, char *why)
{
	char text[ADDR_TEXT_SIZE];
	const struct owner *o;

	LIST_FOREACH(o, &c->owners, all)
	{
		if (!o->members.store || !has_member(o, f))
			continue;
		snprintf(why, KUBE_WHY_SIZE,
			 "%s has the address of a pod in it; choose another prefix",
			 addr_format_frontend(f, text));
		return true;
	}
	return false;
}

bool kube_prefixes_good(const struct kube_cluster *c, const struct owner *o,
			const struct kube_item *policy, char why[KUBE_WHY_SIZE])
{
	const struct kube_policy *p = policy->now;
	char text[ADDR_TEXT_SIZE];

	for (size_t i = 0; i < p->prefix_count; i++) {
		const struct frontend_addr *f = &p->prefixes[i];

		if (!cluster_prefix_is_allowed(c, f)) {
			snprintf(why, KUBE_WHY_SIZE,
				 "%s is not inside node.frontendPrefixes of pintled's "
				 "configuration; ask who installed it",
				 addr_format_frontend(f, text));
			return false;
		}
		if (!owner_has_port(c, o, f->port)) {
			snprintf(why, KUBE_WHY_SIZE,
				 "%s: %.253s has no port %u; write one that it has",
				 addr_format_frontend(f, text), strchr(o->key, '/') + 1, f->port);
			return false;
		}
		if (overlaps_policy(c, policy, f, why) || overlaps_service(c, f, why) ||
		    overlaps_member(c, f, why))
			return false;
	}
	return true;
}
