/* SPDX-License-Identifier: Apache-2.0 */
#include "rows.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "../base/log.h"
#include "../base/util.h"

#define BATCH      512 /* entries that are read at once; more than any bucket of a hash has */
#define TOKEN_SIZE 256 /* of a place to go on from: a bucket's number, or a key */

static size_t row_size(enum map_id id)
{
	return map_layouts[id].key_size + map_layouts[id].value_size;
}

/* ---- reading --------------------------------------------------------------------- */

struct batch {
	char token[TOKEN_SIZE];
	char *keys, *values;
	bool begun;
};

static void rows_batch_free(struct batch *b)
{
	free(b->keys);
	free(b->values);
}

/* Returns how many entries were read, with *last where no more follow; or -errno. */
static int batch_read(const struct maps *m, enum map_id id, struct batch *b, bool *last)
{
	uint32_t count = BATCH;
	int err = bpf_map_lookup_batch(m->fd[id], b->begun ? b->token : NULL, b->token, b->keys,
				       b->values, &count, NULL);

	if (err && errno != ENOENT)
		return -errno;
	*last = err;
	b->begun = true;
	return (int)count;
}

int map_each(const struct maps *m, enum map_id id,
	     int (*each)(const void *key, const void *value, void *arg), void *arg)
{
	const struct map_layout *l = &map_layouts[id];
	/* Zeroed for valgrind, which does not know that the kernel writes here. */
	_cleanup_(rows_batch_free) struct batch b = {
		.keys = calloc(BATCH, l->key_size),
		.values = calloc(BATCH, l->value_size),
	};
	bool last = false;
	int err = 0;

	assert(l->key_size <= TOKEN_SIZE);
	if (!b.keys || !b.values)
		return log_err_r(ENOMEM, "map %s", map_names[id]);
	while (!err && !last) {
		int n = batch_read(m, id, &b, &last);

		if (n < 0)
			return log_err_r(n, "failed to read map %s", map_names[id]);
		for (int i = 0; !err && i < n; i++)
			err = each(b.keys + (size_t)i * l->key_size,
				   b.values + (size_t)i * l->value_size, arg);
	}
	return err;
}

/* ---- rows ------------------------------------------------------------------------ */

int map_rows_add(struct map_rows *r, const void *key, const void *value)
{
	size_t key_size = map_layouts[r->id].key_size, size = row_size(r->id);
	char *row;

	if (r->n == r->room) {
		size_t room = r->room ? 2 * r->room : 64;
		char *all = reallocarray(r->all, room, size);

		if (!all)
			return log_err_r(ENOMEM, "map %s", map_names[r->id]);
		r->all = all;
		r->room = room;
	}
	row = r->all + r->n++ * size;
	memcpy(row, key, key_size);
	memcpy(row + key_size, value, size - key_size);
	return 0;
}

void map_rows_free(struct map_rows *r)
{
	free(r->all);
}

static int rows_by_key(const void *left, const void *right, void *key_size)
{
	return memcmp(left, right, *(size_t *)key_size);
}

static void rows_sort(struct map_rows *r)
{
	size_t key_size = map_layouts[r->id].key_size;

	if (r->n)
		qsort_r(r->all, r->n, row_size(r->id), rows_by_key, &key_size);
}

/* ---- writing --------------------------------------------------------------------- */

static int rows_add_present(const void *key, const void *value, void *arg)
{
	return map_rows_add(arg, key, value);
}

/* Calls `visit` for each row of `of`, both being sorted, with the other's row of the same key;
 * NULL: there is none. */
static int
rows_compare(const struct maps *m, const struct map_rows *of, const struct map_rows *other,
	     int (*visit)(const struct maps *m, enum map_id id, const char *row, const char *same))
{
	size_t key_size = map_layouts[of->id].key_size, size = row_size(of->id), at = 0;
	int err = 0;

	for (size_t i = 0; !err && i < of->n; i++) {
		const char *row = of->all + i * size;
		int order = -1;

		assert(!i || memcmp(row - size, row, key_size) <= 0);
		while (at < other->n && (order = memcmp(other->all + at * size, row, key_size)) < 0)
			at++;
		err = visit(m, of->id, row,
			    at < other->n && !order ? other->all + at * size : NULL);
	}
	return err;
}

static int delete_unwanted(const struct maps *m, enum map_id id, const char *row,
			   const char *wanted)
{
	if (!wanted && bpf_map_delete_elem(m->fd[id], row) && errno != ENOENT)
		return log_err_r(errno, "failed to delete from map %s", map_names[id]);
	return 0;
}

static int put_changed(const struct maps *m, enum map_id id, const char *row, const char *present)
{
	if (present && !memcmp(row, present, row_size(id)))
		return 0;
	return maps_put(m, id, row, row + map_layouts[id].key_size);
}

int map_rows_put(const struct maps *m, struct map_rows *r)
{
	_cleanup_(map_rows_free) struct map_rows present = {.id = r->id};
	int err = map_each(m, r->id, rows_add_present, &present);

	assert(m->writable);
	if (err)
		return err;
	rows_sort(&present);
	rows_sort(r);
	err = rows_compare(m, &present, r, delete_unwanted);
	return err ? err : rows_compare(m, r, &present, put_changed);
}
