/* SPDX-License-Identifier: Apache-2.0 */
#include "frontends.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/keys.h"
#include "../../maps/rows.h"
#include "../../net/routes.h"

void frontends_free(struct frontends *f)
{
	free(f->rows);
	*f = (struct frontends){0};
}

static int frontends_add_row(struct frontends *f, const struct frontend_row *row)
{
	if (!ROOM_FOR_ONE(f->rows, f->n, f->room, 64))
		return log_err_r(ENOMEM, "frontends");
	f->rows[f->n++] = *row;
	return 0;
}

static int frontends_by_key(const void *left, const void *right)
{
	const struct frontend_row *a = left, *b = right;

	return memcmp(&a->key, &b->key, sizeof(a->key));
}

/* Sorts the rows for frontends_find_row(). */
static void frontends_rows_sort(struct frontends *f)
{
	if (f->n)
		qsort(f->rows, f->n, sizeof(*f->rows), frontends_by_key);
}

static int frontends_add_present(const void *key, const void *value, void *arg)
{
	struct frontend_row row;

	memcpy(&row.key, key, sizeof(row.key));
	memcpy(&row.value, value, sizeof(row.value));
	if (row.key.prefixlen < PINTLE_FRONTEND_FIXED_BITS)
		return 0; /* not ours: no frontend's key is so short */
	return frontends_add_row(arg, &row);
}

int frontends_load(const struct maps *m, struct frontends *out)
{
	_cleanup_(frontends_free) struct frontends f = {0};
	int err = map_each(m, MAP_frontends, frontends_add_present, &f);

	assert(!out->rows && !out->n);
	if (err)
		return err;
	frontends_rows_sort(&f);
	*out = f;
	f = (struct frontends){0};
	return 0;
}

int frontends_wanted(const struct config *c, const struct publication *p, struct frontends *out)
{
	_cleanup_(frontends_free) struct frontends f = {0};
	int err = 0;

	assert(!out->rows && !out->n && p->pool_count == c->pool_count);
	for (size_t i = 0; i < c->pool_count; i++) {
		for (size_t j = 0; !err && j < c->pools[i].frontend_count; j++) {
			struct frontend_row row = {
				.key = key_of_frontend(&c->pools[i].frontends[j]),
				.value = {.pool = p->pools[i].ref.id,
					  .generation = p->pools[i].ref.generation,
					  .decided_by = c->pools[i].decided_by,
					  .flags = c->pools[i].announce ? PINTLE_FRONTEND_ANNOUNCED
									: 0,
					  .prefix_bits = c->pools[i].frontends[j].prefix_bits},
			};

			err = frontends_add_row(&f, &row);
		}
	}
	if (err)
		return err;
	frontends_rows_sort(&f);
	*out = f;
	f = (struct frontends){0};
	return 0;
}

/* ---- questions ------------------------------------------------------------------- */

static const struct frontend_row *frontends_find_row(const struct frontends *f,
						     const struct pintle_frontend_key *key)
{
	const struct frontend_row row = {.key = *key};

	return f->n ? bsearch(&row, f->rows, f->n, sizeof(row), frontends_by_key) : NULL;
}

/* Frontends that differ only in the port share a route. */
static bool frontends_same_prefix(const struct pintle_frontend_key *a,
				  const struct pintle_frontend_key *b)
{
	return a->prefixlen == b->prefixlen && !memcmp(a->address, b->address, sizeof(a->address));
}

static bool is_announced(const struct frontends *f, const struct pintle_frontend_key *key)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->rows[i].value.flags & PINTLE_FRONTEND_ANNOUNCED &&
		    frontends_same_prefix(&f->rows[i].key, key))
			return true;
	return false;
}

/* ---- writing --------------------------------------------------------------------- */

/* Notes that the route of `key` is ours, without changing a decision. If the row 10.0.0.7/32 is not
 * there yet, and 10.0.0.0/24 covers it, the new row gets the /24's value; if nothing covers it, the
 * row is of no pool. */
static int note_route(const struct maps *m, const struct frontends *old,
		      const struct pintle_frontend_key *key)
{
	const struct frontend_row *row = frontends_find_row(old, key);
	struct pintle_frontend value = {0};

	if (row)
		value = row->value;
	else
		bpf_map_lookup_elem(m->fd[MAP_frontends], key, &value);
	value.flags |= PINTLE_FRONTEND_ANNOUNCED;
	return maps_put(m, MAP_frontends, key, &value);
}

struct own_routes {
	struct frontend_addr *all;
	size_t n;
};

static bool frontends_is_own(const struct own_routes *own, const struct frontend_addr *f)
{
	for (size_t i = 0; i < own->n; i++)
		if (own->all[i].prefix_bits == f->prefix_bits &&
		    !memcmp(&own->all[i].prefix, &f->prefix, sizeof(f->prefix)))
			return true;
	return false;
}

static int announce_row(const struct maps *m, int netns_fd, const struct own_routes *own,
			const struct frontends *old, struct frontend_row *row)
{
	struct frontend_addr f = frontend_of_key(&row->key);
	bool ours = true;
	int err = 0;

	if (!frontends_is_own(own, &f)) {
		err = note_route(m, old, &row->key);
		if (!err)
			err = routes_add_local(netns_fd, &f, &ours);
	}
	if (!err && !ours)
		row->value.flags &= ~(uint32_t)PINTLE_FRONTEND_ANNOUNCED;
	return err;
}

static bool any_announced(const struct frontends *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->rows[i].value.flags & PINTLE_FRONTEND_ANNOUNCED)
			return true;
	return false;
}

int frontends_announce(const struct maps *m, int netns_fd, const struct frontends *old,
		       struct frontends *wanted)
{
	_cleanup_free_ struct frontend_addr *all = NULL;
	struct own_routes own = {0};
	int err;

	if (!any_announced(wanted))
		return 0;
	err = routes_list_local(netns_fd, &all, &own.n);
	if (err)
		return err;
	own.all = all;
	for (size_t i = 0; !err && i < wanted->n; i++)
		if (wanted->rows[i].value.flags & PINTLE_FRONTEND_ANNOUNCED)
			err = announce_row(m, netns_fd, &own, old, &wanted->rows[i]);
	if (!err)
		return 0;
	frontends_settle(m, netns_fd, old);
	return err;
}

int frontends_put(const struct maps *m, const struct frontends *old, const struct frontends *wanted)
{
	int err = 0;

	for (size_t i = 0; !err && i < wanted->n; i++) {
		struct pintle_frontend value = wanted->rows[i].value;
		const struct frontend_row *was = frontends_find_row(old, &wanted->rows[i].key);

		/* The old row's route exists until frontends_settle() has removed it. */
		if (was)
			value.flags |= was->value.flags & PINTLE_FRONTEND_ANNOUNCED;
		err = maps_put(m, MAP_frontends, &wanted->rows[i].key, &value);
	}
	return err;
}

static int settle_row(const struct maps *m, int netns_fd, const struct frontends *wanted,
		      const struct frontend_row *now)
{
	const struct frontend_row *row = frontends_find_row(wanted, &now->key);
	struct frontend_addr f = frontend_of_key(&now->key);
	int err = 0;

	if (now->value.flags & PINTLE_FRONTEND_ANNOUNCED && !is_announced(wanted, &now->key))
		err = routes_remove_local(netns_fd, &f);
	if (err)
		return err;
	if (row)
		return memcmp(&row->value, &now->value, sizeof(now->value))
			       ? maps_put(m, MAP_frontends, &now->key, &row->value)
			       : 0;
	if (bpf_map_delete_elem(m->fd[MAP_frontends], &now->key) && errno != ENOENT)
		return log_err_r(errno, "failed to delete from map frontends");
	return 0;
}

int frontends_settle(const struct maps *m, int netns_fd, const struct frontends *wanted)
{
	_cleanup_(frontends_free) struct frontends now = {0};
	int err = frontends_load(m, &now);

	for (size_t i = 0; !err && i < now.n; i++)
		err = settle_row(m, netns_fd, wanted, &now.rows[i]);
	return err;
}
