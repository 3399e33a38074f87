/* SPDX-License-Identifier: Apache-2.0 */
#include "recount.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "pintle.skel.h"
#include "walk.h"

#define SIZE (PINTLE_MAX_ENDPOINTS * PINTLE_MAX_CLASSES * sizeof(uint64_t))

struct recount {
	struct bpf_link *links[5];
	uint64_t *counts;
	bool told;
};

static int recount_prepare(struct recount *r, const struct pintle_bpf *skel, const struct maps *m)
{
	void *p;

	r->links[0] = walk_attach(skel->progs.pintle_recount, m->fd[MAP_conns]);
	r->links[1] = walk_attach(skel->progs.pintle_recount_connects, m->fd[MAP_connects]);
	r->links[2] = walk_attach(skel->progs.pintle_recount_pending, m->fd[MAP_pending]);
	r->links[3] = walk_attach(skel->progs.pintle_recount_flows, m->fd[MAP_hand_flows]);
	r->links[4] = walk_attach(skel->progs.pintle_recount, m->fd[MAP_listeners]);
	for (size_t i = 0; i < ARRAY_SIZE(r->links); i++)
		if (!r->links[i])
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

const volatile uint64_t *recount_run(struct recount *r)
{
	int err = 0;

	if (!r)
		return NULL;
	memset(r->counts, 0, SIZE);
	for (size_t i = 0; !err && i < ARRAY_SIZE(r->links); i++)
		err = walk_run(r->links[i]);
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
