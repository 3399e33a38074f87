/* SPDX-License-Identifier: Apache-2.0 */
/* programs.h - loads BPF programs into the kernel. */
#ifndef PINTLE_PROGRAMS_H
#define PINTLE_PROGRAMS_H

#include "../../maps/links.h"
#include "../../maps/maps.h"

struct pintle_bpf; /* the skeleton */

/* Which programs to load. The others are left out, because this kernel may lack what they need. */
struct load_list {
	bool links[LINK_COUNT]; /* the programs of those links */
	bool recount;      /* the iterators: those that count, follow requests, find earlier ones */
	const char *other; /* one more, by its name; NULL: none */
	/* Prepares the object before it is loaded; NULL: nothing is to be done. */
	void (*prepare)(struct pintle_bpf *skel, void *arg);
	void *arg;
};

/** Loads those programs with these maps. A map whose descriptor is -1 is made anew; where `maps` is
 * NULL, all are. Returns 0 and *out (programs_unload() it); or -errno, logged with the verifier's
 * reasons. */
int programs_load(const struct load_list *which, const struct maps *maps, struct pintle_bpf **out);

/** Loads one program that uses no map. Returns as programs_load(), not logged. */
int programs_load_alone(const char *name, struct pintle_bpf **out);

/** Returns a descriptor of a loaded program that outlives the skeleton, which the caller closes; or
 * -errno, logged. */
int programs_keep(const struct pintle_bpf *skel, const char *name);

/** Loads one program with these maps. Returns a descriptor, which the caller closes, or -errno,
 * logged. */
int programs_load_one(const struct maps *maps, const char *name);

/** Makes the map of that name, empty, without a program. Returns a descriptor, which the caller
 * closes, or -errno. */
int programs_make_map(const char *name);

/** Returns the descriptor of a program that was loaded; owned by the skeleton. */
int programs_fd(const struct pintle_bpf *skel, const char *name);

/** Unloads what is neither attached nor pinned, and frees the megabyte that libbpf read; *skel
 * becomes NULL. */
void programs_unload(struct pintle_bpf **skel);

#endif
