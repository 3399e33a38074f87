/* SPDX-License-Identifier: Apache-2.0 */
/* completion_fish.c - `pintle completion fish` */
#include "completion.h"

static const char head[] =
	"# fish completion for pintle(8); made by `pintle completion fish`\n"
	"\n"
	"function __pintle_names\n"
	"\t# The first column, without its heading; of endpoints that is POOL/NAME.\n"
	"\tset -l words (commandline -opc)\n"
	"\tset -l bpffs\n"
	"\tset -l at (contains -i -- --bpffs $words)\n"
	"\tand set bpffs --bpffs $words[(math $at + 1)]\n"
	"\tpintle $bpffs $argv[1] 2>/dev/null | awk 'NR > 1 && !NF { exit } NR > 1 { print $1 }'\n"
	"end\n"
	"\n"
	"function __pintle_command # and how many of its arguments stand before the word\n"
	"\tset -l command ''\n"
	"\tset -l at 0\n"
	"\tset -l words (commandline -opc)\n"
	"\tset -e words[1]\n"
	"\twhile set -q words[1]\n"
	"\t\tswitch $words[1]\n"
	"\t\t\tcase ";

static const char tail[] = "\n"
			   "\t\t\t\tset -e words[1]\n"
			   "\t\t\tcase '-*'\n"
			   "\t\t\tcase '*'\n"
			   "\t\t\t\tif test -z \"$command\"\n"
			   "\t\t\t\t\tset command $words[1]\n"
			   "\t\t\t\telse\n"
			   "\t\t\t\t\tset at (math $at + 1)\n"
			   "\t\t\t\tend\n"
			   "\t\tend\n"
			   "\t\tset -e words[1]\n"
			   "\tend\n"
			   "\tprintf '%s\\n' \"$command\" $at\n"
			   "end\n"
			   "\n"
			   "function __pintle_at\n"
			   "\ttest (__pintle_command | string join ,) = $argv[1]\n"
			   "end\n"
			   "\n"
			   "function __pintle_of\n"
			   "\tset -l command (__pintle_command)\n"
			   "\tcontains -- \"$command[1]\" '' $argv\n"
			   "end\n"
			   "\n"
			   "complete -c pintle -f\n";

/* What an argument is, as options of fish's `complete`. */
static void fish_print_words(enum word_kind kind)
{
	if (kind == WORD_FILE) {
		fputs(" -F", stdout);
		return;
	}
	fputs(" -a '", stdout);
	if (kind == WORD_DIRECTORY)
		fputs("(__fish_complete_directories)", stdout);
	else if (completion_noun(kind))
		printf("(__pintle_names %s)", completion_noun(kind));
	else
		completion_words(kind);
	putchar('\'');
}

static void print_help(const char *help)
{
	fputs(" -d ", stdout);
	completion_quoted(help);
	putchar('\n');
}

static void print_command(const struct command *c)
{
	printf("complete -c pintle -n '__pintle_at ,0' -a %s", c->name);
	print_help(c->summary);
	for (size_t i = 0; i < COMMAND_WORDS && c->words[i] != WORD_NONE; i++) {
		printf("complete -c pintle -n '__pintle_at %s,%zu'", c->name, i);
		fish_print_words(c->words[i]);
		putchar('\n');
	}
}

/* The commands that take the option, as a condition. */
static void print_condition(const struct option_help *o)
{
	if (!o->bit)
		return;
	fputs(" -n '__pintle_of", stdout);
	for (size_t i = 0; i < command_count; i++)
		if (option_taken(o, commands[i]))
			printf(" %s", commands[i]->name);
	putchar('\'');
}

static void print_option(const struct option_help *o)
{
	fputs("complete -c pintle", stdout);
	print_condition(o);
	printf(" -l %s", o->name);
	if (o->letter)
		printf(" -s %c", o->letter);
	if (o->argument)
		fputs(o->word == WORD_FILE ? " -r" : " -x", stdout);
	if (o->word != WORD_NONE)
		fish_print_words(o->word);
	print_help(o->help);
}

void completion_fish(void)
{
	fputs(head, stdout);
	completion_with_argument(" ");
	fputs(tail, stdout);
	for (size_t i = 0; i < command_count; i++)
		print_command(commands[i]);
	for (size_t i = 0; i < option_count; i++)
		print_option(&options[i]);
}
