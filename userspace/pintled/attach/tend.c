/* SPDX-License-Identifier: Apache-2.0 */
#include "tend.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "linking.h"
#include "pins.h"

void tend_begin(struct tend *t)
{
	*t = (struct tend){0};
	memset(t->fd, -1, sizeof(t->fd));
}

void tend_hold(struct tend *t, const char *dir)
{
	for (int i = 0; i < LINK_COUNT; i++)
		if (t->fd[i] < 0 && pin_is_there(dir, link_kinds[i].pin))
			t->fd[i] = pin_open(dir, link_kinds[i].pin, 0);
}

void tend_release(struct tend *t, enum link_id id)
{
	assert(id < LINK_COUNT);
	if (t->fd[id] >= 0)
		close(t->fd[id]);
	t->fd[id] = -1;
}

void tend_end(struct tend *t)
{
	for (int i = 0; i < LINK_COUNT; i++)
		tend_release(t, (enum link_id)i);
}

bool tend_attached(const struct tend *t, enum link_id id)
{
	struct bpf_link_info info = {0};
	__u32 size = sizeof(info);

	return t->fd[id] >= 0 && !bpf_obj_get_info_by_fd(t->fd[id], &info, &size) &&
	       link_is_attached(&info);
}

bool tend_may_put_back(const struct tend *t, enum link_id id, uint64_t now_ns)
{
	const struct tend_back *b = &t->back[id];

	return b->count < TEND_TIMES || now_ns - b->at_ns[b->count % TEND_TIMES] >= TEND_PERIOD_NS;
}

void tend_put_back(struct tend *t, enum link_id id, uint64_t now_ns)
{
	struct tend_back *b = &t->back[id];

	assert(id < LINK_COUNT);
	b->at_ns[b->count++ % TEND_TIMES] = now_ns;
}

static int tend_pin(int fd, const char *dir, const char *name, mode_t mode, gid_t group)
{
	char path[PIN_PATH_SIZE];

	if (pin_is_there(dir, name))
		return 0;
	if (bpf_obj_pin(fd, pin_path(dir, name, path)))
		return log_err_r(errno, "failed to pin %s again", path);
	return pins_own(path, mode, group) ?: 1;
}

int tend_pins(const struct tend *t, const struct maps *m, const char *dir, gid_t group)
{
	int done = 0, r = 0;

	for (int i = 0; r >= 0 && i < MAP_COUNT; i++, done += r)
		r = tend_pin(m->fd[i], dir, map_names[i], pins_mode((enum map_id)i), group);
	for (int i = 0; r >= 0 && i < LINK_COUNT; i++, done += r)
		r = tend_attached(t, (enum link_id)i)
			    ? tend_pin(t->fd[i], dir, link_kinds[i].pin, PINS_FILE_MODE, group)
			    : 0;
	return r < 0 ? r : done;
}
