/* SPDX-License-Identifier: Apache-2.0 */
/* override.c - one setting of a pool, toggled or taken back. */
#include <bpf/bpf.h>

#include "../base/log.h"
#include "cli.h"

int override_pool(const struct maps *m, const struct state_pool *p, uint32_t flag, uint32_t value,
		  bool configured)
{
	struct pintle_override o;
	int err = maps_value(m, MAP_overrides, p->id, &o);

	if (err)
		return log_err_r(err, "cannot read what is set for %s", p->name);
	if (o.generation != p->generation)
		o = (struct pintle_override){.generation = p->generation};
	/* What the file says needs no override, and then a changed file holds again. */
	o.flags = configured ? o.flags & ~flag : o.flags | flag;
	if (flag == PINTLE_OVERRIDE_MODE)
		o.mode = configured ? 0 : value;
	else
		o.requests = configured ? 0 : value;
	o.since_ns = monotonic_ns();
	if (!o.flags)
		o = (struct pintle_override){0};
	if (bpf_map_update_elem(m->fd[MAP_overrides], &p->id, &o, BPF_ANY))
		return log_err_r(errno, "cannot set it for %s", p->name);
	return 0;
}
