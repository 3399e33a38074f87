/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.h - the pinned maps, opened: the one way to them for daemon and CLI.
 *
 * Pins live in BPFFS/vN, N being PINTLE_ABI_VERSION: the maps by their names, and the
 * links (links.h). The directory is made whole (staged beside,
 * then renamed), so whoever finds it finds all of it.
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

/* What has an id that is given to another one day. */
enum map_owner { MAP_OF_NONE, MAP_OF_POOLS, MAP_OF_ENDPOINTS };

/* What abi.h and bpf/maps.bpf.h make of a map, and what it is for. */
struct map_layout {
	uint32_t type, key_size, value_size;
	uint32_t entries;          /* 0: a number that may change */
	unsigned int since;        /* the first layout (PINTLE_ABI_VERSION) that has it; 0: all */
	enum map_owner cleared_of; /* arrays: an entry is zeroed when its id goes to another pool,
				    * or endpoint; each id has as many entries as any other */
	bool write_only;           /* of no use, or out of reach, to a reader */
	bool remade; /* no program uses it: a pin that is missing is made anew, empty */
	const char *key_type, *value_type;
	const char *key, *holds, *writer; /* for docs/maps.md, which names the structs besides */
};

/* A ring has no keys and no values; in GNU C this takes no bytes. */
struct map_nothing {
};

extern const struct map_layout map_layouts[MAP_COUNT];
extern const char *const map_names[MAP_COUNT];

#define DEFAULT_BPFFS "/sys/fs/bpf/pintle"

enum maps_access {
	MAPS_READ,  /* every map read-only; tap, conns, connects and sockets are not opened (-1) */
	MAPS_WRITE, /* all, read and write */
};

struct maps {
	int fd[MAP_COUNT]; /* -1: not opened */
	/* The mapped arrays, each by its name (`scores`, `health`): volatile in nature, written by
	 * daemon or kernel at any time. NULL with MAPS_READ: what is open for reading only cannot
	 * be mapped; see maps_value(). */
#define POINTER_COPIED(name, value)
#define POINTER_MAPPED(name, value)                     value *name;
#define X(name, type, key, value, entries, memory, ...) POINTER_##memory(name, value)
	PINTLE_MAPS(X)
#undef X
	bool writable;
};

/** The name of the directory that holds the pins: "BPFFS/vN" into buf. */
void maps_dir(const char *bpffs, char *buf, size_t size);
/** The same for pins of another layout. */
void maps_dir_of(const char *bpffs, int version, char *buf, size_t size);

/** Opens the pins under BPFFS/vN and checks that each has the layout of abi.h. Returns 0 and
 * *out (maps_close() it); -ENOENT: nothing is pinned there; -EPROTO: pins of another
 * layout or version only (logged, with what to do); -EACCES and others as they come
 * (logged by the caller). *out is untouched on failure. */
int maps_open(const char *bpffs, enum maps_access access, struct maps **out);
/** The same for a directory of pins given by itself, such as one still being staged. */
int maps_open_dir(const char *dir, enum maps_access access, struct maps **out);
/** Closes and frees; NULL is fine. */
void maps_close(struct maps *m);
static inline void maps_closep(struct maps **m)
{
	maps_close(*m);
}

/** Copies one value of an array, in either way of access; `value` has room for a whole one
 * (of a per-CPU array: one for each possible CPU). Returns 0 or -errno. */
int maps_value(const struct maps *m, enum map_id id, uint32_t index, void *value);

/** Writes an entry, new or not. Returns 0 or -errno, logged. */
int maps_put(const struct maps *m, enum map_id id, const void *key, const void *value);
/** Takes out the entries whose keys are not wanted; `arg` is handed through. Returns 0 or -errno,
 * logged. */
int maps_prune(const struct maps *m, enum map_id id,
	       bool (*is_wanted)(const void *key, const void *arg), const void *arg);

/** Whether the map is what this layout says of it, but for values of `value_size` bytes. Returns 0;
 * or -EPROTO or another -errno, logged with `path`. */
int maps_check(const char *path, enum map_id id, uint32_t value_size, int fd);

/** Layout versions other than ours that are pinned under bpffs: fills *version with one of
 * them, PINTLE_FORMER_VERSION only where there is no further one, and returns true; or returns
 * false. */
bool maps_other_version(const char *bpffs, unsigned int *version);

#endif
