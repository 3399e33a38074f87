/* SPDX-License-Identifier: Apache-2.0 */
#include "splice.h"

#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/kernel.h"
#include "../../net/netns.h"
#include "../../net/reset.h"
#include "devices.h"

struct splice {
	const struct ground *ground;
	struct devices *devices;
	bool wanted[PINTLE_MAX_POOLS]; /* parallel to the configuration's pools */
	uint32_t *seen;                /* the devices of the newest look, by index, sorted */
	size_t seen_n;
};

/* ---- connections ----------------------------------------------------------------------- */

/* Calls `each` with the flows one by one, until it returns false. Some are left out where others
 * are deleted meanwhile. */
static void splices_each(int fd,
			 bool (*each)(int fd, const struct pintle_tuple *key,
				      struct pintle_splice *f, void *arg),
			 void *arg)
{
	struct pintle_tuple key, next;
	struct pintle_splice f;
	int err = bpf_map_get_next_key(fd, NULL, &next);

	while (!err) {
		key = next;
		err = bpf_map_get_next_key(fd, &key, &next);
		if (!bpf_map_lookup_elem(fd, &key, &f) && !each(fd, &key, &f, arg))
			return;
	}
}

static bool count_open(int fd, const struct pintle_tuple *key, struct pintle_splice *f, void *arg)
{
	size_t *n = arg;

	(void)fd;
	(void)key;
	*n += !f->ended_ns;
	return true;
}

size_t splice_open(int splices_fd)
{
	size_t n = 0;

	splices_each(splices_fd, count_open, &n);
	return n;
}

/* Connections that are to be reset. */
struct splice_resets {
	struct splice_client {
		struct pintle_tuple tuple;
		uint64_t space; /* the client's network namespace, by its cookie */
	} * items;
	size_t n, room, done;
};

static bool end_open(int fd, const struct pintle_tuple *key, struct pintle_splice *f, void *arg)
{
	struct splice_resets *r = arg;

	if (f->ended_ns)
		return true;
	if (ROOM_FOR_ONE(r->items, r->n, r->room, 64))
		r->items[r->n++] = (struct splice_client){.tuple = *key, .space = f->client};
	f->ended_ns = monotonic_ns();
	bpf_map_update_elem(fd, key, f, BPF_EXIST);
	return true;
}

static int reset_space(int netns_fd, const char *path, void *arg)
{
	struct splice_resets *r = arg;
	struct addr client, frontend;
	uint64_t space;

	(void)path;
	if (netns_cookie_quiet(netns_fd, &space))
		return 0;
	for (size_t i = 0; i < r->n; i++) {
		const struct pintle_tuple *t = &r->items[i].tuple;

		if (r->items[i].space != space)
			continue;
		memcpy(client.bytes, t->remote, sizeof(client.bytes));
		memcpy(frontend.bytes, t->local, sizeof(frontend.bytes));
		r->done += !reset_connection(netns_fd, &client, t->remote_port, &frontend,
					     t->local_port);
	}
	return 0;
}

size_t splice_reset(int splices_fd)
{
	struct splice_resets r = {0};

	splices_each(splices_fd, end_open, &r);
	if (r.n)
		netns_each(reset_space, &r);
	free(r.items);
	return r.done;
}

static bool find_open(int fd, const struct pintle_tuple *key, struct pintle_splice *f, void *arg)
{
	bool *found = arg;

	(void)fd;
	(void)key;
	*found |= !f->ended_ns;
	return !*found;
}

/* A reload that takes a pool away ends no connection. */
static bool splice_stays(void *arg)
{
	const struct splice *s = arg;
	bool found = false;

	splices_each(s->ground->maps->fd[MAP_splices], find_open, &found);
	return found;
}

/* ---- what belongs to devices that are gone ------------------------------------------- */

static int splice_compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static bool splice_sees(const struct splice *s, uint32_t device)
{
	return s->seen_n && bsearch(&device, s->seen, s->seen_n, sizeof(*s->seen), splice_compare);
}

/* No program is at a connection whose device is gone. The kernel's timer deletes it. */
static bool end_gone(int fd, const struct pintle_tuple *key, struct pintle_splice *f, void *arg)
{
	if (f->ended_ns || splice_sees(arg, f->device))
		return true;
	f->ended_ns = monotonic_ns();
	bpf_map_update_elem(fd, key, f, BPF_EXIST);
	return true;
}

/* Without the program there, connections are decided as they come. */
static void splice_weed_spaces(const struct splice *s)
{
	int fd = s->ground->maps->fd[MAP_splice_spaces], err;
	struct pintle_space v;
	uint64_t key, next;

	err = bpf_map_get_next_key(fd, NULL, &next);
	while (!err) {
		key = next;
		err = bpf_map_get_next_key(fd, &key, &next);
		if (!bpf_map_lookup_elem(fd, &key, &v) && !splice_sees(s, v.device))
			bpf_map_delete_elem(fd, &key);
	}
}

static void on_arranged(void *arg, const struct tc_device *devices, const bool *in, size_t n)
{
	struct splice *s = arg;
	uint32_t *seen = calloc(MAX(n, (size_t)1), sizeof(*seen));
	size_t seen_n = 0;

	if (!seen)
		return;
	for (size_t i = 0; i < n; i++)
		if (in[i])
			seen[seen_n++] = devices[i].index;
	qsort(seen, seen_n, sizeof(*seen), splice_compare);
	if (seen_n == s->seen_n && (!seen_n || !memcmp(seen, s->seen, seen_n * sizeof(*seen)))) {
		free(seen);
		return;
	}
	free(s->seen);
	s->seen = seen;
	s->seen_n = seen_n;
	splice_weed_spaces(s);
	splices_each(s->ground->maps->fd[MAP_splices], end_gone, s);
}

/* ---- all ----------------------------------------------------------------------------- */

void splice_configure(struct splice *s, const struct config *c)
{
	memset(s->wanted, 0, sizeof(s->wanted));
	for (size_t i = 0; i < c->pool_count; i++)
		s->wanted[i] = c->pools[i].splice && kernel_hands_over();
	devices_see(s->devices, c, s->wanted);
}

void splice_look(struct splice *s)
{
	const struct maps *m = s->ground->maps;
	uint64_t key = PINTLE_SPLICE_ALL, next, sum = 0;
	uint32_t spaces = 0;
	int err;

	bpf_map_lookup_elem(m->fd[MAP_splice_shares], &key, &sum);
	err = bpf_map_get_next_key(m->fd[MAP_splice_spaces], NULL, &next);
	for (; !err; spaces++) {
		key = next;
		err = bpf_map_get_next_key(m->fd[MAP_splice_spaces], &key, &next);
	}
	m->node->spliced = (uint32_t)sum;
	m->node->splice_spaces = spaces;
}

void splice_refresh(struct splice *s)
{
	devices_refresh(s->devices);
}

int splice_new(const struct ground *g, struct splice **out)
{
	struct devices_use use = {
		.name = "splice",
		.program = "pintle_splice",
		.program_layer3 = "pintle_splice",
		.map = MAP_splices,
		.priority = 1,
		.of_pods = true,
		.stays = splice_stays,
		.arranged = on_arranged,
	};
	struct splice *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return log_err_r(ENOMEM, "splice");
	s->ground = g;
	use.count = &g->maps->node->splice_devices;
	use.arg = s;
	err = devices_new(g, &use, &s->devices);
	if (err) {
		free(s);
		return err;
	}
	*out = s;
	return 0;
}

void splice_free(struct splice *s)
{
	if (!s)
		return;
	devices_free(s->devices);
	free(s->seen);
	free(s);
}
