/* SPDX-License-Identifier: Apache-2.0 */
/* target.c - opens the maps, finds pools and endpoints by name, and says what is wrong if it
 * cannot. */
#include "cli.h"

#include <assert.h>

#include "../base/log.h"
#include "../base/text.h"
#include "../net/netns.h"
#include "rule/tiers.bpf.h"
#include "traits.bpf.h"

/* ---- the maps ------------------------------------------------------------------- */

static void explain_maps(const struct cli *cli, int err, enum maps_access access)
{
	switch (err) {
	case -EPROTO: /* told already */
		return;
	case -ENOENT:
		if (maps_removed(cli->bpffs))
			log_error("removed by the chart: Pintle was detached from all nodes of the "
				  "cluster, and stays so until it is installed again");
		else
			log_error("nothing is pinned under %s; is pintled running? try --bpffs",
				  cli->bpffs);
		return;
	case -EACCES:
	case -EPERM:
		if (access == MAPS_WRITE && cli->command)
			log_error("%s needs root: it writes to the maps under %s (%s)",
				  cli->command->name, cli->bpffs, strerror(-err));
		else
			log_error("%s may be read by root and by the group that node.group names "
				  "only; each directory above it must let that group pass (%s)",
				  cli->bpffs, strerror(-err));
		return;
	default:
		log_err_r(err, "cannot open the maps under %s", cli->bpffs);
	}
}

struct maps *open_maps(const struct cli *cli, enum maps_access access)
{
	struct maps *m = NULL;
	int err = maps_open(cli->bpffs, access, &m);

	if (err)
		explain_maps(cli, err, access);
	return m;
}

int open_state(const struct cli *cli, enum maps_access access, struct maps **m, struct state **s)
{
	int err;

	*m = open_maps(cli, access);
	if (!*m)
		return EXIT_FAILED;
	err = state_read(*m, s);
	if (err) {
		log_err_r(err, "cannot read the maps under %s", cli->bpffs);
		return EXIT_FAILED;
	}
	return 0;
}

int open_steered_netns(const struct state *s)
{
	int fd = netns_open_by_inode(s->node.netns_inode, s->node.netns);
	uint64_t cookie = 0;

	/* Inodes are used again, cookies are not. */
	if (fd < 0 || !s->node.netns_cookie || netns_cookie(fd, &cookie) ||
	    cookie == s->node.netns_cookie)
		return fd;
	close(fd);
	return -ENOENT;
}

/* ---- names ---------------------------------------------------------------------- */

const char *without_endpoints(const struct state_pool *p)
{
	if (p->failure_mode == PINTLE_FAIL_CLOSE)
		return "are refused (FailClose)";
	if (p->in_pods)
		return "go to what listens at the frontend on this node, or are reset (FailOpen)";
	return hook_has(p->decided_by, PINTLE_TRAIT_OPEN_PASSES)
		       ? "are left as they came (FailOpen)"
		       : "go to any listener (FailOpen)";
}

static bool fallback_takes(const struct state *s, const struct state_pool *p, size_t i)
{
	const struct state_pool *other =
		p->others[i].checked ? state_pool_find(s, &p->others[i].pool) : NULL;

	return other && other->ready_count && tier_mode_takes(other->mode, false);
}

bool pool_names_in_models(const struct state *s, const struct state_pool *from,
			  const struct state_pool *p)
{
	for (size_t i = 0; i < from->model_count; i++)
		if (from->models[i].pool == (uint32_t)(p - s->pools))
			return true;
	return false;
}

bool serves_models_of_others(const struct state *s, const struct state_pool *p)
{
	for (size_t i = 0; i < s->pool_count; i++)
		if (&s->pools[i] != p && pool_names_in_models(s, &s->pools[i], p))
			return true;
	return false;
}

/* Whether all of the pool's connections come from pools whose canary or fallback it is, which go on
 * with those that it has no place for. */
static bool gives_back(const struct state *s, const struct state_pool *p)
{
	return !p->frontend_count && !p->intercepts && !serves_models_of_others(s, p);
}

const char *without_own_endpoints(const struct state *s, const struct state_pool *p)
{
	if (gives_back(s, p))
		return "go back to the pool that sent them";
	for (size_t i = PINTLE_OTHER_FALLBACK; i < PINTLE_MAX_OTHERS; i++)
		if (p->mode != PINTLE_MODE_SHADOW && fallback_takes(s, p, i))
			return "go to a fallback";
	return without_endpoints(p);
}

const char *endpoint_name(const struct state *s, const struct state_endpoint *e, char *buf)
{
	assert(e->pool < s->pool_count);
	snprintf(buf, ENDPOINT_NAME_SIZE, "%s/%s", s->pools[e->pool].name, e->name);
	return buf;
}

struct state_pool *find_pool(const struct state *s, const char *name)
{
	struct text_nearest near = {.begun = true};
	char list[128] = ""; /* a screen's width */

	for (size_t i = 0; i < s->pool_count; i++) {
		if (!strcmp(s->pools[i].name, name))
			return &s->pools[i];
		text_nearest_try(&near, name, s->pools[i].name);
	}
	for (size_t i = 0; i < s->pool_count; i++)
		text_list_add(list, sizeof(list), s->pools[i].name);
	if (near.best)
		log_error("no pool '%s'; did you mean %s?", name, near.best);
	else if (s->pool_count)
		log_error("no pool '%s'; there are: %s", name, list);
	else
		log_error("no pool '%s'; there is none", name);
	return NULL;
}

static void no_endpoint(const struct state *s, const char *name)
{
	char full[2][ENDPOINT_NAME_SIZE], *best = NULL;
	struct text_nearest near = {.begun = true};

	for (size_t i = 0; i < s->endpoint_count; i++) {
		const struct state_endpoint *e = &s->endpoints[i];
		const char *was = near.best;

		text_nearest_try(&near, name, e->name);
		text_nearest_try(&near, name, endpoint_name(s, e, full[0]));
		if (near.best == was)
			continue;
		/* full[0] is overwritten in the next round. */
		endpoint_name(s, e, full[1]);
		near.best = full[1];
		best = full[1];
	}
	if (best)
		log_error("no endpoint '%s'; did you mean %s?", name, best);
	else
		log_error("no endpoint '%s'; `pintle endpoints` lists them as POOL/NAME", name);
}

struct state_endpoint *find_endpoint(const struct state *s, const char *name)
{
	struct state_endpoint *found[2] = {NULL};
	char full[2][ENDPOINT_NAME_SIZE];

	for (size_t i = 0; i < s->endpoint_count; i++) {
		struct state_endpoint *e = &s->endpoints[i];

		if (!strcmp(endpoint_name(s, e, full[0]), name))
			return e;
		if (strcmp(e->name, name) != 0)
			continue;
		found[1] = found[0];
		found[0] = e;
	}
	if (found[1]) {
		log_error("'%s' is ambiguous; write %s or %s", name,
			  endpoint_name(s, found[1], full[0]), endpoint_name(s, found[0], full[1]));
		return NULL;
	}
	if (!found[0])
		no_endpoint(s, name);
	return found[0];
}

const char *class_names(const struct state_pool *p, char *buf)
{
	buf[0] = '\0';
	for (uint32_t i = 0; i < p->class_count; i++)
		text_list_add(buf, CLASSES_SIZE, p->classes[i].name);
	return buf;
}
