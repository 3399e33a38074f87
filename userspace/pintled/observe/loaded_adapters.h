/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loaded_adapters.h - which LoRA adapters the endpoints have loaded, for the hand-off (`adapters`).
 *
 * Only names that some pool's `models` has are known: an adapter becomes one when an endpoint of
 * the pool that serves it says that it is one, by its metrics page or its list of models.
 */
#ifndef PINTLE_LOADED_ADAPTERS_H
#define PINTLE_LOADED_ADAPTERS_H

#include "../../config/config.h"
#include "../../maps/maps.h"
#include "../../policy/model_list.h"
#include "../publish/publication.h"

struct loaded_adapters;

/** Makes *out; `m` must outlive it. Returns 0 and *out (loaded_adapters_free() it), or -errno,
 * logged. */
int loaded_adapters_new(const struct maps *m, struct loaded_adapters **out);
/** Looks for the names of `c`, which are published, from now on. Without memory none is known,
 * which is logged. */
void loaded_adapters_configure(struct loaded_adapters *a, const struct config *c,
			       const struct publication *pub);
/** Returns whether requests go to the pool, an index into the configuration, by their model, and
 * adapters weigh something there. */
bool loaded_adapters_concern(const struct loaded_adapters *a, size_t pool);
/** Notes that the endpoint's page is asked for now. */
void loaded_adapters_begin(struct loaded_adapters *a, struct pintle_ref endpoint);
/** Takes in the endpoint's page, which was asked for at the newest loaded_adapters_begin(). */
void loaded_adapters_page(struct loaded_adapters *a, struct pintle_ref endpoint, size_t pool,
			  const char *page, size_t size);
/** Takes in the endpoint's list of models. */
void loaded_adapters_list(struct loaded_adapters *a, struct pintle_ref endpoint, size_t pool,
			  const struct model_list *list);
void loaded_adapters_free(struct loaded_adapters *a);

#endif
