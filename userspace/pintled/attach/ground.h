/* SPDX-License-Identifier: Apache-2.0 */
/* ground.h - what each part of the daemon stands on, once the programs are loaded. */
#ifndef PINTLE_GROUND_H
#define PINTLE_GROUND_H

#include <stdbool.h>
#include <uv.h>

#include "../../maps/maps.h"

struct pass;
struct recount;
struct seats;

/* Owned by the attachment, but for the loop. */
struct ground {
	uv_loop_t *loop;
	struct maps *maps;
	int netns_fd;    /* the network namespace that is steered */
	const char *dir; /* of the pins, once the attachment is committed */
	bool resumed;    /* pins were found: bindings and counts are older than the process */
	struct recount *recount; /* NULL: the kernel does not recount */
	struct seats *seats;     /* NULL: the same of tenants */
	struct pass *pass;       /* NULL: the kernel does not let requests be followed */
};

#endif
