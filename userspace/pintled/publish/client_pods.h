/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_pods.h - which pod of this node a client is: keeps the map `pods` as the API server has
 * it.
 *
 * clients.h finds a pod's uid by its cgroup; the API server says which namespace, name and service
 * account that uid has. While the API server is away, what is known stays.
 */
#ifndef PINTLE_CLIENT_PODS_H
#define PINTLE_CLIENT_PODS_H

#include "../../maps/maps.h"
#include "clients.h"
#include "../core/cluster.h"

struct pods;

/** Makes one; `m` must outlive it. Returns NULL without memory (logged). pods_free() it. */
struct pods *pods_new(const struct maps *m);
void pods_free(struct pods *p);

/** Brings the map up to date. Does nothing until the pods were listed, or are known to be missing.
 * Empties it without a cluster (`c` NULL). */
void pods_update(struct pods *p, const struct cluster *c);

/** Returns whether the connections of some pod go on as they came, as far as is known: then the map
 * `clients` has to say which cgroups are whose. */
bool pods_left_alone(const struct pods *p);

/** Says once if running pods have no cgroup where `x` looks for them: then each network namespace
 * is a client. To be called now and then. */
void pods_look(struct pods *p, const struct cluster *c, const struct clients *x);

#endif
