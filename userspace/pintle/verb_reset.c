/* SPDX-License-Identifier: Apache-2.0 */
/* verb_reset.c - takes back all that mode, set and drain changed. */
#include <bpf/bpf.h>

#include "../base/log.h"
#include "../maps/names.h"
#include "cli.h"
#include "output.h"

/* Those of pools and endpoints that are gone as well: an id may be used again. */
static int overrides_clear(const struct maps *m)
{
	static const struct pintle_override none;

	for (uint32_t slot = 0; slot < PINTLE_SLOTS; slot++) {
		struct pintle_override o;
		int err = maps_value(m, MAP_overrides, slot, &o);

		if (!err && o.flags &&
		    bpf_map_update_elem(m->fd[MAP_overrides], &slot, &none, BPF_ANY))
			err = -errno;
		if (err)
			return log_err_r(err, "cannot take back the overrides");
	}
	return 0;
}

static size_t tell_what_was(const struct state *s)
{
	char name[ENDPOINT_NAME_SIZE];
	size_t n = 0;

	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];

		if (p->overridden)
			printf("%s: mode %s, as configured\n", p->name,
			       mode_name(p->mode_configured));
		if (p->requests_overridden)
			printf("%s: requests %s, as configured\n", p->name,
			       requests_name(p->requests_configured));
		n += p->overridden + p->requests_overridden;
	}
	for (size_t i = 0; i < s->endpoint_count; i++) {
		if (!s->endpoints[i].drained)
			continue;
		printf("%s: takes connections again\n", endpoint_name(s, &s->endpoints[i], name));
		n++;
	}
	return n;
}

int run_reset(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	int status = open_state(cli, MAPS_WRITE, &m, &s);

	if (status)
		return status;
	if (overrides_clear(m))
		return EXIT_FAILED;
	if (!tell_what_was(s))
		puts("nothing was toggled");
	return output_finish();
}
