/* SPDX-License-Identifier: Apache-2.0 */
/* members.h - which addresses are endpoints' own, and whose connections to them are left alone. */
#ifndef PINTLE_MEMBERS_H
#define PINTLE_MEMBERS_H

#include "publication.h"

/** Writes the endpoints of all pools that are decided on the clients' node into map `members`, and
 * the clients that they spare into `spared`; removes all others. Returns 0 or -errno, logged. */
int members_publish(const struct maps *m, const struct config *c, const struct publication *p);

#endif
