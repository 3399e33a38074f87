/* SPDX-License-Identifier: Apache-2.0 */
/* verb_set.c - sets a key of a pool while it runs. */
#include "../../base/log.h"
#include "../cli.h"

/* The keys that can be set, and what each takes. */
static void help_settings(FILE *f)
{
	char wants[CONFIG_WANTS_SIZE];
	const struct yaml_key *k;

	fprintf(f, "\nKeys:\n");
	for (size_t i = 0; (k = config_settable_at(i)); i++)
		fprintf(f, "  %-26s  %s\n", config_settable_name(k),
			config_settable_wants(k, wants));
}

static int run_set(struct cli *cli)
{
	char *setting = cli->words[1], *equals = strchr(setting, '=');

	if (!equals) {
		log_error("'%s' has no value; write KEY=VALUE, as in stickiness.ttl=100s", setting);
		return usage_error(cli);
	}
	*equals = '\0';
	return setting_set(cli, cli->words[0], setting, equals + 1);
}

const struct command command_set = {
	.name = "set",
	.kind = VERB,
	.arguments = "POOL KEY=VALUE",
	.summary = "set a key of a pool while it runs",
	.help = "KEY is the key's path in the pool, VALUE as in the configuration file:\n"
		"stickiness.ttl=100s. set refuses what the file's check refuses, by itself or together\n"
		"with the other keys. mode takes effect at once, even without pintled; so does requests\n"
		"where one-shot is attached, else when pintled starts. For any other key, set waits\n"
		"until pintled has applied it; without pintled it takes effect when pintled starts. It holds until it is set again or `pintle reset`, over\n"
		"reload and restart. Setting what the file says takes it back.",
	.more = help_settings,
	.run = run_set,
	.options = OPTIONS_VERB,
	.least = 2,
	.most = 2,
	.words = {WORD_POOL, WORD_SETTING},
};
