/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exporter.h - serves /metrics, /healthz and /readyz on the daemon's event loop, with no thread of
 * its own: so an answer at /healthz proves that the loop runs.
 *
 *	GET or HEAD	/metrics	200, the page that `render` builds; 500 when it cannot
 *			/healthz	200
 *			/readyz		200, or 503 with the reason that `ready` gives
 *			anything else	404
 *	another method			405
 *
 * A connection has 5 s for a whole request, and 10 s to read the answer. At most 64 connections are
 * open. The 65th drops the connection that has been idle longest, or if none is idle the one whose
 * answer began longest ago: so clients that hold connections open never keep a probe out.
 */
#ifndef PINTLE_EXPORTER_H
#define PINTLE_EXPORTER_H

#include <stdbool.h>
#include <uv.h>

#include "../../base/metrics_text.h"

struct exporter;

/* Called on the loop; must not call into the exporter. */
struct exporter_callbacks {
	/* Fills the page; if out->error is set afterwards, the answer is 500. */
	void (*render)(struct metrics_text *out, void *arg);
	/* Returns whether the daemon is ready. If not, sets *why to the reason, which must stay
	 * valid until the next turn of the loop. */
	bool (*ready)(void *arg, const char **why);
};

/** Listens on `address` in the caller's network namespace: "127.0.0.1:9464", "[::1]:9464", or a
 * bare port on 127.0.0.1. Copies `callbacks`; `arg` is passed to them. Returns 0 and *out
 * (exporter_free() it); or -errno, logged, with *out untouched: -EADDRINUSE: the port is taken. */
int exporter_new(uv_loop_t *loop, const char *address, const struct exporter_callbacks *callbacks,
		 void *arg, struct exporter **out);

/** Stops listening and closes all connections. The loop must then run until it has no handles left,
 * and only after that be closed, because `e` is freed with its last handle. NULL is fine. Must not
 * be called from within a callback. */
void exporter_free(struct exporter *e);

#endif
