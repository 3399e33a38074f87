/* SPDX-License-Identifier: Apache-2.0 */
/* completion.c - bash completion, made from the tables of commands and options. */
#include "cli.h"

#include "../base/log.h"
#include "../maps/names.h"
#include "output.h"

/* The words that bash offers for an argument. Names of pools and the like come from `pintle`
 * itself, which prints none where the maps cannot be read. NULL: print_command() lists the
 * words. */
static const char *const word_sources[] = {
	[WORD_NONE] = "",
	[WORD_POOL] = "$(__pintle_names pools)",
	[WORD_ENDPOINT] = "$(__pintle_names endpoints)",
	[WORD_MODE] = NULL,    /* from names.h */
	[WORD_SETTING] = NULL, /* from the table of keys */
	[WORD_KEY] = NULL,
	[WORD_SESSION] = "$(__pintle_names sessions)",
	[WORD_FILE] = "",      /* bash's own */
	[WORD_COMMAND] = NULL, /* from commands.c */
	[WORD_SHELL] = "bash",
};

static void print_modes(void)
{
	for (uint32_t mode = 0; mode < PINTLE_MODE_COUNT; mode++)
		printf("%s%s", mode ? " " : "", mode_name(mode));
}

/* Prints KEY=WORD for each word that a key takes, and KEY= where the value is a number. */
static void print_settings(void)
{
	const struct yaml_key *k;

	for (size_t i = 0; (k = config_settable_at(i)); i++) {
		const char *name = config_settable_name(k), *word;

		for (size_t j = 0; (word = config_settable_word(k, j)); j++)
			printf("%s=%s ", name, word);
		if (!config_settable_word(k, 0))
			printf("%s= ", name);
	}
}

static void print_keys(void)
{
	const struct yaml_key *k;

	for (size_t i = 0; (k = config_settable_at(i)); i++)
		printf("%s%s", i ? " " : "", config_settable_name(k));
}

static void print_commands(void)
{
	for (size_t i = 0; i < command_count; i++)
		printf("%s%s", i ? " " : "", commands[i]->name);
}

static void print_command(const struct command *c)
{
	for (size_t i = 0; i < COMMAND_WORDS && c->words[i] != WORD_NONE; i++) {
		printf("\t%s,%zu) ", c->name, i);
		if (c->words[i] == WORD_FILE) {
			printf("compopt -o default; return ;;\n");
			continue;
		}
		printf("words=\"");
		if (c->words[i] == WORD_MODE)
			print_modes();
		else if (c->words[i] == WORD_SETTING)
			print_settings();
		else if (c->words[i] == WORD_KEY)
			print_keys();
		else if (c->words[i] == WORD_COMMAND)
			print_commands();
		else
			printf("%s", word_sources[c->words[i]]);
		printf("\" ;;\n");
	}
}

static void print_option_words(void)
{
	for (size_t i = 0; i < option_count; i++) {
		printf("%s--%s", i ? " " : "", options[i].name);
		if (options[i].letter)
			printf(" -%c", options[i].letter);
	}
}

/* Prints the options that take an argument, as a pattern of the shell: the word behind such an
 * option is not the command. */
static void print_option_patterns(void)
{
	const char *separator = "";

	for (size_t i = 0; i < option_count; i++) {
		if (!options[i].argument)
			continue;
		printf("%s--%s", separator, options[i].name);
		if (options[i].letter)
			printf(" | -%c", options[i].letter);
		separator = " | ";
	}
}

static const char head[] =
	"# bash completion for pintle(8); made by `pintle completion bash`\n"
	"\n"
	"__pintle_names() {\n"
	"\t# The first column, without its heading; of endpoints that is POOL/NAME.\n"
	"\tpintle ${__pintle_bpffs:+--bpffs \"$__pintle_bpffs\"} \"$1\" 2>/dev/null |\n"
	"\t\tawk 'NR > 1 && !NF { exit } NR > 1 { print $1 }'\n"
	"}\n"
	"\n"
	"_pintle() {\n"
	"\tlocal cur prev= command= words= i at=0 all=() joint= broken= __pintle_bpffs=\n"
	"\tCOMPREPLY=()\n"
	"\t# Bash breaks words at = and :, which stand within ours.\n"
	"\tfor ((i = 0; i <= COMP_CWORD; i++)); do\n"
	"\t\tif [[ $i -gt 0 && -n ${COMP_WORDS[i]} && -z ${COMP_WORDS[i]//[=:]/} ]]; then\n"
	"\t\t\tall[-1]+=${COMP_WORDS[i]} joint=1\n"
	"\t\telif [ -n \"$joint\" ]; then\n"
	"\t\t\tall[-1]+=${COMP_WORDS[i]} joint=\n"
	"\t\telse\n"
	"\t\t\tall+=(\"${COMP_WORDS[i]}\")\n"
	"\t\tfi\n"
	"\tdone\n"
	"\tcur=${all[-1]}\n"
	"\t[ \"${#all[@]}\" -gt 1 ] && prev=${all[-2]}\n"
	"\tfor ((i = 1; i < ${#all[@]} - 1; i++)); do\n"
	"\t\tcase ${all[i]} in\n"
	"\t\t--bpffs) __pintle_bpffs=${all[i+1]}; i=$((i + 1)) ;;\n"
	"\t\t";

static const char middle[] =
	") i=$((i + 1)) ;;\n"
	"\t\t-*) ;;\n"
	"\t\t*) if [ -z \"$command\" ]; then command=${all[i]}; "
	"else at=$((at + 1)); fi ;;\n"
	"\t\tesac\n"
	"\tdone\n"
	"\tcase $prev in\n"
	"\t--bpffs) compopt -o dirnames 2>/dev/null; return ;;\n"
	"\t--output | -o) COMPREPLY=($(compgen -W 'text json' -- \"$cur\")); return ;;\n"
	"\t--pool) COMPREPLY=($(compgen -W \"$(__pintle_names pools)\" -- \"$cur\")); "
	"return ;;\n"
	"\t--session) command=unbind at=0 ;; # which takes one as well\n"
	"\tesac\n"
	"\tif [[ $cur == -* ]]; then\n"
	"\t\tCOMPREPLY=($(compgen -W '";

static const char tail[] = "\tesac\n"
			   "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
			   "\t[[ ${COMPREPLY[*]} == *= ]] && compopt -o nospace 2>/dev/null\n"
			   "\tfor i in = :; do\n"
			   "\t\t[[ $COMP_WORDBREAKS == *$i* && $cur == *$i* ]] || continue\n"
			   "\t\tbroken=${cur%\"${cur##*$i}\"}\n"
			   "\t\tCOMPREPLY=(\"${COMPREPLY[@]#\"$broken\"}\")\n"
			   "\tdone\n"
			   "}\n"
			   "complete -F _pintle pintle\n";

static int run_completion(struct cli *cli)
{
	if (strcmp(cli->words[0], "bash") != 0) {
		log_error("no completion for '%s'; there is one for bash", cli->words[0]);
		return EXIT_USAGE;
	}
	fputs(head, stdout);
	print_option_patterns();
	fputs(middle, stdout);
	print_option_words();
	printf("' -- \"$cur\"))\n\t\treturn\n\tfi\n\tcase $command,$at in\n\t,*) words=\"");
	print_commands();
	printf("\" ;;\n");
	for (size_t i = 0; i < command_count; i++)
		print_command(commands[i]);
	fputs(tail, stdout);
	return output_finish();
}

const struct command command_completion = {
	.name = "completion",
	.kind = VERB,
	.arguments = "bash",
	.summary = "print a completion script for a shell",
	.help = "For this shell alone: source <(pintle completion bash)",
	.run = run_completion,
	.least = 1,
	.most = 1,
	.words = {WORD_SHELL},
};
