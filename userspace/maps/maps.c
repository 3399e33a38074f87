/* SPDX-License-Identifier: Apache-2.0 */
/* maps.c - opens the pinned maps, and refuses a map of another layout. */
#include "maps.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../base/log.h"
#include "../base/util.h"
#include "pin.h"

const char *const map_names[MAP_COUNT] = {
#define X(name, ...) [MAP_##name] = #name,
	PINTLE_MAPS(X)
#undef X
};

#define ANY 0
#define X(name, map_type, of_key, of_value, count, memory, ...)                                    \
	[MAP_##name] = {.type = BPF_MAP_TYPE_##map_type,                                           \
			.key_size = sizeof(of_key),                                                \
			.value_size = sizeof(of_value),                                            \
			.entries = (count),                                                        \
			.key_type = #of_key,                                                       \
			.value_type = #of_value,                                                   \
			__VA_ARGS__},
const struct map_layout map_layouts[MAP_COUNT] = {PINTLE_MAPS(X)};
#undef X
#undef ANY

#define KEY_SIZE 512 /* of the largest key, or more */
/* The kernel places the values of an array map at multiples of 8 bytes: a mapped map is one C array
 * only if the size of its values is such a multiple. */
#define CHECK_COPIED(value)
#define CHECK_MAPPED(value) _Static_assert(!(sizeof(value) % 8), #value);
#define X(name, type, key, value, entries, memory, ...)                                            \
	CHECK_##memory(value) _Static_assert(sizeof(key) <= KEY_SIZE, #name);
PINTLE_MAPS(X)
#undef X

static const struct mapping {
	enum map_id id;
	size_t member; /* offset in struct maps */
} mappings[] = {
#define ROW_COPIED(name)
#define ROW_MAPPED(name)                                {MAP_##name, offsetof(struct maps, name)},
#define X(name, type, key, value, entries, memory, ...) ROW_##memory(name)
	PINTLE_MAPS(X)
#undef X
};

static void **mapping_pointer(struct maps *m, const struct mapping *map)
{
	return (void **)((char *)m + map->member);
}

static size_t mapping_size(const struct mapping *map)
{
	return (size_t)map_layouts[map->id].value_size * map_layouts[map->id].entries;
}

void maps_dir_of(const char *bpffs, int version, char *buf, size_t size)
{
	snprintf(buf, size, "%s/v%d", bpffs, version);
}

void maps_dir(const char *bpffs, char *buf, size_t size)
{
	maps_dir_of(bpffs, PINTLE_ABI_VERSION, buf, size);
}

bool maps_other_version(const char *bpffs, unsigned int *version)
{
	DIR *dir = opendir(bpffs);
	bool found = false;
	struct dirent *d;

	if (!dir)
		return false;
	while ((d = readdir(dir))) {
		unsigned int n;
		char end;

		if (sscanf(d->d_name, "v%4u%c", &n, &end) != 1 || n == PINTLE_ABI_VERSION ||
		    (found && n < *version))
			continue;
		*version = n;
		found = true;
	}
	closedir(dir);
	return found;
}

static int map_check(const char *path, enum map_id id, int fd)
{
	const struct map_layout *want = &map_layouts[id];
	struct bpf_map_info got = {0};
	uint32_t size = sizeof(got);

	if (bpf_obj_get_info_by_fd(fd, &got, &size))
		return log_err_r(errno, "%s: cannot ask for its layout", path);
	if (got.type == want->type && got.key_size == want->key_size &&
	    got.value_size == want->value_size &&
	    (!want->entries || got.max_entries == want->entries))
		return 0;
	log_error(
		"%s has another layout than this program knows (type %u, key %u, value %u bytes, "
		"%u entries). If another build made the pins, start the pintled of this build, which "
		"takes them over, or use the pintle of that one; if not, remove them: pintled "
		"--detach",
		path, got.type, got.key_size, got.value_size, got.max_entries);
	return -EPROTO;
}

static int map_open(struct maps *m, const char *dir, enum map_id id)
{
	char path[PIN_PATH_SIZE];

	if (!m->writable && map_layouts[id].write_only)
		return 0;
	pin_path(dir, map_names[id], path);
	m->fd[id] = pin_open(dir, map_names[id], m->writable ? 0 : BPF_F_RDONLY);
	if (m->fd[id] < 0) {
		int err = -errno;

		m->fd[id] = -1;
		/* Without the directory nothing is pinned: `pintled --detach` ran meanwhile. */
		if (err != -ENOENT || access(dir, F_OK))
			return err;
		log_error("%s is missing: the pins are incomplete; while pintled runs, it puts it "
			  "back within a second; else start it",
			  path);
		return -EPROTO;
	}
	return map_check(path, id, m->fd[id]);
}

/* The kernel maps a map only with VM_SHARED, and clears that flag where the descriptor was opened
 * read-only. Readers copy instead. */
static int map_memory(struct maps *m)
{
	for (size_t i = 0; m->writable && i < ARRAY_SIZE(mappings); i++) {
		const struct mapping *map = &mappings[i];
		void *p = mmap(NULL, mapping_size(map), PROT_READ | PROT_WRITE, MAP_SHARED,
			       m->fd[map->id], 0);

		if (p == MAP_FAILED)
			return -errno;
		*mapping_pointer(m, map) = p;
	}
	return 0;
}

static int version_check(const struct maps *m, const char *dir)
{
	struct pintle_node node;
	int err = maps_value(m, MAP_node, 0, &node);

	/* 0: the map is pinned, but the daemon has not filled it in yet. */
	if (err || !node.abi_version || node.abi_version == PINTLE_ABI_VERSION)
		return err;
	log_error("%s holds version %u of the maps, and this program knows version %d only; use "
		  "the pintled and pintle of one version",
		  dir, node.abi_version, PINTLE_ABI_VERSION);
	return -EPROTO;
}

int maps_open_dir(const char *dir, enum maps_access access_mode, struct maps **out)
{
	_cleanup_(maps_closep) struct maps *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	m->writable = access_mode == MAPS_WRITE;
	memset(m->fd, -1, sizeof(m->fd));
	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		err = map_open(m, dir, id);
		if (err)
			return err;
	}
	err = map_memory(m);
	if (!err)
		err = version_check(m, dir);
	if (err)
		return err;
	*out = TAKE_PTR(m);
	return 0;
}

bool maps_removed(const char *bpffs)
{
	char dir[PATH_MAX];

	return snprintf(dir, sizeof(dir), "%s/" PINS_REMOVED, bpffs) < (int)sizeof(dir) &&
	       !access(dir, F_OK);
}

int maps_open(const char *bpffs, enum maps_access access_mode, struct maps **out)
{
	unsigned int other;
	char dir[PATH_MAX];
	struct stat st;
	int err;

	if (strlen(bpffs) + 32 > sizeof(dir))
		return -ENAMETOOLONG;
	maps_dir(bpffs, dir, sizeof(dir));
	if (!stat(dir, &st))
		return maps_open_dir(dir, access_mode, out);
	err = -errno;
	if (err == -ENOENT && maps_other_version(bpffs, &other) && other < PINTLE_ABI_VERSION) {
		log_error(
			"%s holds maps of version %u; start the pintled of this version, which takes "
			"them over, or use the pintle of that one",
			bpffs, other);
		return -EPROTO;
	}
	if (err == -ENOENT && maps_other_version(bpffs, &other)) {
		log_error("%s holds maps of version %u, and this program knows version %d only; "
			  "use the pintled and pintle of one version, or remove those pins with "
			  "the pintled that made them: pintled --detach",
			  bpffs, other, PINTLE_ABI_VERSION);
		return -EPROTO;
	}
	return err == -ENOTDIR ? -ENOENT : err;
}

void maps_close(struct maps *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(mappings); i++) {
		void *p = *mapping_pointer(m, &mappings[i]);

		if (p)
			munmap(p, mapping_size(&mappings[i]));
	}
	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		if (m->fd[id] >= 0)
			close(m->fd[id]);
	}
	free(m);
}

int maps_value(const struct maps *m, enum map_id id, uint32_t index, void *value)
{
	assert(m->fd[id] >= 0);
	return bpf_map_lookup_elem(m->fd[id], &index, value) ? -errno : 0;
}

int maps_values(const struct maps *m, enum map_id id, void *values)
{
	uint32_t count = map_layouts[id].entries, next;
	_cleanup_free_ uint32_t *keys = calloc(count + 1, sizeof(*keys));

	assert(m->fd[id] >= 0 && count);
	if (!keys)
		return -ENOMEM;
	return bpf_map_lookup_batch(m->fd[id], NULL, &next, keys, values, &count, NULL) &&
			       errno != ENOENT
		       ? -errno
		       : 0;
}

int maps_put(const struct maps *m, enum map_id id, const void *key, const void *value)
{
	assert(m->writable);
	if (bpf_map_update_elem(m->fd[id], key, value, BPF_ANY))
		return log_err_r(errno, "failed to write to map %s", map_names[id]);
	return 0;
}

/* Each step goes on from the last key that was kept: from a deleted key, bpf_map_get_next_key()
 * would start over. */
int maps_prune(const struct maps *m, enum map_id id,
	       bool (*is_wanted)(const void *key, const void *arg), const void *arg)
{
	uint8_t key[KEY_SIZE] __attribute__((aligned(8))) = {0}, kept[KEY_SIZE];
	void *previous = NULL;

	assert(m->writable);
	while (!bpf_map_get_next_key(m->fd[id], previous, key)) {
		if (is_wanted(key, arg)) {
			memcpy(kept, key, sizeof(kept));
			previous = kept;
		} else if (bpf_map_delete_elem(m->fd[id], key) && errno != ENOENT) {
			return log_err_r(errno, "failed to delete from map %s", map_names[id]);
		}
	}
	return 0;
}
