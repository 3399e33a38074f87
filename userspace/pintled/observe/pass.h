/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pass.h - the pass: looks at the steered sockets every PASS_MS, by the iterators of
 * bpf/pass/pass.bpf.c, and publishes what the endpoints have to do: `works` for people, and what
 * the rule wants of it in `scores`.
 */
#ifndef PINTLE_PASS_H
#define PINTLE_PASS_H

#include "../../config/config.h"
#include "../ground.h"
#include "../publish/publication.h"

struct pass;
struct poller;

/* A pass begins so long after the one before, or PASS_SHARE times as long as that one kept a CPU
 * busy, whichever is longer: the passes take no more than 2 % of a CPU. */
#define PASS_MS    50
#define PASS_SHARE 50

/** Begins to pass. `pages` says what the endpoints' pages said, and tells of probes; it must
 * outlive the pass. Returns 0 and *out (pass_free() it, then run the loop until its handle is
 * closed), which stays as it is where the kernel does not let requests be followed; or -ENOMEM,
 * logged. */
int pass_new(const struct ground *g, struct poller *pages, struct pass **out);

/** Follows these pools from now on. `c` and `published` must live until the next call. Clears what
 * is known of the requests of pools that are not followed. NULL for `p` is ignored. */
void pass_configure(struct pass *p, const struct config *c, const struct publication *published);

/** Figures for /metrics: passes so far, and seconds of CPU time that they took. */
struct pass_figures {
	uint64_t passes;
	double cpu_seconds;
};
struct pass_figures pass_figures(const struct pass *p);

/** NULL is fine. */
void pass_free(struct pass *p);

#endif
