/* SPDX-License-Identifier: Apache-2.0 */
#include "kinds.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "pass/carry.bpf.h"
#include "pintle.skel.h"
#include "skeleton.h"
#include "../../maps/pin.h"
#include "programs.h"

void map_kind_free(struct map_kind *k)
{
	free(k->key);
	free(k->value);
	*k = (struct map_kind){0};
}

/* Another table of a map of maps may have other maps in it, which nothing here tells. */
bool map_kind_same(const struct map_kind *a, const struct map_kind *b)
{
	return a->type == b->type && a->type != BPF_MAP_TYPE_ARRAY_OF_MAPS &&
	       a->key_size == b->key_size && a->value_size == b->value_size &&
	       a->entries == b->entries && a->flags == b->flags && layout_same(a->key, b->key) &&
	       layout_same(a->value, b->value);
}

/* ---- ours ------------------------------------------------------------------------------- */

/* The kernel keeps no BTF of their keys and values. */
static bool is_untyped(uint32_t type)
{
	return type == BPF_MAP_TYPE_SOCKMAP || type == BPF_MAP_TYPE_ARRAY_OF_MAPS ||
	       type == BPF_MAP_TYPE_RINGBUF;
}

static int kinds_kind_of(const struct bpf_object *obj, const struct bpf_map *map,
			 struct map_kind *k)
{
	const struct btf *btf = bpf_object__btf(obj);
	int err;

	*k = (struct map_kind){.type = bpf_map__type(map),
			       .key_size = bpf_map__key_size(map),
			       .value_size = bpf_map__value_size(map),
			       .entries = bpf_map__max_entries(map),
			       .flags = bpf_map__map_flags(map)};
	if (is_untyped(k->type))
		return 0;
	err = layout_read(btf, bpf_map__btf_key_type_id(map), &k->key);
	return err ?: layout_read(btf, bpf_map__btf_value_type_id(map), &k->value);
}

static uint64_t stir(uint64_t hash, uint64_t more)
{
	return (hash ^ more) * 0x9e3779b97f4a7c15ULL;
}

static uint64_t kind_hash(uint64_t hash, const struct map_kind *k)
{
	hash = stir(stir(stir(hash, k->type), k->entries), k->flags);
	hash = stir(stir(hash, k->key_size), k->value_size);
	return stir(stir(hash, layout_hash(k->key)), layout_hash(k->value));
}

int map_kinds_new(struct map_kinds **out)
{
	struct map_kinds *k = calloc(1, sizeof(*k));
	struct pintle_bpf *skel = k ? skeleton_open() : NULL;
	int err = skel ? 0 : -ENOMEM;

	for (enum map_id id = 0; !err && id < MAP_COUNT; id++) {
		struct bpf_map *map = bpf_object__find_map_by_name(skel->obj, map_names[id]);

		err = map ? kinds_kind_of(skel->obj, map, &k->of[id]) : -ENOENT;
		k->hash = kind_hash(k->hash, &k->of[id]);
	}
	pintle_bpf__destroy(skel);
	if (err) {
		map_kinds_free(k);
		return log_err_r(err, "failed to read the layouts of this build");
	}
	*out = k;
	return 0;
}

void map_kinds_free(struct map_kinds *k)
{
	if (!k)
		return;
	for (enum map_id id = 0; id < MAP_COUNT; id++)
		map_kind_free(&k->of[id]);
	free(k);
}

uint64_t map_kinds_pinned(const char *dir)
{
	_cleanup_close_ int fd = pin_open(dir, map_names[MAP_node], 0);
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info), zero = 0;
	struct pintle_node node;

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) &&
			       info.value_size == sizeof(node) &&
			       !bpf_map_lookup_elem(fd, &zero, &node)
		       ? node.layout
		       : 0;
}

bool map_kinds_differ(const char *dir)
{
	uint64_t pinned = map_kinds_pinned(dir);
	struct map_kinds *ours = NULL;
	bool differ = pinned && !map_kinds_new(&ours) && ours->hash != pinned;

	map_kinds_free(ours);
	return differ;
}

/* ---- those that are there ---------------------------------------------------------------- */

/* Maps that were made together share a BTF. */
#define KEPT 8

struct kinds_reader {
	struct pintle_bpf *skel;
	struct {
		uint32_t id;
		struct btf *btf;
	} kept[KEPT];
	unsigned int n;
};

int kinds_reader_new(struct kinds_reader **out)
{
	struct kinds_reader *r = calloc(1, sizeof(*r));
	int err = r ? programs_load_alone("pintle_types", &r->skel) : -ENOMEM;

	if (err) {
		free(r);
		return log_err_r(err, "failed to load the program that reads maps' BTF");
	}
	*out = r;
	return 0;
}

void kinds_reader_free(struct kinds_reader *r)
{
	if (!r)
		return;
	for (unsigned int i = 0; i < r->n; i++)
		btf__free(r->kept[i].btf);
	programs_unload(&r->skel);
	free(r);
}

/* One walk. Returns the bytes that were added; 0: there are no more; or -errno. */
static ssize_t read_piece(int link_fd, uint8_t **all, size_t size)
{
	_cleanup_close_ int fd = bpf_iter_create(link_fd);
	uint8_t *grown = realloc(*all, size + CARRY_TYPES_PIECE);
	size_t got = 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	if (!grown)
		return -ENOMEM;
	*all = grown;
	while ((n = read(fd, grown + size + got, CARRY_TYPES_PIECE - got)) > 0 ||
	       (n < 0 && errno == EAGAIN))
		got += n > 0 ? (size_t)n : 0;
	return n < 0 ? -errno : (ssize_t)got;
}

static int read_btf(struct kinds_reader *r, uint32_t map_id, struct btf **out)
{
	_cleanup_close_ int link_fd =
		bpf_link_create(programs_fd(r->skel, "pintle_types"), 0, BPF_TRACE_ITER, NULL);
	_cleanup_free_ uint8_t *all = NULL;
	size_t size = 0;
	ssize_t n = link_fd < 0 ? link_fd : 1;

	r->skel->bss->types_of = map_id;
	for (; n > 0; size += n > 0 ? (size_t)n : 0) {
		r->skel->bss->types_at = (uint32_t)size;
		n = read_piece(link_fd, &all, size);
	}
	if (n < 0)
		return (int)n;
	*out = size ? btf__new(all, (uint32_t)size) : NULL;
	return *out ? 0 : errno ? -errno : -ENOENT;
}

static int find_btf(struct kinds_reader *r, const struct bpf_map_info *info, struct btf **out)
{
	unsigned int at = r->n;
	int err;

	for (unsigned int i = 0; i < r->n; i++)
		if (r->kept[i].id == info->btf_id) {
			*out = r->kept[i].btf;
			return 0;
		}
	err = read_btf(r, info->id, out);
	if (err)
		return err;
	if (at == KEPT)
		btf__free(r->kept[--at].btf);
	else
		r->n++;
	r->kept[at].id = info->btf_id;
	r->kept[at].btf = *out;
	return 0;
}

int kinds_read(struct kinds_reader *r, int map_fd, struct map_kind *out)
{
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);
	struct map_kind k;
	struct btf *btf = NULL;
	int err;

	if (bpf_obj_get_info_by_fd(map_fd, &info, &size))
		return -errno;
	k = (struct map_kind){.type = info.type,
			      .key_size = info.key_size,
			      .value_size = info.value_size,
			      .entries = info.max_entries,
			      .flags = info.map_flags};
	/* Without BTF, from a kernel or a compiler that has none, sizes must do. */
	if (info.btf_id && !is_untyped(k.type)) {
		err = find_btf(r, &info, &btf);
		if (!err)
			err = layout_read(btf, info.btf_key_type_id, &k.key);
		if (!err)
			err = layout_read(btf, info.btf_value_type_id, &k.value);
		if (err) {
			map_kind_free(&k);
			return err;
		}
	}
	*out = k;
	return 0;
}
