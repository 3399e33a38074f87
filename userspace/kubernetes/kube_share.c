// SPDX-License-Identifier: Apache-2.0
#include "kube_share.h"

#include <errno.h>
#include <pintle/abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "../config/config.h"

const struct kube_amount kube_room = {
	.pools = PINTLE_MAX_POOLS,
	.endpoints = PINTLE_MAX_ENDPOINTS,
	.frontends = PINTLE_MAX_FRONTENDS,
	.spared = PINTLE_MAX_SPARED,
	.models = PINTLE_MAX_MODELS,
};

static const struct {
	const char *name;
	size_t offset;
} things[] = {
	{"pools", offsetof(struct kube_amount, pools)},
	{"endpoints", offsetof(struct kube_amount, endpoints)},
	{"frontends", offsetof(struct kube_amount, frontends)},
	{"clients that are left alone", offsetof(struct kube_amount, spared)},
	{"models", offsetof(struct kube_amount, models)},
};

static size_t of(const struct kube_amount *a, size_t i)
{
	size_t n;

	memcpy(&n, (const char *)a + things[i].offset, sizeof(n));
	return n;
}

static void share_add(struct kube_amount *a, const struct kube_amount *b)
{
	a->pools += b->pools;
	a->endpoints += b->endpoints;
	a->frontends += b->frontends;
	a->spared += b->spared;
	a->models += b->models;
}

static struct kube_space *space_get(struct kube_share *s, const char *name)
{
	for (size_t i = 0; i < s->count; i++)
		if (!strcmp(s->spaces[i].name, name))
			return &s->spaces[i];
	if (!ROOM_FOR_ONE(s->spaces, s->count, s->room, 16))
		return NULL;
	s->spaces[s->count] = (struct kube_space){0};
	snprintf(s->spaces[s->count].name, KUBE_LABEL_SIZE, "%s", name);
	return &s->spaces[s->count++];
}

int kube_share_take(struct kube_share *s, const char *name, struct kube_amount amount,
		    char why[KUBE_WHY_SIZE])
{
	struct kube_space *space = space_get(s, name);

	if (!space)
		return -ENOMEM;
	why[0] = '\0';
	if (amount.largest > PINTLE_MAX_MEMBERS)
		snprintf(why, KUBE_WHY_SIZE, "it has %zu endpoints, and a pool has room for %d",
			 amount.largest, PINTLE_MAX_MEMBERS);
	for (size_t i = 0; i < ARRAY_SIZE(things) && !why[0]; i++) {
		size_t all = of(&kube_room, i), wants = of(&amount, i);

		if (!wants)
			continue;
		if (of(&space->taken, i) + wants > all / 2)
			snprintf(why, KUBE_WHY_SIZE,
				 "namespace %s has %zu %s already, and no more than half of %zu "
				 "are for one namespace",
				 name, of(&space->taken, i), things[i].name, all);
		else if (of(&s->taken, i) + wants > all)
			snprintf(why, KUBE_WHY_SIZE,
				 "there is no room: older pools have %zu of %zu %s",
				 of(&s->taken, i), all, things[i].name);
	}
	if (why[0])
		return 0;
	share_add(&s->taken, &amount);
	share_add(&space->taken, &amount);
	return 0;
}

void kube_share_free(struct kube_share *s)
{
	free(s->spaces);
	*s = (struct kube_share){0};
}
