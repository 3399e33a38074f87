/* SPDX-License-Identifier: Apache-2.0 */
/* help.c - --help, made from the tables of commands, options and columns. */
#include "cli.h"

#include <assert.h>

#include "output.h"

const struct exit_help exit_helps[] = {
	{EXIT_OK, "done"},
	{EXIT_FAILED,
	 "failed; also `status` if nothing is pinned, `diff` if something differs, and `doctor` if something "
	 "fails"},
	{EXIT_USAGE,
	 "a mistake in the command line, or in the file that was checked; also `diff` if it cannot tell"},
	{EXIT_DEADLINE, "the deadline of `drain --wait` passed with connections open"},
};
const size_t exit_help_count = ARRAY_SIZE(exit_helps);

static void help_print_commands(FILE *f, const char *title, enum command_kind kind)
{
	fprintf(f, "\n%s\n", title);
	for (size_t i = 0; i < command_count; i++) {
		if (commands[i]->kind == kind)
			fprintf(f, "  %-10s  %s\n", commands[i]->name, commands[i]->summary);
	}
}

/* The options that the command takes; NULL: all options. */
static void help_print_options(FILE *f, const struct command *c)
{
	fprintf(f, "\nOptions, before or after the command:\n");
	for (size_t i = 0; i < option_count; i++) {
		const struct option_help *o = &options[i];
		char left[32], takers[OPTION_COMMANDS_SIZE] = "";

		if (!option_taken(o, c))
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", o->name, o->argument ? " " : "",
			 o->argument ? o->argument : "");
		if (!c)
			option_commands(o, takers);
		if (o->letter)
			fprintf(f, "  -%c, ", o->letter);
		else
			fputs("      ", f);
		fprintf(f, "%-15s  %s%s%s\n", left, takers, *takers ? ": " : "", o->help);
	}
}

void help_program(FILE *f)
{
	fprintf(f, "usage: pintle [OPTION ...] COMMAND [ARGUMENT ...]\n");
	help_print_commands(f, "Nouns read:", NOUN);
	help_print_commands(f, "Verbs change something, or look around:", VERB);
	help_print_options(f, NULL);
	fprintf(f, "\nExit status:\n");
	for (size_t i = 0; i < exit_help_count; i++)
		fprintf(f, "  %d  %s\n", exit_helps[i].status, exit_helps[i].says);
}

static void print_usage(FILE *f, const struct command *c)
{
	fprintf(f, "usage: pintle %s%s%s\n", c->name, *c->arguments ? " " : "", c->arguments);
}

static void print_object(FILE *f, const struct json_key *keys)
{
	fprintf(f, "\n-o json is one object:\n");
	for (; keys->key; keys++)
		fprintf(f, "  %-20s  %s\n", keys->key, keys->help);
}

static void help_print_keys(FILE *f, const struct columns *c)
{
	fprintf(f, "\nKeys of -o json:\n");
	for (size_t i = 0; i < c->count; i++) {
		assert(c->column[i].key || c->column[i].heading);
		if (c->column[i].key)
			fprintf(f, "  %-26s  %s\n", c->column[i].key, c->column[i].help);
	}
}

void help_command(FILE *f, const struct command *c)
{
	print_usage(f, c);
	fprintf(f, "\n%s: %s.\n", c->name, c->summary);
	if (c->help)
		fprintf(f, "\n%s\n", c->help);
	if (c->more)
		c->more(f);
	if (c->keys)
		print_object(f, c->keys);
	help_print_options(f, c);
	if (c->columns)
		help_print_keys(f, c->columns);
}

static int run_help(struct cli *cli)
{
	const struct command *c = cli->word_count ? command_find(cli->words[0]) : NULL;

	if (cli->word_count && !c)
		return EXIT_USAGE;
	if (c)
		help_command(stdout, c);
	else
		help_program(stdout);
	return output_finish();
}

int usage_error(const struct cli *cli)
{
	print_usage(stderr, cli->command);
	return EXIT_USAGE;
}

const struct command command_help = {
	.name = "help",
	.kind = VERB,
	.arguments = "[COMMAND]",
	.summary = "list the commands, or explain one",
	.help = "As --help, or as COMMAND --help.",
	.run = run_help,
	.most = 1,
	.words = {WORD_COMMAND},
};
