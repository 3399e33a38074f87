// SPDX-License-Identifier: Apache-2.0
#include "kube_making.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "../maps/names.h"

static int add_frontend(struct kube_making *m, const char *text)
{
	for (size_t i = 0; i < m->frontend_count; i++)
		if (!strcmp(m->frontends[i], text))
			return 0;
	if (!ROOM_FOR_ONE(m->frontends, m->frontend_count, m->frontend_room, 8))
		return -ENOMEM;
	snprintf(m->frontends[m->frontend_count++], ADDR_TEXT_SIZE, "%s", text);
	return 0;
}

int kube_making_frontend(struct kube_making *m, const struct addr *address, uint16_t port)
{
	char text[ADDR_TEXT_SIZE];
	bool v4 = addr_is_v4(address);

	if (!m->frontend_count)
		m->v4_first = v4;
	m->v4 = m->v4 || v4;
	m->v6 = m->v6 || !v4;
	return add_frontend(m, addr_format(address, port, text));
}

int kube_making_prefixes(struct kube_making *m, const struct kube_extra *extra, uint16_t port)
{
	char text[ADDR_TEXT_SIZE];
	int err = 0;

	for (size_t i = 0; extra && !err && i < extra->prefix_count; i++)
		if (extra->prefixes[i].port == port)
			err = add_frontend(m, addr_format_frontend(&extra->prefixes[i], text));
	return err;
}

static void name_address(const struct addr *address, char *name, size_t size)
{
	char ip[ADDR_TEXT_SIZE];

	snprintf(name, size, "%s%s", addr_is_v4(address) ? "" : "ip-", addr_format_ip(address, ip));
	for (char *c = name; *c; c++)
		*c = *c == ':' ? '-' : *c;
	if (name[strlen(name) - 1] == '-')
		strcat(name, "0"); /* fd00:: */
}

int kube_making_member(struct kube_making *m, const char *pod, const struct addr *address,
		       uint16_t port, uint16_t rank, bool drained, uint32_t place, const char *gpus)
{
	bool v4 = addr_is_v4(address);
	struct kube_member *one;
	char suffix[16] = "";

	if (!(v4 ? m->v4 : m->v6))
		return 0;
	if (!ROOM_FOR_ONE(m->members, m->member_count, m->member_room, 16))
		return -ENOMEM;
	one = &m->members[m->member_count++];
	if (rank)
		snprintf(suffix, sizeof(suffix), ".%u", rank);
	if (pod[0])
		snprintf(one->name, sizeof(one->name), "%s%s%s", pod, suffix,
			 m->v4_first == v4 ? "" : second_family(v4));
	else
		name_address(address, one->name, sizeof(one->name));
	addr_format(address, port, one->address);
	one->ip = *address;
	one->drained = drained;
	one->place = place;
	snprintf(one->pod, sizeof(one->pod), "%s", pod);
	snprintf(one->gpus, sizeof(one->gpus), "%s", pod[0] ? gpus : "");
	return 0;
}

int kube_making_spare(struct kube_making *m, const char *uid)
{
	size_t length = strlen(uid);

	if (!length || length + sizeof("pod/") > PINTLE_CLIENT_NAME_SIZE ||
	    m->spared_count == PINTLE_MAX_SPARED)
		return 0;
	if (!ROOM_FOR_ONE(m->spared, m->spared_count, m->spared_room, 16))
		return -ENOMEM;
	snprintf(m->spared[m->spared_count++], sizeof(*m->spared), "pod/%.*s", (int)length, uid);
	return 0;
}

static int making_by_name(const void *left, const void *right)
{
	const struct kube_member *a = left, *b = right;

	return strcmp(a->name, b->name) ?: strcmp(a->address, b->address);
}

static int by_text(const void *left, const void *right)
{
	return strcmp(left, right);
}

static void sort_spared(struct kube_making *m)
{
	size_t n = 0;

	if (m->spared_count)
		qsort(m->spared, m->spared_count, sizeof(*m->spared), by_text);
	for (size_t i = 0; i < m->spared_count; i++)
		if (!n || strcmp(m->spared[n - 1], m->spared[i]) != 0)
			memmove(m->spared[n++], m->spared[i], sizeof(*m->spared));
	m->spared_count = n;
}

static void sort_members(struct kube_making *m)
{
	size_t n = 0;

	if (m->member_count)
		qsort(m->members, m->member_count, sizeof(*m->members), making_by_name);
	for (size_t i = 0; i < m->member_count; i++)
		if (!n || strcmp(m->members[n - 1].address, m->members[i].address) != 0)
			m->members[n++] = m->members[i];
	m->member_count = n;
}

int kube_making_put(struct kube_making *m, const char *name, const char *mode, const char *keys,
		    struct config_founds *to)
{
	_cleanup_free_ const char **frontends = calloc(m->frontend_count + 1, sizeof(*frontends));
	_cleanup_free_ struct config_member *members =
		calloc(m->member_count + 1, sizeof(*members));
	_cleanup_free_ const char **spared = calloc(m->spared_count + 1, sizeof(*spared));
	char space[KUBE_LABEL_SIZE];
	struct config_parts parts = {
		.name = name,
		.mode = mode,
		.frontends = frontends,
		.frontend_count = m->frontend_count,
		.endpoints = members,
		.intercept = m->intercept,
		.spared = spared,
		.keys = keys,
	};

	if (!frontends || !members || !spared)
		return -ENOMEM;
	sort_members(m);
	sort_spared(m);
	parts.endpoint_count = m->member_count;
	snprintf(space, sizeof(space), "%.*s", (int)strcspn(name, "/"), name);
	for (size_t i = 0; i < m->frontend_count; i++)
		frontends[i] = m->frontends[i];
	for (size_t i = 0; i < m->member_count; i++) {
		members[i].name = m->members[i].name;
		members[i].address = m->members[i].address;
		members[i].drained = m->members[i].drained;
		members[i].place = m->members[i].place;
		if (!m->members[i].gpus[0])
			continue;
		members[i].gpu_exporter = m->members[i].gpus;
		members[i].gpu_pod = m->members[i].pod;
		members[i].gpu_namespace = space;
	}
	for (size_t i = 0; i < m->spared_count; i++)
		spared[i] = m->spared[i];
	parts.spared_count = m->spared_count;
	return config_founds_put(to, &parts);
}

void kube_making_free(struct kube_making *m)
{
	free(m->frontends);
	free(m->members);
	free(m->spared);
	*m = (struct kube_making){0};
}
