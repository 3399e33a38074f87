/* SPDX-License-Identifier: Apache-2.0 */
#include "state_found.h"

#include "../base/util.h"
#include "names.h"

bool state_is_found(const struct state_pool *p)
{
	return strchr(p->name, '/');
}

static int found_put(const struct state *s, const struct state_pool *p, struct config_founds *out)
{
	_cleanup_free_ const char **frontends = calloc(p->frontend_count + 1, sizeof(*frontends));
	_cleanup_free_ struct config_member *endpoints =
		calloc(p->endpoint_count + 1, sizeof(*endpoints));
	_cleanup_free_ const char **spared = calloc(p->spared_count + 1, sizeof(*spared));
	struct config_parts parts = {
		.name = p->name,
		.mode = mode_name(p->mode_configured),
		.frontends = frontends,
		.frontend_count = p->frontend_count,
		.endpoints = endpoints,
		.endpoint_count = p->endpoint_count,
		.intercept = p->intercepts,
		.spared = spared,
		.spared_count = p->spared_count,
		.keys = p->keys,
	};
	int err;

	if (!frontends || !endpoints || !spared)
		return -ENOMEM;
	for (size_t i = 0; i < p->frontend_count; i++)
		frontends[i] = p->frontends[i].text;
	for (size_t i = 0; i < p->endpoint_count; i++) {
		const struct state_endpoint *e = &s->endpoints[p->first_endpoint + i];

		endpoints[i] = (struct config_member){
			.name = e->name,
			.address = e->address,
			.drained = e->drained_configured,
			.place = e->place,
		};
	}
	for (size_t i = 0; i < p->spared_count; i++)
		spared[i] = p->spared[i].name;
	err = config_founds_put(out, &parts);
	if (err != -EINVAL)
		return err;
	parts.keys = NULL; /* these are none: the pool goes on without */
	return config_founds_put(out, &parts);
}

int state_found(const struct state *s, struct config_founds *out)
{
	struct config_founds f = {0};
	int err = 0;

	for (size_t i = 0; !err && i < s->pool_count; i++)
		if (state_is_found(&s->pools[i]))
			err = found_put(s, &s->pools[i], &f);
	if (err)
		config_founds_free(&f);
	else
		*out = f;
	return err;
}
