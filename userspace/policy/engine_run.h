/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_run.h - whether an engine has started anew, by what its pages say of it.
 *
 * An engine that starts anew has nothing cached. Where it listens itself, its listener tells that.
 * Behind a front end that goes on listening, only the page does.
 */
#ifndef PINTLE_ENGINE_RUN_H
#define PINTLE_ENGINE_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "engines.h"

struct engine_run {
	uint64_t started_ms; /* since 1970; 0: the page does not say */
	uint64_t tokens;     /* that the engine has counted; 0 also where the page counts none */
};

/** Returns what the page with these signals says. */
struct engine_run engine_run_of(const struct signals *page);

/** Returns whether the engine of the page `now` is not the one of the page `before`: it was started
 * at another time, or has counted less. A difference of a second is none: some exporters compute
 * the time anew for each page, by a clock that is being adjusted. */
bool engine_run_is_new(const struct engine_run *before, const struct engine_run *now);

#endif
