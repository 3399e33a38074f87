/* SPDX-License-Identifier: Apache-2.0 */
/* world.c - the pinned maps as a decision's text asks for them. */
#include "world.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "mix.bpf.h"
#include "state_internal.h"

/* An entry of a map that is no array. */
struct entry {
	struct entry *next;
	uint32_t map;
	void *value; /* NULL: there is none */
	unsigned char key[];
};

struct world {
	const struct maps *maps;
	int error;
	uint64_t seed;
	void **rows[MAP_COUNT]; /* of arrays, by index; NULL: not read yet */
	struct entry *entries;
	struct pintle_asking asking;
	struct pintle_trace note;
};

static _Thread_local struct world *here;

/* Stands in `rows` for a value that cannot be read. */
static char missing;

int world_new(const struct maps *m, struct world **out)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->maps = m;
	*out = w;
	return 0;
}

static void world_rows_free(void **rows, uint32_t n)
{
	for (uint32_t i = 0; rows && i < n; i++)
		if (rows[i] != &missing)
			free(rows[i]);
	free(rows);
}

void world_free(struct world *w)
{
	if (!w)
		return;
	assert(here != w);
	for (uint32_t id = 0; id < MAP_COUNT; id++)
		world_rows_free(w->rows[id], map_layouts[id].entries);
	while (w->entries) {
		struct entry *e = w->entries;

		w->entries = e->next;
		free(e->value);
		free(e);
	}
	free(w);
}

void world_enter(struct world *w)
{
	here = w;
}

int world_error(const struct world *w)
{
	return w->error;
}

void world_set_seed(struct world *w, uint64_t seed)
{
	w->seed = seed;
}

struct pintle_asking *world_asking(struct world *w)
{
	return &w->asking;
}

struct pintle_trace *world_note(struct world *w)
{
	return &w->note;
}

static void *failed(int error)
{
	if (!here->error)
		here->error = error;
	return NULL;
}

/* abi.h aligns values to a cache line; the compiler may rely on that. */
#define VALUE_ALIGNMENT 64

/* Returns zeros for a value of `size` bytes, which free() takes; NULL: out of memory. */
static void *value_new(size_t size)
{
	size_t whole = (size + VALUE_ALIGNMENT - 1) / VALUE_ALIGNMENT * VALUE_ALIGNMENT;
	void *value = aligned_alloc(VALUE_ALIGNMENT, whole);

	return value ? memset(value, 0, whole) : NULL;
}

/* A score that is written to while it is read counts as not whole, as in the kernel. */
static int row_read(uint32_t map, uint32_t at, void *value)
{
	struct pintle_score *score = value;

	if (map != MAP_scores)
		return maps_value(here->maps, map, at, value);
	if (!state_read_score(here->maps, at, score))
		score->sequence |= 1;
	return 0;
}

static void *world_row_find(uint32_t map, uint32_t at)
{
	const struct map_layout *l = &map_layouts[map];
	void ***rows = &here->rows[map], *value;
	int err;

	if (at >= l->entries)
		return NULL;
	if (!*rows)
		*rows = calloc(l->entries, sizeof(**rows));
	if (!*rows)
		return failed(-ENOMEM);
	if ((*rows)[at])
		return (*rows)[at] == &missing ? NULL : (*rows)[at];
	value = value_new(l->value_size);
	if (!value)
		return failed(-ENOMEM);
	err = row_read(map, at, value);
	if (err) {
		free(value);
		(*rows)[at] = &missing;
		return failed(err);
	}
	(*rows)[at] = value;
	return value;
}

/* Returns the value of a new entry; NULL: there is none. */
static void *entry_add(uint32_t map, const void *key, size_t key_size, void *value)
{
	struct entry *e = calloc(1, sizeof(*e) + key_size);

	if (!e) {
		free(value);
		return failed(-ENOMEM);
	}
	e->map = map;
	e->value = value;
	memcpy(e->key, key, key_size);
	e->next = here->entries;
	here->entries = e;
	return value;
}

static const struct entry *world_entry_find(uint32_t map, const void *key, size_t key_size)
{
	for (const struct entry *e = here->entries; e; e = e->next)
		if (e->map == map && !memcmp(e->key, key, key_size))
			return e;
	return NULL;
}

/* A system call leaves an entry's place in an LRU map as it is. */
static void *value_find(uint32_t map, const void *key)
{
	const struct map_layout *l = &map_layouts[map];
	const struct entry *e = world_entry_find(map, key, l->key_size);
	void *value;

	if (e)
		return e->value;
	value = value_new(l->value_size);
	if (!value)
		return failed(-ENOMEM);
	if (bpf_map_lookup_elem(here->maps->fd[map], key, value)) {
		if (errno != ENOENT)
			failed(-errno);
		free(value);
		value = NULL;
	}
	return entry_add(map, key, l->key_size, value);
}

void *world_look(uint32_t map, const void *key)
{
	const uint32_t *at = key;

	assert(here && map <= MAP_notes);
	if (map == MAP_asking)
		return &here->asking;
	if (map == MAP_notes)
		return *at == WORLD_NOTE - 1 ? &here->note : NULL;
	if (map_layouts[map].type == BPF_MAP_TYPE_ARRAY)
		return world_row_find(map, *at);
	return value_find(map, key);
}

uint64_t world_seed(void)
{
	uint64_t seed = here->seed;

	here->seed = mix(seed + 1);
	return seed;
}

/* Reads a pool's table of homes, which has no pin: *out, which the caller frees; untouched where it
 * has none. Returns 0; -EPERM: only root may open it; or another -errno. */
static int homes_read(const struct maps *m, uint32_t pool, struct pintle_homes **out)
{
	_cleanup_free_ struct pintle_homes *homes = malloc(sizeof(*homes));
	_cleanup_close_ int fd = -1;
	uint32_t id, zero = 0;

	if (!homes)
		return -ENOMEM;
	if (bpf_map_lookup_elem(m->fd[MAP_homes], &pool, &id))
		return errno == ENOENT ? 0 : -errno;
	fd = bpf_map_get_fd_by_id(id);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (bpf_map_lookup_elem(fd, &zero, homes))
		return -errno;
	*out = TAKE_PTR(homes);
	return 0;
}

struct pintle_homes *world_homes(uint32_t pool)
{
	const struct entry *e = world_entry_find(MAP_homes, &pool, sizeof(pool));
	struct pintle_homes *homes = NULL;
	int err;

	if (e)
		return e->value;
	err = homes_read(here->maps, pool, &homes);
	if (err)
		failed(err);
	return entry_add(MAP_homes, &pool, sizeof(pool), homes);
}
