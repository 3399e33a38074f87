/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overload.h - keeps the overload responder (responder/responder.h) running while a pool's class
 * has `admission: divert`: makes its listeners, starts it, tells the programs in the kernel where
 * it is, and tells it when clients should come back.
 */
#ifndef PINTLE_OVERLOAD_H
#define PINTLE_OVERLOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "../../config/config.h"
#include "../../responder/board.h"
#include "../ground.h"
#include "order.h"
#include "publication.h"

struct overload;

/** Makes *out; the listeners will be in the ground's network namespace. Returns 0 and *out
 * (overload_free() it); or -errno, logged. */
int overload_new(const struct ground *g, struct overload **out);

/** Goes by this configuration, which must stay until the next call. */
void overload_configure(struct overload *o, const struct config *c, const struct publication *p,
			const struct orders *orders);

/** Looks at the load, and mends what is missing; to be called a few times a second, after
 * orders_update(). */
void overload_look(struct overload *o, const struct orders *orders);

/** Returns whether a responder is wanted; *up: whether it takes connections. */
bool overload_wanted(const struct overload *o, bool *up);
/** Returns its counts; NULL: none was ever wanted. Owned by `o`. */
const struct board *overload_board(const struct overload *o);

/** Lets the responder end once its clients are answered. NULL is fine. */
void overload_free(struct overload *o);

#endif
