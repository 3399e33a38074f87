/* SPDX-License-Identifier: Apache-2.0 */
/* commands.c - the nouns and verbs, each of which has a file of its own. */
#include "cli.h"

#include "../base/log.h"
#include "../base/text.h"

#define X(name) &command_##name,
const struct command *const commands[] = {PINTLE_COMMANDS(X)};
#undef X
const size_t command_count = ARRAY_SIZE(commands);

const struct command *command_find(const char *name)
{
	struct text_nearest n = {.begun = true};

	for (size_t i = 0; i < command_count; i++) {
		if (!strcmp(commands[i]->name, name))
			return commands[i];
		text_nearest_try(&n, name, commands[i]->name);
	}
	if (n.best)
		log_error("no command '%s'; did you mean %s?", name, n.best);
	else
		log_error("no command '%s'; pintle --help lists them: status, pools, "
			  "endpoints, ...",
			  name);
	return NULL;
}
