/* SPDX-License-Identifier: Apache-2.0 */
#include "holder.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "../base/text.h"
#include "../base/util.h"

const char *program_name(uint32_t id, char name[PROGRAM_NAME_SIZE])
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);

	snprintf(name, PROGRAM_NAME_SIZE, "?");
	if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) && info.name[0])
		snprintf(name, PROGRAM_NAME_SIZE, "%s", info.name);
	text_make_printable(name, '?');
	return name;
}

static void holder_tell(int fd, uint32_t id, struct holder *out)
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, out->cgroup, sizeof(out->cgroup) - 1);
	out->cgroup[MAX(n, 0)] = '\0';
	text_make_printable(out->cgroup, '?');
	out->id = id;
	program_name(id, out->name);
}

/* The cgroup above, or -1 at the top of what is mounted. */
static int parent_of(int fd)
{
	_cleanup_close_ int up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat here, there;
	struct statfs fs;

	if (up < 0 || fstatfs(up, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC || fstat(fd, &here) ||
	    fstat(up, &there) || (here.st_dev == there.st_dev && here.st_ino == there.st_ino))
		return -1;
	return TAKE_FD(up);
}

/* Whether the first of the programs at that cgroup keeps others off `own`, or off cgroups below.
 * Sets *decided where no cgroup above matters any more. */
static bool holder_holds(int fd, enum bpf_attach_type type, bool own, uint32_t *id, bool *decided)
{
	uint32_t ids[MAX_PROGRAMS], count = MAX_PROGRAMS, flags = 0;
	uint32_t harmless = own ? BPF_F_ALLOW_MULTI : BPF_F_ALLOW_MULTI | BPF_F_ALLOW_OVERRIDE;

	*id = 0;
	*decided = true;
	if (bpf_prog_query(fd, type, 0, &flags, ids, &count) || count > MAX_PROGRAMS)
		return false;
	*decided = count && !own;
	if (count)
		*id = ids[0];
	return count && !(flags & harmless);
}

/* As the kernel judges: the cgroup itself, and of those above the first that has programs. */
bool holder_find(int cgroup_fd, enum bpf_attach_type type, struct holder *out)
{
	int fd = dup(cgroup_fd), up;
	bool found = false, decided = false;
	uint32_t id;

	for (bool own = true; fd >= 0; own = false) {
		found = holder_holds(fd, type, own, &id, &decided);
		if (found)
			holder_tell(fd, id, out);
		up = found || decided ? -1 : parent_of(fd);
		close(fd);
		fd = up;
	}
	return found;
}
