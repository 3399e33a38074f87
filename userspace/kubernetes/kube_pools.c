// SPDX-License-Identifier: Apache-2.0
#include "kube_pools.h"

#include <errno.h>
#include <stdarg.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"

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

__attribute__((format(printf, 2, 3))) static void leave(char *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, KUBE_WHY_SIZE, fmt, ap);
	va_end(ap);
}

bool kube_pools_leave(const struct kube_service *s, char why[KUBE_WHY_SIZE])
{
	why[0] = '\0';
	if (!strcmp(s->mode, "off"))
		leave(why, "its label " KUBE_LABEL_MODE " says off");
	else if (!kube_is_steered(s))
		leave(why,
		      "its label " KUBE_LABEL_MODE
		      " is '%s', which is no mode; write enforce, shadow, baseline or off",
		      s->mode);
	else if (!s->address_count)
		leave(why, "it has no ClusterIP: clients of a headless Service, or of an "
			   "ExternalName, dial other addresses");
	else if (!s->port_count)
		leave(why, "it has no TCP port");
	else if (s->intercept[0] && strcmp(s->intercept, "endpoints") != 0)
		leave(why,
		      "its annotation " KUBE_INTERCEPT
		      " is '%s', which is no such word; write endpoints, or remove it",
		      s->intercept);
	return why[0];
}

static uint32_t place_of(const struct kube_here *here, const struct kube_endpoint *e)
{
	if (here->node && !strcmp(here->node, e->node))
		return PLACE_NODE;
	if (!here->node || !e->node[0])
		return PLACE_UNKNOWN;
	/* A zone that is not known is not held against the endpoint. */
	return here->zone[0] && e->zone[0] && strcmp(here->zone, e->zone) != 0 ? PLACE_AWAY
									       : PLACE_ZONE;
}

/* A pod that terminates is no longer ready, but serves until it ends: it is a member that is
 * drained. Where the Service publishes pods that are not ready, all are called ready. */
static bool is_member(const struct kube_endpoint *e)
{
	return e->ready || (e->terminating && e->serving);
}

/* A pod of the Service on this node, in whatever condition. */
static int add_spared(struct kube_making *m, const struct kube_service *s,
		      const struct kube_here *here, const struct kube_endpoint *e)
{
	if (strcmp(s->intercept, "endpoints") != 0 ||
	    (here->node && strcmp(here->node, e->node) != 0))
		return 0;
	return kube_making_spare(m, e->uid);
}

/* With internalTrafficPolicy: Local only the pods of the client's own node serve it. */
static bool is_here(const struct kube_service *s, const struct kube_here *here,
		    const struct kube_endpoint *e)
{
	return !s->local || !strcmp(here->node, e->node);
}

static int add_slice(struct kube_making *m, const struct kube_service *s,
		     const struct kube_here *here, const struct kube_slice *slice, const char *port)
{
	int err = 0;

	for (size_t k = 0; !err && k < slice->endpoint_count; k++)
		err = add_spared(m, s, here, &slice->endpoints[k]);
	for (size_t i = 0; !err && i < slice->port_count; i++) {
		if (strcmp(slice->ports[i].name, port) != 0)
			continue;
		for (size_t k = 0; !err && k < slice->endpoint_count; k++) {
			const struct kube_endpoint *e = &slice->endpoints[k];

			if (is_member(e) && is_here(s, here, e))
				err = kube_making_member(m, e->name, &e->address,
							 slice->ports[i].port, 0, e->terminating,
							 place_of(here, e));
		}
		return err;
	}
	return 0;
}

static bool is_first_of_target(const struct kube_service *s, size_t port)
{
	for (size_t i = 0; i < port; i++)
		if (!strcmp(s->ports[i].target, s->ports[port].target))
			return false;
	return true;
}

static size_t count_targets(const struct kube_service *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->port_count; i++)
		n += is_first_of_target(s, i);
	return n;
}

int kube_pools_frontends(struct kube_making *m, const struct kube_service *s, const char *target,
			 const struct kube_extra *extra)
{
	int err = 0;

	for (size_t a = 0; a < s->address_count; a++)
		for (size_t i = 0; !err && i < s->port_count; i++)
			if (!target || !strcmp(s->ports[i].target, target))
				err = kube_making_frontend(m, &s->addresses[a], s->ports[i].port);
	for (size_t i = 0; !err && i < s->port_count; i++)
		if (!target || !strcmp(s->ports[i].target, target))
			err = kube_making_prefixes(m, extra, s->ports[i].port);
	return err;
}

/* The pool of a port's target. */
static int add_target(struct config_founds *p, const struct kube_service *s, size_t port,
		      bool several, struct kube_slice *const *slices, size_t slice_count,
		      const struct kube_here *here, const struct kube_extra *extra, char *why)
{
	_cleanup_(kube_making_free) struct kube_making m = {0};
	char name[2 * KUBE_LABEL_SIZE + KUBE_PORT_SIZE + 2];
	int err = kube_pools_frontends(&m, s, s->ports[port].target, extra);

	for (size_t k = 0; !err && k < slice_count; k++)
		err = add_slice(&m, s, here, slices[k], s->ports[port].name);
	if (!err && !m.member_count)
		leave(why, "port %u has no ready endpoint%s", s->ports[port].port,
		      s->local ? " on this node" : "");
	if (err || !m.member_count)
		return err;
	m.intercept = !strcmp(s->intercept, "endpoints");
	snprintf(name, sizeof(name), "%s/%s%s%s", s->space, s->name, several ? ":" : "",
		 several ? s->ports[port].name : "");
	return kube_making_put(&m, name, s->mode, extra ? extra->keys : NULL, p);
}

int kube_pools_add(struct config_founds *p, const struct kube_service *s,
		   struct kube_slice *const *slices, size_t slice_count,
		   const struct kube_here *here, const struct kube_extra *extra,
		   char why[KUBE_WHY_SIZE])
{
	bool several = count_targets(s) > 1;
	int err = 0;

	why[0] = '\0';
	if (!kube_pools_leave(s, why) && s->local && !here->node)
		leave(why, "its internalTrafficPolicy is Local, and this node's name is not known");
	if (why[0])
		return 0;
	for (size_t i = 0; !err && i < s->port_count; i++)
		if (is_first_of_target(s, i))
			err = add_target(p, s, i, several, slices, slice_count, here, extra, why);
	return err;
}
