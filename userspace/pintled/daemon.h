/* SPDX-License-Identifier: Apache-2.0 */
/* daemon.h - pintled while it runs: attached, polling, serving, until a signal. */
#ifndef PINTLE_DAEMON_H
#define PINTLE_DAEMON_H

#include "../config/config.h"
#include "settings.h"

/** Attaches (or takes over what is pinned), polls and serves until SIGTERM or SIGINT, and leaves
 * the steering in place. SIGHUP, or `pintle reload`, reads the file again. Takes ownership of what
 * settings_load() gave. Returns 0 after a
 * signal; else -errno, logged, with what was pinned before still steering. */
int daemon_run(struct settings *s, struct config *c);

#endif
