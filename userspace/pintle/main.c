/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - pintle, the CLI: nouns read, verbs write, all from the pinned maps. */
#include "cli.h"

#include <signal.h>

#include "../base/log.h"
#include "output.h"

/* NO_COLOR: see no-color.org; any value but the empty one counts. */
static bool takes_color(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

int main(int argc, char **argv)
{
	struct cli cli = {.color = takes_color()};
	int status;

	log_init("pintle", LOG_INFO);
	log_libbpf();
	/* When the reader of a pipe goes away, writing fails, and the program ends in order. */
	signal(SIGPIPE, SIG_IGN);

	status = options_parse(&cli, argc, argv);
	if (status)
		return status;
	if (cli.version)
		return command_version.run(&cli);
	if (cli.help) {
		if (cli.command)
			help_command(stdout, cli.command);
		else
			help_program(stdout);
		return output_finish();
	}
	return cli.command->run(&cli);
}
