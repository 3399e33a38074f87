/* SPDX-License-Identifier: Apache-2.0 */
#include "takeover.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>

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

#define FORMER_POOLS     64
#define FORMER_ENDPOINTS 1024
#define FORMER_SLOTS     (FORMER_POOLS + FORMER_ENDPOINTS)

/* A map that is not in this table has the same layout in both; or it is new (struct map_layout:
 * `since`), and starts empty. */
struct conversion {
	/* in the former layout: */
	uint32_t value_size;
	uint32_t entries; /* 0: any number */
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

static uint32_t index_same(uint32_t former)
{
	return former;
}

/* Pools come first in `names` and `overrides`, then endpoints, then the node. */
static uint32_t index_of_slot(uint32_t former)
{
	if (former < FORMER_POOLS)
		return former;
	return former < FORMER_SLOTS ? PINTLE_ENDPOINT_SLOT(former - FORMER_POOLS)
				     : PINTLE_OVERRIDE_NODE;
}

/* For values that only gained fields at their ends: the former bytes, then zeros. `index_of` gives
 * the index of a former entry in this layout. */
static int copy_array(const struct takeover *t, const struct maps *m, enum map_id id,
		      uint32_t (*index_of)(uint32_t former))
{
	size_t size = map_layouts[id].value_size;
	_cleanup_free_ void *there = malloc(size), *value = calloc(1, size);

	if (!there || !value)
		return -ENOMEM;
	for (uint32_t i = 0; i < conversions[id].entries; i++) {
		uint32_t at = index_of(i);

		if (bpf_map_lookup_elem(t->fd[id], &i, value) ||
		    bpf_map_lookup_elem(m->fd[id], &at, there))
			return -errno;
		if (!is_zero(there, size) || is_zero(value, size))
			continue;
		if (bpf_map_update_elem(m->fd[id], &at, value, BPF_ANY))
			return -errno;
	}
	return 0;
}

static int copy_grown(const struct takeover *t, const struct maps *m, enum map_id id)
{
	return copy_array(t, m, id, index_same);
}

static int copy_names(const struct takeover *t, const struct maps *m, enum map_id id)
{
	return copy_array(t, m, id, index_of_slot);
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
	for (uint32_t i = 0; i < conversions[id].entries; i++) {
		struct pintle_override former = {0}, there;
		uint32_t at = index_of_slot(i);

		if (bpf_map_lookup_elem(t->fd[id], &i, &former) ||
		    bpf_map_lookup_elem(m->fd[id], &at, &there))
			return -errno;
		if (former.since_ns > there.since_ns &&
		    bpf_map_update_elem(m->fd[id], &at, &former, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* For maps that only the daemon writes, and whose values only gained fields at their ends. */
static int copy_keyed(const struct takeover *t, const struct maps *m, enum map_id id)
{
	struct {
		char bytes[64];
	} key, value, *previous = NULL;

	assert(map_layouts[id].key_size <= sizeof(key) &&
	       map_layouts[id].value_size <= sizeof(value));
	for (; !bpf_map_get_next_key(t->fd[id], previous, &key); previous = &key) {
		memset(&value, 0, sizeof(value));
		if (!bpf_map_lookup_elem(t->fd[id], &key, &value) &&
		    bpf_map_update_elem(m->fd[id], &key, &value, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* Both layouts share the tables themselves. Without the right to open a map by its id there are no
 * homes until the configuration is published, soon after. */
static int copy_homes(const struct takeover *t, const struct maps *m, enum map_id id)
{
	for (uint32_t i = 0; i < conversions[id].entries; i++) {
		_cleanup_close_ int fd = -1;
		uint32_t table;

		if (bpf_map_lookup_elem(t->fd[id], &i, &table))
			continue; /* the pool has no groups */
		fd = bpf_map_get_fd_by_id(table);
		if (fd >= 0 && bpf_map_update_elem(m->fd[id], &i, &fd, BPF_ANY))
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

static void *map_former(const struct takeover *t, enum map_id id)
{
	size_t size = (size_t)conversions[id].value_size * conversions[id].entries;
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd[id], 0);

	return base == MAP_FAILED ? NULL : base;
}

static void unmap_former(void *base, enum map_id id)
{
	munmap(base, (size_t)conversions[id].value_size * conversions[id].entries);
}

/* All programs are of this layout now, and change over to their own map at once. */
static int move_inflight(const struct takeover *t, const struct maps *m, enum map_id id)
{
	struct pintle_inflight *from = map_former(t, id);

	if (!from)
		return -errno;
	m->node->carried = 1;
	__atomic_store_n(&t->skel->bss->counts_moved, true, __ATOMIC_SEQ_CST);
	for (uint32_t i = 0; i < conversions[id].entries; i++) {
		for (int c = 0; c < PINTLE_MAX_CLASSES; c++) {
			struct pintle_counters *a = &from[i].by_class[c];
			struct pintle_counters *to = &m->inflight[i].by_class[c];

			move_count(&to->placed, &a->placed);
			move_count(&to->opened, &a->opened);
			move_count(&to->closed, &a->closed);
			move_count(&to->failed, &a->failed);
		}
	}
	unmap_former(from, id);
	return 0;
}

/* Per-CPU counts, which the kernel adds to meanwhile: what it adds to an entry in the microseconds
 * between the two calls is lost, and so is what one-shot of the former layout counts until the
 * daemon replaces it on the devices. */
static int move_stats(const struct takeover *t, const struct maps *m, enum map_id id)
{
	int cpus = libbpf_num_possible_cpus(), err = cpus < 0 ? cpus : 0;
	size_t n = err ? 0 : (size_t)cpus;
	_cleanup_free_ uint64_t *from = calloc(n + 1, sizeof(*from));
	_cleanup_free_ uint64_t *to = calloc(n + 1, sizeof(*to));
	_cleanup_free_ uint64_t *zeros = calloc(n + 1, sizeof(*zeros));

	if (!err && (!from || !to || !zeros))
		err = -ENOMEM;
	for (uint32_t i = 0; !err && i < conversions[id].entries; i++) {
		if (bpf_map_lookup_elem(t->fd[id], &i, from))
			return -errno;
		if (!memcmp(from, zeros, n * sizeof(*from)))
			continue;
		if (bpf_map_update_elem(t->fd[id], &i, zeros, BPF_ANY) ||
		    bpf_map_lookup_elem(m->fd[id], &i, to))
			return -errno;
		for (size_t c = 0; c < n; c++)
			to[c] += from[c];
		if (bpf_map_update_elem(m->fd[id], &i, to, BPF_ANY))
			return -errno;
	}
	return err;
}

static int copy_health(const struct takeover *t, const struct maps *m, enum map_id id)
{
	for (uint32_t i = 0; i < conversions[id].entries; i++) {
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
	char *base = map_former(t, id);

	if (!base)
		return -errno;
	for (size_t i = 0; i < conversions[id].entries; i++) {
		struct pintle_health *from =
			(struct pintle_health *)(base + i * conversions[id].value_size);
		struct pintle_health *to = &m->health[i];

		move_count(&to->direct_opened, &from->direct_opened);
		move_count(&to->direct_closed, &from->direct_closed);
		move_count(&to->ejections, &from->ejections);
		for (int k = 0; k < PINTLE_FAILURE_COUNT; k++)
			move_count(&to->failures[k], &from->failures[k]);
	}
	unmap_former(base, id);
	return 0;
}

static int carry_connects(const struct takeover *t, const struct maps *m, enum map_id id)
{
	(void)m;
	return walk_once(t->skel->progs.pintle_carry, t->fd[id]);
}

static int carry_sockets(const struct takeover *t, const struct maps *m, enum map_id id)
{
	(void)m;
	return walk_once(t->skel->progs.pintle_carry_sockets, t->fd[id]);
}

/* Indexed by map, so that the compiler refuses a second row for a map. */
#define ROW(name, size, entries, copy, move) [MAP_##name] = {size, entries, copy, move}
#define ANY                                  0
static const struct conversion conversions[MAP_COUNT] = {
	ROW(node, 744, 1, copy_node, NULL),
	ROW(names, 68, FORMER_SLOTS, copy_names, NULL),
	/* Until the configuration is published, sockops recognises listeners by the former
	 * addresses. */
	ROW(addresses, 16, ANY, copy_keyed, NULL),
	ROW(frontends, 20, ANY, copy_keyed, NULL),
	ROW(pools, 8432, FORMER_POOLS, copy_grown, NULL),
	ROW(overrides, 32, FORMER_SLOTS + 1, copy_overrides, copy_overrides),
	ROW(homes, 4, FORMER_POOLS, copy_homes, NULL),
	ROW(endpoints, 40, FORMER_ENDPOINTS, copy_grown, NULL),
	ROW(scores, 120, FORMER_ENDPOINTS, copy_grown, NULL),
	ROW(inflight, 256, FORMER_ENDPOINTS, NULL, move_inflight),
	ROW(health, 104, FORMER_ENDPOINTS, copy_health, move_health),
	ROW(sockets, 8, FORMER_ENDPOINTS *PINTLE_SOCKETS_PER_ENDPOINT, carry_sockets,
	    carry_sockets),
	ROW(affinity, 24, ANY, copy_affinity, copy_affinity),
	ROW(connects, 160, ANY, NULL, carry_connects),
	ROW(oneshot_stats, 8, FORMER_POOLS *PINTLE_MAX_ONESHOTS, NULL, move_stats),
	ROW(stats, 8, FORMER_POOLS *PINTLE_MAX_OUTCOMES, NULL, move_stats),
};
#undef ANY
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
	uint32_t entries = is_changed(id) ? conversions[id].entries : map_layouts[id].entries;
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
	return maps_check(path, id, size, entries, t->fd[id]);
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

	assert(t->skel);
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

int takeover_load(struct takeover *t, const struct maps *m, const char *dir)
{
	struct load_list which = {.carry = true,
				  .carry_from = t->fd[MAP_connects],
				  .carry_inflight = t->fd[MAP_inflight],
				  .counts_moved = m->node->carried};

	assert(!t->skel);
	for (int i = 0; i < LINK_COUNT; i++)
		which.links[i] =
			link_pinned(&link_kinds[i], t->dir) || link_pinned(&link_kinds[i], dir);
	return programs_load(&which, m, &t->skel);
}

int takeover_commit(struct takeover *t, const struct maps *m, const char *dir,
		    const struct link_place *to)
{
	int err = 0;

	assert(t->skel); /* takeover_load() was called */
	/* A takeover that was killed has moved the first ones, to programs with a `counts_moved` of
	 * their own. */
	for (int i = 0; !err && i < LINK_COUNT; i++) {
		const struct link_kind *k = &link_kinds[i];
		int fd = programs_fd(t->skel, k->program);

		if (link_pinned(k, t->dir))
			err = link_move(k, fd, to, t->dir, dir);
		else if (link_pinned(k, dir))
			err = link_replace(k, fd, to, dir);
	}
	/* Twice, because a former program may still run on another CPU: this call waits until no
	 * program runs that was running before. */
	for (int round = 0; !err && round < 2; round++) {
		if (round)
			syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
		err = move_maps(t, m);
	}
	if (!err)
		err = pins_remove(t->dir);
	if (!err)
		log_info("took over pins of layout %d", PINTLE_FORMER_VERSION);
	return err;
}
