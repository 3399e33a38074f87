/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <bpf/libbpf.h>
#include <limits.h>
#include <sys/resource.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../net/cgroup2.h"

/* ---- of maps ------------------------------------------------------------------------------- */

static uint64_t eights(uint64_t bytes)
{
	return (bytes + 7) & ~7ULL;
}

/* As the kernel's array_map_mem_usage(), htab_map_mem_usage() and so on say it. */
uint64_t memory_of_entries(const struct bpf_map *map, uint64_t entries)
{
	uint64_t buckets = 1;
	uint64_t key = eights(bpf_map__key_size(map)), value = eights(bpf_map__value_size(map));
	const uint64_t element = 48, bucket = 16, pointer = 8; /* sizes in the kernel */

	while (buckets < entries)
		buckets *= 2;
	switch (bpf_map__type(map)) {
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
		return entries * value;
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_LRU_HASH:
		/* Without that flag elements are allocated with the map. */
		return buckets * bucket + (bpf_map__map_flags(map) & BPF_F_NO_PREALLOC
						   ? 0
						   : entries * (element + key + value));
	case BPF_MAP_TYPE_ARRAY_OF_MAPS:
	case BPF_MAP_TYPE_SOCKMAP:
		return entries * pointer;
	case BPF_MAP_TYPE_RINGBUF:
		return entries;
	default:
		return 0;
	}
}

uint64_t memory_of_map(const struct bpf_map *map)
{
	return memory_of_entries(map, bpf_map__max_entries(map));
}

bool memory_is_per_cpu(const struct bpf_map *map)
{
	return bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_ARRAY;
}

uint64_t memory_of_maps(const struct bpf_object *obj)
{
	int cpus = libbpf_num_possible_cpus();
	const struct bpf_map *map;
	uint64_t bytes = 0;

	bpf_object__for_each_map(map, obj)
	{
		bytes += memory_of_map(map) * (memory_is_per_cpu(map) ? (uint64_t)MAX(cpus, 1) : 1);
	}
	return bytes;
}

/* ---- limits -------------------------------------------------------------------------------- */

struct limit {
	char dir[PATH_MAX]; /* of the cgroup; "": there is no limit */
	uint64_t bytes, used;
};

/* No number, as in "max", is no limit; nor is what no machine has. */
static bool read_bytes(const char *dir, const char *name, uint64_t *bytes)
{
	char path[PATH_MAX + 64];
	unsigned long long n;
	bool is;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	is = f && fscanf(f, "%llu", &n) == 1 && n < 1ULL << 60;
	if (f)
		fclose(f);
	if (is)
		*bytes = n;
	return is;
}

static void take_limit(struct limit *l, const char *dir)
{
	static const char *const names[][2] = {
		{"memory.max", "memory.current"},
		{"memory.limit_in_bytes", "memory.usage_in_bytes"},
	};
	uint64_t bytes, used = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!read_bytes(dir, names[i][0], &bytes) || (l->dir[0] && l->bytes <= bytes))
			continue;
		read_bytes(dir, names[i][1], &used);
		snprintf(l->dir, sizeof(l->dir), "%s", dir);
		l->bytes = bytes;
		l->used = used;
	}
}

/* The cgroup at `path` below `root`, and those above it. */
static void take_limits(struct limit *l, const char *root, const char *path)
{
	char dir[PATH_MAX];
	char *slash;

	if ((size_t)snprintf(dir, sizeof(dir), "%s%s", root, path) >= sizeof(dir))
		return;
	for (;;) {
		take_limit(l, dir);
		slash = strrchr(dir, '/');
		if (!slash || (size_t)(slash - dir) < strlen(root))
			return;
		*slash = '\0';
	}
}

/* The smallest limit of a cgroup that this process is in, where it can be seen. */
static void find_limit(struct limit *l)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX + 64], root[PATH_MAX];

	*l = (struct limit){0};
	take_limit(l, "/sys/fs/cgroup"); /* a container's own */
	while (f && fgets(line, sizeof(line), f)) {
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		if (!controllers[1] && !cgroup2_root(root, sizeof(root)))
			take_limits(l, root, path);
		else if (!strcmp(controllers + 1, "memory"))
			take_limits(l, "/sys/fs/cgroup/memory", path);
	}
	if (f)
		fclose(f);
}

#define MB(bytes) ((unsigned long long)((bytes) / 1000000))

/* What the daemon itself takes at its start, beside the maps, with a table of prompts' beginnings:
 * e2e/memory measures it. */
#define OWN_BYTES 56000000ULL

void memory_foresee(uint64_t bytes)
{
	struct limit l;

	find_limit(&l);
	if (l.dir[0] && l.bytes >= bytes && l.bytes < bytes + OWN_BYTES)
		log_warn(
			"pintled may be killed for want of memory: the cgroup %s may have %llu MB, "
			"and a start takes up to %llu MB. Raise its limit (Kubernetes: "
			"resources.limits.memory; systemd: MemoryMax)",
			l.dir, MB(l.bytes), MB(bytes + OWN_BYTES));
}

/* Whether a limit of the process leaves it less than a start takes; logs that. */
static bool tell_own_limit(void)
{
	static const struct {
		int resource;
		const char *option;
	} all[] = {{RLIMIT_AS, "-v"}, {RLIMIT_DATA, "-d"}};
	struct rlimit l;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (getrlimit(all[i].resource, &l) || l.rlim_cur >= OWN_BYTES)
			continue;
		log_error("no memory for a start, which takes up to %llu MB: a limit of the "
			  "process leaves %llu MB. Raise it (`ulimit %s unlimited`)",
			  MB(OWN_BYTES), MB(l.rlim_cur), all[i].option);
		return true;
	}
	return false;
}

bool memory_tell(int err, uint64_t bytes)
{
	struct limit l;

	/* Without memory for the kernel's types libbpf 1.1 says ESRCH, libbpf 1.5 ENOMEM. */
	if ((err == -ENOMEM || err == -ESRCH) && tell_own_limit())
		return true;
	if (err != -ENOMEM || !bytes)
		return false;
	find_limit(&l);
	if (l.dir[0])
		log_error("no memory for the kernel's maps, which take %llu MB: the cgroup %s may "
			  "have %llu MB, and has %llu MB of these. Raise its limit to %llu MB or "
			  "more (Kubernetes: resources.limits.memory; systemd: MemoryMax)",
			  MB(bytes), l.dir, MB(l.bytes), MB(l.used), MB(bytes + OWN_BYTES));
	else
		log_error("no memory for the kernel's maps, which take %llu MB: the machine has "
			  "not that much left (`free -m`; a limit of a cgroup would be named here)",
			  MB(bytes));
	return true;
}
