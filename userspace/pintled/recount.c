/* SPDX-License-Identifier: Apache-2.0 */
#include "recount.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>

#include "../base/log.h"
#include "../base/util.h"
#include "pintle.skel.h"

#define SIZE (PINTLE_MAX_ENDPOINTS * PINTLE_MAX_CLASSES * sizeof(uint64_t))

struct recount {
	struct bpf_link *links[3];
	uint64_t *counts;
	bool told;
};

static struct bpf_link *recount_attach(const struct bpf_program *program, int map_fd)
{
	union bpf_iter_link_info info = {.map.map_fd = (__u32)map_fd};
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));

	return bpf_program__attach_iter(program, &opts);
}

static int recount_prepare(struct recount *r, const struct pintle_bpf *skel, const struct maps *m)
{
	void *p;

	r->links[0] = recount_attach(skel->progs.pintle_recount, m->fd[MAP_conns]);
	r->links[1] = recount_attach(skel->progs.pintle_recount_connects, m->fd[MAP_connects]);
	r->links[2] = recount_attach(skel->progs.pintle_recount_pending, m->fd[MAP_pending]);
	if (!r->links[0] || !r->links[1] || !r->links[2])
		return log_err_r(errno, "failed to attach the recounting iterators");
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(skel->maps.recount),
		 0);
	if (p == MAP_FAILED)
		return log_err_r(errno, "failed to map the recount");
	r->counts = p;
	return 0;
}

struct recount *recount_new(const struct pintle_bpf *skel, const struct maps *m)
{
	struct recount *r = calloc(1, sizeof(*r));

	if (r && !recount_prepare(r, skel, m))
		return r;
	recount_free(r);
	return NULL;
}

/* The iterator outputs nothing; reading to the end makes it visit every entry. */
static int recount_iterate(const struct bpf_link *link)
{
	_cleanup_close_ int fd = bpf_iter_create(bpf_link__fd(link));
	char buf[64];
	ssize_t n;

	if (fd < 0)
		return fd;
	while ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EAGAIN))
		;
	return n < 0 ? -errno : 0;
}

int recount_walk(const struct bpf_program *program, int map_fd)
{
	struct bpf_link *link = recount_attach(program, map_fd);
	int err = link ? recount_iterate(link) : -errno;

	bpf_link__destroy(link);
	return err;
}

const volatile uint64_t *recount_run(struct recount *r)
{
	int err = 0;

	if (!r)
		return NULL;
	memset(r->counts, 0, SIZE);
	for (size_t i = 0; !err && i < ARRAY_SIZE(r->links); i++)
		err = recount_iterate(r->links[i]);
	if (!err)
		return r->counts;
	if (!r->told)
		log_err_r(err, "failed to run the recounting iterators");
	r->told = true;
	return NULL;
}

void recount_free(struct recount *r)
{
	if (!r)
		return;
	if (r->counts)
		munmap(r->counts, SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(r->links); i++)
		bpf_link__destroy(r->links[i]);
	free(r);
}
