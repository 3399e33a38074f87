/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.h - the pinned maps, opened: the one way to them for daemon and CLI.
 *
 * Pins live in BPFFS/vN, N being PINTLE_ABI_VERSION: the maps by their names, and the links
 * (links.h). The daemon fills the directory under another name and then renames it, so a reader
 * that finds the directory finds every map in it.
 */
#ifndef PINTLE_MAPS_H
#define PINTLE_MAPS_H

#include <pintle/abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "map_table.h"

enum map_id {
#define X(name, ...) MAP_##name,
	PINTLE_MAPS(X)
#undef X
		MAP_COUNT
};

/* Whose ids a map's keys are made of: one day an id is given to another pool or endpoint. */
enum map_owner { MAP_OF_NONE, MAP_OF_POOLS, MAP_OF_ENDPOINTS };

/* How a takeover carries a map over whose layout is not the same in both builds. Ring buffers,
 * arrays of maps and the sockmap begin empty, and sockets' storages have programs
 * (bpf/pass/carry.bpf.c). */
enum map_carry {
	CARRY_ONCE,    /* before programs change over */
	CARRY_CHANGES, /* and what was written meanwhile, after the last of them */
	CARRY_NOT,     /* it begins empty: programs, scrapes or a recount fill it */
};

/* A map's layout, as abi.h and bpf/maps.bpf.h define it, and what the map is for. */
struct map_layout {
	uint32_t type, key_size, value_size;
	uint32_t entries; /* 0: any number, which is not checked */
	enum map_carry carry;
	enum map_owner cleared_of; /* arrays: an id's entries are zeroed when the id goes to another
				    * pool or endpoint; each id has entries / (number of ids) */
	bool write_only;           /* a reader has no use for the map, or no access to it */
	bool remade;               /* no program uses the map: a missing pin is made anew, empty */
	bool root_only;            /* its group may not read it */
	const char *key_type, *value_type;
	const char *key, *holds, *writer; /* for docs/maps.md, which adds the two types */
};

/* The key and value of a ring buffer, which has neither: in GNU C an empty struct has size 0. */
struct map_nothing {
};

extern const struct map_layout map_layouts[MAP_COUNT];
extern const char *const map_names[MAP_COUNT];

#define DEFAULT_BPFFS "/sys/fs/bpf/pintle"

enum maps_access {
	MAPS_READ,  /* every map read-only; those that are write_only are not opened (-1) */
	MAPS_WRITE, /* every map for reading and writing */
};

struct maps {
	int fd[MAP_COUNT]; /* -1: not opened */
	/* The mapped arrays, each by its name (`scores`, `health`). Daemon and kernel write to them
	 * at any time. NULL with MAPS_READ, because the kernel maps no map that is opened
	 * read-only: copy by maps_value() then. */
#define POINTER_COPIED(name, value)
#define POINTER_MAPPED(name, value)                     value *name;
#define X(name, type, key, value, entries, memory, ...) POINTER_##memory(name, value)
	PINTLE_MAPS(X)
#undef X
	bool writable;
};

/** Writes the name of the directory that holds the pins, "BPFFS/vN", into buf; cut to `size`. */
void maps_dir(const char *bpffs, char *buf, size_t size);
/** Writes the directory of pins of the layout `version`. */
void maps_dir_of(const char *bpffs, int version, char *buf, size_t size);

/* An empty directory in the pins' own: Pintle is taken off all nodes of its cluster, and pintled
 * stands by. */
#define PINS_REMOVED "removed"
/** Returns whether it is there. */
bool maps_removed(const char *bpffs);

/** Opens the pins under BPFFS/vN and checks that each has the layout of abi.h. Returns 0 with *out,
 * which the caller closes (maps_close()); or, with *out untouched,
 *   -ENOENT       nothing is pinned there
 *   -EPROTO       pins of another layout, or incomplete ones (logged, with what to do)
 *   another errno as the kernel gave it (logged by the caller). */
int maps_open(const char *bpffs, enum maps_access access, struct maps **out);
/** Opens the directory of pins itself as maps_open() does, such as one that is being staged. */
int maps_open_dir(const char *dir, enum maps_access access, struct maps **out);
/** Closes the maps and frees `m`; NULL is fine. */
void maps_close(struct maps *m);
static inline void maps_closep(struct maps **m)
{
	maps_close(*m);
}

/** Copies one value of an array map, which is opened for reading or for both. `value` has room for
 * it; for a per-CPU array, room for one value per possible CPU. Returns 0 or -errno, not logged. */
int maps_value(const struct maps *m, enum map_id id, uint32_t index, void *value);

/** Copies all values of an array map with a fixed number of entries, in their order, by one system
 * call. Returns as maps_value(). */
int maps_values(const struct maps *m, enum map_id id, void *values);

/** Adds or replaces an entry. `m` is writable. Returns 0 or -errno, logged. */
int maps_put(const struct maps *m, enum map_id id, const void *key, const void *value);
/** Deletes the entries whose keys `is_wanted` refuses; `arg` is handed to it. `m` is writable.
 * Returns 0 or -errno, logged. */
int maps_prune(const struct maps *m, enum map_id id,
	       bool (*is_wanted)(const void *key, const void *arg), const void *arg);

/** Returns whether pins of another layout than PINTLE_ABI_VERSION are under bpffs. Fills *version:
 * with the newest, if there are several. */
bool maps_other_version(const char *bpffs, unsigned int *version);

#endif
