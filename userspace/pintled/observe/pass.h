/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pass.h - the pass: looks at the steered sockets every PASS_MS, by the iterators of
 * bpf/pass/pass.bpf.c, and publishes what the endpoints have to do: `works` for people, and what
 * the rule wants of it in `scores`.
 */
#ifndef PINTLE_PASS_H
#define PINTLE_PASS_H

#include <uv.h>

#include "../../config/config.h"
#include "../../maps/maps.h"
#include "../publish/publish.h"

struct pass;
struct pintle_bpf;
struct poller;

/* A pass begins so long after the one before, or PASS_SHARE times as long as that one kept a CPU
 * busy, whichever is longer: the passes take no more than 2 % of a CPU. */
#define PASS_MS    50
#define PASS_SHARE 50

/** Attaches the iterators of a loaded skeleton, which may be unloaded afterwards. Returns 0 and
 * *out (pass_free() it, before the maps are closed); or -errno, logged. */
int pass_attach(const struct pintle_bpf *skel, const struct maps *m, struct pass **out);

/** Begins to pass, on the loop. `pages` says what the endpoints' pages said; it must outlive the
 * loop's run. */
void pass_start(struct pass *p, uv_loop_t *loop, const struct poller *pages);

/** Follows these pools from now on. `c` and `published` must live until the next call. Clears what
 * is known of the requests of pools that are not followed. NULL for `p` is ignored. */
void pass_configure(struct pass *p, const struct config *c, const struct publication *published);

/** Takes in that a probe of pintled's own was answered as a request is, or was not: see
 * progress_probe(). `pass` is a struct pass; NULL is ignored. For poller_tell(). */
void pass_probed(void *pass, struct pintle_ref endpoint, bool good, uint64_t begun_ns,
		 uint64_t until_ns);

/** Figures for /metrics: passes so far, and seconds of CPU time that they took. */
struct pass_figures {
	uint64_t passes;
	double cpu_seconds;
};
struct pass_figures pass_figures(const struct pass *p);

/** Stops, and closes the timer; the loop must run once more. */
void pass_stop(struct pass *p);
void pass_free(struct pass *p);

#endif
