/* SPDX-License-Identifier: Apache-2.0 */
#include "programs.h"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <malloc.h>
#include <time.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/kernel.h"
#include "memory.h"
#include "pintle.skel.h"
#include "skeleton.h"

static void ask_for(struct pintle_bpf *skel, const char *name)
{
	bpf_program__set_autoload(bpf_object__find_program_by_name(skel->obj, name), true);
}

/* Tells the lookup hook how a packet is told from a question. */
static void tell_packets(struct pintle_bpf *skel)
{
	struct kernel_softirq s = kernel_softirq();

	skel->rodata->count_of = s.count_of;
	skel->rodata->count_at = s.count_at;
	skel->rodata->current_at = s.current_at;
}

static struct pintle_bpf *open_skeleton(const struct load_list *which)
{
	struct pintle_bpf *skel = skeleton_open();
	struct bpf_program *program;
	struct timespec tick;

	if (!skel) {
		log_error("failed to open the BPF object: %s", strerror(errno));
		return NULL;
	}
	bpf_object__for_each_program(program, skel->obj)
	{
		bpf_program__set_autoload(program, false);
	}
	bpf_program__set_autoload(skel->progs.pintle_recount, which->recount);
	bpf_program__set_autoload(skel->progs.pintle_recount_connects, which->recount);
	bpf_program__set_autoload(skel->progs.pintle_recount_pending, which->recount);
	bpf_program__set_autoload(skel->progs.pintle_recount_flows, which->recount);
	bpf_program__set_autoload(skel->progs.pintle_recount_seats, which->recount);
	bpf_program__set_autoload(skel->progs.pintle_tenant_correct, which->recount);
	bpf_program__set_autoload(skel->progs.pintle_earlier, which->recount);
	bpf_program__set_autoload(skel->progs.pintle_pass, which->recount);
	bpf_program__set_autoload(skel->progs.pintle_pass_flows, which->recount);
	bpf_program__set_autoload(skel->progs.pintle_pass_connects, which->recount);
	for (int i = 0; i < LINK_COUNT; i++)
		if (which->links[i])
			ask_for(skel, link_kinds[i].program);
	if (which->other)
		ask_for(skel, which->other);
	if (which->links[LINK_LOOKUP])
		tell_packets(skel);
	if (!clock_getres(CLOCK_MONOTONIC_COARSE, &tick)) /* which goes by the tick */
		skel->rodata->tick_ns = (__u64)tick.tv_sec * NSEC_PER_SEC + (__u64)tick.tv_nsec;
	if (which->prepare)
		which->prepare(skel, which->arg);
	return skel;
}

static int reuse_maps(const struct pintle_bpf *skel, const struct maps *maps)
{
	int err = 0;

	for (int i = 0; maps && !err && i < MAP_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(skel->obj, map_names[i]);

		if (!map)
			err = -ENOENT;
		else if (maps->fd[i] >= 0)
			err = bpf_map__reuse_fd(map, maps->fd[i]);
	}
	return err;
}

/* Takes the skeleton over, which may be NULL. */
static int load_skeleton(struct pintle_bpf *skel, const struct maps *maps, struct pintle_bpf **out)
{
	int err;

	if (!skel)
		return -errno;
	err = reuse_maps(skel, maps);
	if (!err)
		err = pintle_bpf__load(skel);
	if (err)
		pintle_bpf__destroy(skel);
	else
		*out = skel;
	return err;
}

/* What helps where the kernel refuses by that error. */
static const char *load_cure(int err)
{
	if (err == -EPERM && geteuid())
		return "run pintled as root";
	if (access(KERNEL_BTF, R_OK))
		return KERNEL_BTF
			" is not there; use a kernel built with CONFIG_DEBUG_INFO_BTF=y, and mount sysfs";
	if (err == -ESRCH) /* libbpf's word for it */
		return KERNEL_BTF " could not be read, and may be damaged";
	return "`pintle doctor` says what is missing";
}

/* Loads quietly first; if that fails, again with libbpf's messages, which have the verifier's
 * log. */
int programs_load(const struct load_list *which, const struct maps *maps, struct pintle_bpf **out)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	struct pintle_bpf *skel = open_skeleton(which);
	uint64_t bytes = skel ? memory_of_maps(skel->obj) : 0;
	int err;

	if (skel && !maps)
		memory_foresee(bytes);
	err = load_skeleton(skel, maps, out);
	libbpf_set_print(print);
	if (memory_tell(err, bytes))
		return err;
	if (err)
		err = load_skeleton(open_skeleton(which), maps, out);
	if (err)
		log_err_r(err, "the kernel would not load the programs (%s)", load_cure(err));
	return err;
}

/* Leaves out all maps but the object's own variables and the one with this name. */
static void make_only(const struct pintle_bpf *skel, const char *name)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, skel->obj)
	{
		if (!bpf_map__is_internal(map) && (!name || strcmp(bpf_map__name(map), name) != 0))
			bpf_map__set_autocreate(map, false);
	}
}

int programs_load_alone(const char *name, struct pintle_bpf **out)
{
	struct pintle_bpf *skel = open_skeleton(&(struct load_list){.other = name});
	int err;

	if (!skel)
		return -errno;
	make_only(skel, NULL);
	err = pintle_bpf__load(skel);
	if (err)
		programs_unload(&skel);
	else
		*out = skel;
	return err;
}

int programs_keep(const struct pintle_bpf *skel, const char *name)
{
	int fd = fcntl(programs_fd(skel, name), F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? log_err_r(errno, "failed to keep program %s", name) : fd;
}

int programs_load_one(const struct maps *maps, const char *name)
{
	const struct load_list which = {.other = name};
	struct pintle_bpf *skel = NULL;
	int err = programs_load(&which, maps, &skel), fd;

	if (err)
		return err;
	fd = programs_keep(skel, name);
	programs_unload(&skel);
	return fd;
}

int programs_make_map(const char *name)
{
	struct pintle_bpf *skel = open_skeleton(&(struct load_list){0});
	struct bpf_map *map;
	int err, fd;

	if (!skel)
		return -errno;
	make_only(skel, name);
	err = pintle_bpf__load(skel);
	map = bpf_object__find_map_by_name(skel->obj, name);
	fd = err || !map ? -1 : fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 0);
	err = err ?: fd < 0 ? -ENOENT : fd;
	programs_unload(&skel);
	return err;
}

int programs_fd(const struct pintle_bpf *skel, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(skel->obj, name));
}

void programs_unload(struct pintle_bpf **skel)
{
	pintle_bpf__destroy(TAKE_PTR(*skel));
	malloc_trim(0);
}
