/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rests.h - pools whose hand-off rests, because no socket becomes of what it hands over. The
 * programs find out that hand-overs fail (bpf/handoff/rest.bpf.h), each by a client that fails.
 * Where chains of nat stand, pintled knows it in advance, and lets the hand-off rest before anybody
 * fails.
 */
#ifndef PINTLE_RESTS_H
#define PINTLE_RESTS_H

#include "../ground.h"
#include "publication.h"

struct rests;

/** Lets the hand-off of those pools rest, before they are published, whose sockets nat of the
 * namespace would take off. */
void rests_begin(const struct maps *m, int netns_fd, const struct config *c,
		 const struct publication *p);

/** Makes *out; the ground must outlive it. Returns 0 and *out (rests_free() it), or -ENOMEM,
 * logged. */
int rests_new(const struct ground *g, struct rests **out);
/** Looks at what the programs found, and at nat; begins and ends rests, and logs both. To be called
 * each second. */
void rests_look(struct rests *r, const struct config *c);
/** Frees it; NULL is fine. */
void rests_free(struct rests *r);

#endif
