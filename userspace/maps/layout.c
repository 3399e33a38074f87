/* SPDX-License-Identifier: Apache-2.0 */
#include "layout.h"

#include <bpf/btf.h>
#include <endian.h>

#include "../base/util.h"

#define HASH_START 0xcbf29ce484222325ULL
#define DEEPEST    16

struct reading {
	const struct btf *btf;
	struct layout *l;
	size_t room;
};

/* FNV-1a. */
static uint64_t layout_hash_bytes(uint64_t hash, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ p[i]) * 0x100000001b3ULL;
	return hash;
}

static uint64_t hash_name(uint64_t hash, const char *name)
{
	return layout_hash_bytes(layout_hash_bytes(hash, ".", 1), name, strlen(name));
}

static int layout_add(struct reading *r, const struct layout_member *m)
{
	if (r->l->n == r->room) {
		size_t room = 2 * r->room;
		struct layout *l = realloc(r->l, sizeof(*l) + room * sizeof(l->of[0]));

		if (!l)
			return -ENOMEM;
		r->l = l;
		r->room = room;
	}
	r->l->of[r->l->n++] = *m;
	return 0;
}

static int read_type(struct reading *r, uint32_t type, struct layout_member at, int depth);

static int read_array(struct reading *r, const struct btf_type *t, struct layout_member at,
		      int depth)
{
	const struct btf_array *a = btf_array(t);
	int of = btf__resolve_type(r->btf, a->type);
	const struct btf_type *one = of < 0 ? NULL : btf__type_by_id(r->btf, (uint32_t)of);
	int64_t size = btf__resolve_size(r->btf, a->type);
	uint64_t name = at.name;
	int err = 0;

	if (!one || size < 0)
		return -EINVAL;
	if (btf_is_int(one) || btf_is_any_enum(one)) {
		at.name = layout_hash_bytes(at.name, "[]", 2);
		at.size = (uint32_t)size;
		at.count = a->nelems;
		return layout_add(r, &at);
	}
	for (uint32_t i = 0; !err && i < a->nelems; i++, at.offset += (uint32_t)size) {
		at.name = layout_hash_bytes(name, &i, sizeof(i));
		err = read_type(r, (uint32_t)of, at, depth);
	}
	return err;
}

static int read_struct(struct reading *r, const struct btf_type *t, struct layout_member at,
		       int depth)
{
	int err = 0;

	for (uint16_t i = 0; !err && i < btf_vlen(t); i++) {
		const struct btf_member *m = &btf_members(t)[i];
		const char *name = btf__name_by_offset(r->btf, m->name_off);
		struct layout_member of = {
			.name = name && *name ? hash_name(at.name, name) : at.name,
			.offset = at.offset + btf_member_bit_offset(t, i) / 8,
		};

		err = read_type(r, m->type, of, depth);
	}
	return err;
}

/* Its name tells what is in it: so one whose members changed is another member. */
static int read_union(struct reading *r, const struct btf_type *t, struct layout_member at,
		      int depth)
{
	size_t n = r->l->n;
	struct layout_member all = {.offset = at.offset, .size = 1, .count = t->size};
	int err = read_struct(r, t, at, depth);

	all.name = hash_name(at.name, "union");
	for (size_t i = n; !err && i < r->l->n; i++) {
		struct layout_member *m = &r->l->of[i];

		m->offset -= at.offset;
		all.name = layout_hash_bytes(all.name, m, sizeof(*m));
	}
	if (err)
		return err;
	r->l->n = n;
	return layout_add(r, &all);
}

/* Whether the struct is the kernel's own, whose members the headers of releases name differently.
 */
static bool is_kernels(const struct reading *r, const struct btf_type *t)
{
	return !strcmp(btf__name_by_offset(r->btf, t->name_off) ?: "", "bpf_timer");
}

static int read_type(struct reading *r, uint32_t type, struct layout_member at, int depth)
{
	int id = btf__resolve_type(r->btf, type);
	const struct btf_type *t = id < 0 ? NULL : btf__type_by_id(r->btf, (uint32_t)id);

	if (!t || depth > DEEPEST)
		return -EINVAL;
	switch (btf_kind(t)) {
	case BTF_KIND_ARRAY:
		return read_array(r, t, at, depth + 1);
	case BTF_KIND_STRUCT:
		if (!is_kernels(r, t))
			return read_struct(r, t, at, depth + 1);
		at.size = 1;
		at.count = t->size;
		return layout_add(r, &at);
	case BTF_KIND_UNION:
		return read_union(r, t, at, depth + 1);
	case BTF_KIND_INT:
	case BTF_KIND_ENUM:
	case BTF_KIND_ENUM64:
		at.size = t->size;
		at.count = 1;
		return layout_add(r, &at);
	}
	return -EINVAL;
}

int layout_read(const struct btf *btf, uint32_t type, struct layout **out)
{
	struct reading r = {.btf = btf, .room = 16};
	struct layout_member at = {.name = HASH_START};
	int64_t size = type ? btf__resolve_size(btf, type) : 0;
	int err;

	*out = NULL;
	if (!type)
		return 0;
	if (size < 0)
		return -EINVAL;
	r.l = calloc(1, sizeof(*r.l) + r.room * sizeof(r.l->of[0]));
	if (!r.l)
		return -ENOMEM;
	err = read_type(&r, type, at, 0);
	if (err) {
		free(r.l);
		return err;
	}
	r.l->size = (uint32_t)size;
	*out = r.l;
	return 0;
}

bool layout_same(const struct layout *a, const struct layout *b)
{
	if (!a || !b)
		return a == b;
	return a->size == b->size && a->n == b->n && !memcmp(a->of, b->of, a->n * sizeof(a->of[0]));
}

uint64_t layout_hash(const struct layout *l)
{
	if (!l)
		return 0;
	return layout_hash_bytes(layout_hash_bytes(HASH_START, &l->size, sizeof(l->size)), l->of,
				 l->n * sizeof(l->of[0]));
}

/* ---- from one layout to another --------------------------------------------------------- */

static int layout_by_name(const void *left, const void *right)
{
	const struct layout_member *a = left, *b = right;

	return a->name < b->name ? -1 : a->name > b->name;
}

static const struct layout_member *find(const struct layout *names, uint64_t name)
{
	const struct layout_member key = {.name = name};

	return bsearch(&key, names->of, names->n, sizeof(names->of[0]), layout_by_name);
}

static struct layout *sorted(const struct layout *l)
{
	size_t size = sizeof(*l) + l->n * sizeof(l->of[0]);
	struct layout *copy = malloc(size);

	if (copy) {
		memcpy(copy, l, size);
		qsort(copy->of, copy->n, sizeof(copy->of[0]), layout_by_name);
	}
	return copy;
}

static int plan_whole(uint32_t from_size, uint32_t to_size, struct layout_plan **out)
{
	struct layout_plan *p = calloc(1, sizeof(*p) + sizeof(p->of[0]));

	if (!p)
		return -ENOMEM;
	*p = (struct layout_plan){from_size, to_size, 1};
	p->of[0] = (struct layout_move){0, 0, 1, 1, MIN(from_size, to_size)};
	*out = p;
	return 0;
}

int layout_plan(const struct layout *from, const struct layout *to, uint32_t from_size,
		uint32_t to_size, struct layout_plan **out)
{
	_cleanup_free_ struct layout *names = NULL;
	struct layout_plan *p;

	if (!from || !to)
		return plan_whole(from_size, to_size, out);
	names = sorted(from);
	p = calloc(1, sizeof(*p) + to->n * sizeof(p->of[0]));
	if (!names || !p) {
		free(p);
		return -ENOMEM;
	}
	p->from_size = from_size;
	p->to_size = to_size;
	for (size_t i = 0; i < to->n; i++) {
		const struct layout_member *b = &to->of[i];
		const struct layout_member *a = find(names, b->name);

		if (a)
			p->of[p->n++] = (struct layout_move){a->offset, b->offset, a->size, b->size,
							     MIN(a->count, b->count)};
	}
	*out = p;
	return 0;
}

static void move_numbers(const struct layout_move *m, const uint8_t *from, uint8_t *to)
{
	uint32_t size = MIN(m->from_size, m->to_size);
	/* The low bytes of a number come last where the first byte is the highest. */
	bool high_first = __BYTE_ORDER == __BIG_ENDIAN;

	for (uint32_t i = 0; i < m->count; i++)
		memcpy(to + m->to + (size_t)i * m->to_size + (high_first ? m->to_size - size : 0),
		       from + m->from + (size_t)i * m->from_size +
			       (high_first ? m->from_size - size : 0),
		       size);
}

void layout_convert(const struct layout_plan *p, const void *from, void *to)
{
	memset(to, 0, p->to_size);
	for (size_t i = 0; i < p->n; i++) {
		const struct layout_move *m = &p->of[i];

		if (m->from_size == m->to_size)
			memcpy((uint8_t *)to + m->to, (const uint8_t *)from + m->from,
			       (size_t)m->from_size * m->count);
		else
			move_numbers(m, from, to);
	}
}
