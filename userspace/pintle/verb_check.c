/* SPDX-License-Identifier: Apache-2.0 */
/* verb_check.c - validates a configuration file without touching anything. */
#include "../config/config.h"
#include "../base/log.h"
#include "../base/node_key.h"
#include "../base/text.h"
#include "../base/util.h"
#include "../maps/kernel.h"
#include "cli.h"
#include "output.h"

#define SAYS_SIZE 64

/* What the pool asks of a request: "its session and its model". */
static void requests_say(const struct config_pool *p, char says[SAYS_SIZE])
{
	const struct {
		bool asked;
		const char *what;
	} all[] = {
		{p->stickiness.asked.headers[0].name[0], "its session"},
		{p->model_count, "its model"},
		{p->stickiness.prefix, "its prompt"},
	};

	says[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].asked)
			text_list_add(says, SAYS_SIZE, all[i].what);
}

/* What the machine and the clients of a pool that is decided by request must be like. */
static void tell_needs(const struct config_pool *p)
{
	char says[SAYS_SIZE];

	if (p->decide != PINTLE_DECIDE_REQUEST || !p->frontend_count)
		return;
	requests_say(p, says);
	printf("pool %s, decide: request: needs Linux 6.9 and net.ipv4.tcp_syncookies other than 0 "
	       "(`pintle doctor`), and clients that send first; HTTP/1.1 in clear says %s; "
	       "TLS and HTTP/2 are decided by their addresses%s%s\n",
	       p->name, says,
	       p->in_pods
		       ? "; endpoints are pods of this node, which pintled enters with "
			 "CAP_SYS_ADMIN, not granted by default; the node's own processes, which "
			 "come by loopback, are left to what listens at the frontend here"
		       : "",
	       p->requests == PINTLE_REQUESTS_ONE_PER_CONNECTION
		       ? ""
		       : "; only the first request of a connection is decided, unless "
			 "requests: one-per-connection");
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

static int run_check(struct cli *cli)
{
	_cleanup_(config_freep) struct config *c = NULL;
	size_t endpoints = 0;

	if (config_load(cli->words[0], &yaml_sink_stderr, &c))
		return EXIT_USAGE;
	for (size_t i = 0; i < c->pool_count; i++)
		endpoints += c->pools[i].endpoint_count + c->pools[i].host_count;
	for (size_t i = 0; i < c->pool_count; i++)
		if (c->pools[i].decide == PINTLE_DECIDE_REQUEST && !kernel_hands_over())
			fprintf(stderr,
				"%s:%d: warning: pool %s: on this machine " KERNEL_NO_HAND "\n",
				cli->words[0], c->pools[i].line, c->pools[i].name);
	check_key_file(cli->words[0], c);
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
		"be right. Exit status 0 if the file would load, even with warnings, else 2.",
	.run = run_check,
	.least = 1,
	.most = 1,
	.words = {WORD_FILE},
};
