/* SPDX-License-Identifier: Apache-2.0 */
/* verb_check.c - validates a configuration file without touching anything. */
#include "../config/config.h"
#include "../base/log.h"
#include "../maps/kernel.h"
#include "cli.h"
#include "output.h"

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
	printf("%s: good: %zu pool%s, %zu endpoint%s\n", cli->words[0], c->pool_count,
	       plural(c->pool_count), endpoints, plural(endpoints));
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
