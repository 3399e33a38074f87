/* SPDX-License-Identifier: Apache-2.0 */
#include "earlier.h"

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../net/netns.h"
#include "../attach/walk.h"

static bool earlier_wanted(const struct config *c)
{
	for (size_t i = 0; i < c->pool_count; i++)
		if (c->pools[i].follow && c->pools[i].decided_by == PINTLE_HOOK_LOOKUP)
			return true;
	return false;
}

static int walk(void *program_fd)
{
	return walk_program(*(int *)program_fd);
}

void earlier_find(const struct ground *g, const struct config *c)
{
	int program = g->earlier_fd, err;

	if (!earlier_wanted(c))
		return;
	err = program < 0 ? program : netns_call(g->netns_fd, walk, &program);
	if (err)
		log_warn("connections that servers accepted before are not looked at: %s",
			 strerror(-err));
}
