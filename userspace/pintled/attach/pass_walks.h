/* SPDX-License-Identifier: Apache-2.0 */
/* pass_walks.h - the iterators of bpf/pass/pass.bpf.c, and the maps that they fill. */
#ifndef PINTLE_PASS_WALKS_H
#define PINTLE_PASS_WALKS_H

#include "../../maps/maps.h"

struct bpf_link;
struct pintle_bpf;

struct pass_walks {
	struct bpf_link *links[4];
	struct pintle_work *tally; /* by the endpoint's id; the programs add to it */
	int queues_fd;             /* of the map accept_queues */
};

/** Attaches the iterators of a loaded skeleton, which may be unloaded afterwards. Returns 0 and
 * *out (pass_walks_free() it); or -errno, logged. */
int pass_walks_new(const struct pintle_bpf *skel, const struct maps *m, struct pass_walks **out);
/** Walks over all steered sockets once. Returns 0 or -errno. */
int pass_walks_run(const struct pass_walks *w);
/** NULL is fine. */
void pass_walks_free(struct pass_walks *w);

#endif
