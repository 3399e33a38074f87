/* SPDX-License-Identifier: Apache-2.0 */
/* verb_set.c - sets a key of a pool while it runs. */
#include "../base/log.h"
#include "cli.h"

int run_set(struct cli *cli)
{
	char *setting = cli->words[1], *equals = strchr(setting, '=');

	if (!equals) {
		log_error("'%s' has no value; write KEY=VALUE, as in stickiness.ttl=100s", setting);
		return usage_error(cli);
	}
	*equals = '\0';
	return setting_set(cli, cli->words[0], setting, equals + 1);
}
