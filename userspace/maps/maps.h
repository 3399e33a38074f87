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

/* X(name): every pinned map of bpf/maps.bpf.h */
#define PINTLE_MAPS(X)                                                                             \
	X(node)                                                                                    \
	X(names)                                                                                   \
	X(addresses)                                                                               \
	X(server_cgroups)                                                                          \
	X(frontends)                                                                               \
	X(pools)                                                                                   \
	X(overrides)                                                                               \
	X(settings)                                                                                \
	X(verdicts)                                                                                \
	X(homes)                                                                                   \
	X(endpoints)                                                                               \
	X(scores)                                                                                  \
	X(inflight)                                                                                \
	X(ends)                                                                                    \
	X(health)                                                                                  \
	X(sockets)                                                                                 \
	X(affinity)                                                                                \
	X(affinity_beyond)                                                                         \
	X(shares)                                                                                  \
	X(bindings)                                                                                \
	X(majorities)                                                                              \
	X(pending)                                                                                 \
	X(conns)                                                                                   \
	X(connects)                                                                                \
	X(clients)                                                                                 \
	X(oneshot)                                                                                 \
	X(oneshot_flows)                                                                           \
	X(oneshot_stats)                                                                           \
	X(stats)                                                                                   \
	X(tap)

enum map_id {
#define X(name) MAP_##name,
	PINTLE_MAPS(X)
#undef X
		MAP_COUNT
};

#define DEFAULT_BPFFS "/sys/fs/bpf/pintle"

enum maps_access {
	MAPS_READ,  /* every map read-only; tap, conns, connects and sockets are not opened (-1) */
	MAPS_WRITE, /* all, read and write */
};

struct maps {
	int fd[MAP_COUNT]; /* -1: not opened */
	/* mmapped arrays: volatile in nature, written by daemon or kernel at any time. NULL with
	 * MAPS_READ: what is open for reading only cannot be mapped; see maps_value(). */
	struct pintle_node *node;
	struct pintle_score *scores;
	struct pintle_inflight *inflight;
	struct pintle_ends *ends;
	struct pintle_health *health;
	struct pintle_bindings *bindings;
	bool writable;
};

extern const char *const map_names[MAP_COUNT];

/** The name of the directory that holds the pins: "BPFFS/vN" into buf. */
void maps_dir(const char *bpffs, char *buf, size_t size);

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

/** Bytes of a value in this layout. */
uint32_t maps_value_size(enum map_id id);
/** Entries of an array; 0 where the layout leaves the number open. */
uint32_t maps_entries(enum map_id id);
/** Whether user space alone uses it: no program finds it again, so one that is missing is made
 * anew. */
bool maps_is_remade(enum map_id id);
/** Whether the map is what this layout says of it, but for values of `value_size` bytes. Returns 0;
 * or -EPROTO or another -errno, logged with `path`. */
int maps_check(const char *path, enum map_id id, uint32_t value_size, int fd);

/** Layout versions other than ours that are pinned under bpffs: fills *version with one of
 * them, PINTLE_FORMER_VERSION only where there is no further one, and returns true; or returns
 * false. */
bool maps_other_version(const char *bpffs, unsigned int *version);

#endif
