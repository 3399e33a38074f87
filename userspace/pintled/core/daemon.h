/* SPDX-License-Identifier: Apache-2.0 */
/* daemon.h - pintled's main loop: attaches, polls and serves until a signal comes. */
#ifndef PINTLE_DAEMON_H
#define PINTLE_DAEMON_H

#include "../../config/config.h"
#include "settings.h"

/** Attaches, or takes over what is pinned; polls and serves until SIGTERM or SIGINT; leaves the
 * steering in place. SIGHUP, or `pintle reload`, reads the file again. Takes ownership of `s` and
 * `c`, which settings_load() gave. Returns 0 after a signal; DAEMON_REMOVED
 * once the chart is removed, with everything still steering; or -errno, logged, with what was
 * pinned before still steering. */
#define DAEMON_REMOVED 1
int daemon_run(struct settings *s, struct config *c);

#endif
