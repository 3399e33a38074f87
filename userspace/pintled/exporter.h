/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exporter.h - serves /metrics, /healthz and /readyz on the daemon's event loop, with no
 * thread of its own: that /healthz answers is the proof that the loop lives.
 *
 *	GET or HEAD	/metrics	200, the page that `render` builds; 500 when it cannot
 *			/healthz	200
 *			/readyz		200, or 503 with the reason that `ready` gives
 *			anything else	404
 *	another method			405
 *
 * A connection has 5 s for a whole request, and 10 s to read the answer. There are at most 64: a
 * new one drops the one that has been idle longest, or else the one that has been answered longest,
 *so that clients who hold connections never keep a probe out.
 */
#ifndef PINTLE_EXPORTER_H
#define PINTLE_EXPORTER_H

#include <stdbool.h>
#include <uv.h>

#include "../base/metrics_text.h"

struct exporter;

/* Called on the loop; must not call into the exporter. */
struct exporter_callbacks {
	/* Fills the page; what it sets in out->error is answered as 500. */
	void (*render)(struct metrics_text *out, void *arg);
	/* Whether the daemon is ready; when not, *why is a sentence that stays valid until the
	 * next turn of the loop. */
	bool (*ready)(void *arg, const char **why);
};

/** Listens on `address`: "127.0.0.1:9464", "[::1]:9464", or a bare port on 127.0.0.1; in the
 * caller's network namespace. Returns 0 and *out; or logs what is wrong (a taken port says so) and
 * returns -errno, -EADDRINUSE among them, with *out untouched. `callbacks` is copied. */
int exporter_new(uv_loop_t *loop, const char *address, const struct exporter_callbacks *callbacks,
		 void *arg, struct exporter **out);

/** Stops listening, cuts open connections, and frees: at once what is not the loop's, the rest
 * while the loop runs on. So: run it until it has no handles left before uv_loop_close(). NULL is
 * allowed. Not from within a callback. */
void exporter_free(struct exporter *e);

#endif
