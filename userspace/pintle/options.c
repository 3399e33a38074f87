/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - a command line to a struct cli: from two tables, options and commands. */
#include "cli.h"

#include <getopt.h>

#include "../base/log.h"
#include "../base/text.h"
#include "../yaml/yaml_value.h"

const struct option_help options[] = {
	{"bpffs", 0, "DIR", WORD_DIRECTORY,
	 "where the maps are pinned (PINTLE_BPFFS, else " DEFAULT_BPFFS ")", OPTION_BPFFS},
	{"output", 'o', "FORMAT", WORD_FORMAT, "how data is printed: text (the default) or json",
	 OPTION_OUTPUT},
	{"pool", 0, "POOL", WORD_POOL, "only what belongs to this pool", OPTION_POOL},
	{"source", 0, "IP", WORD_NONE, "the client's address", OPTION_CLIENT},
	{"session", 0, "KEY", WORD_SESSION, "its session, as `pintle sessions` shows it",
	 OPTION_CLIENT},
	{"cgroup", 0, "PATH", WORD_DIRECTORY, "its cgroup", OPTION_CLIENT},
	{"pod", 0, "POD", WORD_NONE, "the pod of this node that it is, NAMESPACE/NAME",
	 OPTION_CLIENT},
	{"bytes", 0, "N", WORD_NONE, "as if its session's context had N bytes", OPTION_CLIENT},
	{"class", 0, "NAME", WORD_NONE,
	 "a connection of this class; the default is what the pool's rules say", OPTION_CLIENT},
	{"model", 0, "NAME", WORD_NONE, "a request that names this model", OPTION_CLIENT},
	{"header", 0, "LINE", WORD_NONE,
	 "a request with this header, such as 'X-Session-Id: a'; may be given again",
	 OPTION_CLIENT},
	{"prompt", 0, "FILE", WORD_FILE,
	 "a request with this body, which may name the session, and whose prompt counts",
	 OPTION_CLIENT},
	{"wait", 0, NULL, WORD_NONE,
	 "wait until no connection of this node is open at the endpoint", OPTION_WAIT},
	{"deadline", 0, "TIME", WORD_NONE, "with --wait: for so long at most, such as 5m",
	 OPTION_WAIT},
	{"once", 0, NULL, WORD_NONE, "print one frame, and end", OPTION_LIVE},
	{"interval", 0, "TIME", WORD_NONE, "between two readings: 1s (the default), 100ms to 1h",
	 OPTION_LIVE},
	{"period", 0, "TIME", WORD_NONE, "the length of a block, such as 10m", OPTION_TRIAL},
	{"for", 0, "TIME", WORD_NONE, "how long all blocks take; the default is 24 of them",
	 OPTION_TRIAL},
	{"washout", 0, "TIME", WORD_NONE,
	 "what is left out at the beginning of each block; longer than a request takes (30s)",
	 OPTION_TRIAL},
	{"stop", 0, NULL, WORD_NONE, "end the test now", OPTION_TRIAL},
	{"since", 0, "TIME", WORD_NONE, "of the last so long (1h); 24h are kept", OPTION_REPORT},
	{"html", 0, "FILE", WORD_FILE, "write a page with plots to this file", OPTION_REPORT},
	{"rate", 0, "N", WORD_NONE,
	 "the most connections a second, and a quarter of them at once (100)", OPTION_TRACE},
	{"slow", 0, "TIME", WORD_NONE,
	 "only connections with a first token that took so long, such as 2s, or that lasted so long "
	 "without one",
	 OPTION_TRACE},
	{"failed", 0, NULL, WORD_NONE,
	 "only connections that failed: refused, or ended by an error; with --slow: both kinds",
	 OPTION_TRACE},
	{"help", 'h', NULL, WORD_NONE,
	 "what the program does; `pintle COMMAND --help`: what a command does", 0},
	{"version", 'V', NULL, WORD_NONE, "the version, and the commit of the sources", 0},
};
const size_t option_count = ARRAY_SIZE(options);

bool option_taken(const struct option_help *o, const struct command *c)
{
	return !c || !o->bit || (c->options & o->bit);
}

const char *option_commands(const struct option_help *o, char buf[OPTION_COMMANDS_SIZE])
{
	buf[0] = '\0';
	if (!(o->bit & ~(OPTION_BPFFS | OPTION_OUTPUT)))
		return buf;
	for (size_t i = 0; i < command_count; i++)
		if (commands[i]->options & o->bit)
			text_list_add(buf, OPTION_COMMANDS_SIZE, commands[i]->name);
	return buf;
}

enum {
	OPT_BPFFS,
	OPT_OUTPUT,
	OPT_POOL,
	OPT_SOURCE,
	OPT_SESSION,
	OPT_CGROUP,
	OPT_POD,
	OPT_BYTES,
	OPT_CLASS,
	OPT_MODEL,
	OPT_HEADER,
	OPT_PROMPT,
	OPT_WAIT,
	OPT_DEADLINE,
	OPT_ONCE,
	OPT_INTERVAL,
	OPT_PERIOD,
	OPT_FOR,
	OPT_WASHOUT,
	OPT_STOP,
	OPT_SINCE,
	OPT_HTML,
	OPT_RATE,
	OPT_SLOW,
	OPT_FAILED,
	OPT_HELP,
	OPT_VERSION,
	OPT_FIRST = 256
};

/* Where the argument of an option that is a plain word goes; NULL: the option is none. */
static const char **option_word(struct cli *cli, int which)
{
	switch (which) {
	case OPT_POOL:
		return &cli->pool;
	case OPT_SOURCE:
		return &cli->source;
	case OPT_SESSION:
		return &cli->session;
	case OPT_CGROUP:
		return &cli->cgroup;
	case OPT_POD:
		return &cli->pod;
	case OPT_BYTES:
		return &cli->bytes;
	case OPT_CLASS:
		return &cli->class;
	case OPT_MODEL:
		return &cli->model;
	case OPT_PROMPT:
		return &cli->prompt;
	case OPT_HTML:
		return &cli->html;
	case OPT_RATE:
		return &cli->rate;
	}
	return NULL;
}

/* Makes getopt_long()'s tables. It permutes the words, so that options may stand anywhere. */
static void getopt_tables(struct option *longs, char *shorts)
{
	size_t n = 0;

	shorts[n++] = ':';
	for (size_t i = 0; i < option_count; i++) {
		longs[i] = (struct option){
			.name = options[i].name,
			.has_arg = options[i].argument ? required_argument : no_argument,
			.val = OPT_FIRST + (int)i,
		};
		if (!options[i].letter)
			continue;
		shorts[n++] = options[i].letter;
		if (options[i].argument)
			shorts[n++] = ':';
	}
	longs[option_count] = (struct option){0};
	shorts[n] = '\0';
}

static int option_index(int value)
{
	for (size_t i = 0; i < option_count; i++) {
		if (value == OPT_FIRST + (int)i || (value && value == options[i].letter))
			return (int)i;
	}
	return -1;
}

static int unknown_option(const char *word)
{
	struct text_nearest n = {.begun = true};

	for (size_t i = 0; i < option_count; i++)
		text_nearest_try(&n, word + strspn(word, "-"), options[i].name);
	if (n.best)
		log_error("no option %s; did you mean --%s?", word, n.best);
	else
		log_error("no option %s; see pintle --help", word);
	return EXIT_USAGE;
}

static int output_set(struct cli *cli, const char *format)
{
	if (strcmp(format, "json") != 0 && strcmp(format, "text") != 0) {
		log_error("no output format '%s'; there are text and json", format);
		return EXIT_USAGE;
	}
	cli->json = *format == 'j';
	return 0;
}

/* Where the argument of an option that is a time goes; NULL: the option is none. */
static uint64_t *option_time(struct cli *cli, int which)
{
	switch (which) {
	case OPT_DEADLINE:
		return &cli->deadline_ns;
	case OPT_PERIOD:
		return &cli->period_ns;
	case OPT_FOR:
		return &cli->for_ns;
	case OPT_WASHOUT:
		return &cli->washout_ns;
	case OPT_SINCE:
		return &cli->since_ns;
	case OPT_SLOW:
		return &cli->slow_ns;
	}
	return NULL;
}

static int time_set(int which, const char *text, uint64_t *out)
{
	static const struct yaml_key key = {
		.type = &yaml_duration, .min = 1e6, .max = 30 * 86400e9};
	struct yaml_value v = {.key = &key, .text = text, .length = strlen(text)};

	if (!yaml_duration.read(&v, out))
		return 0;
	log_error("--%s takes a time from 1ms to 720h, such as 90s, 5m or 2h, not '%s'",
		  options[which].name, text);
	return EXIT_USAGE;
}

static int interval_set(struct cli *cli, const char *text)
{
	static const struct yaml_key key = {.type = &yaml_duration, .min = 1e8, .max = 3600e9};
	struct yaml_value v = {.key = &key, .text = text, .length = strlen(text)};

	if (!yaml_duration.read(&v, &cli->interval_ns))
		return 0;
	log_error("--interval takes a time from 100ms to 1h, not '%s'; such as 2s", text);
	return EXIT_USAGE;
}

/* A line that ends early would be read as several. */
static int header_add(struct cli *cli, const char *line)
{
	if (!strchr(line, ':') || strpbrk(line, "\r\n")) {
		log_error("--header takes one line, NAME: VALUE, not '%s'", line);
		return EXIT_USAGE;
	}
	if (cli->header_count == CLI_MAX_HEADERS) {
		log_error("--header is given more than %d times; leave some out", CLI_MAX_HEADERS);
		return EXIT_USAGE;
	}
	cli->headers[cli->header_count++] = line;
	return 0;
}

static int option_set(struct cli *cli, int which, const char *argument)
{
	const char **word = option_word(cli, which);
	uint64_t *time = option_time(cli, which);

	if (word) {
		*word = argument;
		return 0;
	}
	if (time)
		return time_set(which, argument, time);
	switch (which) {
	case OPT_BPFFS:
		if (!*argument) {
			log_error("--bpffs takes a directory, such as " DEFAULT_BPFFS);
			return EXIT_USAGE;
		}
		cli->bpffs = argument;
		return 0;
	case OPT_HEADER:
		return header_add(cli, argument);
	case OPT_OUTPUT:
		return output_set(cli, argument);
	case OPT_WAIT:
		cli->wait = true;
		return 0;
	case OPT_ONCE:
		cli->once = true;
		return 0;
	case OPT_INTERVAL:
		return interval_set(cli, argument);
	case OPT_STOP:
		cli->stop = true;
		return 0;
	case OPT_FAILED:
		cli->failed = true;
		return 0;
	case OPT_HELP:
		cli->help = true;
		return 0;
	case OPT_VERSION:
		cli->version = true;
		return 0;
	}
	return EXIT_USAGE;
}

static int refuse_option(const struct cli *cli, size_t which)
{
	char takers[OPTION_COMMANDS_SIZE];

	option_commands(&options[which], takers);
	log_error("%s takes no --%s%s%s", cli->command->name, options[which].name,
		  *takers ? "; for " : "", takers);
	return usage_error(cli);
}

/* Whether an option that takes no word and no time was given. */
static bool is_flagged(const struct cli *cli, size_t which)
{
	switch (which) {
	case OPT_STOP:
		return cli->stop;
	case OPT_HEADER:
		return cli->header_count;
	case OPT_WAIT:
		return cli->wait;
	case OPT_FAILED:
		return cli->failed;
	case OPT_ONCE:
		return cli->once;
	case OPT_INTERVAL:
		return cli->interval_ns;
	}
	return false;
}

/* Refuses options that the command has no use for: `pintle version --pool a`, taken in silence,
 * would seem to print something about pool a. */
static int options_fit(struct cli *cli)
{
	const struct command *c = cli->command;

	for (size_t i = 0; i < option_count; i++) {
		const char **word = option_word(cli, (int)i);
		const uint64_t *time = option_time(cli, (int)i);
		bool given = (word && *word) || (time && *time) || is_flagged(cli, i);

		if (given && !(c->options & options[i].bit))
			return refuse_option(cli, i);
	}
	if (cli->deadline_ns && !cli->wait) {
		log_error("--deadline is for --wait; add it");
		return usage_error(cli);
	}
	if (cli->json && !(c->options & OPTION_OUTPUT)) {
		log_error("%s prints no data, so it takes no -o json", c->name);
		return usage_error(cli);
	}
	return 0;
}

static int take_command(struct cli *cli, int count, char **words)
{
	cli->command = command_find(words[0]);
	if (!cli->command)
		return EXIT_USAGE;
	cli->words = words + 1;
	cli->word_count = count - 1;
	return 0;
}

static int words_check(struct cli *cli)
{
	const struct command *c = cli->command;

	if (cli->word_count < c->least) {
		log_error("%s needs %s", c->name, c->arguments);
		return usage_error(cli);
	}
	if (cli->word_count > c->most) {
		log_error("%s takes no '%s'", c->name, cli->words[c->most]);
		return usage_error(cli);
	}
	return 0;
}

static int getopt_loop(struct cli *cli, int argc, char **argv)
{
	struct option longs[ARRAY_SIZE(options) + 1];
	char shorts[2 * ARRAY_SIZE(options) + 2];
	int value, err = 0;

	getopt_tables(longs, shorts);
	opterr = 0;
	while (!err && (value = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (value == ':') {
			int which = option_index(optopt);

			log_error("%s needs %s", argv[optind - 1],
				  which < 0 ? "an argument" : options[which].argument);
			err = EXIT_USAGE;
		} else if (value == '?') {
			char letter[] = {'-', (char)optopt, '\0'};

			/* For --help=x, optopt is the number of --help; for an unknown long option
			 * it is 0; else it is the unknown letter. */
			err = unknown_option(optopt > 0 && optopt < OPT_FIRST ? letter
									      : argv[optind - 1]);
		} else {
			err = option_set(cli, option_index(value), optarg);
		}
	}
	return err;
}

int options_parse(struct cli *cli, int argc, char **argv)
{
	const char *environment = getenv("PINTLE_BPFFS");
	int err;

	cli->bpffs = environment && *environment ? environment : DEFAULT_BPFFS;
	err = getopt_loop(cli, argc, argv);
	if (!err && optind < argc)
		err = take_command(cli, argc - optind, argv + optind);
	if (err || cli->help || cli->version)
		return err;
	if (!cli->command) {
		help_program(stderr);
		return EXIT_USAGE;
	}
	err = options_fit(cli);
	return err ? err : words_check(cli);
}
