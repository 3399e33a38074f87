/* SPDX-License-Identifier: Apache-2.0 */
/* publication.h - which ids the pools and endpoints of a configuration have in the maps. */
#ifndef PINTLE_PUBLICATION_H
#define PINTLE_PUBLICATION_H

#include "../../config/config.h"
#include "../../maps/maps.h"

/* Parallel to config->pools, and `endpoints` to each pool's endpoints. */
struct published_pool {
	struct pintle_ref ref;
	struct pintle_ref *endpoints;
	uint64_t homes; /* hash of what its table in the map `homes` was made of */
	/* It fails close once a page of a member was read: until then nobody knows whether there
	 * are model servers at a Service's port. */
	bool closes_once_read;
};

struct publication {
	struct published_pool *pools;
	size_t pool_count;
};

/** NULL is fine. */
void publication_free(struct publication *p);

#endif
