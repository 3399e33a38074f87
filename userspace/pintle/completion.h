/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion.h - what a shell offers behind `pintle`, from the tables of commands and options.
 *
 * Each script finds COMMAND,AT of the word that is completed: the AT-th argument of a command, 0 of
 * an option for what follows that option, and nothing before it where the word is the command. What
 * is offered there comes from one table for all shells; completion_SHELL.c has what is the shell's
 * own.
 */
#ifndef PINTLE_COMPLETION_H
#define PINTLE_COMPLETION_H

#include "cli.h"

/** Prints the words of a kind, between blanks; none of names and files. */
void completion_words(enum word_kind kind);
/** Returns the noun whose first column are the names of that kind; NULL: the kind is no name. */
const char *completion_noun(enum word_kind kind);
/** Prints the options that take an argument, each with its letter, with `separator` between them.
 */
void completion_with_argument(const char *separator);
/** Prints the text in single quotes, as all these shells read it. */
void completion_quoted(const char *text);

/** Prints, for a shell whose scripts have a `case`, a rule for each argument of each command, for
 * each command's options, and for what follows each option. `before` stands before each pattern;
 * `words` prints what is offered behind one, `options_of` a whole rule. */
void completion_rules(const char *before, void (*words)(enum word_kind kind),
		      void (*options_of)(const struct command *c));

void completion_bash(void);
void completion_fish(void);
void completion_zsh(void);

#endif
