/* SPDX-License-Identifier: Apache-2.0 */
/* completion.c - the words that a shell offers, and `pintle completion`. */
#include "completion.h"

#include "../base/log.h"
#include "../maps/names.h"
#include "output.h"

static const struct shell {
	const char *name;
	void (*print)(void);
} shells[] = {
	{"bash", completion_bash},
	{"fish", completion_fish},
	{"zsh", completion_zsh},
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

static void completion_print_keys(void)
{
	const struct yaml_key *k;

	for (size_t i = 0; (k = config_settable_at(i)); i++)
		printf("%s%s", i ? " " : "", config_settable_name(k));
}

static void completion_print_commands(void)
{
	for (size_t i = 0; i < command_count; i++)
		printf("%s%s", i ? " " : "", commands[i]->name);
}

static void print_shells(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(shells); i++)
		printf("%s%s", i ? " " : "", shells[i].name);
}

static void print_formats(void)
{
	fputs("text json", stdout);
}

void completion_words(enum word_kind kind)
{
	static void (*const lists[])(void) = {
		[WORD_MODE] = print_modes,
		[WORD_SETTING] = print_settings,
		[WORD_KEY] = completion_print_keys,
		[WORD_FORMAT] = print_formats,
		[WORD_COMMAND] = completion_print_commands,
		[WORD_SHELL] = print_shells,
	};

	if (lists[kind])
		lists[kind]();
}

const char *completion_noun(enum word_kind kind)
{
	switch (kind) {
	case WORD_POOL:
		return "pools";
	case WORD_ENDPOINT:
		return "endpoints";
	case WORD_SESSION:
		return "sessions";
	default:
		return NULL;
	}
}

void completion_with_argument(const char *separator)
{
	const char *between = "";

	for (size_t i = 0; i < option_count; i++) {
		if (!options[i].argument)
			continue;
		printf("%s--%s", between, options[i].name);
		between = separator;
		if (options[i].letter)
			printf("%s-%c", between, options[i].letter);
	}
}

static void print_command_rules(const struct command *c, const char *before,
				void (*words)(enum word_kind kind))
{
	for (size_t i = 0; i < COMMAND_WORDS && c->words[i] != WORD_NONE; i++) {
		printf("%s%s,%zu", before, c->name, i);
		words(c->words[i]);
	}
}

void completion_rules(const char *before, void (*words)(enum word_kind kind),
		      void (*options_of)(const struct command *c))
{
	for (size_t i = 0; i < command_count; i++) {
		print_command_rules(commands[i], before, words);
		options_of(commands[i]);
	}
	for (size_t i = 0; i < option_count; i++) {
		if (options[i].word == WORD_NONE)
			continue;
		printf("%s--%s,0", before, options[i].name);
		if (options[i].letter)
			printf(" | -%c,0", options[i].letter);
		words(options[i].word);
	}
}

void completion_quoted(const char *text)
{
	putchar('\'');
	for (; *text; text++) {
		if (*text == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*text);
	}
	putchar('\'');
}

static int run_completion(struct cli *cli)
{
	for (size_t i = 0; i < ARRAY_SIZE(shells); i++) {
		if (strcmp(shells[i].name, cli->words[0]) != 0)
			continue;
		shells[i].print();
		return output_finish();
	}
	log_error("no completion for '%s'; there is one for bash, fish and zsh", cli->words[0]);
	return EXIT_USAGE;
}

const struct command command_completion = {
	.name = "completion",
	.kind = VERB,
	.arguments = "bash|fish|zsh",
	.summary = "print a completion script for a shell",
	.help = "`make install` puts each where its shell looks. For one shell alone:\n"
		"`source <(pintle completion bash)`, so for zsh, and `pintle completion fish | source`.",
	.run = run_completion,
	.least = 1,
	.most = 1,
	.words = {WORD_SHELL},
};
