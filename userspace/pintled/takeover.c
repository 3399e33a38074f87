/* SPDX-License-Identifier: Apache-2.0 */
#include "takeover.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <sys/mman.h>

#include "../base/log.h"
#include "../base/util.h"
#include "programs.h"
#include "pins.h"
#include "pintle.skel.h"
#include "walk.h"

struct takeover {
	char dir[PATH_MAX];
	int fd[MAP_COUNT]; /* -1: the former layout has no such map */
	struct pintle_bpf *skel;
};

/* ---- what changed between the two layouts ------------------------------------------- */

/* A map that is not in this table has the same layout in both; or it is new (struct map_layout:
 * `since`), and starts empty. */
struct conversion {
	uint32_t value_size; /* in the former layout */
	/* Called before the links are moved: only reads the former map, and overwrites nothing in
	 * `m` that is newer. */
	int (*copy)(const struct takeover *t, const struct maps *m, enum map_id id);
	/* Called after that: carries over what the former programs wrote since. Must do no harm
	 * when a takeover that was killed does it again. */
	int (*move)(const struct takeover *t, const struct maps *m, enum map_id id);
};
static const struct conversion conversions[MAP_COUNT];

static bool is_zero(const void *value, size_t size)
{
	const uint8_t *p = value;

	return !p[0] && !memcmp(p, p + 1, size - 1);
}

/* For values that only gained fields at their ends: the former bytes, then zeros. */
static int copy_grown(const struct takeover *t, const struct maps *m, enum map_id id)
{
	size_t size = map_layouts[id].value_size;
	_cleanup_free_ void *there = malloc(size), *value = calloc(1, size);

	if (!there || !value)
		return -ENOMEM;
	for (uint32_t i = 0; i < map_layouts[id].entries; i++) {
		if (bpf_map_lookup_elem(t->fd[id], &i, value) ||
		    bpf_map_lookup_elem(m->fd[id], &i, there))
			return -errno;
		if (!is_zero(there, size) || is_zero(value, size))
			continue;
		if (bpf_map_update_elem(m->fd[id], &i, value, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* `node` holds the number of the layout, which is the new one in the copy. */
static int copy_node(const struct takeover *t, const struct maps *m, enum map_id id)
{
	int err = copy_grown(t, m, id);

	m->node->abi_version = PINTLE_ABI_VERSION;
	return err;
}

/* An operator may use the former CLI during the takeover: the newer override wins. */
static int copy_overrides(const struct takeover *t, const struct maps *m, enum map_id id)
{
	for (uint32_t i = 0; i < PINTLE_OVERRIDE_COUNT; i++) {
		struct pintle_override former = {0}, there;

		if (bpf_map_lookup_elem(t->fd[id], &i, &former) ||
		    bpf_map_lookup_elem(m->fd[id], &i, &there))
			return -errno;
		if (former.since_ns > there.since_ns &&
		    bpf_map_update_elem(m->fd[id], &i, &former, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* Until the configuration is published, sockops recognises listeners by the former addresses. */
static int copy_addresses(const struct takeover *t, const struct maps *m, enum map_id id)
{
	struct pintle_address_key key, *previous = NULL;

	for (; !bpf_map_get_next_key(t->fd[id], previous, &key); previous = &key) {
		struct pintle_address former = {0};

		if (!bpf_map_lookup_elem(t->fd[id], &key, &former) &&
		    bpf_map_update_elem(m->fd[id], &key, &former, BPF_NOEXIST) && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static int put_binding(const struct maps *m, const struct pintle_affinity_key *key,
		       const struct pintle_affinity *former)
{
	struct pintle_affinity there;
	uint64_t flags = BPF_ANY;

	if (bpf_map_lookup_elem(m->fd[MAP_affinity], key, &there))
		flags = BPF_NOEXIST;
	else if (there.used_ns >= former->used_ns)
		return 0;
	if (bpf_map_update_elem(m->fd[MAP_affinity], key, former, flags) && errno != EEXIST)
		return -errno;
	return 0;
}

#define BATCH 4096 /* entries; must be more than a bucket has, or the kernel answers -ENOSPC */

static int copy_affinity(const struct takeover *t, const struct maps *m, enum map_id id)
{
	_cleanup_free_ struct pintle_affinity_key *keys = calloc(BATCH, sizeof(*keys));
	_cleanup_free_ char *values = calloc(BATCH, conversions[id].value_size);
	uint32_t at = 0, n;
	int err = keys && values ? 0 : -ENOMEM, put = 0;

	for (bool first = true; !err && !put; first = false) {
		n = BATCH;
		err = bpf_map_lookup_batch(t->fd[id], first ? NULL : &at, &at, keys, values, &n,
					   NULL);
		for (uint32_t i = 0; (!err || err == -ENOENT) && !put && i < n; i++) {
			struct pintle_affinity former = {0};

			memcpy(&former, values + (size_t)i * conversions[id].value_size,
			       conversions[id].value_size);
			put = put_binding(m, &keys[i], &former);
		}
	}
	return err == -ENOENT ? put : err ?: put;
}

/* Counts are moved, not copied: a takeover that is killed and goes on later adds none twice. */
static void move_count(__u64 *to, __u64 *from)
{
	__atomic_fetch_add(to, __atomic_exchange_n(from, 0, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}

static int copy_health(const struct takeover *t, const struct maps *m, enum map_id id)
{
	for (uint32_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		struct pintle_health former = {0};

		if (bpf_map_lookup_elem(t->fd[id], &i, &former))
			return -errno;
		former.direct_opened = former.direct_closed = former.ejections = 0;
		memset(former.failures, 0, sizeof(former.failures));
		if (is_zero(&m->health[i], sizeof(former)))
			m->health[i] = former;
	}
	return 0;
}

static int move_health(const struct takeover *t, const struct maps *m, enum map_id id)
{
	size_t size = (size_t)conversions[id].value_size * PINTLE_MAX_ENDPOINTS;
	char *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd[id], 0);

	if (base == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++) {
		struct pintle_health *from =
			(struct pintle_health *)(base + i * conversions[id].value_size);
		struct pintle_health *to = &m->health[i];

		move_count(&to->direct_opened, &from->direct_opened);
		move_count(&to->direct_closed, &from->direct_closed);
		move_count(&to->ejections, &from->ejections);
		for (int k = 0; k < PINTLE_FAILURE_COUNT; k++)
			move_count(&to->failures[k], &from->failures[k]);
	}
	munmap(base, size);
	return 0;
}

static int carry_connects(const struct takeover *t, const struct maps *m, enum map_id id)
{
	(void)m;
	return walk_once(t->skel->progs.pintle_carry, t->fd[id]);
}

/* Indexed by map, so that the compiler refuses a second row for a map. */
#define ROW(name, size, copy, move) [MAP_##name] = {size, copy, move}
static const struct conversion conversions[MAP_COUNT] = {
	ROW(node, 744, copy_node, NULL),
	ROW(names, 68, copy_grown, NULL),
	ROW(pools, 8432, copy_grown, NULL),
	ROW(overrides, 32, copy_overrides, copy_overrides),
	ROW(addresses, 16, copy_addresses, NULL),
	ROW(scores, 120, copy_grown, NULL),
	ROW(health, 104, copy_health, move_health),
	ROW(affinity, 24, copy_affinity, copy_affinity),
	ROW(connects, 160, NULL, carry_connects),
};
#undef ROW

static bool is_new(enum map_id map)
{
	return map_layouts[map].since > PINTLE_FORMER_VERSION;
}

static bool is_changed(enum map_id map)
{
	return conversions[map].value_size;
}

/* ---- the former pins --------------------------------------------------------------- */

/* False once every link was moved: then the former layout is being removed. */
static bool has_links(const struct takeover *t)
{
	for (int i = 0; i < LINK_COUNT; i++)
		if (link_pinned(&link_kinds[i], t->dir))
			return true;
	return false;
}

/* Returns 0; -ENOENT: not pinned; or -errno, logged. */
static int open_map(struct takeover *t, enum map_id id)
{
	uint32_t size = is_changed(id) ? conversions[id].value_size : map_layouts[id].value_size;
	char path[PIN_PATH_SIZE];

	if (is_new(id))
		return 0;
	pin_path(t->dir, map_names[id], path);
	if (!pin_is_there(t->dir, map_names[id]) && has_links(t))
		pins_repair_map(t->dir, id);
	t->fd[id] = pin_open(t->dir, map_names[id], 0);
	if (t->fd[id] < 0) {
		int err = -errno;

		t->fd[id] = -1;
		return err == -ENOENT ? err : log_err_r(err, "failed to open %s", path);
	}
	return maps_check(path, id, size, t->fd[id]);
}

static int open_maps(struct takeover *t)
{
	bool whole = true;
	int err;

	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		err = open_map(t, id);
		if (err && err != -ENOENT)
			return err;
		whole &= !err;
	}
	return whole ? 0 : -ENOENT;
}

/* Removes former pins that are not whole. */
static int takeover_clear(const struct takeover *t, bool begun)
{
	if (begun)
		return pins_remove(t->dir);
	if (pins_steer(t->dir)) {
		log_error("the pins in %s are incomplete, but still steer; remove them first: "
			  "pintled --detach",
			  t->dir);
		return -EPROTO;
	}
	log_warn("the pins in %s are incomplete, and nothing steers by them: starting afresh",
		 t->dir);
	return pins_undo(t->dir);
}

static void takeover_freep(struct takeover **t)
{
	takeover_free(*t);
}

int takeover_find(const char *bpffs, bool begun, struct takeover **out)
{
	_cleanup_(takeover_freep) struct takeover *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return log_err_r(ENOMEM, "takeover");
	memset(t->fd, -1, sizeof(t->fd));
	*out = NULL;
	maps_dir_of(bpffs, PINTLE_FORMER_VERSION, t->dir, sizeof(t->dir));
	if (access(t->dir, F_OK))
		return 0;
	err = open_maps(t);
	if (err)
		return err == -ENOENT ? takeover_clear(t, begun) : err;
	*out = TAKE_PTR(t);
	return 0;
}

void takeover_free(struct takeover *t)
{
	if (!t)
		return;
	programs_unload(&t->skel);
	for (enum map_id id = 0; id < MAP_COUNT; id++)
		if (t->fd[id] >= 0)
			close(t->fd[id]);
	free(t);
}

const char *takeover_dir(const struct takeover *t)
{
	return t->dir;
}

void takeover_kept(const struct takeover *t, struct maps *m)
{
	for (enum map_id id = 0; id < MAP_COUNT; id++)
		m->fd[id] = is_changed(id) ? -1 : t->fd[id];
}

/* ---- taking over ------------------------------------------------------------------- */

int takeover_copy(const struct takeover *t, const struct maps *m)
{
	int err = 0;

	for (enum map_id id = 0; !err && id < MAP_COUNT; id++) {
		err = conversions[id].copy ? conversions[id].copy(t, m, id) : 0;
		if (err)
			log_err_r(err, "failed to copy %s/%s", t->dir, map_names[id]);
	}
	return err;
}

static int move_maps(const struct takeover *t, const struct maps *m)
{
	int err = 0;

	for (enum map_id id = 0; !err && id < MAP_COUNT; id++) {
		err = conversions[id].move ? conversions[id].move(t, m, id) : 0;
		if (err)
			log_err_r(err, "failed to carry %s/%s over", t->dir, map_names[id]);
	}
	return err;
}

int takeover_load(struct takeover *t, const struct maps *m)
{
	struct load_list which = {.carry = true, .carry_from = t->fd[MAP_connects]};

	assert(!t->skel);
	for (int i = 0; i < LINK_COUNT; i++)
		which.links[i] = link_pinned(&link_kinds[i], t->dir);
	return programs_load(&which, m, &t->skel);
}

int takeover_commit(struct takeover *t, const struct maps *m, const char *dir,
		    const struct link_place *to)
{
	int err = 0;

	assert(t->skel); /* takeover_load() was called */
	for (int i = 0; !err && i < LINK_COUNT; i++)
		if (link_pinned(&link_kinds[i], t->dir))
			err = link_move(&link_kinds[i], programs_fd(t->skel, link_kinds[i].program),
					to, t->dir, dir);
	if (!err)
		err = move_maps(t, m);
	if (!err)
		err = pins_remove(t->dir);
	if (!err)
		log_info("took over pins of layout %d", PINTLE_FORMER_VERSION);
	return err;
}
