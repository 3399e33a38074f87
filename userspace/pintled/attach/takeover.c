/* SPDX-License-Identifier: Apache-2.0 */
#include "takeover.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../net/tc.h"
#include "pass/carry.bpf.h"
#include "carry.h"
#include "detach.h"
#include "../devices/in_pods.h"
#include "kinds.h"
#include "pins.h"
#include "pintle.skel.h"
#include "programs.h"
#include "walk.h"

struct former {
	int fd; /* -1: the former build has no such map */
	bool kept;
	struct map_kind kind;
	struct carry *carry; /* NULL: another way, or not at all */
};

struct takeover {
	char dir[PATH_MAX];
	unsigned int version;
	bool in_place;
	struct map_kinds *ours;
	struct former of[MAP_COUNT];
	struct pintle_bpf *skel; /* with the programs that carry */
};

/* ---- what the former build had ------------------------------------------------------------ */

/* Without these the others say nothing. */
static bool is_needed(enum map_id id)
{
	return id == MAP_node || id == MAP_names || id == MAP_pools || id == MAP_endpoints;
}

/* False once every link was moved: then the former pins are being removed. */
static bool has_links(const struct takeover *t)
{
	for (int i = 0; i < LINK_COUNT; i++)
		if (link_pinned(&link_kinds[i], t->dir))
			return true;
	return false;
}

/* Returns 0; -ENOENT: a map is not pinned that every build has; or -errno, logged. */
static int takeover_open_map(struct takeover *t, enum map_id id, struct kinds_reader *reader)
{
	struct former *f = &t->of[id];
	char path[PIN_PATH_SIZE];
	int err;

	pin_path(t->dir, map_names[id], path);
	if (!pin_is_there(t->dir, map_names[id]) && has_links(t))
		pins_find_map(t->dir, id);
	f->fd = pin_open(t->dir, map_names[id], 0);
	if (f->fd < 0) {
		err = -errno;
		f->fd = -1;
		if (err == -ENOENT)
			return is_needed(id) ? err : 0;
		return log_err_r(err, "failed to open %s", path);
	}
	err = kinds_read(reader, f->fd, &f->kind);
	if (err)
		return log_err_r(err, "failed to read the layout of %s", path);
	f->kept = id != MAP_node && map_kind_same(&f->kind, &t->ours->of[id]);
	return 0;
}

static int takeover_open_maps(struct takeover *t)
{
	struct kinds_reader *reader;
	int err = kinds_reader_new(&reader);
	bool whole = true;

	if (err)
		return err;
	for (enum map_id id = 0; id < MAP_COUNT && (!err || err == -ENOENT); id++) {
		err = takeover_open_map(t, id, reader);
		whole &= !err;
	}
	kinds_reader_free(reader);
	return err && err != -ENOENT ? err : whole ? 0 : -ENOENT;
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
	return detach_pins(t->dir);
}

/* ---- finding ------------------------------------------------------------------------------ */

static void takeover_freep(struct takeover **t)
{
	takeover_free(*t);
}

static int takeover_new(struct takeover **out)
{
	struct takeover *t = calloc(1, sizeof(*t));
	int err = t ? map_kinds_new(&t->ours) : log_err_r(ENOMEM, "takeover");

	for (enum map_id id = 0; t && id < MAP_COUNT; id++)
		t->of[id].fd = -1;
	if (err)
		takeover_free(t);
	else
		*out = t;
	return err;
}

/* Returns whether there are pins of another number, or such as gave way to those of this build:
 * then fills in where. */
static bool find_other(struct takeover *t, const char *bpffs)
{
	snprintf(t->dir, sizeof(t->dir), "%s/" PINS_FORMER, bpffs);
	t->version = PINTLE_ABI_VERSION;
	if (!access(t->dir, F_OK))
		return true;
	if (!maps_other_version(bpffs, &t->version))
		return false;
	maps_dir_of(bpffs, (int)t->version, t->dir, sizeof(t->dir));
	return true;
}

/* Pins without the hash may be the same. */
static bool all_same(const struct takeover *t)
{
	for (enum map_id id = 0; id < MAP_COUNT; id++)
		if (t->of[id].fd < 0 || (id != MAP_node && !t->of[id].kept) ||
		    (id == MAP_node && !map_kind_same(&t->of[id].kind, &t->ours->of[id])))
			return false;
	return true;
}

int takeover_find(const char *bpffs, const char *dir, uint64_t *hash, struct takeover **out)
{
	_cleanup_(takeover_freep) struct takeover *t = NULL;
	bool begun;
	int err = takeover_new(&t);

	*out = NULL;
	if (err)
		return err;
	*hash = t->ours->hash;
	begun = find_other(t, bpffs);
	if (begun && t->version > PINTLE_ABI_VERSION) {
		log_error("%s has pins of layout %u, this pintled has layout %d; they still steer. "
			  "Remove them first: pintled --detach --bpffs %s",
			  bpffs, t->version, PINTLE_ABI_VERSION, bpffs);
		return -EPROTO;
	}
	if (!begun) {
		t->in_place = true;
		snprintf(t->dir, sizeof(t->dir), "%s", dir);
		if (access(dir, F_OK) || !pin_is_there(dir, map_names[MAP_node]) ||
		    map_kinds_pinned(dir) == t->ours->hash)
			return 0;
	} else if (pin_is_there(dir, map_names[MAP_node]) &&
		   map_kinds_pinned(dir) != t->ours->hash) {
		log_error("another build of pintled has begun to take over %s into %s, and was "
			  "killed: start that build once more, or remove both: pintled --detach "
			  "--bpffs %s",
			  t->dir, dir, bpffs);
		return -EPROTO;
	}
	err = takeover_open_maps(t);
	if (err == -ENOENT && t->in_place)
		return 0; /* pins that are not whole are mended, or cleared, as this build's */
	if (err)
		return err == -ENOENT ? takeover_clear(t, !access(dir, F_OK)) : err;
	if (!t->in_place || !all_same(t))
		*out = TAKE_PTR(t);
	return 0;
}

void takeover_free(struct takeover *t)
{
	if (!t)
		return;
	programs_unload(&t->skel);
	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		carry_free(t->of[id].carry);
		map_kind_free(&t->of[id].kind);
		if (t->of[id].fd >= 0)
			close(t->of[id].fd);
	}
	map_kinds_free(t->ours);
	free(t);
}

const char *takeover_dir(const struct takeover *t)
{
	return t->dir;
}

bool takeover_in_place(const struct takeover *t)
{
	return t->in_place;
}

void takeover_kept(const struct takeover *t, struct maps *m)
{
	for (enum map_id id = 0; id < MAP_COUNT; id++)
		m->fd[id] = t->of[id].kept ? t->of[id].fd : -1;
}

bool takeover_has_link(const struct takeover *t, enum link_id id)
{
	return link_pinned(&link_kinds[id], t->dir);
}

/* ---- records of sockets --------------------------------------------------------------------- */

static bool is_walked(const struct takeover *t, enum map_id id)
{
	return t->of[id].fd >= 0 && !t->of[id].kept;
}

/* For each byte of a record: 1 + its place in the former one; 0: it had none. */
static void fill_places(const struct layout_plan *p, uint16_t *places)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct layout_move *m = &p->of[i];
		uint32_t size = MIN(m->from_size, m->to_size);

		for (uint32_t k = 0; k < m->count * size; k++)
			places[m->to + k / size * m->to_size + k % size] =
				(uint16_t)(1 + m->from + k / size * m->from_size + k % size);
	}
}

static void prepare_record(const struct takeover *t, enum map_id id, struct bpf_program *program,
			   const volatile uint16_t *places)
{
	const struct map_kind *was = &t->of[id].kind, *is = &t->ours->of[id];
	_cleanup_free_ struct layout_plan *p = NULL;

	if (!is_walked(t, id) ||
	    layout_plan(was->value, is->value, was->value_size, is->value_size, &p))
		return;
	fill_places(p, (uint16_t *)places);
	bpf_program__set_autoload(program, true);
}

static void prepare_object(struct pintle_bpf *skel, void *arg)
{
	const struct takeover *t = arg;

#define X(name, type)                                                                              \
	prepare_record(t, MAP_##name, skel->progs.pintle_carry_##name, skel->rodata->carry_##name);
	CARRY_RECORDS(X)
#undef X
}

static int walk_record(const struct takeover *t, enum map_id id, const struct bpf_program *program)
{
	return bpf_program__fd(program) >= 0 && is_walked(t, id) ? walk_once(program, t->of[id].fd)
								 : 0;
}

static int carry_records(const struct takeover *t)
{
	int err = 0;

#define X(name, type) err = err ?: walk_record(t, MAP_##name, t->skel->progs.pintle_carry_##name);
	CARRY_RECORDS(X)
#undef X
	return err;
}

/* ---- taking over ----------------------------------------------------------------------------- */

static int plan_carries(struct takeover *t, const struct maps *m)
{
	const struct carry_room room = {t->of[MAP_pools].kind.entries,
					t->of[MAP_endpoints].kind.entries};
	int err = 0;

	for (enum map_id id = 0; !err && id < MAP_COUNT; id++) {
		struct former *f = &t->of[id];

		if (f->fd >= 0 && !f->kept)
			err = carry_new(id, f->fd, &f->kind, m->fd[id], &t->ours->of[id], &room,
					&f->carry);
	}
	return err;
}

static int carry_each(struct takeover *t, int (*how)(struct carry *c))
{
	int err = 0;

	for (enum map_id id = 0; !err && id < MAP_COUNT; id++) {
		err = t->of[id].carry ? how(t->of[id].carry) : 0;
		if (err)
			log_err_r(err, "failed to carry %s/%s over", t->dir, map_names[id]);
	}
	if (err)
		return err;
	err = carry_records(t);
	return err ? log_err_r(err, "failed to carry the records of %s over", t->dir) : 0;
}

int takeover_prepare(struct takeover *t, const struct maps *m, bool copy)
{
	struct load_list which = {.prepare = prepare_object, .arg = t};
	int err = plan_carries(t, m);

	assert(!t->skel);
	if (err)
		return log_err_r(err, "failed to plan what of %s is carried over", t->dir);
	err = programs_load(&which, m, &t->skel);
	if (!err && copy)
		err = carry_each(t, carry_copy);
	/* The copy has the former number and hash. */
	m->node->abi_version = PINTLE_ABI_VERSION;
	m->node->layout = t->ours->hash;
	return err;
}

int takeover_step_aside(struct takeover *t, const char *bpffs)
{
	char to[PATH_MAX];

	if (!t->in_place)
		return 0;
	snprintf(to, sizeof(to), "%s/" PINS_FORMER, bpffs);
	if (rename(t->dir, to))
		return log_err_r(errno, "failed to rename %s to %s", t->dir, to);
	snprintf(t->dir, sizeof(t->dir), "%s", to);
	t->in_place = false;
	return 0;
}

static int take_link(const struct takeover *t, const struct pintle_bpf *skel,
		     const struct link_kind *k, bool wanted, const char *dir,
		     const struct link_place *to)
{
	int fd = programs_fd(skel, k->program);

	if (fd < 0)
		return 0; /* found out about only now: attachment_extend() loads it */
	if (link_pinned(k, t->dir))
		return link_move(k, fd, to, t->dir, dir);
	if (link_pinned(k, dir))
		return link_replace(k, fd, to, dir);
	return wanted ? link_attach(k, fd, to, dir) : 0;
}

static bool is_map(const char *name)
{
	for (enum map_id id = 0; id < MAP_COUNT; id++)
		if (!strcmp(name, map_names[id]))
			return true;
	return false;
}

/* Links of devices are found again in `dir` by whoever arranges them. A link that this build does
 * not know has done its work: those that took it over are attached. */
static int take_rest(const struct takeover *t, const char *dir)
{
	DIR *d = opendir(t->dir);
	struct dirent *e;
	int err = d ? 0 : -errno;

	while (!err && d && (e = readdir(d))) {
		char from[PIN_PATH_SIZE], to[PIN_PATH_SIZE];
		struct link_kind unknown = {.pin = e->d_name};

		if (e->d_name[0] == '.' || is_map(e->d_name))
			continue;
		if (!strncmp(e->d_name, "link_", 5))
			link_detach(&unknown, t->dir);
		else if (rename(pin_path(t->dir, e->d_name, from), pin_path(dir, e->d_name, to)))
			err = -errno;
	}
	if (d)
		closedir(d);
	return err ? log_err_r(err, "failed to move what is pinned in %s", t->dir) : 0;
}

/* Twice, because a former program may still run on another CPU: the call waits until no program
 * runs that was running before. */
static int carry_rest(struct takeover *t)
{
	int err = carry_each(t, carry_again);

	if (err)
		return err;
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	return carry_each(t, carry_again);
}

int takeover_commit(struct takeover *t, const struct pintle_bpf *skel,
		    const bool wanted[LINK_COUNT], const char *dir, const struct link_place *to)
{
	assert(t->skel /* takeover_prepare() was called */);
	/* What came since the copy is there when the first program asks for it. */
	int err = carry_each(t, carry_again);

	for (int i = 0; !err && i < LINK_COUNT; i++)
		err = take_link(t, skel, &link_kinds[i], wanted[i], dir, to);
	if (!err)
		err = take_rest(t, dir);
	return err ? err : carry_rest(t);
}

/* Filters are known by the id of a map. */
static void takeover_remove_filters(const struct takeover *t, int netns_fd)
{
	static const enum map_id of[] = {MAP_oneshot, MAP_hand_stats};

	for (size_t i = 0; i < ARRAY_SIZE(of); i++)
		if (is_walked(t, of[i]))
			tc_detach_all(netns_fd, tc_handle(t->of[of[i]].fd));
	if (is_walked(t, MAP_pod_flows))
		in_pods_sweep(t->of[MAP_pod_flows].fd);
}

int takeover_end(struct takeover *t, int netns_fd)
{
	int err;

	takeover_remove_filters(t, netns_fd);
	err = carry_rest(t);
	if (!err)
		err = pins_remove(t->dir);
	if (!err)
		log_info("took over pins of layout %u", t->version);
	return err;
}
