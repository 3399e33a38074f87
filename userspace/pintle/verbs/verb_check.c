/* SPDX-License-Identifier: Apache-2.0 */
/* verb_check.c - validates a configuration file without touching anything. */
#include <fcntl.h>

#include "../../config/config_here.h"
#include "../../base/log.h"
#include "../../base/node_key.h"
#include "../../base/text.h"
#include "../../base/util.h"
#include "../../kubernetes/kube_access.h"
#include "../../maps/kernel.h"
#include "../cli.h"
#include "../output.h"

#define SAYS_SIZE 64

/* What the pool asks of a request: "its session, its model". */
static void requests_say(const struct config_pool *p, char says[SAYS_SIZE])
{
	const struct {
		bool asked;
		const char *what;
	} all[] = {
		{p->stickiness.asked.headers[0].name[0],
		 config_asks_agent(p) ? "its session (agent)" : "its session"},
		{p->model_count, "its model"},
		{p->stickiness.prefix, "its prompt"},
	};

	says[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].asked)
			text_list_add(says, SAYS_SIZE, all[i].what);
}

/* Says which requests decide in a pool that is decided by request. */
static void tell_needs(const struct config_pool *p)
{
	char says[SAYS_SIZE];

	if (p->decide != PINTLE_DECIDE_REQUEST || !p->frontend_count)
		return;
	requests_say(p, says);
	printf("pool %s: decided by %s, of clients that speak HTTP/1.1 in clear and send first%s%s\n",
	       p->name, says,
	       p->requests == PINTLE_REQUESTS_ONE_PER_CONNECTION
		       ? ""
		       : ", on the first request of each connection",
	       p->in_pods ? "; not of this node's own processes; pintled needs CAP_SYS_ADMIN"
	       : p->splice
		       ? "; in pods of this node: all others, and a pod's first connection, are "
			 "decided by their addresses"
		       : "");
}

/* A file that another user may not read says nothing of what pintled finds. */
static void check_key_file(const char *file, const struct config *c)
{
	char says[NODE_KEY_SAYS_SIZE];
	__u64 key[2] = {0};
	int err = c->key_file ? node_key_read(c->key_file, key, says) : 0;

	explicit_bzero(key, sizeof(key));
	if (!c->key_file || !says[0] || (err == -EACCES && geteuid()))
		return;
	fprintf(stderr, "%s:%d: warning: %s%s\n", file, c->key_line,
		err ? "pintled would not start on this machine: " : "", says);
}

static void verb_check_tell_lack(void *arg, int line, const char *what)
{
	fprintf(stderr, "%s:%d: warning: on this machine: %s\n", (const char *)arg, line, what);
}

/* What would keep pintled from serving by this file here; elsewhere it may. */
static void check_here(const char *file, const struct config *c)
{
	_cleanup_close_ int netns = c->netns ? open(c->netns, O_RDONLY | O_CLOEXEC) : -1;

	for (size_t i = 0; i < c->pool_count; i++)
		if (c->pools[i].decide == PINTLE_DECIDE_REQUEST && !kernel_hands_over())
			fprintf(stderr,
				"%s:%d: warning: pool %s: on this machine " KERNEL_NO_HAND "\n",
				file, c->pools[i].line, c->pools[i].name);
	/* -1 is the own namespace. One that is not there yet has no addresses that could be seen.
	 */
	config_here(c, netns, c->kubernetes || kube_in_pod(), verb_check_tell_lack, (void *)file);
	check_key_file(file, c);
}

static int run_check(struct cli *cli)
{
	_cleanup_(config_freep) struct config *c = NULL;
	size_t endpoints = 0;

	if (config_load(cli->words[0], &yaml_sink_stderr, &c))
		return EXIT_USAGE;
	for (size_t i = 0; i < c->pool_count; i++)
		endpoints += c->pools[i].endpoint_count + c->pools[i].host_count;
	check_here(cli->words[0], c);
	printf("%s: good: %zu pool%s, %zu endpoint%s\n", cli->words[0], c->pool_count,
	       plural(c->pool_count), endpoints, plural(endpoints));
	for (size_t i = 0; i < c->pool_count; i++)
		tell_needs(&c->pools[i]);
	return output_finish();
}

const struct command command_check = {
	.name = "check",
	.kind = VERB,
	.arguments = "FILE",
	.summary = "validate a configuration file without touching anything",
	.help = "Errors and warnings go to stderr as FILE:LINE:COLUMN: what is wrong; what would\n"
		"be right; also what would keep clients from being served on this machine. Exit\n"
		"status 0 if the file would load, even with warnings, else 2.",
	.run = run_check,
	.least = 1,
	.most = 1,
	.words = {WORD_FILE},
};
