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

#include "../ground.h"
#include "clients.h"
#include "cluster.h"

struct client_pods;

/** Makes *out. Returns 0 and *out (client_pods_free() it), or -ENOMEM, logged. */
int client_pods_new(const struct ground *g, struct client_pods **out);
void client_pods_free(struct client_pods *p);

/** Brings the map up to date. Does nothing until the pods were listed, or are known to be missing.
 * Empties it without a cluster (`c` NULL). */
void client_pods_update(struct client_pods *p, const struct cluster *c);

/** Returns whether the connections of some pod go on as they came, as far as is known: then the map
 * `clients` has to say which cgroups are whose. */
bool client_pods_left_alone(const struct client_pods *p);

/** Says once if running pods have no cgroup where `x` looks for them: then each network namespace
 * is a client. To be called now and then. */
void client_pods_look(struct client_pods *p, const struct cluster *c, const struct clients *x);

#endif
