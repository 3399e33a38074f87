// SPDX-License-Identifier: Apache-2.0
#include "kube_pools.h"

#include <errno.h>
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

/* Whether the Service as a whole is left to kube-proxy. */
static bool leave_service(const struct kube_service *s, char *why)
{
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
	else if (s->local)
		leave(why, "its internalTrafficPolicy is Local, which pools do not know");
	else if (!s->port_count)
		leave(why, "it has no TCP port");
	return why[0];
}

/* An endpoint with its address as the configuration has it. */
struct member {
	char name[KUBE_NAME_SIZE + 8], address[ADDR_TEXT_SIZE];
	bool drained;
};

/* Everything of one pool while it is made. */
struct making {
	const struct kube_service *service;
	struct member *members;
	size_t count, room;
};

static int by_name(const void *left, const void *right)
{
	const struct member *a = left, *b = right;

	return strcmp(a->name, b->name) ?: strcmp(a->address, b->address);
}

static bool has_family(const struct kube_service *s, bool v4)
{
	for (size_t i = 0; i < s->address_count; i++)
		if (addr_is_v4(&s->addresses[i]) == v4)
			return true;
	return false;
}

/* A pod has one name for each family: that of the Service's second family has a suffix. An address
 * that belongs to no pod is its own name. */
static void name_member(const struct kube_service *s, const struct kube_endpoint *e,
			struct member *m)
{
	bool v4 = addr_is_v4(&e->address);
	char ip[ADDR_TEXT_SIZE];

	if (e->name[0]) {
		snprintf(m->name, sizeof(m->name), "%s%s", e->name,
			 addr_is_v4(&s->addresses[0]) == v4 ? ""
			 : v4                               ? ".ipv4"
							    : ".ipv6");
		return;
	}
	snprintf(m->name, sizeof(m->name), "%s%s", v4 ? "" : "ip-",
		 addr_format_ip(&e->address, ip));
	for (char *c = m->name; *c; c++)
		*c = *c == ':' ? '-' : *c;
	if (m->name[strlen(m->name) - 1] == '-')
		strcat(m->name, "0"); /* fd00:: */
}

static int add_member(struct making *in, const struct kube_endpoint *e, uint16_t port)
{
	struct member *m;

	if (!ROOM_FOR_ONE(in->members, in->count, in->room, 16))
		return -ENOMEM;
	m = &in->members[in->count];
	name_member(in->service, e, m);
	addr_format(&e->address, port, m->address);
	m->drained = e->terminating;
	in->count++;
	return 0;
}

/* A pod that terminates is no longer ready, but serves until it ends: it is a member that is
 * drained. Where the Service publishes pods that are not ready, all are called ready. */
static bool is_member(const struct kube_endpoint *e)
{
	return e->ready || (e->terminating && e->serving);
}

static int add_slice(struct making *in, const struct kube_slice *slice, const char *port)
{
	int err = 0;

	for (size_t i = 0; i < slice->port_count; i++) {
		if (strcmp(slice->ports[i].name, port) != 0)
			continue;
		for (size_t k = 0; !err && k < slice->endpoint_count; k++) {
			const struct kube_endpoint *e = &slice->endpoints[k];

			if (is_member(e) && has_family(in->service, addr_is_v4(&e->address)))
				err = add_member(in, e, slice->ports[i].port);
		}
		return err;
	}
	return 0;
}

/* While a controller rewrites slices, a pod may be in two of them. */
static void drop_doubles(struct making *in)
{
	size_t n = 0;

	if (in->count)
		qsort(in->members, in->count, sizeof(*in->members), by_name);
	for (size_t i = 0; i < in->count; i++)
		if (!n || strcmp(in->members[n - 1].address, in->members[i].address) != 0)
			in->members[n++] = in->members[i];
	in->count = n;
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

#define FRONTENDS_MAX (2 * KUBE_MAX_PORTS)

/* Each ClusterIP with each port of that target. */
static size_t list_frontends(const struct kube_service *s, const char *target,
			     char (*texts)[ADDR_TEXT_SIZE], const char **frontends)
{
	size_t n = 0;

	for (size_t a = 0; a < s->address_count; a++) {
		for (size_t i = 0; i < s->port_count; i++) {
			if (strcmp(s->ports[i].target, target) != 0)
				continue;
			frontends[n] = addr_format(&s->addresses[a], s->ports[i].port, texts[n]);
			n++;
		}
	}
	return n;
}

static int put_pool(struct config_founds *p, const struct making *in, size_t port, bool several)
{
	const struct kube_service *s = in->service;
	_cleanup_free_ char(*texts)[ADDR_TEXT_SIZE] = calloc(FRONTENDS_MAX, sizeof(*texts));
	_cleanup_free_ const char **frontends = calloc(FRONTENDS_MAX, sizeof(*frontends));
	struct config_parts parts = {.mode = s->mode, .frontends = frontends};
	char name[2 * KUBE_LABEL_SIZE + KUBE_PORT_SIZE + 2];
	int err;

	parts.endpoints = calloc(in->count, sizeof(*parts.endpoints));
	if (!texts || !frontends || !parts.endpoints) {
		free(parts.endpoints);
		return -ENOMEM;
	}
	snprintf(name, sizeof(name), "%s/%s%s%s", s->space, s->name, several ? ":" : "",
		 several ? s->ports[port].name : "");
	parts.name = name;
	parts.frontend_count = list_frontends(s, s->ports[port].target, texts, frontends);
	for (size_t i = 0; i < in->count; i++) {
		parts.endpoints[i].name = in->members[i].name;
		parts.endpoints[i].address = in->members[i].address;
		parts.endpoints[i].drained = in->members[i].drained;
	}
	parts.endpoint_count = in->count;
	err = config_founds_put(p, &parts);
	free(parts.endpoints);
	return err;
}

int kube_pools_add(struct config_founds *p, const struct kube_service *s,
		   struct kube_slice *const *slices, size_t slice_count, char why[KUBE_WHY_SIZE])
{
	bool several = count_targets(s) > 1;
	int err = 0;

	why[0] = '\0';
	if (leave_service(s, why))
		return 0;
	for (size_t i = 0; !err && i < s->port_count; i++) {
		struct making in = {.service = s};

		if (!is_first_of_target(s, i))
			continue;
		for (size_t k = 0; !err && k < slice_count; k++)
			err = add_slice(&in, slices[k], s->ports[i].name);
		drop_doubles(&in);
		if (!err && in.count)
			err = put_pool(p, &in, i, several);
		else if (!err)
			leave(why, "port %u has no ready endpoint", s->ports[i].port);
		free(in.members);
	}
	return err;
}
