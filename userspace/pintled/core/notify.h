/* SPDX-License-Identifier: Apache-2.0 */
/* notify.h - tells the service manager the daemon's state (the protocol of sd_notify(3)). */
#ifndef PINTLE_NOTIFY_H
#define PINTLE_NOTIFY_H

#include <stdint.h>

/* Each returns 0 when the message was sent, or when $NOTIFY_SOCKET is not set and so no manager
 * listens; else -errno. None blocks: -EAGAIN when the manager's queue is full. */

/** Sends READY=1: start or reload is over. `status` (may be NULL) is shown by systemctl status. */
int notify_ready(const char *status);
/** Sends RELOADING=1, with the time the protocol asks for; notify_ready() ends it. */
int notify_reloading(void);
int notify_stopping(const char *status);
/** Sends STATUS=... alone: one line; `status` is cut at its first newline. */
int notify_status(const char *status);
/** Sends WATCHDOG=1: still alive. */
int notify_watchdog(void);

/** Returns at which intervals, in ns, notify_watchdog() should be called: half of $WATCHDOG_USEC; 0
 * when the manager does not watch, or watches another process ($WATCHDOG_PID). */
uint64_t notify_watchdog_interval_ns(void);

#endif
