/* SPDX-License-Identifier: Apache-2.0 */
/* completion_zsh.c - `pintle completion zsh` */
#include "completion.h"

static const char head[] =
	"#compdef pintle\n"
	"# zsh completion for pintle(8); made by `pintle completion zsh`\n"
	"\n"
	"__pintle_names() {\n"
	"\t# The first column, without its heading; of endpoints that is POOL/NAME.\n"
	"\tpintle ${bpffs:+--bpffs} ${bpffs:+$bpffs} $1 2>/dev/null |\n"
	"\t\tawk 'NR > 1 && !NF { exit } NR > 1 { print $1 }'\n"
	"}\n"
	"\n"
	"__pintle_offer() {\n"
	"\tcompadd -S '' -- ${(M)@:#*=}     # a value follows\n"
	"\tcompadd -- ${@:#*=}\n"
	"}\n"
	"\n"
	"_pintle() {\n"
	"\tlocal i command= at=0 bpffs=\n"
	"\tlocal -a list\n"
	"\tfor ((i = 2; i < CURRENT; i++)); do\n"
	"\t\tcase $words[i] in\n"
	"\t\t(--bpffs) bpffs=${(Q)words[++i]} ;;\n"
	"\t\t(";

static const char middle[] = ") ((i++)) ;;\n"
			     "\t\t(-*) ;;\n"
			     "\t\t(*) if [[ -z $command ]]; then command=$words[i]; "
			     "else ((at += 1)); fi ;;\n"
			     "\t\tesac\n"
			     "\tdone\n"
			     "\tcase $words[CURRENT-1] in\n"
			     "\t(";

static const char last[] = ") command=$words[CURRENT-1] at=0 ;;\n"
			   "\t(*) [[ $words[CURRENT] != -* ]] || at=options ;;\n"
			   "\tesac\n"
			   "\tcase $command,$at in\n";

static const char tail[] =
	"\tesac\n"
	"}\n"
	"\n"
	"# Found by its name, this is the function's first call; else it was sourced.\n"
	"if [[ $funcstack[1] == _pintle ]]; then\n"
	"\t_pintle \"$@\"\n"
	"else\n"
	"\tcompdef _pintle pintle\n"
	"fi\n";

/* What is offered, behind a pattern. */
static void zsh_print_words(enum word_kind kind)
{
	if (kind == WORD_FILE || kind == WORD_DIRECTORY) {
		printf(") _files%s ;;\n", kind == WORD_FILE ? "" : " -/");
		return;
	}
	fputs(") __pintle_offer ", stdout);
	if (completion_noun(kind))
		printf("${(f)\"$(__pintle_names %s)\"}", completion_noun(kind));
	else
		completion_words(kind);
	fputs(" ;;\n", stdout);
}

static void print_described(const char *before, const char *name, const char *help)
{
	fputs("\t\t\t", stdout);
	printf("%s%s:", before, name);
	completion_quoted(help);
	putchar('\n');
}

static void zsh_print_commands(void)
{
	fputs("\t(,0) list=(\n", stdout);
	for (size_t i = 0; i < command_count; i++)
		print_described("", commands[i]->name, commands[i]->summary);
	fputs("\t\t)\n\t\t_describe -t commands command list ;;\n", stdout);
}

static void zsh_print_options(const struct command *c)
{
	printf("\t(%s,options) list=(\n", c ? c->name : "");
	for (size_t i = 0; i < option_count; i++) {
		const char letter[] = {options[i].letter, '\0'};

		if (!option_taken(&options[i], c))
			continue;
		print_described("--", options[i].name, options[i].help);
		if (*letter)
			print_described("-", letter, options[i].help);
	}
	fputs("\t\t)\n\t\t_describe -o option list ;;\n", stdout);
}

void completion_zsh(void)
{
	fputs(head, stdout);
	completion_with_argument(" | ");
	fputs(middle, stdout);
	completion_with_argument(" | ");
	fputs(last, stdout);
	zsh_print_commands();
	zsh_print_options(NULL);
	completion_rules("\t(", zsh_print_words, zsh_print_options);
	fputs(tail, stdout);
}
