/* SPDX-License-Identifier: Apache-2.0 */
/* cli.c - the commands of pintle, and the options of both programs. */
#include "reference.h"

#include <ctype.h>

#include "../../userspace/base/util.h"
#include "../../userspace/pintle/cli.h"
#include "../../userspace/pintle/output.h"
#include "../../userspace/pintled/core/options.h"

static void write_sentence(FILE *f, const char *text)
{
	fprintf(f, "%c%s.\n", toupper(*text), text + 1);
}

/* "`pools`", "`mode POOL enforce|baseline|off`" */
static const char *usage_text(const struct command *c, char text[CODE_SIZE])
{
	snprintf(text, CODE_SIZE, "`%s%s%s`", c->name, *c->arguments ? " " : "", c->arguments);
	return text;
}

static void commands_markdown(FILE *f, enum command_kind kind, const char *noun, const char *says)
{
	char usage[CODE_SIZE];

	table_head(f, noun, says, NULL);
	for (size_t i = 0; i < command_count; i++)
		if (commands[i]->kind == kind)
			table_row(f, usage_text(commands[i], usage), commands[i]->summary, NULL);
}

void nouns_markdown(FILE *f)
{
	commands_markdown(f, NOUN, "noun", "shows");
}

void verbs_markdown(FILE *f)
{
	commands_markdown(f, VERB, "verb", "to");
}

static void columns_markdown(FILE *f, const struct columns *c)
{
	char name[CODE_SIZE];

	fputc('\n', f);
	table_head(f, "key", "type, unit, meaning", NULL);
	for (size_t i = 0; i < c->count; i++)
		if (c->column[i].key)
			table_row(f, code(c->column[i].key, name), c->column[i].help, NULL);
}

/* Those of an object that holds the list of the others. */
static void object_markdown(FILE *f, const struct json_key *keys)
{
	fputs("\n-o json is one object:\n\n", f);
	table_head(f, "key", "type, unit, meaning", NULL);
	for (; keys->key; keys++) {
		char name[CODE_SIZE];

		table_row(f, code(keys->key, name), keys->help, NULL);
	}
}

void keys_of_json_markdown(FILE *f)
{
	const char *gap = "";

	for (size_t i = 0; i < command_count; i++) {
		const struct command *c = commands[i];

		if (!c->columns)
			continue;
		fprintf(f, "%s### %s\n\n", gap, c->name);
		write_sentence(f, c->summary);
		if (c->keys)
			object_markdown(f, c->keys);
		columns_markdown(f, c->columns);
		gap = "\n";
	}
}

void options_markdown(FILE *f)
{
	table_head(f, "option", "of", "meaning", NULL);
	for (size_t i = 0; i < option_count; i++) {
		const struct option_help *o = &options[i];
		char letter[8] = "", name[CODE_SIZE], takers[OPTION_COMMANDS_SIZE];

		option_commands(o, takers);
		if (o->letter)
			snprintf(letter, sizeof(letter), "`-%c`, ", o->letter);
		snprintf(name, sizeof(name), "%s`--%s%s%s`", letter, o->name,
			 o->argument ? " " : "", o->argument ? o->argument : "");
		table_row(f, name, takers, o->help, NULL);
	}
}

void exits_markdown(FILE *f)
{
	table_head(f, "status", "meaning", NULL);
	for (size_t i = 0; i < exit_help_count; i++) {
		char status[16];

		snprintf(status, sizeof(status), "%d", exit_helps[i].status);
		table_row(f, status, exit_helps[i].says, NULL);
	}
}

/* ---- as mdoc --------------------------------------------------------------------- */

static void commands_manual(FILE *f, enum command_kind kind)
{
	for (size_t i = 0; i < command_count; i++) {
		const struct command *c = commands[i];

		if (c->kind != kind)
			continue;
		fprintf(f, ".It Cm %s", c->name);
		manual_arguments(f, c->arguments);
		fputc('\n', f);
		manual_sentence(f, c->summary);
		if (c->help)
			manual_text(f, c->help);
	}
}

void nouns_manual(FILE *f)
{
	commands_manual(f, NOUN);
}

void verbs_manual(FILE *f)
{
	commands_manual(f, VERB);
}

static void option_manual(FILE *f, char letter, const char *name, const char *argument,
			  const char *help)
{
	fputs(".It", f);
	if (letter)
		fprintf(f, " Fl %c ,", letter);
	fprintf(f, " Fl -%s", name);
	if (argument)
		manual_arguments(f, argument);
	fputc('\n', f);
	manual_sentence(f, help);
}

void options_manual(FILE *f)
{
	for (size_t i = 0; i < option_count; i++) {
		char takers[OPTION_COMMANDS_SIZE], help[512];

		option_commands(&options[i], takers);
		snprintf(help, sizeof(help), "%s%s%s", takers, *takers ? ": " : "",
			 options[i].help);
		option_manual(f, options[i].letter, options[i].name, options[i].argument, help);
	}
}

void daemon_options_manual(FILE *f)
{
	for (const struct argp_option *o = daemon_options; o->name; o++)
		option_manual(f, isascii(o->key) ? (char)o->key : '\0', o->name, o->arg, o->doc);
}

void exits_manual(FILE *f)
{
	for (size_t i = 0; i < exit_help_count; i++) {
		fprintf(f, ".It %d\n", exit_helps[i].status);
		manual_sentence(f, exit_helps[i].says);
	}
}
