/* SPDX-License-Identifier: Apache-2.0 */
/* tenants.h - what each tenant of a pool may have, and the counts of tenants that are gone. */
#ifndef PINTLE_TENANTS_H
#define PINTLE_TENANTS_H

#include "../../maps/maps.h"
#include "publication.h"

/** Writes the quotas, and sees to it that each pool with quotas has an entry for the tenants
 * without one. Returns 0 or -errno, logged. */
int tenants_publish(const struct maps *m, const struct config *c, const struct publication *p);

/** Deletes the entries of pools that are gone or have no quotas, and those of tenants that have no
 * connection and had none for ten minutes, whose numbers are added to the pool's other tenants'. */
void tenants_settle(const struct maps *m);

#endif
