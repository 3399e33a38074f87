/* SPDX-License-Identifier: Apache-2.0 */
#include "programs.h"

#include <fcntl.h>
#include <limits.h>

#include "../maps/pin.h"
#include "../net/cgroup2.h"

bool link_is_pinned(const struct cli *cli, enum link_id link)
{
	char dir[PATH_MAX];

	maps_dir(cli->bpffs, dir, sizeof(dir));
	return pin_is_there(dir, link_kinds[link].pin);
}

int link_open(const struct cli *cli, enum link_id link)
{
	char dir[PATH_MAX];

	maps_dir(cli->bpffs, dir, sizeof(dir));
	return pin_open(dir, link_kinds[link].pin, 0);
}

bool link_wanted(const struct state *s, enum link_id link)
{
	bool wanted = link_is_always(&link_kinds[link]);

	for (size_t i = 0; !wanted && i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];

		const struct link_pool needs = {p->decided_by, p->key_kind, p->group_kind,
						p->class_count};

		wanted = link_is_for(&link_kinds[link], &needs);
	}
	return wanted;
}

bool link_trouble(const struct cli *cli, const struct state *s, enum link_id link,
		  char why[LINK_TROUBLE_SIZE])
{
	const struct link_kind *k = &link_kinds[link];
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);
	char dir[PATH_MAX];
	_cleanup_close_ int fd = -1;

	if (!link_wanted(s, link))
		return false;
	fd = link_open(cli, link);
	if (fd == -ENOENT) {
		maps_dir(cli->bpffs, dir, sizeof(dir));
		snprintf(why, LINK_TROUBLE_SIZE, "%s/%s is missing: hook %s is not attached", dir,
			 k->pin, link_hook(k));
		return true;
	}
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) || link_is_attached(&info))
		return false;
	snprintf(why, LINK_TROUBLE_SIZE,
		 "hook %s is not attached: its %s is gone, or it was detached by force",
		 link_hook(k), k->netns ? "network namespace" : "cgroup");
	return true;
}

const char *link_cure(const struct state *s)
{
	return s->daemon_alive
		       ? "pintled attaches it again within a second, or its log says why not"
		       : "start pintled";
}

/* The id of the pinned link's program; 0: there is none, or it cannot be read. */
static uint32_t program_of(const struct cli *cli, enum link_id link)
{
	_cleanup_close_ int fd = link_open(cli, link);
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) ? info.prog_id : 0;
}

/* Whether one of Pintle's links of that type runs the program. */
static bool programs_is_ours(const struct cli *cli, enum bpf_attach_type type, uint32_t id)
{
	for (int i = 0; i < LINK_COUNT; i++)
		if (link_kinds[i].type == type && program_of(cli, (enum link_id)i) == id)
			return true;
	return false;
}

int programs_query(const struct cli *cli, int fd, enum link_id link, struct programs *out)
{
	const struct link_kind *k = &link_kinds[link];
	uint32_t ids[MAX_PROGRAMS], count = MAX_PROGRAMS, attach_flags;
	uint32_t own = program_of(cli, link);

	if (bpf_prog_query(fd, k->type, k->netns ? 0 : BPF_F_QUERY_EFFECTIVE, &attach_flags, ids,
			   &count))
		return -errno;
	*out = (struct programs){.count = MIN(count, (uint32_t)MAX_PROGRAMS)};
	out->own = out->count;
	for (size_t i = out->count; i-- > 0;) {
		out->all[i].id = ids[i];
		out->all[i].ours = programs_is_ours(cli, k->type, ids[i]);
		program_name(ids[i], out->all[i].name);
		if (ids[i] == own)
			out->own = i;
	}
	return 0;
}

int open_watched_cgroup(const struct state *s, char *path)
{
	int fd, err = 0;

	if (s && s->node.cgroup[0])
		snprintf(path, PATH_MAX, "%s", s->node.cgroup);
	else
		err = cgroup2_root(path, PATH_MAX);
	if (err)
		return err;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
