/* SPDX-License-Identifier: Apache-2.0 */
/* programs.h - programs into the kernel. */
#ifndef PINTLE_PROGRAMS_H
#define PINTLE_PROGRAMS_H

#include "../maps/links.h"
#include "../maps/maps.h"

struct pintle_bpf; /* the skeleton */

/* Each that is not asked for is left out: the kernel may not have what it needs. */
struct load_list {
	bool links[LINK_COUNT]; /* those links' programs */
	bool recount;           /* the iterators */
	const char *other;      /* one more, by its name; NULL: none */
	bool carry;             /* pintle_carry too; all of them carry records over */
	int carry_from;         /* with carry: descriptor of the former layout's `connects` */
};

/** Loads them, with these maps. A map whose descriptor is -1 is made anew, and each one where
 * `maps` is NULL. Returns 0 and *out (programs_unload() it); or -errno, logged with the verifier's
 * reasons. */
int programs_load(const struct load_list *which, const struct maps *maps, struct pintle_bpf **out);

/** Makes one map anew, empty, without a program. Returns a descriptor (the caller's), or -errno. */
int programs_make_map(const char *name);

/** The descriptor of a program that was loaded, which the skeleton keeps. */
int programs_fd(const struct pintle_bpf *skel, const char *name);

/** Lets go of all that nobody else holds, and of a megabyte that libbpf read; *skel becomes NULL.
 */
void programs_unload(struct pintle_bpf **skel);

#endif
