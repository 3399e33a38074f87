/* SPDX-License-Identifier: Apache-2.0 */
/* maps.c - the pins, what each map holds, and the memory it takes. The BPF object gives the numbers
 * of entries. */
#include "reference.h"

#include <bpf/libbpf.h>

#include "../../userspace/base/util.h"
#include "../../userspace/maps/links.h"
#include "../../userspace/maps/maps.h"
#include "../../userspace/pintled/attach/memory.h"
#include "../../userspace/pintled/attach/skeleton.h"
#include "pintle.skel.h"

static int pin_compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void pins_markdown(FILE *f)
{
	const char *pins[MAP_COUNT + LINK_COUNT];

	memcpy(pins, map_names, sizeof(map_names));
	for (size_t i = 0; i < LINK_COUNT; i++)
		pins[MAP_COUNT + i] = link_kinds[i].pin;
	qsort(pins, ARRAY_SIZE(pins), sizeof(pins[0]), pin_compare);
	fprintf(f, "```console\n# ls " DEFAULT_BPFFS "/v%d\n", PINTLE_ABI_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
		fprintf(f, "%s\n", pins[i]);
	fputs("```\n", f);
}

static const char *const type_words[] = {
	[BPF_MAP_TYPE_ARRAY] = "array",
	[BPF_MAP_TYPE_PERCPU_ARRAY] = "per-CPU array",
	[BPF_MAP_TYPE_ARRAY_OF_MAPS] = "array of maps",
	[BPF_MAP_TYPE_HASH] = "hash",
	[BPF_MAP_TYPE_LRU_HASH] = "LRU hash",
	[BPF_MAP_TYPE_LPM_TRIE] = "LPM trie",
	[BPF_MAP_TYPE_SOCKMAP] = "sockmap",
	[BPF_MAP_TYPE_SK_STORAGE] = "socket storage",
	[BPF_MAP_TYPE_RINGBUF] = "ring",
};

#define CELL_SIZE 512

/* "LRU hash, 65536"; for a ring its size instead: "ring, 256 KiB". */
static void type_text(const struct bpf_map *map, char text[CELL_SIZE])
{
	uint32_t entries = bpf_map__max_entries(map), type = bpf_map__type(map);
	int n = snprintf(text, CELL_SIZE, "%s", type_words[type]);

	if (type == BPF_MAP_TYPE_RINGBUF)
		n += snprintf(text + n, CELL_SIZE - (size_t)n, ", %u KiB", entries / 1024);
	else if (entries)
		n += snprintf(text + n, CELL_SIZE - (size_t)n, ", %u", entries);
	if (bpf_map__map_flags(map) & BPF_F_MMAPABLE)
		snprintf(text + n, CELL_SIZE - (size_t)n, ", mmap");
}

/* A key or a value: for a struct "`pintle_tuple`: 4-tuple", its name and what it holds; else only
 * what it holds. */
static int side_text(char *text, size_t size, const char *type, const char *says)
{
	const char *name = strncmp(type, "struct pintle_", 14) ? "" : type + strlen("struct ");

	return snprintf(text, size, "%s%s%s%s%s", *name ? "`" : "", name, *name ? "`" : "",
			*name && says ? ": " : "", says ? says : "");
}

static void content_text(const struct map_layout *l, char text[CELL_SIZE])
{
	int n = side_text(text, CELL_SIZE, l->key_type, l->key);

	if (n)
		n += snprintf(text + n, CELL_SIZE - (size_t)n, " -> ");
	side_text(text + n, CELL_SIZE - (size_t)n, l->value_type, l->holds);
}

/* ---- memory --------------------------------------------------------------------- */

static const char *bytes_text(uint64_t bytes, char text[CODE_SIZE])
{
	if (bytes >= 1000000)
		snprintf(text, CODE_SIZE, "%.1f MB", (double)bytes / 1e6);
	else
		snprintf(text, CODE_SIZE, "%.0f kB", (double)bytes / 1e3);
	return text;
}

/* "18.9 MB", "33 kB a CPU"; "" for less than half a kilobyte. */
static const char *memory_text(const struct bpf_map *map, char text[CODE_SIZE])
{
	uint64_t bytes = memory_of_map(map);

	text[0] = '\0';
	if (bytes < 500)
		return text;
	bytes_text(bytes, text);
	if (memory_is_per_cpu(map))
		strcat(text, " a CPU");
	return text;
}

/* The sums over all maps, with those that are not pinned. */
void memory_markdown(FILE *f)
{
	struct pintle_bpf *skel = skeleton_open();
	char all[CODE_SIZE], each[CODE_SIZE], homes[CODE_SIZE], prefixes[CODE_SIZE],
		traced[CODE_SIZE];
	uint64_t bytes = 0, per_cpu = 0;
	const struct bpf_map *map;

	if (!skel)
		return;
	bpf_object__for_each_map(map, skel->obj)
	{
		if (memory_is_per_cpu(map))
			per_cpu += memory_of_map(map);
		else
			bytes += memory_of_map(map);
	}
	fprintf(f,
		"The maps take %s of kernel memory and %s for each CPU, with those that are not pinned. "
		"Besides: %s for each pool with `stickiness.group` or `stickiness.prefix`, %s while a pool has "
		"`stickiness.prefix`, %zu bytes and the kernel's own for each connection, %s more for one that is traced, and what comes and goes with the "
		"configuration and the clients: the entries of hashes and tries.\n",
		bytes_text(bytes, all), bytes_text(per_cpu, each),
		bytes_text(sizeof(struct pintle_homes), homes),
		bytes_text(memory_of_entries(bpf_map__inner_map(skel->maps.prefixes),
					     PINTLE_MAX_PREFIXES),
			   prefixes),
		sizeof(struct pintle_conn) + sizeof(struct pintle_turn),
		bytes_text(sizeof(struct pintle_trace), traced));
	pintle_bpf__destroy(skel);
}

void maps_markdown(FILE *f)
{
	struct pintle_bpf *skel = skeleton_open();

	table_head(f, "map", "type and entries", "memory", "key -> value", "written by", NULL);
	for (enum map_id id = 0; skel && id < MAP_COUNT; id++) {
		const struct map_layout *l = &map_layouts[id];
		const struct bpf_map *map = bpf_object__find_map_by_name(skel->obj, map_names[id]);
		char name[CODE_SIZE], type[CELL_SIZE], memory[CODE_SIZE], content[CELL_SIZE];

		type_text(map, type);
		content_text(l, content);
		table_row(f, code(map_names[id], name), type, memory_text(map, memory), content,
			  l->writer, NULL);
	}
	pintle_bpf__destroy(skel);
}
