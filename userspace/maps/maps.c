/* SPDX-License-Identifier: Apache-2.0 */
/* maps.c - opens the pinned maps, and refuses what has another layout. */
#include "maps.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../base/log.h"
#include "../base/util.h"

const char *const map_names[MAP_COUNT] = {
#define X(name) [MAP_##name] = #name,
	PINTLE_MAPS(X)
#undef X
};

#define ANY 0 /* entries: a size that may change without anybody misreading the map */

/* What abi.h and bpf/maps.bpf.h make of each map. */
static const struct layout {
	uint32_t type, key_size, value_size, entries;
	bool write_only; /* of no use, or out of reach, to a reader */
	bool remade; /* no program uses it; without it an operator's settings are lost, no more */
} layouts[MAP_COUNT] = {
	[MAP_node] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct pintle_node), 1},
	[MAP_names] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct pintle_name), PINTLE_SLOTS},
	[MAP_addresses] = {BPF_MAP_TYPE_HASH, sizeof(struct pintle_address_key),
			   sizeof(struct pintle_address), ANY},
	[MAP_server_cgroups] = {BPF_MAP_TYPE_HASH, sizeof(struct pintle_server_cgroup), 4, ANY},
	[MAP_frontends] = {BPF_MAP_TYPE_LPM_TRIE, sizeof(struct pintle_frontend_key),
			   sizeof(struct pintle_frontend), ANY},
	[MAP_pools] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct pintle_pool), PINTLE_MAX_POOLS},
	[MAP_overrides] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct pintle_override),
			   PINTLE_OVERRIDE_COUNT},
	[MAP_settings] = {BPF_MAP_TYPE_HASH, sizeof(struct pintle_setting_key),
			  sizeof(struct pintle_setting), ANY, .remade = true},
	[MAP_verdicts] = {BPF_MAP_TYPE_HASH, sizeof(struct pintle_setting_key),
			  sizeof(struct pintle_verdict), ANY, .remade = true},
	[MAP_homes] = {BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, PINTLE_MAX_POOLS},
	[MAP_endpoints] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct pintle_endpoint),
			   PINTLE_MAX_ENDPOINTS},
	[MAP_scores] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct pintle_score), PINTLE_MAX_ENDPOINTS},
	[MAP_inflight] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct pintle_inflight),
			  PINTLE_MAX_ENDPOINTS},
	[MAP_ends] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct pintle_ends), PINTLE_MAX_ENDPOINTS},
	[MAP_health] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct pintle_health), PINTLE_MAX_ENDPOINTS},
	[MAP_sockets] = {BPF_MAP_TYPE_SOCKMAP, 4, 8,
			 PINTLE_MAX_ENDPOINTS *PINTLE_SOCKETS_PER_ENDPOINT, .write_only = true},
	[MAP_affinity] = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct pintle_affinity_key),
			  sizeof(struct pintle_affinity), ANY},
	[MAP_affinity_beyond] = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct pintle_affinity_key),
				 sizeof(struct pintle_affinity), ANY},
	[MAP_shares] = {BPF_MAP_TYPE_LRU_HASH, 8, 8, ANY},
	[MAP_bindings] = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct pintle_bindings), PINTLE_MAX_POOLS},
	[MAP_majorities] = {BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct pintle_majority),
			    PINTLE_MAX_POOLS},
	[MAP_pending] = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct pintle_tuple),
			 sizeof(struct pintle_decision), ANY},
	[MAP_conns] = {BPF_MAP_TYPE_SK_STORAGE, 4, sizeof(struct pintle_conn), ANY,
		       .write_only = true},
	[MAP_connects] = {BPF_MAP_TYPE_SK_STORAGE, 4, sizeof(struct pintle_connect), ANY,
			  .write_only = true},
	[MAP_clients] = {BPF_MAP_TYPE_HASH, 8, sizeof(struct pintle_client), ANY},
	[MAP_oneshot] = {BPF_MAP_TYPE_LPM_TRIE, sizeof(struct pintle_frontend_key),
			 sizeof(struct pintle_ref), ANY},
	[MAP_oneshot_flows] = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct pintle_tuple),
			       sizeof(struct pintle_flow), ANY},
	[MAP_oneshot_stats] = {BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, PINTLE_ONESHOT_STAT_COUNT},
	[MAP_stats] = {BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, PINTLE_STAT_COUNT},
	[MAP_tap] = {BPF_MAP_TYPE_RINGBUF, 0, 0, ANY, .write_only = true},
};

static const struct mapping {
	enum map_id id;
	size_t member; /* offset in struct maps */
} mappings[] = {
	{MAP_node, offsetof(struct maps, node)},
	{MAP_scores, offsetof(struct maps, scores)},
	{MAP_inflight, offsetof(struct maps, inflight)},
	{MAP_ends, offsetof(struct maps, ends)},
	{MAP_health, offsetof(struct maps, health)},
	{MAP_bindings, offsetof(struct maps, bindings)},
};

static void **mapping_pointer(struct maps *m, const struct mapping *map)
{
	return (void **)((char *)m + map->member);
}

static size_t mapping_size(const struct mapping *map)
{
	const struct layout *l = &layouts[map->id];

	_Static_assert(sizeof(struct pintle_node) % 8 == 0 &&
			       sizeof(struct pintle_score) % 8 == 0 &&
			       sizeof(struct pintle_inflight) % 8 == 0 &&
			       sizeof(struct pintle_ends) % 8 == 0 &&
			       sizeof(struct pintle_health) % 8 == 0 &&
			       sizeof(struct pintle_bindings) % 8 == 0,
		       "the kernel keeps values of an array at multiples of 8 bytes");
	return (size_t)l->value_size * l->entries;
}

void maps_dir(const char *bpffs, char *buf, size_t size)
{
	snprintf(buf, size, "%s/v%d", bpffs, PINTLE_ABI_VERSION);
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
		    (found && n == PINTLE_FORMER_VERSION))
			continue;
		*version = n;
		found = true;
	}
	closedir(dir);
	return found;
}

uint32_t maps_value_size(enum map_id id)
{
	return layouts[id].value_size;
}

uint32_t maps_entries(enum map_id id)
{
	return layouts[id].entries;
}

bool maps_is_remade(enum map_id id)
{
	return layouts[id].remade;
}

int maps_check(const char *path, enum map_id id, uint32_t value_size, int fd)
{
	const struct layout *want = &layouts[id];
	struct bpf_map_info got = {0};
	uint32_t size = sizeof(got);

	if (bpf_obj_get_info_by_fd(fd, &got, &size))
		return log_err_r(errno, "%s: cannot ask for its layout", path);
	if (got.type == want->type && got.key_size == want->key_size &&
	    got.value_size == value_size &&
	    (want->entries == ANY || got.max_entries == want->entries))
		return 0;
	log_error("%s has another layout than this program knows (type %u, key %u, value %u bytes, "
		  "%u entries); use the pintled and pintle of one version, or remove the pins with "
		  "the pintled that made them: pintled --detach",
		  path, got.type, got.key_size, got.value_size, got.max_entries);
	return -EPROTO;
}

static int map_open(struct maps *m, const char *dir, enum map_id id)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = m->writable ? 0 : BPF_F_RDONLY);
	char path[PATH_MAX];

	if (!m->writable && layouts[id].write_only)
		return 0;
	if (snprintf(path, sizeof(path), "%s/%s", dir, map_names[id]) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	m->fd[id] = bpf_obj_get_opts(path, &opts);
	if (m->fd[id] < 0) {
		int err = -errno;

		m->fd[id] = -1;
		/* Gone as a whole while we look: nothing is pinned. */
		if (err != -ENOENT || access(dir, F_OK))
			return err;
		log_error("%s is missing: the pins are not whole; pintled puts it back within a "
			  "second while it runs, else start it",
			  path);
		return -EPROTO;
	}
	return maps_check(path, id, layouts[id].value_size, m->fd[id]);
}

/* A descriptor that was opened for reading cannot be mapped: the kernel wants VM_SHARED, and
 * takes that flag from a mapping of a file that is not writable. Readers copy instead. */
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

	/* 0: pinned, and not filled in yet */
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
	if (err == -ENOENT && maps_other_version(bpffs, &other) && other == PINTLE_FORMER_VERSION) {
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
	return bpf_map_lookup_elem(m->fd[id], &index, value) ? -errno : 0;
}
