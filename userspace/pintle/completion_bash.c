/* SPDX-License-Identifier: Apache-2.0 */
/* completion_bash.c - `pintle completion bash` */
#include "completion.h"

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

static const char middle[] = ") i=$((i + 1)) ;;\n"
			     "\t\t-*) ;;\n"
			     "\t\t*) if [ -z \"$command\" ]; then command=${all[i]}; "
			     "else at=$((at + 1)); fi ;;\n"
			     "\t\tesac\n"
			     "\tdone\n"
			     "\tcase $prev in\n"
			     "\t";

static const char last[] = ") command=$prev at=0 ;;\n"
			   "\t*) [[ $cur != -* ]] || at=options ;;\n"
			   "\tesac\n"
			   "\tcase $command,$at in\n";

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

/* What is offered, behind a pattern. */
static void bash_print_words(enum word_kind kind)
{
	if (kind == WORD_FILE || kind == WORD_DIRECTORY) {
		printf(") compopt -o %s 2>/dev/null; return ;;\n",
		       kind == WORD_FILE ? "default" : "dirnames");
		return;
	}
	fputs(") words=\"", stdout);
	if (completion_noun(kind))
		printf("$(__pintle_names %s)", completion_noun(kind));
	else
		completion_words(kind);
	fputs("\" ;;\n", stdout);
}

static void bash_print_options(const struct command *c)
{
	printf("\t%s,options) words=\"", c ? c->name : "");
	for (size_t i = 0; i < option_count; i++) {
		if (!option_taken(&options[i], c))
			continue;
		printf("--%s ", options[i].name);
		if (options[i].letter)
			printf("-%c ", options[i].letter);
	}
	fputs("\" ;;\n", stdout);
}

void completion_bash(void)
{
	fputs(head, stdout);
	completion_with_argument(" | ");
	fputs(middle, stdout);
	completion_with_argument(" | ");
	fputs(last, stdout);
	fputs("\t,0", stdout);
	bash_print_words(WORD_COMMAND);
	bash_print_options(NULL);
	completion_rules("\t", bash_print_words, bash_print_options);
	fputs(tail, stdout);
}
