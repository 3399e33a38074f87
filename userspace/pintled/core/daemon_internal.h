/* SPDX-License-Identifier: Apache-2.0 */
/* daemon_internal.h - what the files of the daemon's core share. */
#ifndef PINTLE_DAEMON_INTERNAL_H
#define PINTLE_DAEMON_INTERNAL_H

#include <uv.h>

#include "../observe/process.h"
#include "parts.h"
#include "settings.h"

struct attachment;
struct state;

struct daemon {
	uv_loop_t loop;
	uv_timer_t heartbeat, housekeeping, tending, reload, pods_settle;
	uv_timer_cb beat; /* of the heartbeat */
	uv_signal_t sigterm, sigint, sighup;
	struct settings *settings;
	struct config *config; /* made by `settings` */
	struct publication *publication;
	struct attachment *attachment;
	struct parts parts;
	uint64_t found_hash; /* of the cluster's pools in the current configuration */
	bool behind;         /* the cluster's pools could not be applied */
	struct process process;
	bool attached, ready_told, removed;
	uint64_t started_ns, watchdog_ns, watchdog_told_ns;
};

/* ---- reload.c ---------------------------------------------------------------- */

/* Returns -EMFILE, logged, where so few files may be open that even the start would fail half-way.
 */
int reload_check_files(const struct config *c);
/* How often the daemon says that it lives: more often until it is ready. */
uint64_t reload_heartbeat_ms(const struct daemon *d);
/* Logs which frontends and rules serve nobody on this machine. */
void reload_tell_unserved(const struct daemon *d);
/* Reads the file again. Returns 0 or -errno, logged, with the first error in `why`. */
int reload_file(struct daemon *d, char why[PINTLE_WHY_SIZE]);
/* Applies what users set, and what was found. Returns 0 or -errno, logged. */
int reload_settings(struct daemon *d);

/* ---- found.c ------------------------------------------------------------------ */

/* Takes what is pinned for what the API server and DNS will say. Returns 0 or -errno, logged. */
int found_first(struct daemon *d);
/* Likewise, once the pins of another build were carried over. */
int found_carried(struct daemon *d);
/* Begins to follow the cluster, if there is one. Returns 0 or -errno, logged. */
int found_follow(struct daemon *d);
/* Look again at the cluster's pools, and at the addresses of hosts, and apply them. */
void found_again(void *daemon);
void found_hosts(void *daemon);
/* Lets the cluster, and `pintle status`, know what became of its pools. */
void found_tell(struct daemon *d);

/* ---- served.c ------------------------------------------------------------------ */

extern const struct exporter_callbacks served_callbacks;

#endif
