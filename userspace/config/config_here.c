/* SPDX-License-Identifier: Apache-2.0 */
#include "config_here.h"

#include <stdarg.h>
#include <stdlib.h>

#include "../base/text.h"
#include "../base/util.h"
#include "../net/routes.h"
#include "traits.bpf.h"

struct telling {
	void (*tell)(void *arg, int line, const char *what);
	void *arg;
};

static void here_say(const struct telling *t, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void here_say(const struct telling *t, int line, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = text_vformat(fmt, ap);
	va_end(ap);
	if (text)
		t->tell(t->arg, line, text);
}

/* The hand-off takes connections to pods where they pass. */
static void tell_frontends(const struct telling *t, const struct config_pool *p, int netns_fd)
{
	char text[ADDR_TEXT_SIZE];

	if (p->announce || p->in_pods || !hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS))
		return;
	for (size_t i = 0; i < p->frontend_count; i++)
		if (routes_miss(netns_fd, &p->frontends[i]))
			here_say(t, p->line, "pool %s: %s " CONFIG_NOT_LOCAL, p->name,
				 addr_format_frontend(&p->frontends[i], text));
}

/* The rules that ask for a pod's name, by that API server alone known. */
static size_t here_by_name(const struct config_rule *rules, size_t count, int *line)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		if (!rules[i].space && !rules[i].account)
			continue;
		*line = n++ ? *line : rules[i].line;
	}
	return n;
}

#define UNKNOWN_PODS                                                                               \
	"because pintled knows no pod's namespace or service account without Kubernetes "          \
	"(docs/kubernetes.md); write source or cgroup, or add kubernetes"

static void tell_access(const struct telling *t, const struct config_pool *p)
{
	int line = p->line;
	size_t n = here_by_name(p->allowed, p->allow_count, &line);

	if (!n)
		return;
	if (n == p->allow_count)
		here_say(t, line, "pool %s: access lets nobody in, " UNKNOWN_PODS, p->name);
	else
		here_say(t, line,
			 "pool %s: %zu of %zu rules of access let nobody in, " UNKNOWN_PODS,
			 p->name, n, p->allow_count);
}

static void tell_class(const struct telling *t, const struct config_pool *p,
		       const struct config_class *k)
{
	int line = k->line;
	size_t n = here_by_name(k->rules, k->rule_count, &line);

	if (n)
		here_say(t, line,
			 "pool %s: %zu of %zu rule%s of class %s match%s nobody, " UNKNOWN_PODS,
			 p->name, n, k->rule_count, plural(k->rule_count), k->name,
			 n == 1 ? "es" : "");
}

void config_here(const struct config *c, int netns_fd, bool cluster,
		 void (*tell)(void *arg, int line, const char *what), void *arg)
{
	const struct telling t = {tell, arg};

	for (size_t i = 0; i < c->pool_count; i++) {
		const struct config_pool *p = &c->pools[i];

		if (p->line <= 0) /* the cluster's */
			continue;
		tell_frontends(&t, p, netns_fd);
		if (cluster)
			continue;
		tell_access(&t, p);
		for (size_t j = 0; j < p->class_count; j++)
			tell_class(&t, p, &p->classes[j]);
	}
}
