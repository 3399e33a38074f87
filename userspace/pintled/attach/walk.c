/* SPDX-License-Identifier: Apache-2.0 */
#include "walk.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "../../base/util.h"

struct bpf_link *walk_attach(const struct bpf_program *program, int map_fd)
{
	union bpf_iter_link_info info = {.map.map_fd = (__u32)map_fd};
	struct bpf_iter_attach_opts opts;

	/* libbpf refuses padding that is not zero, and LIBBPF_OPTS leaves it to the compiler. */
	memset(&opts, 0, sizeof(opts));
	opts.sz = sizeof(opts);
	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	return bpf_program__attach_iter(program, &opts);
}

/* The iterator outputs nothing; reading to the end makes it visit every entry. */
static int run(int link_fd)
{
	_cleanup_close_ int fd = bpf_iter_create(link_fd);
	char buf[64];
	ssize_t n;

	if (fd < 0)
		return fd;
	while ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EAGAIN))
		;
	return n < 0 ? -errno : 0;
}

int walk_run(const struct bpf_link *link)
{
	assert(link);
	return run(bpf_link__fd(link));
}

int walk_program(int program_fd)
{
	_cleanup_close_ int link_fd = bpf_link_create(program_fd, 0, BPF_TRACE_ITER, NULL);

	return link_fd < 0 ? link_fd : run(link_fd);
}

int walk_once(const struct bpf_program *program, int map_fd)
{
	struct bpf_link *link = walk_attach(program, map_fd);
	int err = link ? walk_run(link) : -errno;

	bpf_link__destroy(link);
	return err;
}
