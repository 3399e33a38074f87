/* SPDX-License-Identifier: Apache-2.0 */
/* warnings.c - what an operator should know although it works. */
#include "warnings.h"

#include <bpf/bpf.h>
#include <limits.h>
#include <stdarg.h>

#include "../common/links.h"
#include "../common/names.h"

/* A node full of sick endpoints must not bury the rest. */
#define MAX_OF_A_KIND 10

static void warn(cJSON *list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void warn(cJSON *list, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	cJSON *item;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		text = NULL;
		return;
	}
	item = cJSON_CreateString(text);
	if (!cJSON_AddItemToArray(list, item))
		cJSON_Delete(item);
}

/* ---- the daemon and the links ---------------------------------------------------- */

static void daemon_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	const struct pintle_node *n = &s->node;

	(void)cli;
	if (!n->attached_ns)
		warn(list, "the maps are pinned, but nothing is attached: nothing is steered");
	if (!s->daemon_alive)
		warn(list, "pintled does not run: nobody scrapes, and what it knew grows old; "
			   "connections are steered by those in flight");
	if (n->version[0] && strcmp(n->version, PINTLE_VERSION) != 0)
		warn(list, "pintled is version %s, this program %s", n->version, PINTLE_VERSION);
	if (n->drift)
		warn(list,
		     "counts in flight were put right by %llu connections so far: another program "
		     "takes callback flags away; `pintle doctor` names who is on the hook",
		     n->drift);
}

static void link_warning(cJSON *list, const struct cli *cli, const char *pin)
{
	_cleanup_close_ int fd = -1;
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);
	char dir[PATH_MAX], path[PATH_MAX];

	maps_dir(cli->bpffs, dir, sizeof(dir));
	if (snprintf(path, sizeof(path), "%s/%s", dir, pin) >= (int)sizeof(path))
		return;
	fd = bpf_obj_get(path);
	if (fd < 0) {
		if (errno == ENOENT)
			warn(list, "%s is missing: that hook is not attached; restart pintled",
			     path);
		return;
	}
	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		return;
	/* The kernel lets go of both when what they are attached to ends. */
	if (info.type == BPF_LINK_TYPE_NETNS && !info.netns.netns_ino)
		warn(list, "the network namespace that was steered is gone; restart pintled");
	if (info.type == BPF_LINK_TYPE_CGROUP && !info.cgroup.cgroup_id)
		warn(list, "the cgroup that sockops was attached to is gone; restart pintled");
}

static void link_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	(void)s;
	if (geteuid())
		return;
	link_warning(list, cli, link_kinds[LINK_LOOKUP].pin);
	link_warning(list, cli, link_kinds[LINK_SOCKOPS].pin);
}

/* ---- endpoints ------------------------------------------------------------------- */

static void unsteerable_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	char name[ENDPOINT_NAME_SIZE];
	int left = MAX_OF_A_KIND;

	(void)cli;
	for (size_t i = 0; i < s->endpoint_count && left; i++) {
		const struct state_endpoint *e = &s->endpoints[i];
		char why[64] = "";

		if (!e->unsteerable)
			continue;
		left--;
		/* The kernel's word for MPTCP, EINVAL, tells nothing. */
		if (e->unsteerable == PINTLE_UNSTEERABLE_OTHER && e->unsteerable_error)
			snprintf(why, sizeof(why), " (%s)", strerror(e->unsteerable_error));
		warn(list, "%s is %s%s: %s", endpoint_name(s, e, name),
		     unsteerable_text(e->unsteerable), why, unsteerable_cure(e->unsteerable));
	}
}

static bool serves(const struct state_pool *p, bool v4)
{
	for (size_t i = 0; i < p->frontend_count; i++) {
		const struct frontend_addr *a = &p->frontends[i].addr;

		/* A prefix shorter than ::ffff:0:0/96 holds both; nobody writes one. */
		if (addr_is_v4(&a->prefix) == v4)
			return true;
	}
	return false;
}

static void family_warning(cJSON *list, const struct state *s, const struct state_pool *p,
			   uint32_t family, const char *lacks, const char *cure)
{
	char name[ENDPOINT_NAME_SIZE];
	int left = MAX_OF_A_KIND;

	for (size_t i = 0; i < p->endpoint_count && left; i++) {
		const struct state_endpoint *e = &s->endpoints[p->first_endpoint + i];

		if (!e->listening_since_ns || e->families & family)
			continue;
		left--;
		warn(list,
		     "%s takes no %s connection, and its pool has an %s frontend: it is not "
		     "chosen for those; %s",
		     endpoint_name(s, e, name), lacks, lacks, cure);
	}
}

static void family_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	(void)cli;
	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];

		if (serves(p, false))
			family_warning(list, s, p, PINTLE_FAMILY_V6, "IPv6",
				       "have the server listen on [::]");
		if (serves(p, true))
			family_warning(list, s, p, PINTLE_FAMILY_V4, "IPv4",
				       "have the server listen on 0.0.0.0, or on [::] without "
				       "IPV6_V6ONLY");
	}
}

static void scrape_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	char name[ENDPOINT_NAME_SIZE], age[WORDS_SIZE];
	int left = MAX_OF_A_KIND;

	(void)cli;
	for (size_t i = 0; i < s->endpoint_count && left; i++) {
		const struct state_endpoint *e = &s->endpoints[i];

		if (!s->daemon_alive || !e->scrape_failed || !e->listening_since_ns)
			continue;
		left--;
		warn(list,
		     "%s: its metrics page fails; what is known of it is %s old; pintled's "
		     "log says why",
		     endpoint_name(s, e, name), age_text(e->age_seconds, age));
	}
}

/* ---- pools ----------------------------------------------------------------------- */

static void pool_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	(void)cli;
	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];
		bool closes = p->failure_mode == PINTLE_FAIL_CLOSE;

		if (!p->ready_count && p->mode != PINTLE_MODE_OFF)
			warn(list, "pool %s has no endpoint that is ready: connections %s", p->name,
			     closes ? "are refused (FailClose)"
				    : "go to whoever listens (FailOpen)");
		if (!p->frontend_count)
			warn(list, "pool %s has no frontend: nothing comes to it", p->name);
		if (p->mode >= PINTLE_MODE_COUNT)
			warn(list, "pool %s has a mode that this program does not know: %u",
			     p->name, p->mode);
	}
}

cJSON *warnings_collect(const struct cli *cli, const struct state *s)
{
	static void (*const kinds[])(cJSON *, const struct cli *, const struct state *) = {
		daemon_warnings,      link_warnings,   pool_warnings,
		unsteerable_warnings, family_warnings, scrape_warnings,
	};
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; list && i < ARRAY_SIZE(kinds); i++)
		kinds[i](list, cli, s);
	return list;
}
