/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tenant_minutes.h - how long the clients of each tenant waited for first tokens in the last
 * minute: from the map `tenant_firsts` into the map `tenant_minutes`, for people.
 */
#ifndef PINTLE_TENANT_MINUTES_H
#define PINTLE_TENANT_MINUTES_H

#include "../../config/config.h"
#include "../ground.h"
#include "../publish/publication.h"

struct tenant_minutes;

/** Makes *out. Returns 0 and *out (tenant_minutes_free() it), or -errno, logged. */
int tenant_minutes_new(const struct ground *g, struct tenant_minutes **out);

/** Takes in, when the daemon begins and then every few seconds, what came since, publishes the
 * percentiles, and deletes the entries of tenants that are gone. Costs next to nothing where there
 * are none. */
void tenant_minutes_look(struct tenant_minutes *t, const struct config *c,
			 const struct publication *published);

/** Frees it; NULL is ignored. */
void tenant_minutes_free(struct tenant_minutes *t);

#endif
