/* SPDX-License-Identifier: Apache-2.0 */
#include "pass_walks.h"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "pintle.skel.h"
#include "walk.h"

#define TALLY_SIZE (PINTLE_MAX_ENDPOINTS * sizeof(struct pintle_work))

static int pass_walks_attach(struct pass_walks *w, const struct pintle_bpf *skel,
			     const struct maps *m)
{
	w->links[0] = walk_attach(skel->progs.pintle_pass, m->fd[MAP_conns]);
	w->links[1] = walk_attach(skel->progs.pintle_pass_connects, m->fd[MAP_connects]);
	w->links[2] = walk_attach(skel->progs.pintle_pass_flows, m->fd[MAP_hand_flows]);
	w->links[3] = walk_attach(skel->progs.pintle_pass, m->fd[MAP_listeners]);
	for (size_t i = 0; i < ARRAY_SIZE(w->links); i++)
		if (!w->links[i])
			return log_err_r(errno,
					 "failed to attach the iterators that follow requests");
	return 0;
}

static int pass_walks_map(struct pass_walks *w, const struct pintle_bpf *skel, const struct maps *m)
{
	void *tally = mmap(NULL, TALLY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   bpf_map__fd(skel->maps.tally), 0);

	if (tally == MAP_FAILED)
		return log_err_r(errno, "failed to map the tally");
	w->tally = tally;
	w->queues_fd = fcntl(bpf_map__fd(skel->maps.accept_queues), F_DUPFD_CLOEXEC, 0);
	if (w->queues_fd < 0)
		return log_err_r(errno, "failed to keep a map");
	/* What only grows goes on from where the daemon before left it. */
	memcpy(w->tally, m->works, TALLY_SIZE);
	return 0;
}

int pass_walks_new(const struct pintle_bpf *skel, const struct maps *m, struct pass_walks **out)
{
	struct pass_walks *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return log_err_r(ENOMEM, "pass");
	w->queues_fd = -1;
	err = pass_walks_attach(w, skel, m) ?: pass_walks_map(w, skel, m);
	if (err)
		pass_walks_free(w);
	else
		*out = w;
	return err;
}

int pass_walks_run(const struct pass_walks *w)
{
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(w->links); i++)
		err = walk_run(w->links[i]);
	return err;
}

void pass_walks_free(struct pass_walks *w)
{
	if (!w)
		return;
	if (w->tally)
		munmap(w->tally, TALLY_SIZE);
	if (w->queues_fd >= 0)
		close(w->queues_fd);
	for (size_t i = 0; i < ARRAY_SIZE(w->links); i++)
		bpf_link__destroy(w->links[i]);
	free(w);
}
