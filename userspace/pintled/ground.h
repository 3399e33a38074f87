/* SPDX-License-Identifier: Apache-2.0 */
/* ground.h - what each part of the daemon stands on, once the programs are loaded. */
#ifndef PINTLE_GROUND_H
#define PINTLE_GROUND_H

#include <stdbool.h>
#include <uv.h>

#include "../maps/maps.h"

struct pass_walks;
struct recount;
struct seats;

/* Owned by the attachment, but for the loop. All of it outlives the parts. */
struct ground {
	uv_loop_t *loop;
	struct maps *maps; /* open for writing */
	int netns_fd;      /* the network namespace that is steered */
	const char *dir;   /* of the pins; NULL until the attachment is committed */
	bool resumed;      /* pins were found: bindings and counts are older than the process */
	int earlier_fd;    /* the program of earlier.h, or -errno */
	struct recount *recount;       /* NULL: the kernel does not recount */
	struct seats *seats;           /* NULL: the same of tenants */
	struct pass_walks *pass_walks; /* NULL: the kernel does not let requests be followed */
};

#endif
