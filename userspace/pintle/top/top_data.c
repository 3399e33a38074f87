/* SPDX-License-Identifier: Apache-2.0 */
/* top_data.c - what one frame of `pintle top` shows. */
#include "top.h"

#include "../../base/log.h"

static int sessions_read(const struct maps *m, struct top_data *d)
{
	size_t n = 0;
	int err = state_sessions(m, d->s, &d->sessions, &n);

	if (err) {
		log_err_r(err, "cannot read the sessions");
		return EXIT_FAILED;
	}
	d->rows[TOP_SESSIONS] = (struct top_rows){(const char *)d->sessions, n};
	return 0;
}

static int classes_list(struct top_data *d)
{
	const struct state *s = d->s;
	size_t n = 0;

	d->classes = calloc(s->pool_count * PINTLE_MAX_CLASSES + 1, sizeof(*d->classes));
	if (!d->classes) {
		log_error("out of memory");
		return EXIT_FAILED;
	}
	for (uint32_t pool = 0; pool < s->pool_count; pool++)
		for (uint32_t i = 0; i < s->pools[pool].class_count; i++)
			d->classes[n++] = (struct top_class){pool, i};
	d->rows[TOP_CLASSES] = (struct top_rows){(const char *)d->classes, n};
	return 0;
}

/* Each list is in the order of pools, so a pool's rows are one run. */
static void rows_keep_pool(struct top_rows *r, const struct top_list *list, size_t pool)
{
	size_t first = 0, last;

	if (!list->pool_of) {
		*r = (struct top_rows){r->first + pool * list->size, 1};
		return;
	}
	while (first < r->count && list->pool_of(r->first + first * list->size) != pool)
		first++;
	for (last = first; last < r->count && list->pool_of(r->first + last * list->size) == pool;)
		last++;
	if (first < last)
		r->first += first * list->size;
	r->count = last - first;
}

static int data_keep_pool(const struct cli *cli, struct top_data *d)
{
	const struct state_pool *p;

	if (!cli->pool)
		return 0;
	p = find_pool(d->s, cli->pool);
	if (!p)
		return EXIT_FAILED;
	for (enum top_list_id i = 0; i < TOP_LISTS; i++)
		rows_keep_pool(&d->rows[i], &top_lists[i], (size_t)(p - d->s->pools));
	return 0;
}

int top_data_read(const struct cli *cli, bool sessions, struct top_data *out)
{
	_cleanup_(maps_closep) struct maps *m = NULL;
	_cleanup_(top_data_free) struct top_data d = {0};
	int status = open_state(cli, MAPS_READ, &m, &d.s);

	if (status)
		return status;
	d.rows[TOP_POOLS] = (struct top_rows){(const char *)d.s->pools, d.s->pool_count};
	d.rows[TOP_ENDPOINTS] =
		(struct top_rows){(const char *)d.s->endpoints, d.s->endpoint_count};
	status = classes_list(&d);
	if (!status && sessions)
		status = sessions_read(m, &d);
	if (!status)
		status = data_keep_pool(cli, &d);
	if (status)
		return status;
	*out = d;
	d = (struct top_data){0};
	return 0;
}

void top_data_free(struct top_data *d)
{
	state_free(d->s);
	free(d->sessions);
	free(d->classes);
	*d = (struct top_data){0};
}
