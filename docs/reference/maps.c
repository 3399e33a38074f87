/* SPDX-License-Identifier: Apache-2.0 */
/* maps.c - the pins, and what each map holds. The BPF object gives the numbers of entries. */
#include "reference.h"

#include <bpf/libbpf.h>

#include "../../userspace/base/util.h"
#include "../../userspace/maps/links.h"
#include "../../userspace/maps/maps.h"
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
	[BPF_MAP_TYPE_ARRAY_OF_MAPS] = "array of arrays",
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

void maps_markdown(FILE *f)
{
	struct pintle_bpf *skel = pintle_bpf__open();

	table_head(f, "map", "type and entries", "key -> value", "written by", NULL);
	for (enum map_id id = 0; skel && id < MAP_COUNT; id++) {
		const struct map_layout *l = &map_layouts[id];
		char name[CODE_SIZE], type[CELL_SIZE], content[CELL_SIZE];

		type_text(bpf_object__find_map_by_name(skel->obj, map_names[id]), type);
		content_text(l, content);
		table_row(f, code(map_names[id], name), type, content, l->writer, NULL);
	}
	pintle_bpf__destroy(skel);
}
